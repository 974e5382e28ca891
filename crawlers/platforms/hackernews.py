"""Hacker News: hits of its search (hn.algolia.com/api) and items by id (github.com/HackerNews/API), to posts. Pure.

A post is named by the address of its item, so a hit and an item of one id are one post. Stories, polls and jobs are
posts; comments are replies, and so are the options of a poll, which are items of their own.
"""

import re
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.fields import Record, count, flag, needed_text, record, text, texts
from crawlers.post import Account, ParseError, Post, PostId
from crawlers.text import is_web, names_account, read_html, read_plain

PARSER_VERSION = 1
PLATFORM = "hackernews"
TYPES = ("story", "comment", "poll", "pollopt", "job")
"""What an item can be; a hit says it among its tags."""

_REPLIES = frozenset({"comment", "pollopt"})
_SITE = "https://news.ycombinator.com"
_ID = re.compile(r"[1-9][0-9]{0,17}")
_ESCAPED = {"lt": "<", "gt": ">", "quot": '"', "amp": "&", "#x27": "'", "#x2F": "/"}
_ESCAPE = re.compile(rf"&({'|'.join(_ESCAPED)});")
"""What the site escapes. A title is plain text but for these, so that `<b>` in one is no markup."""


def parse_hit(payload: object, host: str, fetched_at: datetime) -> Post:
    """A hit of the search. Errors: ParseError."""
    hit = record(payload, "hit")
    tags = texts(hit, "_tags") or []
    kind = next((name for name in TYPES if name in tags), None)
    if kind is None:
        raise ParseError("_tags", "no known type among them")
    return _post(
        hit,
        native=needed_text(hit, "objectID"),
        kind=kind,
        name=text(hit, "author"),
        created_at=_moment(hit, "created_at_i"),
        markup=text(hit, "comment_text") or text(hit, "story_text"),
        parent=count(hit, "parent_id"),
        likes=_score(hit, "points"),
        replies=_score(hit, "num_comments"),
        host=host,
        fetched_at=fetched_at,
    )


def parse_item(payload: object, host: str, fetched_at: datetime) -> Post:
    """An item by its id. One that was deleted, or killed by moderators or by flags, is no post of a sweep, nor is an id
    without an item; each is told apart. Errors: ParseError."""
    if payload is None:
        raise ParseError("item", "the platform shows nothing at this id")
    item = record(payload, "item")
    if flag(item, "deleted"):
        raise ParseError("deleted", "the author deleted it")
    if flag(item, "dead"):
        raise ParseError("dead", "the platform killed it, by moderators or by flags")
    kind = needed_text(item, "type")
    if kind not in TYPES:
        raise ParseError("type", "not a known type")
    native = count(item, "id")
    parent = count(item, "parent")
    return _post(
        item,
        native="" if native is None else str(native),
        kind=kind,
        name=text(item, "by"),
        created_at=_moment(item, "time"),
        markup=text(item, "text"),
        parent=count(item, "poll") if parent is None else parent,
        likes=_score(item, "score"),
        replies=_score(item, "descendants"),
        host=host,
        fetched_at=fetched_at,
    )


def time_of(payload: object) -> datetime | None:
    """When an item was written, also one that is no post; None where it does not say."""
    try:
        return _moment(record(payload, "item"), "time")
    except ParseError:
        return None


def _post(
    payload: Record,
    *,
    native: str,
    kind: str,
    name: str | None,
    created_at: datetime,
    markup: str | None,
    parent: int | None,
    likes: int | None,
    replies: int | None,
    host: str,
    fetched_at: datetime,
) -> Post:
    if _ID.fullmatch(native) is None:
        raise ParseError("id", "not the number of an item")
    title, url = text(payload, "title"), text(payload, "url")
    headline = read_plain(_ESCAPE.sub(lambda found: _ESCAPED[found[1]], title or ""))
    # The first paragraph is written without its mark, and would not stand apart from the second.
    body = read_html(f"<p>{markup}" if markup else "", base=f"{_SITE}/")
    if not (headline.text or body.text or url):
        raise ParseError("text", "neither a text nor a title nor a link")
    linked = [url] if url and is_web(url) and not names_account(url) else []
    return Post(
        id=_id(native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="reply" if kind in _REPLIES else "post",
        author=Account(name, handle=name, url=f"{_SITE}/user?id={name}") if name else None,
        url=f"{_SITE}/item?id={native}",
        created_at=created_at,
        title=headline.text or None,
        text=body.text or None,
        reply_to=_id(str(parent)) if parent and kind in _REPLIES and str(parent) != native else None,
        mention_count=headline.mentions + body.mentions,
        links=list(dict.fromkeys([*linked, *headline.links, *body.links])),
        likes=likes,
        replies=replies,
        raw=payload,
    )


def _id(native: str) -> PostId:
    return PostId(PLATFORM, f"{_SITE}/item?id={native}")


def _moment(payload: Record, key: str) -> datetime:
    seconds = count(payload, key)
    if seconds is None:
        raise ParseError(key, "missing")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError(key, "not a time") from None


def _score(payload: Record, key: str) -> int | None:
    """Points and comments. A score that votes took below zero is no count of likes, and -1 comments are none told."""
    value: Any = payload.get(key)
    return None if type(value) is int and value < 0 else count(payload, key)
