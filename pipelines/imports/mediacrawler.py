"""Captures of MediaCrawler (github.com/NanmiCoder/MediaCrawler), of seven platforms."""

from typing import Any

from crawlers.captures.mediacrawler import SHAPES, parse_record, platform_of
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import csv_rows, json_items, json_lines


def _parse(record: Any, capture: Capture) -> Parsed:
    return parse_record(record, capture.fetched_at)


MEDIACRAWLER = ImportKind(
    name="mediacrawler",
    about="contents and comments, as JSON, JSON lines or CSV",
    platforms=tuple(SHAPES),
    read=by_ending(json=json_items, jsonl=json_lines, csv=csv_rows),
    parse=_parse,
    platform_of=platform_of,
)
