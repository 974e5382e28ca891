"""Entries of feeds: RSS and Atom through feedparser, JSON Feed (jsonfeed.org/version/1.1) by hand. Pure.

What names an entry: an id that is an address (`https:`, `tag:`, `urn:`, `at:`, `yt:`) names it on the whole host, so
that an article in two feeds of a host is one post. Any other id ("1", "2") counts within its feed only, which is named
by its address without scheme and fragment: over http and https it is one feed, behind two addresses it is two. No id
reaches over hosts, as whoever writes a feed can write any id into it.
"""

import json
import re
from calendar import timegm
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import feedparser

from crawlers.platforms.fields import Record, optional_record, parse_time, record, records, text, texts, time
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.settings import MOST_RECORDS
from crawlers.sink import Reject
from crawlers.text import Reading, clean, mask, names_account, read_html, read_plain, well_formed

PARSER_VERSION = 2
PLATFORM = "feed"

# Each pattern takes what it began with, however it goes on, so that no document is searched again and again.
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)\b(?:[^<>\[]|\[[^\]]*(?:\]|\Z))*>?", re.IGNORECASE)
_REFERENCE = re.compile(rb"&#(?:x([0-9a-f]{1,8})|([0-9]{1,10}));", re.IGNORECASE)
_MEDIA = re.compile(rb"<(/?media:group|media:content)\b")
_ADDRESS_ID = re.compile(r"(?:https?://|at://|tag:|urn:|yt:)\S", re.IGNORECASE)
_GROUP = "postsweep-group"
"""An attribute of `media:content`: feedparser does not tell which of them are renditions of one thing."""


def _whole_character(reference: re.Match[bytes]) -> bytes:
    """A numeric reference, or U+FFFD's where it names half a character or none: feedparser fails on those."""
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    return b"&#xFFFD;" if 0xD800 <= number <= 0xDFFF or number > 0x10FFFF else reference[0]


class NotAFeedError(ValueError):
    """The body is no feed that can be read: a page in HTML, most often."""


def parse_feed(body: bytes, content_type: str, url: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    """All entries of a feed document. `url` is its address. Errors: NotAFeedError."""
    url = _without_login(url)
    if body.lstrip()[:1] == b"{":
        return _json_feed(body, url, fetched_at)
    # Entities declared in the document are never resolved: no lookup of files, no expansion without end.
    plain = _DECLARATION.sub(b"", body)
    plain = _grouped(_REFERENCE.sub(_whole_character, plain))
    # Without its address feedparser leaves ids and links as they stand; an id "1" is no address on the host.
    headers = {"content-type": content_type}
    try:
        parsed = feedparser.parse(BytesIO(plain), response_headers=headers, sanitize_html=False)
    except Exception as error:  # what feedparser does not foresee, by its class only: messages may hold the document
        raise NotAFeedError(f"this feed cannot be parsed ({type(error).__name__})") from None
    if not parsed.get("version"):  # nothing at all has none
        raise NotAFeedError("this is neither RSS, Atom nor JSON Feed")
    feed_lang = parsed.feed.get("language") or None
    return _collect([lambda entry=entry: _entry(entry, url, feed_lang, fetched_at) for entry in parsed.entries])


def _grouped(body: bytes) -> bytes:
    """Numbers the groups of media in the elements that they hold."""
    group, inside = 0, False

    def numbered(tag: re.Match[bytes]) -> bytes:
        nonlocal group, inside
        if tag[1] != b"media:content":
            group, inside = group + 1, tag[1] == b"media:group"
            return tag[0]
        return tag[0] + f' {_GROUP}="{group}"'.encode() if inside else tag[0]

    return _MEDIA.sub(numbered, body)


def _collect(entries: list[Any]) -> tuple[list[Post], list[Reject]]:
    if len(entries) > MOST_RECORDS:
        raise NotAFeedError(f"a feed of {len(entries):,} entries, more than the {MOST_RECORDS:,} that one may have")
    posts, rejects = [], []
    for position, parse in enumerate(entries):
        try:
            posts.append(parse())
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
    return posts, rejects


def _entry(entry: Any, url: str, feed_lang: str | None, fetched_at: datetime) -> Post:
    link = _address(entry.get("link"), url)
    if entry.get("link") == entry.get("id") and not _is_address(str(entry.get("link"))):
        link = None  # a guid stands in for a link, which it is only where it is an address
    native = entry.get("id") or link
    if not native:
        raise ParseError("id", "neither id nor link")
    content = entry.get("content") or []
    chosen = content[0] if content else entry.get("summary_detail") or {}
    value = chosen.get("value") or entry.get("summary") or ""
    # Publishers put markup into what they declare as plain text, and the reverse; both read well as HTML.
    plain = chosen.get("type") == "text/plain" and "</" not in value
    reading = read_plain(value) if plain else read_html(value, base=url)
    author = entry.get("author_detail") or {}
    title = read_html(entry.get("title") or "").text or None
    published, updated = _moment(entry, "published"), _moment(entry, "updated")
    tags = [tag.get("term") for tag in entry.get("tags") or [] if tag.get("term")]
    return _article(
        native=str(native),
        url=url,
        link=link,
        title=title,
        reading=reading,
        author=_author(_author_name(entry), author.get("href"), url),
        published=published or updated,
        edited=updated if published is not None and updated is not None and updated > published else None,
        lang=(chosen.get("language") or feed_lang or None),
        tags=tags if "tags" in entry else None,
        media=list(_media(entry, url)),
        raw=json.loads(json.dumps(entry, default=str)),
        fetched_at=fetched_at,
    )


def _media(entry: Any, url: str) -> Iterator[Media]:
    """Enclosures, and `media:content` (Media RSS) that is none of them: one of each group."""
    seen = set()
    for item in entry.get("enclosures") or []:
        if address := _address(item.get("href"), url):
            seen.add(address)
            yield Media(_media_type(item), None, address)
    for item in entry.get("media_content") or []:
        address, group = _address(item.get("url"), url), item.get(_GROUP)
        if address is not None and address not in seen and group not in seen:
            seen |= {address, group} if group else {address}
            yield Media(_media_type(item), None, address)


def _media_type(item: Any) -> str:
    return item.get("medium") or (item.get("type") or "unknown").split("/")[0]


def _json_feed(body: bytes, url: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAFeedError("this begins like JSON Feed, but is not JSON") from None
    if not isinstance(document, dict) or "jsonfeed.org" not in str(document.get("version")):
        raise NotAFeedError("this is JSON, but not JSON Feed")
    items = document.get("items")
    if not isinstance(items, list):
        raise NotAFeedError("this JSON Feed has no list of items")
    lang = well_formed(document["language"]) if isinstance(document.get("language"), str) else None
    return _collect([lambda item=item: _json_item(item, document, lang, url, fetched_at) for item in items])


def _json_item(item: object, document: Record, lang: str | None, url: str, fetched_at: datetime) -> Post:
    entry = record(item, "items")
    native = entry.get("id")
    if isinstance(native, int | float) and not isinstance(native, bool):
        native = str(native)
    elif isinstance(native, str):
        native = well_formed(native)
    link = _address(text(entry, "url"), url) or _address(text(entry, "external_url"), url)
    if not isinstance(native, str) or not native:
        native = link
    if not native:
        raise ParseError("id", "neither id nor url")
    markup, plain = text(entry, "content_html"), text(entry, "content_text")
    summary = text(entry, "summary") or ""
    told = plain if plain is not None else summary
    reading = read_plain(told) if markup is None else read_html(markup, base=url)
    first = _first_author(entry) or _first_author(document) or {}
    published, modified = time(entry, "date_published"), time(entry, "date_modified")
    media = [
        Media((text(each, "mime_type", "attachments.") or "unknown").split("/")[0], None, address)
        for each in records(entry, "attachments") or []
        if (address := _address(text(each, "url", "attachments."), url))
    ]
    pictures = [_address(text(entry, key), url) for key in ("image", "banner_image")]
    media += [Media("image", None, address) for address in dict.fromkeys(pictures) if address]
    title = text(entry, "title")
    return _article(
        native=native,
        url=url,
        link=link,
        title=None if title is None else read_plain(title).text or None,
        reading=reading,
        author=_author(text(first, "name", "authors."), text(first, "url", "authors."), url),
        published=published or modified,
        edited=modified if published is not None and modified is not None and modified > published else None,
        lang=text(entry, "language") or lang,
        tags=texts(entry, "tags"),
        media=media,
        raw=entry,
        fetched_at=fetched_at,
    )


def _article(
    *,
    native: str,
    url: str,
    link: str | None,
    title: str | None,
    reading: Reading,
    author: Account | None,
    published: datetime | None,
    edited: datetime | None,
    lang: str | None,
    tags: list[str] | None,
    media: list[Media],
    raw: Record,
    fetched_at: datetime,
) -> Post:
    host = urlsplit(url).netloc.lower()
    links = [link, *reading.links] if link is not None and not names_account(link) else reading.links
    return Post(
        id=PostId(PLATFORM, None, host if _is_address(native) else _feed_name(url), native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="article",
        author=author,
        url=link,
        created_at=published,
        edited_at=edited,
        title=title,
        text=reading.text or None,
        lang=lang,
        hashtags=None if tags is None else [mask(clean(tag))[0].casefold() for tag in tags],
        mention_count=reading.mentions,
        links=list(dict.fromkeys(links)),
        media=media,
        raw=raw,
    )


def _first_author(item: Record) -> Record | None:
    """The first of `authors`, or the one `author` of version 1."""
    return next(iter(records(item, "authors") or []), None) or optional_record(item, "author")


def _author_name(entry: Any) -> str | None:
    """The name in `mail@host (name)`, as RSS has it, else what feedparser takes for the name."""
    written = entry.get("author")
    named = re.fullmatch(r"\S+@\S+\s+\(([^()]+)\)", written or "")
    return named[1] if named else (entry.get("author_detail") or {}).get("name") or written


def _author(name: str | None, href: str | None, url: str) -> Account | None:
    """Names of feeds' authors are not unique: an address where there is one, else the name within the feed."""
    if not name and not href:
        return None
    return Account(id=href or f"{_feed_name(url)}#{name}", display_name=name, url=href)


def _feed_name(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(("", "", parts.netloc.lower() + parts.path, parts.query, ""))


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is_address(native: str) -> bool:
    return _ADDRESS_ID.match(native) is not None


def _address(value: object, base: str) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        joined = urljoin(base, value.strip())
    except ValueError:
        return None
    return joined if joined.lower().startswith(("http://", "https://")) else None


def _moment(entry: Any, key: str) -> datetime | None:
    """A time as it is written, to the microsecond, where it is written as ISO 8601; else as feedparser reads it."""
    with suppress(ParseError):
        return parse_time(str(entry.get(key)).strip(), key)
    parsed = entry.get(f"{key}_parsed")
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None
