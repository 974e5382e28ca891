"""Captures by twarc (twarc-project.readthedocs.io): lines of API v2, a page or a post each, and of API v1.1."""

from typing import Any

from crawlers.platforms.x import PLATFORM, parse_capture
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import json_lines

HOST = "api.x.com"
"""Where all of them come from, under this name or an older one."""


def _parse(line: Any, capture: Capture) -> Parsed:
    return parse_capture(line, HOST, capture.fetched_at)


TWARC = ImportKind(
    "twarc",
    "posts of X that twarc captured, of API v2 or v1.1 (.jsonl)",
    (PLATFORM,),
    by_ending(jsonl=json_lines, json=json_lines, ndjson=json_lines),
    _parse,
)
