"""Pages of articles and videos that a browser saved, one a file, and the list that an account's console gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crawlers.platforms import douyin, wechat
from crawlers.post import Post
from crawlers.settings import MAX_BODY
from pipelines.imports.kinds import Capture, ImportKind, by_ending
from pipelines.imports.readers import Broken, json_items, json_lines, opened


def whole_file(path: Path, skip: int) -> Iterator[Any]:
    """A file as one record. Errors: CutError, ConfigError."""
    with opened(path) as file:
        body = file.read(MAX_BODY + 1)
    if not skip:
        yield body if len(body) <= MAX_BODY else Broken("longer than a page may be")


def _article(payload: Any, capture: Capture) -> Post:
    parse = wechat.parse_article if isinstance(payload, bytes) else wechat.parse_listed
    return parse(payload, "mp.weixin.qq.com", capture.fetched_at)


def _video(payload: Any, capture: Capture) -> Post:
    return douyin.parse_page(payload, "www.iesdouyin.com", capture.fetched_at)


WECHAT = ImportKind(
    name="wechat",
    about="saved pages of WeChat articles, and the list of an account's console as JSON",
    platforms=("wechat",),
    read=by_ending(html=whole_file, htm=whole_file, jsonl=json_lines, json=json_items),
    parse=_article,
)
DOUYIN = ImportKind(
    name="douyin",
    about="saved share pages of Douyin",
    platforms=("douyin",),
    read=by_ending(html=whole_file, htm=whole_file),
    parse=_video,
)
