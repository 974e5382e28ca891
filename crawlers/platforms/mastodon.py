"""Statuses of Mastodon-API servers (docs.joinmastodon.org/entities/Status), to posts. Pure."""

from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from crawlers.platforms.fields import (
    Record,
    count,
    flag,
    needed_text,
    needed_time,
    optional_record,
    profile_text,
    record,
    records,
    text,
    time,
)
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId, Verification
from crawlers.text import Reading, clean, is_web, mask, read_html, read_plain

PARSER_VERSION = 2
PLATFORM = "mastodon"
_FALLBACK = frozenset({"quote-inline"})
"""What a server writes into the text of a quote (`RE: <address>`) for those that do not know quotes."""


def parse_status(payload: object, authority: str, fetched_at: datetime) -> Post:
    """A status as the server at `authority` (host and port) shows it. Errors: ParseError."""
    status = record(payload, "status")
    post_id = _id(status, authority)
    author = _account(record(status.get("account"), "account"))
    reblog = optional_record(status, "reblog")
    content = status if reblog is None else reblog
    place = "" if reblog is None else "reblog."
    mentions = records(content, "mentions", place)
    accounts = _addresses(content, mentions)
    quoted = _quoted(content, authority)
    reading = _text(content, accounts, place, shows_quote=quoted is not None)
    warning = text(content, "spoiler_text", place)
    replied = text(status, "in_reply_to_id")
    media = records(content, "media_attachments", place)
    card = optional_record(content, "card", place)
    links = list(reading.links)
    if card is not None and (url := text(card, "url", "card.")) and is_web(url) and not mask(url, accounts)[1]:
        links = list(dict.fromkeys([*links, url]))
    tags = records(content, "tags", place)
    return Post(
        id=post_id,
        host=authority,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(reblog, replied, quoted),
        author=author,
        url=text(status, "url"),
        created_at=needed_time(status, "created_at"),
        edited_at=time(content, "edited_at", place),
        warning=None if warning is None else mask(clean(warning))[0] or None,
        sensitive=flag(content, "sensitive", place),
        text=reading.text,
        lang=text(content, "language", place) or None,
        reply_to=None if replied is None else PostId(PLATFORM, None, authority, replied),
        repost_of=None if reblog is None else _id(reblog, authority, "reblog."),
        quote_of=quoted,
        hashtags=None if tags is None else [needed_text(tag, "name", "tags.").casefold() for tag in tags],
        mention_count=None if mentions is None else len(mentions),
        links=links,
        media=None if media is None else [_media(item) for item in media],
        likes=count(status, "favourites_count"),
        reposts=count(status, "reblogs_count"),
        replies=count(status, "replies_count"),
        raw=status,
    )


def _id(status: Record, authority: str, place: str = "") -> PostId:
    return PostId(PLATFORM, needed_text(status, "uri", place), authority, needed_text(status, "id", place))


def _account(account: Record) -> Account:
    """`acct` has no host on its own server, and `uri` came late: the profile address is the same everywhere."""
    url = text(account, "url", "account.")
    return Account(
        id=text(account, "uri", "account.") or url or needed_text(account, "acct", "account."),
        handle=text(account, "acct", "account."),
        display_name=text(account, "display_name", "account."),
        url=url,
        bot=flag(account, "bot", "account."),
        created_at=time(account, "created_at", "account."),
        bio=_bio(profile_text(account, "note")),
        verification=_verification(account),
    )


@lru_cache(maxsize=1024)
def _bio(note: str | None) -> str | None:
    """The note without its markup; of the posts of a page many are of one account."""
    return (note and " ".join(read_html(note).text.split())) or None


def _verification(account: Record) -> Verification | None:
    """Links that a server followed and found to lead back to the account; it verifies nothing else."""
    found = account.get("fields")
    fields = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    verified = [profile_text(each, "value") or "" for each in fields if each.get("verified_at")]
    links = [link for value in verified for link in read_html(value).links]
    sites = tuple(dict.fromkeys(host for link in links if (host := _host(link))))
    return Verification(sites=sites) if sites else None


def _host(link: str) -> str | None:
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def _addresses(status: Record, mentions: list[Record] | None) -> frozenset[str]:
    own = optional_record(status, "account") or {}
    found = [own.get("url"), own.get("uri"), *(mention.get("url") for mention in mentions or [])]
    return frozenset(address.rstrip("/") for address in found if isinstance(address, str) and address)


def _text(status: Record, accounts: frozenset[str], place: str, shows_quote: bool) -> Reading:
    content = text(status, "content", place)
    if content is None:  # the answer to a deletion has the shape of a status, without its content
        raise ParseError(f"{place}content", "missing")
    reading = read_html(content, accounts, unshown=_FALLBACK if shows_quote else frozenset())
    poll = optional_record(status, "poll", place)
    if poll is not None:
        options = [read_plain(text(option, "title", "poll.") or "").text for option in records(poll, "options") or []]
        reading.text = "\n".join(part for part in [reading.text, *(f"- {option}" for option in options)] if part)
    return reading


def _quoted(status: Record, authority: str) -> PostId | None:
    """A quote that is still shown (4.5): one that was revoked or refused comes without a status."""
    quote = optional_record(status, "quote")
    if quote is None:
        return None
    if "uri" in quote:  # other servers put the status itself there
        return _id(quote, authority, "quote.")
    shown = optional_record(quote, "quoted_status", "quote.")
    if shown is not None:
        return _id(shown, authority, "quote.quoted_status.")
    native = text(quote, "quoted_status_id", "quote.")
    return None if native is None else PostId(PLATFORM, None, authority, native)


def _kind(reblog: Record | None, replied: str | None, quoted: PostId | None) -> Kind:
    if reblog is not None:
        return "repost"
    if replied is not None:
        return "reply"
    return "post" if quoted is None else "quote"


def _media(item: Record) -> Media:
    alt = text(item, "description", "media_attachments.")
    return Media(
        type=text(item, "type", "media_attachments.") or "unknown",
        alt=None if alt is None else read_plain(alt).text,
        url=text(item, "remote_url", "media_attachments.") or text(item, "url", "media_attachments."),
    )


def is_error(payload: Any) -> str | None:
    """The message of an error answer, or None."""
    return payload["error"] if isinstance(payload, dict) and isinstance(payload.get("error"), str) else None
