"""YouTube: a channel's feed, and videos and comments of its Data API v3, to posts. Pure.

A video is named as the feeds name it, `yt:video:<id>`, so that one of the feed and one of the API are one post; a
comment is `yt:comment:<id>`. It replies to its video, an answer below it to the comment. The API's counts are strings.
"""

import re
from datetime import UTC, datetime
from typing import Any

from lxml import etree

from crawlers.platforms.fields import (
    Record,
    count,
    needed_text,
    needed_time,
    optional_record,
    parse_time,
    record,
    text,
    texts,
    time,
)
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.settings import MOST_RECORDS
from crawlers.sink import Reject
from crawlers.text import Reading, clean, mask, read_html, read_plain

PARSER_VERSION = 1
PLATFORM = "youtube"

_SITE = "https://www.youtube.com"
_VIDEO = re.compile(r"[A-Za-z0-9_-]{6,20}")
_COMMENT = re.compile(r"[A-Za-z0-9_.-]{6,100}")
_CHANNEL = re.compile(r"[A-Za-z0-9_-]{6,40}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_NAMES = {
    "atom": "http://www.w3.org/2005/Atom",
    "yt": "http://www.youtube.com/xml/schemas/2015",
    "media": "http://search.yahoo.com/mrss/",
}
_NO_FEED = "not the feed of a channel"


def parse_feed(body: bytes, host: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    """All videos of a channel's feed. Errors: ParseError when it is none."""
    if b"<!DOCTYPE" in body:  # a feed has none, and whatever it would declare is not to be resolved
        raise ParseError("feed", _NO_FEED)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise ParseError("feed", _NO_FEED) from None
    if root is None or root.tag != f"{{{_NAMES['atom']}}}feed":
        raise ParseError("feed", _NO_FEED)
    entries = root.findall("atom:entry", _NAMES)
    if len(entries) > MOST_RECORDS:
        raise ParseError("feed", f"{len(entries):,} entries, more than the {MOST_RECORDS:,} that one may have")
    posts, rejects = [], []
    for position, entry in enumerate(entries):
        try:
            posts.append(_entry(entry, host, fetched_at))
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
    return posts, rejects


def parse_video(payload: object, host: str, fetched_at: datetime) -> Post:
    """A video of the API (`videos.list`). Errors: ParseError."""
    video = record(payload, "video")
    snippet = record(video.get("snippet"), "snippet")
    statistics = optional_record(video, "statistics") or {}
    details = optional_record(video, "contentDetails")
    rating = optional_record(details, "contentRating", "contentDetails.") or {} if details is not None else {}
    tags = texts(snippet, "tags", "snippet.")
    return _video(
        native=needed_text(video, "id"),
        channel=needed_text(snippet, "channelId", "snippet."),
        name=text(snippet, "channelTitle", "snippet."),
        created_at=needed_time(snippet, "publishedAt", "snippet."),
        title=text(snippet, "title", "snippet."),
        description=text(snippet, "description", "snippet."),
        # A rating is told of what only those of age may see; of anything else there is none.
        sensitive=None if details is None else text(rating, "ytRating", "contentRating.") == "ytAgeRestricted",
        lang=text(snippet, "defaultLanguage", "snippet.") or None,
        hashtags=None if tags is None else [mask(clean(tag))[0].casefold() for tag in tags],
        likes=_number(statistics, "likeCount"),
        replies=_number(statistics, "commentCount"),
        views=_number(statistics, "viewCount"),
        raw=video,
        host=host,
        fetched_at=fetched_at,
    )


def parse_comment(payload: object, host: str, fetched_at: datetime, video_id: str | None = None) -> Post:
    """A comment, or the one that a thread begins with. `video_id`: of which video, where the comment does not say.

    Errors: ParseError.
    """
    given = record(payload, "comment")
    thread = record(given.get("snippet"), "snippet")
    comment = optional_record(thread, "topLevelComment", "snippet.") or given
    snippet = record(comment.get("snippet"), "snippet")
    native = _id(needed_text(comment, "id"), _COMMENT)
    video = text(snippet, "videoId", "snippet.") or text(thread, "videoId", "snippet.") or video_id
    video = None if video is None else _id(video, _VIDEO)
    parent = text(snippet, "parentId", "snippet.")
    reading = _words(snippet)
    created_at, updated_at = needed_time(snippet, "publishedAt", "snippet."), time(snippet, "updatedAt", "snippet.")
    reply_to = None if video is None else PostId(PLATFORM, f"yt:video:{video}")
    if parent:
        reply_to = PostId(PLATFORM, f"yt:comment:{_id(parent, _COMMENT)}")
    return Post(
        id=PostId(PLATFORM, f"yt:comment:{native}"),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if reply_to is None else "reply",
        author=_commenter(snippet),
        url=None if video is None else f"{_SITE}/watch?v={video}&lc={native}",
        created_at=created_at,
        edited_at=updated_at if updated_at is not None and updated_at > created_at else None,
        text=reading.text or None,
        reply_to=reply_to,
        mention_count=reading.mentions,
        links=reading.links,
        likes=_number(snippet, "likeCount"),
        replies=_number(thread, "totalReplyCount"),
        raw=given,
    )


def _entry(entry: Any, host: str, fetched_at: datetime) -> Post:
    def told(path: str, attribute: str | None = None) -> str | None:
        found = entry.find(path, _NAMES)
        if found is None:
            return None
        value: str | None = found.text if attribute is None else found.get(attribute)
        return value

    channel = told("yt:channelId")
    published = told("atom:published")
    if not channel or not published:
        raise ParseError("yt:channelId" if not channel else "published", "missing or empty")
    community = "media:group/media:community"
    counts = {
        "likes": told(f"{community}/media:starRating", "count"),
        "views": told(f"{community}/media:statistics", "views"),
    }
    native, name, title = told("yt:videoId") or "", told("atom:author/atom:name"), told("atom:title")
    description = told("media:group/media:description")
    return _video(
        native=native,
        channel=channel,
        name=name,
        created_at=parse_time(published.strip(), "published"),
        title=title,
        description=description,
        likes=_number(counts, "likes"),
        views=_number(counts, "views"),
        raw={"id": native, "channel": channel, "author": name, "published": published, "title": title}
        | {"updated": told("atom:updated"), "description": description, **counts},
        host=host,
        fetched_at=fetched_at,
    )


def _video(
    *,
    native: str,
    channel: str,
    name: str | None,
    created_at: datetime,
    title: str | None,
    description: str | None,
    raw: Record,
    host: str,
    fetched_at: datetime,
    **given: Any,
) -> Post:
    url = f"{_SITE}/watch?v={_id(native, _VIDEO)}"
    channel = _id(channel, _CHANNEL)
    headline, words = read_plain(title or ""), read_plain(description or "")
    return Post(
        id=PostId(PLATFORM, f"yt:video:{native}"),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        author=Account(channel, display_name=name, url=f"{_SITE}/channel/{channel}"),
        url=url,
        created_at=created_at.astimezone(UTC),
        title=headline.text or None,
        text=words.text or None,
        mention_count=headline.mentions + words.mentions,
        links=list(dict.fromkeys([*headline.links, *words.links])),
        media=[Media("video", None, url)],
        raw=raw,
        **given,
    )


def _words(snippet: Record) -> Reading:
    """The text as it was written, which the API gives to its author only; else as it is displayed, in HTML."""
    written = text(snippet, "textOriginal", "snippet.")
    if written is not None:
        return read_plain(written)
    shown = text(snippet, "textDisplay", "snippet.")
    if shown is None:
        raise ParseError("snippet.textDisplay", "missing")
    return read_html(shown, base=_SITE)


def _commenter(snippet: Record) -> Account | None:
    """Whose channel is gone has none. What is displayed is a handle where it begins with @, else an older name."""
    channel = text(optional_record(snippet, "authorChannelId", "snippet.") or {}, "value", "authorChannelId.")
    if not channel:
        return None
    name = text(snippet, "authorDisplayName", "snippet.")
    handle = name[1:] if name and name.startswith("@") else None
    channel = _id(channel, _CHANNEL)
    return Account(channel, handle, None if handle else name, f"{_SITE}/channel/{channel}")


def _id(value: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(value) is None:
        raise ParseError("id", "not an id of a video, comment or channel")
    return value


def _number(parent: Record, key: str) -> int | None:
    """A count, as a number or in digits."""
    value = parent.get(key)
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else count(parent, key)
