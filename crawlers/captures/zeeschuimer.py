"""Captures of Zeeschuimer (github.com/digitalmethodsinitiative/zeeschuimer), a browser's extension that keeps what a
platform's web page loads, and which 4CAT reads: a line an item, the platform's own object in `data`. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms import douyin, instagram, mastodon, tiktok, x, xiaohongshu
from crawlers.platforms.fields import Record, count, optional_record, record, text
from crawlers.post import ParseError, Post

_LATEST = 1 << 43
_DEEPEST = 3


@dataclass(frozen=True)
class Site:
    """A site that is read: its platform, the host that showed the items, and who parses one."""

    platform: str
    host: str
    parse: Callable[[object, str, datetime], Post]


def parse_item(payload: object, fetched_at: datetime) -> Post:
    """An item of a platform that is known; when it was captured, the line says. Errors: ParseError."""
    line = record(payload, "line")
    site = _site(line)
    if site is None:
        raise ParseError("source_platform", "not a platform whose items are read")
    told = count(line, "timestamp_collected")
    seen = datetime.fromtimestamp(told / 1000, UTC) if told and told < _LATEST else fetched_at
    # What the extension tells besides is of its user: which page was open, and in which browser.
    return replace(site.parse(line.get("data"), site.host, seen), raw=line.get("data"))


def platform_of(payload: Any) -> str | None:
    """Whose item a line has; None for one of a platform that is not read."""
    site = _site(payload) if isinstance(payload, dict) else None
    return None if site is None else site.platform


def parse_result(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of X as its web pages load it (`tweet_results`), or as an older page did. Errors: ParseError."""
    result = _inner(record(payload, "data"))
    views = optional_record(result, "views") or optional_record(result, "ext_views") or {}
    shown = text(views, "count", "views.") or ""
    post = x.parse_status(_status(result, _DEEPEST), host, fetched_at)
    return replace(post, views=int(shown) if shown.isascii() and shown.isdecimal() and len(shown) < 19 else None)


def _inner(result: Record) -> Record:
    """Sometimes a post lies one level deeper."""
    return optional_record(result, "tweet") or result


def _status(result: Record, depth: int) -> Record:
    """A post in the words of API v1.1, which this shape is made of."""
    legacy = record(result.get("legacy"), "legacy")
    status = {**legacy, "id_str": legacy.get("id_str", result.get("rest_id")), "user": _user(result)}
    if (long := _long(result)) is not None:
        status |= {"full_text": long.get("text"), "entities": long.get("entity_set", legacy.get("entities"))}
    repost = _result(legacy.get("retweeted_status_result"))
    if repost is not None and depth:
        status["retweeted_status"] = _status(repost, depth - 1)
    return status


def _user(result: Record) -> Record | None:
    """Older pages have the account beside the post; newer ones have its names apart from the rest."""
    if (beside := optional_record(result, "user")) is not None:
        return beside
    core = optional_record(result, "core") or {}
    found = _result(core.get("user_results"))
    if found is None or found.get("rest_id") is None:
        return None
    legacy, names = optional_record(found, "legacy") or {}, optional_record(found, "core") or {}
    return {**legacy, **names, "id_str": found["rest_id"], "is_blue_verified": found.get("is_blue_verified")}


def _long(result: Record) -> Record | None:
    """The whole of a post that is longer than the older shape can hold."""
    note = optional_record(result, "note_tweet") or {}
    return _result(note.get("note_tweet_results"))


def _result(holder: object) -> Record | None:
    found = holder.get("result") if isinstance(holder, dict) else None
    if not isinstance(found, dict) or "tombstone" in found:
        return None
    return _inner(found)


def _douyin(payload: object, host: str, fetched_at: datetime) -> Post:
    item = record(payload, "data")
    return douyin.parse_item(item if "aweme_id" in item else douyin.renamed(item), host, fetched_at)


_X = Site(x.PLATFORM, "x.com", parse_result)
_THREADS = Site(instagram.THREADS, instagram.HOSTS[instagram.THREADS], instagram.parse_thread)
_XIAOHONGSHU = Site(xiaohongshu.PLATFORM, xiaohongshu.HOST, xiaohongshu.parse_note)
SITES = {
    "twitter.com": _X,
    "x.com": _X,
    "tiktok.com": Site(tiktok.PLATFORM, tiktok.HOST, tiktok.parse_item),
    "instagram.com": Site(instagram.INSTAGRAM, instagram.HOSTS[instagram.INSTAGRAM], instagram.parse_post),
    "threads.net": _THREADS,
    "threads.com": _THREADS,
    "douyin.com": Site(douyin.PLATFORM, "www.douyin.com", _douyin),
    "xiaohongshu.com": _XIAOHONGSHU,
    "rednote.com": _XIAOHONGSHU,
    "truthsocial.com": Site(mastodon.PLATFORM, "truthsocial.com", mastodon.parse_status),
}
"""By what the extension calls them. Truth Social speaks Mastodon's API."""


def _site(line: Record) -> Site | None:
    named = line.get("source_platform")
    return SITES.get(named.removeprefix("www.")) if isinstance(named, str) else None
