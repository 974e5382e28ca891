"""Douyin: the share pages of videos and notes at www.iesdouyin.com, and pages that a browser saved. Pure.

A page carries its data as JSON in a script, `_ROUTER_DATA` or the older `RENDER_DATA`; it is read, never executed. A
page without either is a script page or a captcha: a gate.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

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
from crawlers.platforms.notices import Notice, Phrases, Says
from crawlers.post import Account, Media, ParseError, Post, PostId, Verification
from crawlers.text import Reading, mask, read_plain

PARSER_VERSION = 1
PLATFORM = "douyin"
HOME = "https://www.iesdouyin.com"

_SAID: dict[Says, str] = {
    "removed_by_author": "its author deleted it",
    "removed_by_platform": "the platform removed it",
    "account_gone": "its account is closed",
    "restricted": "not for everybody to see",
    "unknown": "the platform shows nothing at this address",
}
_PHRASES = Phrases.of(
    # One sentence of the platform names two causes at once.
    ("unknown", "权限或已被删除"),
    ("removed_by_author", "已被作者删除 作者已删除"),
    ("account_gone", "账号…注销 帐号…注销"),
    ("removed_by_platform", "账号…封禁 帐号…封禁 违规 违反 下架 审核不通过 审核未通过"),
    ("restricted", "权限 私密 仅…可见 年龄 地区"),
)
_OWN_ONLY = Notice("restricted", "status_self_see")
"""What a page gives as its reason, not in words."""
_NO_CAUSE = Notice("unknown", "not shown, cause not told")
_PATH = re.compile(r"/(?:share/)?(video|note|slides)/([0-9]{6,20})/?")
_ROUTER = re.compile(r"window\._ROUTER_DATA\s{0,4}=\s{0,4}")
_RENDER = re.compile(r"<script[^<>]{0,60}\bid=[\"']?RENDER_DATA[\"']?[^<>]{0,60}>([^<]*)<")
_DEEPEST = 5
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OLDER = {"author_info": "author", "stats": "statistics"}


class NoDataError(ParseError):
    """A page without the data of a share page: a script page, or a captcha."""

    def __init__(self) -> None:
        super().__init__("page", "a script page or a captcha, without the data of a video")


def canonical(url: str) -> str | None:
    """The one address of a video's or note's share page; None for another."""
    try:
        found = _PATH.fullmatch(urlsplit(url).path)
    except ValueError:
        return None
    return f"{HOME}/share/{found[1]}/{found[2]}/" if found else None


def parse_page(payload: bytes, host: str, fetched_at: datetime) -> Post:
    """A share page. One that says why it shows no video is no post. Errors: ParseError; NoDataError for a gate."""
    return parse_data(_data(payload), host, fetched_at)


def parse_data(payload: object, host: str, fetched_at: datetime) -> Post:
    """The data of a share page. Errors: ParseError."""
    told = _told(payload)
    items = records(told, "item_list") or []
    if not items:
        raise ParseError("filter_list", _SAID[_notice(told).says])
    return parse_item(items[0], host, fetched_at)


def standing(payload: bytes, native: str | None = None) -> Notice | None:
    """What a page says of a video that it does not show, of that of the number only where one is given; None for one
    that it shows. Errors: ParseError."""
    told = _told(_data(payload))
    return None if records(told, "item_list") else _notice(told, native)


def parse_item(payload: object, host: str, fetched_at: datetime) -> Post:
    """A video or note. Errors: ParseError."""
    item = record(payload, "item")
    native = needed_text(item, "aweme_id")
    if not native.isascii() or not native.isdecimal():
        raise ParseError("aweme_id", "not a number")
    extras = records(item, "text_extra") or []
    desc = _desc(text(item, "desc") or "", extras)
    words = read_plain(text(item, "title") or "")
    counts = optional_record(item, "statistics") or {}
    risk = optional_record(item, "risk_infos") or {}
    warning = mask(read_plain(text(risk, "content", "risk_infos.") or "").text)[0] or None
    images = records(item, "images")
    tags = (read_plain(text(extra, "hashtag_name", "text_extra.") or "").text for extra in extras)
    return Post(
        id=PostId(PLATFORM, f"{PLATFORM}.com/{native}"),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        author=_author(item),
        url=f"{HOME}/share/{'note' if images else 'video'}/{native}/",
        created_at=_moment(item),
        title=words.text or None,
        warning=warning,
        sensitive=flag(risk, "warn", "risk_infos."),
        text=desc.text if "desc" in item else None,
        hashtags=None if item.get("text_extra") is None else list(dict.fromkeys(tag for tag in tags if tag)),
        mention_count=desc.mentions if "desc" in item else None,
        links=desc.links if "desc" in item else None,
        media=list(_media(item, images)),
        likes=count(counts, "digg_count", "statistics."),
        reposts=count(counts, "share_count", "statistics."),
        replies=count(counts, "comment_count", "statistics."),
        # A page that is not told how often a video was played says 0.
        views=count(counts, "play_count", "statistics.") or None,
        platform_labels=[warning] if warning else None if not risk else [],
        raw=item,
    )


def _data(payload: bytes) -> object:
    page = payload.decode("utf-8", "replace")
    try:
        if (found := _ROUTER.search(page)) is not None:
            return json.JSONDecoder().raw_decode(page, found.end())[0]
        if (older := _RENDER.search(page)) is not None:
            return json.loads(unquote(older[1]))
    except (ValueError, RecursionError):
        raise ParseError("page", "its data are not JSON") from None
    raise NoDataError


def _told(payload: object) -> Record:
    """The part of a page's data that holds the video, in the names of today."""
    for place in _places(payload, _DEEPEST):
        for name in ("videoInfoRes", "noteInfoRes"):
            if isinstance(place.get(name), dict):
                return record(place[name], name)
        if isinstance(place.get("videoDetail"), dict):
            return {"item_list": [renamed(place["videoDetail"])]}
    raise ParseError("loaderData", "no video in it")


def _places(value: object, depth: int) -> Iterator[Record]:
    if isinstance(value, dict):
        yield value
        for each in value.values() if depth else ():
            yield from _places(each, depth - 1)


def renamed(detail: Record) -> Record:
    """A video of an older page, whose names are written otherwise."""

    def inner(value: object, depth: int) -> Any:
        if isinstance(value, list) and depth:
            return [inner(each, depth - 1) for each in value]
        if not isinstance(value, dict) or not depth:
            return value
        names = {key: _CAMEL.sub("_", key).lower() for key in value if isinstance(key, str)}
        return {_OLDER.get(name, name): inner(value[key], depth - 1) for key, name in names.items()}

    return record(inner(detail, _DEEPEST), "videoDetail")


def _notice(told: Record, native: str | None = None) -> Notice:
    for each in records(told, "filter_list") or []:
        if native is not None and text(each, "aweme_id", "filter_list.") not in (native, "", None):
            continue
        if text(each, "filter_reason", "filter_list.") == _OWN_ONLY.phrase:
            return _OWN_ONLY
        return _PHRASES.find(text(each, "detail_msg", "filter_list.") or "") or _NO_CAUSE
    return _NO_CAUSE


def _desc(desc: str, extras: list[Record]) -> Reading:
    """The text, with the accounts that it mentions, whose places the page tells, replaced."""
    places = []
    for extra in extras:
        start, end = count(extra, "start", "text_extra."), count(extra, "end", "text_extra.")
        named = text(extra, "sec_uid", "text_extra.") or text(extra, "user_id", "text_extra.")
        if named and start is not None and end is not None:
            places.append((start, end))
    return read_marked(desc, places)


def _author(item: Record) -> Account | None:
    author = optional_record(item, "author")
    if author is None:
        return None
    sec = text(author, "sec_uid", "author.")
    name = sec or text(author, "uid", "author.") or text(author, "short_id", "author.")
    if not name:
        return None
    handle = text(author, "unique_id", "author.") or text(author, "short_id", "author.")
    shown = read_plain(text(author, "nickname", "author.") or "").text
    return Account(
        name,
        handle or None,
        shown or None,
        f"https://www.douyin.com/user/{sec}" if sec else None,
        verified=_is_verified(author),
        bio=profile_text(author, "signature"),
        verification=_verification(author),
    )


_MARKS = ("enterprise_verify_reason", "custom_verify")
"""The words of the blue mark, an organisation's, and of the yellow one, a person's; empty for who has none."""


def _is_verified(author: Record) -> bool | None:
    told = [author[key] for key in _MARKS if isinstance(author.get(key), str)]
    return any(each.strip() for each in told) if told else None


def _verification(author: Record) -> Verification | None:
    organisation, person = (profile_text(author, key) for key in _MARKS)
    if author.get("is_gov_media_vip") is True and organisation:
        return Verification("government", organisation)
    if organisation:
        return Verification("organisation", organisation)
    return Verification("person", person) if person else None


def _media(item: Record, images: list[Record] | None) -> Iterator[Media]:
    if images:
        for image in images:
            yield Media("image", None, next(iter(texts(image, "url_list", "images.") or []), None))
        return
    video = optional_record(item, "video")
    if video is not None:
        address = optional_record(video, "play_addr", "video.") or {}
        yield Media("video", None, next(iter(texts(address, "url_list", "video.play_addr.") or []), None))


def _moment(item: Record) -> datetime | None:
    seconds = count(item, "create_time")
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError("create_time", "not a time") from None
