"""TikTok: videos and photo posts as its own web pages load them, out of captures. Pure."""

import re
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.counts import approximate
from crawlers.platforms.fields import (
    Record,
    count,
    flag,
    needed_text,
    optional_record,
    profile_text,
    record,
    records,
    text,
    texts,
)
from crawlers.platforms.marked import read_marked
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import Reading, read_plain

PARSER_VERSION = 1
PLATFORM = "tiktok"
HOST = "www.tiktok.com"

_ID = re.compile(r"[0-9]{6,20}")
_LATEST = 1 << 33


def parse_item(payload: object, host: str, fetched_at: datetime) -> Post:
    """A video or a photo post. A duet or stitch quotes the video that it is made of. Errors: ParseError."""
    item = record(payload, "item")
    native = _id(needed_text(item, "id"), "id")
    author = _author(item)
    extras = records(item, "textExtra") or []
    reading = _words(item, extras)
    tags = (read_plain(text(extra, "hashtagName", "textExtra.") or "").text.casefold() for extra in extras)
    of = _quoted(item)
    warnings = [read_plain(text(each, "text", "warnInfo.") or "").text for each in records(item, "warnInfo") or []]
    counts = optional_record(item, "statsV2") or optional_record(item, "stats") or {}
    handle = None if author is None else author.handle
    lang = text(item, "textLanguage")
    return Post(
        id=PostId(PLATFORM, native),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if of is None else "quote",
        author=author,
        url=f"https://{HOST}/@{handle}/video/{native}" if handle else None,
        created_at=_moment(item),
        text=reading.text or None,
        lang=None if lang in (None, "", "un") else lang,
        quote_of=of,
        hashtags=None if item.get("textExtra") is None else list(dict.fromkeys(tag for tag in tags if tag)),
        mention_count=reading.mentions,
        links=reading.links,
        media=_media(item),
        likes=_count(counts, "diggCount"),
        reposts=_count(counts, "shareCount"),
        replies=_count(counts, "commentCount"),
        views=_count(counts, "playCount"),
        platform_labels=None if item.get("warnInfo") is None else [each for each in warnings if each],
        raw=item,
    )


def _id(told: str, place: str) -> str:
    if _ID.fullmatch(told) is None:
        raise ParseError(place, "not the number of a video")
    return told


def _quoted(item: Record) -> PostId | None:
    for name, key in (("duetInfo", "duetFromId"), ("stitchInfo", "stitchFromId")):
        told = text(optional_record(item, name) or {}, key, f"{name}.")
        if told and told != "0" and _ID.fullmatch(told):
            return PostId(PLATFORM, told)
    return None


def _words(item: Record, extras: list[Record]) -> Reading:
    """What is written below a video and on it. Names in it are those that accounts show, of several words too: their
    places are told."""
    places = []
    for extra in extras:
        start, end = count(extra, "start", "textExtra."), count(extra, "end", "textExtra.")
        named = any(extra.get(key) for key in ("userUniqueId", "userId", "secUid"))
        if named and start is not None and end is not None:
            places.append((start, end))
    below = read_marked(text(item, "desc") or "", places)
    stickers = records(item, "stickersOnItem") or []
    on = [read_plain(" ".join(texts(each, "stickerText", "stickers.") or [])) for each in stickers]
    return Reading(
        "\n".join(each.text for each in (below, *on) if each.text),
        list(dict.fromkeys(link for each in (below, *on) for link in each.links)),
        sum(each.mentions for each in (below, *on)),
    )


def _author(item: Record) -> Account | None:
    """An object, or where a page carries it, a name beside its number and a nickname."""
    if isinstance(item.get("author"), str):
        told, shown = text(item, "author"), read_plain(text(item, "nickname") or "").text
        number = text(item, "authorId") or told
        return Account(number, told, shown or None, f"https://{HOST}/@{told}") if told and number else None
    author = optional_record(item, "author")
    if author is None:
        return None
    handle = text(author, "uniqueId", "author.") or None
    native = text(author, "id", "author.") or handle
    if native is None:
        return None
    return Account(
        native,
        handle,
        read_plain(text(author, "nickname", "author.") or "").text or None,
        f"https://{HOST}/@{handle}" if handle else None,
        verified=flag(author, "verified", "author."),
        bio=profile_text(author, "signature"),
    )


def _moment(item: Record) -> datetime:
    """Seconds since 1970, as a number or in digits."""
    told: Any = item.get("createTime")
    seconds = int(told) if isinstance(told, str) and re.fullmatch(r"[0-9]{1,12}", told) else told
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds < _LATEST:
        raise ParseError("createTime", "missing or not a time")
    return datetime.fromtimestamp(seconds, UTC)


def _count(counts: Record, key: str) -> int | None:
    told = counts.get(key)
    return approximate(told) if isinstance(told, str) else count(counts, key, "stats.")


def _media(item: Record) -> list[Media]:
    photos = optional_record(item, "imagePost")
    if photos is not None:
        held = [optional_record(each, "imageURL", "imagePost.") or {} for each in records(photos, "images") or []]
        return [Media("image", None, next(iter(texts(each, "urlList", "imagePost.") or []), None)) for each in held]
    video = optional_record(item, "video")
    if video is None:
        return []
    return [Media("video", None, text(video, "playAddr", "video.") or text(video, "downloadAddr", "video.") or None)]
