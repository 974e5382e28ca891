"""Captures of Weibo by weibo-crawler and weibo-search (github.com/dataabc)."""

from functools import partial
from typing import Any

from crawlers.captures.weibo_tools import parse_crawled, parse_searched
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import csv_rows, json_items


def _crawled(record: Any, capture: Capture) -> Parsed:
    return parse_crawled(record, capture.fetched_at, capture.name)


def _searched(record: Any, capture: Capture) -> Parsed:
    return parse_searched(record, capture.fetched_at)


WEIBO_CRAWLER = ImportKind(
    name="weibo-crawler",
    about="an account's posts, as JSON or CSV named by the account's number",
    platforms=("weibo",),
    read=by_ending(json=partial(json_items, inside="weibo.item"), csv=csv_rows),
    parse=_crawled,
)

WEIBO_SEARCH = ImportKind(
    name="weibo-search",
    about="what Weibo's search showed, as CSV",
    platforms=("weibo",),
    read=by_ending(csv=csv_rows),
    parse=_searched,
)
