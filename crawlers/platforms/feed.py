"""Entries of feeds: RSS and Atom through feedparser, JSON Feed (jsonfeed.org/version/1.1) by hand. Pure."""

import json
import re
from calendar import timegm
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit

import feedparser

from crawlers.platforms.fields import Record, record, records, text, texts, time
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.sink import Reject
from crawlers.text import Reading, clean, mask, names_account, read_html, read_plain, well_formed

PARSER_VERSION = 1
PLATFORM = "feed"

_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)\b(?:[^<>\[]|\[[^\]]*\])*>", re.IGNORECASE)


_REFERENCE = re.compile(rb"&#(?:x([0-9a-f]{1,8})|([0-9]{1,10}));", re.IGNORECASE)


def _whole_character(reference: re.Match[bytes]) -> bytes:
    """A numeric reference, or U+FFFD's where it names half a character or none: feedparser fails on those."""
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    return b"&#xFFFD;" if 0xD800 <= number <= 0xDFFF or number > 0x10FFFF else reference[0]


class NotAFeedError(ValueError):
    """The body is no feed at all: a page in HTML, most often."""


def parse_feed(body: bytes, content_type: str, url: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    """All entries of a feed document. `url` is its address. Errors: NotAFeedError."""
    if body.lstrip()[:1] == b"{":
        return _json_feed(body, url, fetched_at)
    # Entities declared in the document are never resolved: no lookup of files, no expansion without end.
    plain = _DECLARATION.sub(b"", body)
    plain = _REFERENCE.sub(_whole_character, plain)
    headers = {"content-type": content_type, "content-location": url}
    try:
        parsed = feedparser.parse(BytesIO(plain), response_headers=headers, sanitize_html=False)
    except Exception as error:  # what feedparser does not foresee, by its class only: messages may hold the document
        raise NotAFeedError(f"this feed cannot be parsed ({type(error).__name__})") from None
    if not parsed.version:
        raise NotAFeedError("this is neither RSS, Atom nor JSON Feed")
    feed_lang = parsed.feed.get("language") or None
    return _collect([lambda entry=entry: _entry(entry, url, feed_lang, fetched_at) for entry in parsed.entries])


def _collect(entries: list[Any]) -> tuple[list[Post], list[Reject]]:
    posts, rejects = [], []
    for position, parse in enumerate(entries):
        try:
            posts.append(parse())
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
    return posts, rejects


def _entry(entry: Any, url: str, feed_lang: str | None, fetched_at: datetime) -> Post:
    link = _address(entry.get("link"), url)
    native = entry.get("id") or link
    if not native:
        raise ParseError("id", "neither id nor link")
    content = entry.get("content") or []
    chosen = content[0] if content else entry.get("summary_detail") or {}
    value = chosen.get("value") or entry.get("summary") or ""
    # Publishers put markup into what they declare as plain text, and the reverse; both read well as HTML.
    reading = read_plain(value) if chosen.get("type") == "text/plain" and "</" not in value else read_html(value)
    author = entry.get("author_detail") or {}
    title = read_html(entry.get("title") or "").text or None
    published, updated = _moment(entry.get("published_parsed")), _moment(entry.get("updated_parsed"))
    media = [
        Media((item.get("type") or "unknown").split("/")[0], None, item.get("href"))
        for item in entry.get("enclosures") or []
        if item.get("href")
    ]
    tags = [tag.get("term") for tag in entry.get("tags") or [] if tag.get("term")]
    return _article(
        native=str(native),
        url=url,
        link=link,
        title=title,
        reading=reading,
        author=_author(author.get("name") or entry.get("author"), author.get("href"), url),
        published=published or updated,
        edited=updated if published is not None and updated is not None and updated > published else None,
        lang=(chosen.get("language") or feed_lang or None),
        tags=tags if "tags" in entry else None,
        media=media,
        raw=json.loads(json.dumps(entry, default=str)),
        fetched_at=fetched_at,
    )


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
    link = _address(text(entry, "url") or text(entry, "external_url"), url)
    if not isinstance(native, str) or not native:
        native = link
    if not native:
        raise ParseError("id", "neither id nor url")
    markup, plain = text(entry, "content_html"), text(entry, "content_text")
    summary = text(entry, "summary") or ""
    reading = read_html(markup) if markup is not None else read_plain(plain if plain is not None else summary)
    authors = records(entry, "authors") or [author for author in [entry.get("author")] if isinstance(author, dict)]
    authors = authors or records(document, "authors") or []
    first = authors[0] if authors else {}
    published, modified = time(entry, "date_published"), time(entry, "date_modified")
    media = [
        Media((text(each, "mime_type") or "unknown").split("/")[0], None, text(each, "url"))
        for each in records(entry, "attachments") or []
    ]
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
    links = [link, *reading.links] if link is not None and not names_account(link) else reading.links
    return Post(
        id=PostId(PLATFORM, None, urlsplit(url).netloc.lower(), native),
        host=urlsplit(url).netloc.lower(),
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


def _author(name: str | None, href: str | None, url: str) -> Account | None:
    """Names of feeds' authors are not unique: an address where there is one, else the name within the feed."""
    if not name and not href:
        return None
    return Account(id=href or f"{url}#{name}", display_name=name, url=href)


def _address(value: object, base: str) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        joined = urljoin(base, value.strip())
    except ValueError:
        return None
    return joined if joined.lower().startswith(("http://", "https://")) else None


def _moment(parsed: Any) -> datetime | None:
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None
