"""Xiaohongshu (小红书, RedNote): notes as its own web pages load them, out of captures. Pure.

A list shows a card of a note (title, author, likes), a note's own page all of it, as `note` beside its id; names are
written in two ways. What was read from a page's markup has still less.
"""

import re
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.chinese_time import read_time
from crawlers.platforms.counts import approximate
from crawlers.platforms.fields import Record, count, optional_record, record, records, text
from crawlers.platforms.weibo_text import read_words, topic
from crawlers.post import Account, Media, ParseError, Post, PostId

PARSER_VERSION = 1
PLATFORM = "xiaohongshu"
HOST = "www.xiaohongshu.com"

_ID = re.compile(r"[0-9a-f]{16,32}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DEEPEST = 5
_LATEST = 1 << 43
_PUBLISHED = "publish_time"


def parse_note(payload: object, host: str, fetched_at: datetime) -> Post:
    """A note, or the card of one; a card's text is not all of it. Errors: ParseError."""
    given = record(payload, "note")
    item = record(_renamed(given, _DEEPEST), "note")
    card = optional_record(item, "note_card") or optional_record(item, "note") or item
    told = (text(item, "id"), text(card, "note_id"))
    native = next((each for each in told if each is not None and _ID.fullmatch(each)), None)
    if native is None:
        raise ParseError("id", "missing or not the id of a note")
    title = read_words(text(card, "title") or text(card, "display_title") or "").text
    reading = read_words(text(card, "desc") or "")
    counts = optional_record(card, "interact_info") or {}
    tags = records(card, "tag_list")
    whole = "desc" in card
    changed = _milliseconds(card, "last_update_time")
    created = _milliseconds(card, "time") or _corner(card, fetched_at)
    author, media = _author(card), _media(card)
    if not (title or reading.text or media):
        raise ParseError("note", "neither a title nor a text nor a picture")
    return Post(
        id=PostId(PLATFORM, native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        author=author,
        url=f"https://{HOST}/explore/{native}",
        created_at=created,
        edited_at=changed if changed is not None and created is not None and changed > created else None,
        title=title or None,
        text=reading.text or None,
        truncated=None if whole else True,
        hashtags=None if tags is None else [topic(name) for each in tags if (name := text(each, "name", "tag_list."))],
        mention_count=reading.mentions if whole else None,
        links=reading.links if whole else None,
        media=media,
        likes=_count(counts, "liked_count") if "liked_count" in counts else _count(card, "likes"),
        reposts=_count(counts, "share_count") if "share_count" in counts else _count(counts, "shared_count"),
        replies=_count(counts, "comment_count"),
        raw=given,
    )


def _renamed(value: Any, depth: int) -> Any:
    """Names as `note_card`, where a page writes `noteCard`."""
    if isinstance(value, list) and depth:
        return [_renamed(each, depth - 1) for each in value]
    if not isinstance(value, dict) or not depth:
        return value
    return {_CAMEL.sub("_", str(key)).lower(): _renamed(each, depth - 1) for key, each in value.items()}


def _author(card: Record) -> Account | None:
    user = optional_record(card, "user") or {}
    native = text(user, "user_id", "user.")
    names = (text(user, "nickname", "user."), text(user, "nick_name", "user."), text(card, "author_name"))
    name = next(filter(None, names), None)
    named = native or name
    if not named:
        return None
    return Account(named, display_name=name, url=f"https://{HOST}/user/profile/{native}" if native else None)


def _milliseconds(card: Record, key: str) -> datetime | None:
    told = count(card, key)
    return datetime.fromtimestamp(told / 1000, UTC) if told and told < _LATEST else None


def _corner(card: Record, fetched_at: datetime) -> datetime | None:
    """When a card says that its note is from: `3天前`, `07-28`."""
    for each in records(card, "corner_tag_info") or []:
        if text(each, "type", "corner_tag_info.") == _PUBLISHED:
            return read_time(text(each, "text", "corner_tag_info.") or "", fetched_at)
    return None


def _media(card: Record) -> list[Media] | None:
    """The pictures or the video of a note; None where none is told, as each note has one."""
    kind = "video" if text(card, "type") == "video" else "image"
    pictures = records(card, "image_list")
    if kind == "image" and pictures:
        return [Media("image", None, text(each, "url_default", "image_list.")) for each in pictures]
    cover = optional_record(card, "cover")
    if cover is None and kind == "image":
        return None
    return [Media(kind, None, text(cover or {}, "url_default", "cover."))]


def _count(counts: Record, key: str) -> int | None:
    told = counts.get(key)
    return approximate(told) if isinstance(told, str) else count(counts, key, "interact_info.")
