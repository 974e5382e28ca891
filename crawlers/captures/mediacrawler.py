"""Records of MediaCrawler (github.com/NanmiCoder/MediaCrawler): contents and comments of seven platforms under the
tool's own names, which are told apart by their fields. Pure.

An empty cell is nothing. A comment replies to another one, or to what it stands under.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.chinese_time import read_time
from crawlers.platforms.counts import approximate
from crawlers.platforms.fields import Record, profile_text, record, text
from crawlers.platforms.weibo_text import hashtags_in, read_words, topic
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import well_formed

PARSER_VERSION = 1

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MILLISECONDS = 10**11
"""A larger number of a time counts milliseconds since 1970."""


@dataclass(frozen=True)
class Shape:
    """How the tool writes a platform's contents: names of its fields, `""` for what it does not write."""

    host: str
    id: str
    text: str = "desc"
    time: str = "create_time"
    url: str = "note_url"
    likes: str = "liked_count"
    reposts: str = ""
    replies: str = "comment_count"
    views: str = ""
    tags: str = ""
    pictures: str = ""
    video: str = ""


SHAPES = {
    "weibo": Shape("weibo.com", "note_id", text="content", reposts="shared_count", replies="comments_count"),
    "xiaohongshu": Shape(
        "www.xiaohongshu.com", "note_id", time="time", reposts="share_count", tags="tag_list", pictures="image_list",
        video="video_url",
    ),
    "douyin": Shape(
        "www.douyin.com", "aweme_id", url="aweme_url", reposts="share_count", pictures="note_download_url",
        video="video_download_url",
    ),
    "bilibili": Shape(
        "www.bilibili.com", "video_id", url="video_url", reposts="video_share_count", replies="video_comment",
        views="video_play_count",
    ),
    "kuaishou": Shape(
        "www.kuaishou.com", "video_id", url="video_url", replies="", views="viewd_count", video="video_play_url"
    ),
    "zhihu": Shape(
        "www.zhihu.com", "content_id", text="content_text", time="created_time", url="content_url",
        likes="voteup_count",
    ),
    "tieba": Shape("tieba.baidu.com", "note_id", time="publish_time", likes="", replies="total_replay_num"),
}  # fmt: skip


_MARKS: tuple[tuple[str, frozenset[str]], ...] = (
    ("tieba", frozenset({"tieba_name"})),
    ("douyin", frozenset({"aweme_id", "last_modify_ts"})),
    ("zhihu", frozenset({"content_id"})),
    ("bilibili", frozenset({"video_id", "video_play_count"})),
    ("bilibili", frozenset({"video_id", "parent_comment_id"})),
    ("kuaishou", frozenset({"video_id", "last_modify_ts"})),
    ("weibo", frozenset({"note_id", "create_date_time"})),
    ("xiaohongshu", frozenset({"note_id", "last_modify_ts"})),
)
"""Fields that only a platform's records have; the first that fits counts."""


def platform_of(payload: Any) -> str | None:
    """Whose record it is; None for one of none of the seven, such as an account's."""
    keys = payload.keys() if isinstance(payload, dict) else ()
    return next((platform for platform, marks in _MARKS if marks <= set(keys)), None)


def parse_record(payload: object, fetched_at: datetime) -> Post:
    """A content or a comment. Errors: ParseError."""
    told = record(payload, "record")
    platform = platform_of(told)
    if platform is None:
        raise ParseError("record", "neither a content nor a comment of a known platform")
    shape = SHAPES[platform]
    seen = _moment(told.get("last_modify_ts"), fetched_at) or fetched_at
    post = _comment(told, platform, shape, seen) if "comment_id" in told else _content(told, platform, shape, seen)
    if post.created_at is None:
        raise ParseError(shape.time, "not a time")
    if not (post.text or post.title or post.media):
        raise ParseError(shape.text, "neither a text nor a title nor media")
    return replace(post, raw=told)


def _content(told: Record, platform: str, shape: Shape, seen: datetime) -> Post:
    reading, title = read_words(_words(told, shape.text)), read_words(_words(told, "title")).text
    tags = [topic(each) for each in _words(told, shape.tags).split(",")] if shape.tags in told else None
    return Post(
        id=_post_id(platform, shape, told),
        host=shape.host,
        fetched_at=seen,
        parser_version=PARSER_VERSION,
        author=_author(told),
        url=_words(told, shape.url).partition("?")[0] or None,  # a key to the page may follow
        created_at=_moment(told.get(shape.time), seen),
        edited_at=_edited(told, platform, seen),
        title=title if title and not reading.text.startswith(title) else None,
        text=reading.text or None,
        hashtags=hashtags_in(reading.text) if platform == "weibo" else tags and [each for each in tags if each],
        mention_count=reading.mentions,
        links=reading.links,
        media=_media(told, shape),
        likes=_count(told, shape.likes),
        reposts=_count(told, shape.reposts),
        replies=_count(told, shape.replies),
        views=_count(told, shape.views),
    )


def _comment(told: Record, platform: str, shape: Shape, seen: datetime) -> Post:
    reading = read_words(_words(told, "content"))
    native, under = _id(told, "comment_id"), _post_id(platform, shape, told)
    above = _told_id(told, "parent_comment_id" if "parent_comment_id" in told else "parment_comment_id")
    answers = _ID.fullmatch(above) is not None and above not in ("0", native)
    pictures = [Media("image", url=url) for url in _addresses(told, "pictures")] if "pictures" in told else None
    return Post(
        id=_comment_id(platform, native),
        host=shape.host,
        fetched_at=seen,
        parser_version=PARSER_VERSION,
        kind="reply",
        author=_author(told),
        created_at=_moment(told.get("create_time", told.get("publish_time")), seen),
        text=reading.text or None,
        reply_to=_comment_id(platform, above) if answers else under,
        mention_count=reading.mentions,
        links=reading.links,
        media=pictures,
        likes=_count(told, "comment_like_count" if "comment_like_count" in told else "like_count"),
        replies=_count(told, "sub_comment_count"),
    )


def _post_id(platform: str, shape: Shape, told: Record) -> PostId:
    """Answers, articles and videos of Zhihu are numbered each by themselves."""
    native = _id(told, shape.id)
    if platform == "zhihu":
        kind = _told_id(told, "content_type")
        return PostId(platform, f"{kind if _ID.fullmatch(kind) else 'content'}:{native}")
    # As `crawlers/platforms/douyin.py` names them.
    return PostId(platform, f"douyin.com/{native}" if platform == "douyin" else native)


def _comment_id(platform: str, native: str) -> PostId:
    """Comments on Weibo have numbers of the same row as posts."""
    return PostId(platform, native if platform == "weibo" else f"comment:{native}")


def _id(told: Record, key: str) -> str:
    native = _told_id(told, key)
    if not _ID.fullmatch(native):
        raise ParseError(key, "missing or not an id")
    return native


def _told_id(told: Record, key: str) -> str:
    """A number or a word; empty for anything else, and for what is longer than any id."""
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    if isinstance(value, int) and not 0 <= value < 1 << 64:
        return ""
    return well_formed(str(value).strip()[:200])


def _author(told: Record) -> Account | None:
    name = next((_words(told, key) for key in ("nickname", "user_nickname") if told.get(key)), "") or None
    link = _words(told, "user_link") or None
    named = _told_id(told, "user_id") or link or name
    bio = profile_text(told, "user_signature")
    return Account(named, handle=name, display_name=name, url=link, bio=bio) if named else None


def _words(told: Record, key: str) -> str:
    return text(told, key) or ""


def _addresses(told: Record, key: str) -> list[str]:
    return [url for url in _words(told, key).split(",") if url.startswith(("http://", "https://"))]


def _media(told: Record, shape: Shape) -> list[Media] | None:
    if shape.pictures not in told and shape.video not in told:
        return None
    pictures = [Media("image", url=url) for url in _addresses(told, shape.pictures)]
    return [*pictures, *(Media("video", url=url) for url in _addresses(told, shape.video)[:1])]


def _count(told: Record, key: str) -> int | None:
    value = told.get(key)
    if isinstance(value, str):
        return approximate(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else None


def _edited(told: Record, platform: str, seen: datetime) -> datetime | None:
    key = {"zhihu": "updated_time", "xiaohongshu": "last_update_time"}.get(platform, "")
    made, changed = (_moment(told.get(name), seen) for name in (SHAPES[platform].time, key))
    return changed if made is not None and changed is not None and changed > made else None


def _moment(value: object, seen: datetime) -> datetime | None:
    """A number since 1970, or a time in words."""
    if isinstance(value, str) and not value.strip().isdecimal():
        return read_time(value, seen)
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
        return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS else number, UTC) if number > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
