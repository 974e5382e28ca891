"""Instagram and Threads: posts as their own web pages load them, out of captures. Pure.

Both tell a post in the same words, Threads with a part of its own. An older shape of Instagram, of its GraphQL, is read
too. A post is named by its code, which stands in its address.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
)
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId
from crawlers.text import MENTION, is_web, names_account, read_plain, well_formed

PARSER_VERSION = 1
INSTAGRAM, THREADS = "instagram", "threads"
HOSTS = {INSTAGRAM: "www.instagram.com", THREADS: "www.threads.com"}

_CODE = re.compile(r"[A-Za-z0-9_-]{5,64}")
_TAG = re.compile(r"(?<![\w#])#(\w+)")
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_LATEST = 1 << 33
_VIDEO = 2
_SIGNED = re.compile(r"(?:photo|video|reel|image)s?\b[^.]{0,20}?\bby\b", re.IGNORECASE)
_SHOWS = re.compile(r"\b(?:image )?may (?:be|contain)\b.*", re.IGNORECASE | re.DOTALL)
_LONGEST = 200
"""Characters of a name; one that is longer is none, and would take long to look for."""
_HIDDEN = (None, -1)
"""What stands for a count that the author does not show."""


@dataclass(frozen=True)
class _Told:
    """What both shapes tell of a post."""

    code: str
    words: str | None
    seconds: int | None
    author: Account | None
    media: list[Media]
    likes: int | None
    replies: int | None
    views: int | None = None


def parse_post(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of Instagram. Errors: ParseError."""
    item = record(payload, "item")
    told = _graphql(item) if "shortcode" in item else _item(item, INSTAGRAM)
    return _post(item, told, INSTAGRAM, host, fetched_at, url=f"https://{HOSTS[INSTAGRAM]}/p/{told.code}/")


def parse_thread(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of Threads. A repost has the text of what it reposts. Errors: ParseError."""
    item = record(payload, "item")
    app = _app(item)
    shared = optional_record(app, "share_info", "text_post_app_info.") or {}
    reposted = optional_record(shared, "reposted_post", "share_info.")
    quoted = optional_record(shared, "quoted_post", "share_info.")
    told, shown = _item(item, THREADS), None if reposted is None else _item(reposted, THREADS)
    replies = flag(app, "is_reply", "text_post_app_info.") is True
    kind: Kind = "repost" if shown else "reply" if replies else "post" if quoted is None else "quote"
    handle = None if told.author is None else told.author.handle
    return _post(
        item,
        told,
        THREADS,
        host,
        fetched_at,
        url=f"https://{HOSTS[THREADS]}/@{handle}/post/{told.code}" if handle else None,
        kind=kind,
        shown=shown,
        repost_of=None if shown is None else PostId(THREADS, shown.code),
        quote_of=None if quoted is None or shown is not None else PostId(THREADS, _code(quoted, "code")),
        reposts=count(app, "repost_count", "text_post_app_info."),
        replies=count(app, "direct_reply_count", "text_post_app_info."),
        link=_preview(app if reposted is None else _app(reposted)),
    )


def _post(
    item: Record,
    told: _Told,
    platform: str,
    host: str,
    fetched_at: datetime,
    *,
    url: str | None,
    kind: Kind = "post",
    shown: _Told | None = None,
    repost_of: PostId | None = None,
    quote_of: PostId | None = None,
    reposts: int | None = None,
    replies: int | None = None,
    link: str | None = None,
) -> Post:
    content = shown or told
    reading = read_plain(content.words or "")
    links = [*reading.links, *([link] if link else [])]
    if told.seconds is None or not 0 < told.seconds < _LATEST:
        raise ParseError("taken_at", "missing or not a time")
    return Post(
        id=PostId(platform, told.code),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=kind,
        author=told.author,
        url=url,
        created_at=datetime.fromtimestamp(told.seconds, UTC),
        text=reading.text or None,
        repost_of=repost_of,
        quote_of=quote_of,
        hashtags=list(dict.fromkeys(tag.casefold() for tag in _TAG.findall(_ADDRESS.sub(" ", reading.text)))),
        mention_count=reading.mentions,
        links=list(dict.fromkeys(links)),
        media=content.media,
        likes=told.likes,
        reposts=reposts,
        replies=told.replies if replies is None else replies,
        views=told.views,
        raw=item,
    )


def _code(item: Record, key: str) -> str:
    code = needed_text(item, key)
    if _CODE.fullmatch(code) is None:
        raise ParseError(key, "not the code of a post")
    return code


def _item(item: Record, platform: str) -> _Told:
    caption = optional_record(item, "caption")
    several = records(item, "carousel_media")
    author = _author(optional_record(item, "user") or optional_record(item, "owner"), platform)
    return _Told(
        code=_code(item, "code"),
        words=None if caption is None else text(caption, "text", "caption."),
        seconds=count(item, "taken_at"),
        author=author,
        media=[medium for each in several or [item] if (medium := _medium(each, author)) is not None],
        likes=_count(item, "like_count"),
        replies=_count(item, "comment_count"),
        views=_count(item, "play_count") if item.get("play_count") is not None else _count(item, "view_count"),
    )


def _graphql(item: Record) -> _Told:
    edges = records(optional_record(item, "edge_media_to_caption") or {}, "edges") or []
    node = optional_record(edges[0], "node") if edges else None
    several = records(optional_record(item, "edge_sidecar_to_children") or {}, "edges")
    nodes = [item] if not several else [optional_record(each, "node") or {} for each in several]
    likes = optional_record(item, "edge_media_preview_like") or optional_record(item, "edge_liked_by") or {}
    commented = ("edge_media_to_comment", "edge_media_to_parent_comment", "edge_media_preview_comment")
    comments = next(filter(None, (optional_record(item, key) for key in commented)), {})
    author = _author(optional_record(item, "owner") or optional_record(item, "user"), INSTAGRAM)
    return _Told(
        code=_code(item, "shortcode"),
        words=None if node is None else text(node, "text", "caption."),
        seconds=count(item, "taken_at_timestamp"),
        author=author,
        media=[
            Media(
                "video" if flag(each, "is_video") else "image",
                _alt(each, author),
                text(each, "video_url") or text(each, "display_url"),
            )
            for each in nodes
        ],
        likes=_count(likes, "count"),
        replies=_count(comments, "count"),
        views=_count(item, "video_view_count"),
    )


def _author(user: Record | None, platform: str) -> Account | None:
    if user is None:
        return None
    handle = text(user, "username", "user.") or None
    told: Any = user.get("pk", user.get("id"))
    native = well_formed(str(told)) if isinstance(told, int | str) and not isinstance(told, bool) and told else handle
    if native is None:
        return None
    at = "" if platform == INSTAGRAM else "@"
    return Account(
        native,
        handle,
        read_plain(text(user, "full_name", "user.") or "").text or None,
        f"https://{HOSTS[platform]}/{at}{handle}" if handle else None,
        verified=flag(user, "is_verified", "user."),
        bio=profile_text(user, "biography"),
    )


def _medium(each: Record, author: Account | None) -> Media | None:
    """A picture or a video; a post of words alone has the place of one that is empty."""
    videos = records(each, "video_versions") or []
    pictures = records(optional_record(each, "image_versions2") or {}, "candidates") or []
    if not videos and not pictures:
        return None
    is_video = bool(videos) or each.get("media_type") == _VIDEO
    return Media("video" if is_video else "image", _alt(each, author), text((videos or pictures)[0], "url", "media."))


def _alt(each: Record, author: Account | None) -> str | None:
    """What a picture shows. The platform's own words begin with whose it is (`Photo by ... on July 31, 2026. May be an
    image of ...`): that is left out, and where they are in another language, the names are."""
    told = read_plain(text(each, "accessibility_caption") or "").text
    if _SIGNED.match(told) is not None:
        shows = _SHOWS.search(told)
        told = "" if shows is None else shows[0]
    names = [name for name in (author.display_name, author.handle) if name] if author is not None else []
    if any(len(name) > _LONGEST for name in names):
        return None
    for name in names:
        told = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", MENTION, told, flags=re.IGNORECASE)
    return told or None


def _count(parent: Record, key: str) -> int | None:
    return None if parent.get(key) in _HIDDEN else count(parent, key)


def _app(item: Record) -> Record:
    """The part of a post that is of Threads alone."""
    return optional_record(item, "text_post_app_info") or {}


def _preview(app: Record) -> str | None:
    """The page that is previewed, whose address goes through a server of the platform's own."""
    attached = optional_record(app, "link_preview_attachment", "text_post_app_info.")
    address = None if attached is None else text(attached, "url", "link_preview_attachment.")
    if not address:
        return None
    try:
        told = parse_qs(urlsplit(address).query, max_num_fields=20).get("u")
    except ValueError:
        return None
    target = told[0] if told else address
    return target if is_web(target) and not names_account(target) else None
