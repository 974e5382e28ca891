"""WARC files of the pages and APIs that the spiders read: which answer is of which platform, and who parses it."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from crawlers.platforms.bluesky import parse_feed_item
from crawlers.platforms.bluesky import parse_view as parse_bluesky_view
from crawlers.platforms.discourse import parse_post
from crawlers.platforms.douyin import parse_page
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.platforms.fourchan import parse_post as parse_fourchan_post
from crawlers.platforms.hackernews import parse_hit, parse_item
from crawlers.platforms.lemmy import parse_view
from crawlers.platforms.mastodon import parse_status
from crawlers.platforms.reddit import parse_thing
from crawlers.platforms.telegram import parse_preview
from crawlers.platforms.tumblr import parse_post as parse_tumblr_post
from crawlers.platforms.wechat import parse_article
from crawlers.platforms.weibo import mblogs_in, parse_mblog
from crawlers.platforms.youtube import parse_feed as parse_youtube_feed
from crawlers.platforms.youtube import parse_video
from crawlers.post import ParseError, Post
from crawlers.sink import Reject
from crawlers.source import authority_of
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import Response, warc_responses

Parse = Callable[[Response, str, datetime], Parsed]
"""Makes posts of an answer, its host and when it was fetched."""


def _each(parse: Callable[[Any, str, datetime], Post], *path: str) -> Parse:
    """A parser of answers in JSON that hold one record, or a list of them below `path`."""

    def below(found: Any) -> list[Any]:
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, list) else [found]

    return _all(parse, below)


def _all(parse: Callable[[Any, str, datetime], Post], items: Callable[[Any], list[Any]]) -> Parse:
    """A parser of answers in JSON, in which `items` finds the records."""

    def parse_all(response: Response, host: str, fetched_at: datetime) -> Parsed:
        try:
            found = items(json.loads(response.body))
        except (ValueError, RecursionError):
            raise ParseError("body", "not JSON") from None
        posts: list[Post] = []
        rejects: list[Reject] = []
        for position, item in enumerate(found):
            try:
                posts.append(parse(item, host, fetched_at))
            except ParseError as error:
                rejects.append(Reject(position, error.place, error.reason))
        return posts, rejects

    return parse_all


def _feed(response: Response, _: str, fetched_at: datetime) -> Parsed:
    try:
        return parse_feed(response.body, response.content_type, response.url, fetched_at)
    except NotAFeedError as error:
        raise ParseError("body", str(error)) from None


def _page_of(parse: Callable[[bytes, str, datetime], Parsed]) -> Parse:
    """A parser of pages in HTML or XML."""
    return lambda response, host, fetched_at: parse(response.body, host, fetched_at)


def _article(response: Response, host: str, fetched_at: datetime) -> Parsed:
    return parse_article(response.body, host, fetched_at, response.url)


def _thread(response: Response, host: str, fetched_at: datetime) -> Parsed:
    board = urlsplit(response.url).path.split("/")[1]
    each = _each(lambda post, where, at: parse_fourchan_post(post, where, at, board), "posts")
    return each(response, host, fetched_at)


_MBLOGS = _all(parse_mblog, mblogs_in)
"""All posts that an answer of Weibo holds, whichever of its shapes it has."""

PAGES: list[tuple[str, re.Pattern[str], Parse]] = [
    (
        "mastodon",
        re.compile(r"[^/]+/api/v1/(timelines/.+|accounts/[^/]+/statuses|statuses/[^/]+)"),
        _each(parse_status),
    ),
    ("bluesky", re.compile(r"[^/]+/xrpc/app\.bsky\.feed\.getAuthorFeed"), _each(parse_feed_item, "feed")),
    ("bluesky", re.compile(r"[^/]+/xrpc/app\.bsky\.feed\.(getPosts|searchPosts)"), _each(parse_bluesky_view, "posts")),
    ("hackernews", re.compile(r"hn\.algolia\.com/api/v1/search(_by_date)?"), _each(parse_hit, "hits")),
    ("hackernews", re.compile(r"hacker-news\.firebaseio\.com/v0/item/\d+\.json"), _each(parse_item)),
    ("wechat", re.compile(r"mp\.weixin\.qq\.com/s(/.+)?"), _article),
    ("douyin", re.compile(r"www\.iesdouyin\.com/share/(video|note)/.+"), _page_of(parse_page)),
    ("weibo", re.compile(r"m\.weibo\.cn/(api/container/getIndex|statuses/show)"), _MBLOGS),
    ("weibo", re.compile(r"(www\.)?weibo\.com/ajax/statuses/(mymblog|show)"), _MBLOGS),
    ("weibo", re.compile(r"api\.weibo\.(com|cn)/2/.+"), _MBLOGS),
    ("telegram", re.compile(r"t\.me/s/.+"), _page_of(parse_preview)),
    ("youtube", re.compile(r"www\.youtube\.com/feeds/videos\.xml"), _page_of(parse_youtube_feed)),
    ("youtube", re.compile(r"www\.googleapis\.com/youtube/v3/videos"), _each(parse_video, "items")),
    ("lemmy", re.compile(r"[^/]+/api/v[34]/post/list"), _each(parse_view, "posts")),
    ("lemmy", re.compile(r"[^/]+/api/v[34]/comment/list"), _each(parse_view, "comments")),
    ("discourse", re.compile(r"[^/]+(/.+)?/posts\.json"), _each(parse_post, "latest_posts")),
    ("reddit", re.compile(r"(oauth|www|old)\.reddit\.com/r/.+"), _each(parse_thing, "data", "children")),
    ("fourchan", re.compile(r"a\.4cdn\.org/[a-z0-9]+/thread/\d+\.json"), _thread),
    (
        "tumblr",
        re.compile(r"api\.tumblr\.com/v2/blog/[^/]+/posts(/[a-z]+)?"),
        _each(parse_tumblr_post, "response", "posts"),
    ),
    ("tumblr", re.compile(r"api\.tumblr\.com/v2/tagged"), _each(parse_tumblr_post, "response")),
    ("feed", re.compile(r".*(\.rss|\.atom|/feed/?|/rss/?|feed\.xml|feed\.json|rss\.xml|atom\.xml|index\.xml)"), _feed),
]
"""Platform, host and path of an address (without its query), and the parser; the first that fits counts."""


_FEEDS = frozenset({"application/rss+xml", "application/atom+xml", "application/feed+json"})


def platform_of(response: Any) -> str | None:
    """Whose answer it is; None for anything else and for refusals."""
    found = _page(response) if isinstance(response, Response) and response.status == 200 else None
    return None if found is None else found[0]


def parse_response(response: Any, capture: Capture) -> Parsed:
    """The posts of an answer. Errors: ParseError."""
    found = _page(response)
    if found is None:
        raise ParseError("url", "not an address whose answers are known")
    try:
        fetched_at = datetime.fromisoformat(response.date).astimezone(UTC)
    except ValueError:
        fetched_at = capture.fetched_at
    return found[1](response, authority_of(response.url), fetched_at)


def _page(response: Response) -> tuple[str, Parse] | None:
    try:
        parts = urlsplit(response.url)
        place = authority_of(response.url) + parts.path
    except ValueError:
        return None
    found = next(((platform, parse) for platform, pattern, parse in PAGES if pattern.fullmatch(place)), None)
    if found is None and response.content_type.partition(";")[0].strip().lower() in _FEEDS:
        return "feed", _feed
    return found


WARC = ImportKind(
    name="warc",
    about="WARC files of pages and APIs of the platforms",
    platforms=tuple(dict.fromkeys(platform for platform, _, _ in PAGES)),
    read=by_ending(warc=warc_responses),
    parse=parse_response,
    platform_of=platform_of,
)
