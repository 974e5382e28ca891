"""Dumps of Reddit by Pushshift and arctic_shift: a link or a comment a line, compressed with a window of 2 GiB."""

from typing import Any

from crawlers.platforms.reddit import parse_thing
from crawlers.post import Post
from pipelines.imports.kinds import Capture, ImportKind, by_ending
from pipelines.imports.readers import Reader, json_lines

_BY_ENDING = by_ending(jsonl=json_lines, ndjson=json_lines, json=json_lines)


def _reader(name: str) -> Reader | None:
    """Dumps are called `RS_2019-04.zst`, without an ending of their own."""
    return json_lines if name.endswith((".zst", ".zstd", ".xz", ".bz2", ".gz")) else _BY_ENDING(name)


def _thing(record: Any, capture: Capture) -> Post:
    return parse_thing(record, "oauth.reddit.com", capture.fetched_at)


PUSHSHIFT = ImportKind(
    name="pushshift",
    about="dumps of Reddit by Pushshift and arctic_shift",
    platforms=("reddit",),
    read=_reader,
    parse=_thing,
)
