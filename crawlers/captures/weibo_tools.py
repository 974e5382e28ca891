"""Records of weibo-crawler (JSON and CSV) and of weibo-search (CSV), github.com/dataabc, to posts. Pure.

Both tools write what they found under names of their own; it is given the names that Weibo has for it, and read as an
mblog is. What they leave out (whether a text was cut, who may see a post) stays unknown.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from crawlers.platforms.fields import Record, record
from crawlers.platforms.weibo import parse_mblog
from crawlers.post import ParseError, Post

HOST = "weibo.com"

_CRAWLER_CSV = {
    "id": "id", "bid": "bid", "正文": "text", "原始图片url": "pics", "视频url": "video_url",
    "头条文章url": "article_url", "日期": "created_at", "完整日期": "full_created_at", "点赞数": "attitudes_count",
    "评论数": "comments_count",
    "转发数": "reposts_count", "编辑次数": "edit_count",
}  # fmt: skip
"""Columns of weibo-crawler's tables, by what its JSON calls them; those of an original begin with `源微博`."""
_SEARCH_CSV = {
    "id": "id", "bid": "bid", "user_id": "user_id", "用户昵称": "screen_name", "微博正文": "text",
    "微博图片url": "pics", "微博视频url": "video_url", "头条文章url": "article_url", "发布时间": "created_at",
    "点赞数": "attitudes_count", "评论数": "comments_count", "转发数": "reposts_count",
}  # fmt: skip
_COUNTS = ("attitudes_count", "comments_count", "reposts_count", "edit_count")
_CUT = re.compile(r"(?:\.\.\.|…)\s*全文\s*\Z")


def parse_crawled(payload: object, fetched_at: datetime, name: str = "") -> Post:
    """A record of weibo-crawler, out of its JSON or a row of its table. A table names no author: `name`, that of the
    file, is the account's number then. Errors: ParseError."""
    told = record(payload, "record")
    if "正文" in told:
        if not name.isdecimal():
            raise ParseError("user_id", "not told: a table is named by the account's number, as the tool names it")
        own = {**_named(told, _CRAWLER_CSV), "user_id": name}
        original = _named(told, _CRAWLER_CSV, "源微博")
        if _filled(original.get("id")):
            own["retweet"] = {**original, "user_id": told.get("源用户id"), "screen_name": told.get("源用户昵称")}
    else:
        own = told
    mblog = _mblog(own)
    retweet = own.get("retweet")
    if retweet:
        mblog["retweeted_status"] = _mblog(record(retweet, "retweet"))
    return replace(parse_mblog(mblog, HOST, fetched_at), raw=told)


def parse_searched(payload: object, fetched_at: datetime) -> Post:
    """A row of weibo-search's table; of an original it tells the number alone. Errors: ParseError."""
    told = record(payload, "row")
    mblog = _mblog(_named(told, _SEARCH_CSV))
    if _filled(told.get("retweet_id")):
        mblog["retweeted_status"] = {"mid": _filled(told["retweet_id"])}
    return replace(parse_mblog(mblog, HOST, fetched_at), raw=told)


def _named(row: Record, names: Mapping[str, str], prefix: str = "") -> Record:
    return {name: row[prefix + column] for column, name in names.items() if prefix + column in row}


def _mblog(told: Record) -> Record:
    """A record under Weibo's own names. An empty cell is nothing."""
    text, user = told.get("text"), _filled(told.get("user_id"))
    mblog: Record = {
        "mid": _filled(told.get("id")),
        "bid": _filled(told.get("bid")),
        "text": text,
        "created_at": _filled(told.get("full_created_at")) or _filled(told.get("created_at")),
        "user": {"id": user, "screen_name": _filled(told.get("screen_name"))} if user else None,
        **{name: _filled(told.get(name)) for name in _COUNTS},
    }
    if isinstance(text, str) and _CUT.search(text):
        mblog["isLongText"] = True
    if isinstance(pics := told.get("pics"), str):
        mblog["pic_urls"] = [{"thumbnail_pic": url} for url in _addresses(pics)]
    if isinstance(video := told.get("video_url"), str) and (urls := _addresses(video)):
        mblog["page_info"] = {"type": "video", "media_info": {"stream_url": urls[0]}}
    elif article := _filled(told.get("article_url")):
        mblog["page_info"] = {"type": "article", "page_url": article}
    return mblog


def _addresses(cell: str) -> list[str]:
    return [url for each in re.split(r"[,;\s]+", cell) if (url := each.strip()).startswith(("http://", "https://"))]


def _filled(value: Any) -> Any:
    """A cell without the tab that keeps spreadsheets from rounding a number; None for an empty one."""
    return (value.strip() or None) if isinstance(value, str) else value
