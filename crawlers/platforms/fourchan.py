"""Posts of 4chan's read-only API (github.com/4chan/4chan-API), to posts. Pure.

A post is named `<board>/<number>`; numbers count through all threads of a board. Its text is HTML, in which links to
other posts (`>>123`), to those that are gone too, lead to what it answers and are left out of the text.
Addresses are mostly written without a link.
"""

import re
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.fields import Record, count, record, text
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import links_in, read_html

PARSER_VERSION = 1
PLATFORM = "fourchan"
BOARD = re.compile(r"[a-z0-9]{1,16}")

_SITE = "https://boards.4chan.org"
_FILES = "https://i.4cdn.org"
_ANSWERED = re.compile(
    r'<a href="(?:(?://boards\.4chan(?:nel)?\.org)?/(?P<board>[a-z0-9]{1,16})/thread/\d{1,18})?'
    r'#p(?P<number>\d{1,18})" class="quotelink"'
    r'|<span class="deadlink">&gt;&gt;(?:&gt;/(?P<gone_board>[a-z0-9]{1,16})/)?(?P<gone>\d{1,18})</span>',
    re.ASCII,
)
"""A link to a post, or what stands for one to a post that is gone: an earlier sweep may have it."""
_UNSHOWN = frozenset({"quotelink", "deadlink", "abbr", "exif"})
"""Links to posts, to posts that are gone, and the tables of a picture's data."""
_BANNED = re.compile(r"<(?P<tag>b|strong)[^<>]*>\(USER WAS (?:BANNED|WARNED) FOR THIS POST\)</(?P=tag)>")
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")
_MEDIA = {".webm": "video", ".mp4": "video", ".pdf": "document", ".swf": "document"}
_LATEST = 1 << 33


def parse_post(payload: object, host: str, fetched_at: datetime, board: str) -> Post:
    """A post of a thread of a board. Errors: ParseError."""
    given = record(payload, "post")
    number = _number(given, "no")
    thread = _thread(given) or number
    told = text(given, "com") or ""
    plain = _BANNED.sub("", told)
    reading = read_html(plain, base=f"{_SITE}/{board}/", unshown=_UNSHOWN)
    title = text(given, "sub")
    deleted = count(given, "filedeleted") == 1
    labels = [*(["file deleted"] if deleted else []), *(["banned for this post"] if plain != told else [])]
    return Post(
        id=_id(board, number),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if thread == number else "reply",
        author=_account(given, board, thread),
        url=f"{_SITE}/{board}/thread/{thread}#p{number}",
        created_at=_moment(given, "time"),
        title=None if title is None else read_html(title).text or None,
        text=reading.text or None,
        reply_to=_answered(told, board, thread, number),
        mention_count=reading.mentions,
        links=list(dict.fromkeys([*reading.links, *links_in(reading.text)])),
        media=_media(given, board, deleted),
        replies=count(given, "replies"),
        platform_labels=labels,
        raw=given,
    )


def archived_on(payload: object) -> datetime | None:
    """When a thread went into the archive, by its first post; None where it did not."""
    try:
        return _moment(record(payload, "post"), "archived_on")
    except ParseError:
        return None


def _id(board: str, number: int) -> PostId:
    return PostId(PLATFORM, f"{board}/{number}")


def _number(given: Record, key: str) -> int:
    number = count(given, key)
    if not number:
        raise ParseError(key, "missing or not the number of a post")
    return number


def _thread(given: Record) -> int | None:
    """The number of the thread that a post answers in; None for the post that begins one."""
    return count(given, "resto") or None


def _moment(given: Record, key: str) -> datetime:
    seconds = count(given, key)
    if seconds is None or seconds >= _LATEST:
        raise ParseError(key, "missing or not a time")
    return datetime.fromtimestamp(seconds, UTC)


def _account(given: Record, board: str, thread: int) -> Account | None:
    """Whoever proves to be the same: by a tripcode everywhere, by an id within a thread."""
    trip, native = text(given, "trip"), text(given, "id")
    if trip:
        return Account(f"trip:{trip}", handle=trip, display_name=_name(given))
    return Account(f"{board}/{thread}:{native}", display_name=_name(given)) if native else None


def _name(given: Record) -> str | None:
    name = text(given, "name")
    return read_html(name).text or None if name and name != "Anonymous" else None


def _answered(told: str, board: str, thread: int, number: int) -> PostId | None:
    """The first post that the text links to, else the one that the thread began with."""
    found = _ANSWERED.search(told)
    answered = 0 if found is None else int(found["number"] or found["gone"])
    if found is not None and answered > 0:
        return _id(found["board"] or found["gone_board"] or board, answered)
    return None if thread == number else _id(board, thread)


def _media(given: Record, board: str, deleted: bool) -> list[Media]:
    ending, native = text(given, "ext"), given.get("tim")
    if not ending or deleted:
        return []
    known = _ENDING.fullmatch(ending) is not None and _is_number(native)
    return [Media(_MEDIA.get(ending, "image"), url=f"{_FILES}/{board}/{native}{ending}" if known else None)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63
