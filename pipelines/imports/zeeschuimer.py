"""Captures of Zeeschuimer, of the platforms that its users browse most."""

from typing import Any

from crawlers.captures.zeeschuimer import SITES, parse_item, platform_of
from pipelines.imports.kinds import Capture, ImportKind, Parsed, by_ending
from pipelines.imports.readers import json_lines


def _parse(line: Any, capture: Capture) -> Parsed:
    return parse_item(line, capture.fetched_at)


ZEESCHUIMER = ImportKind(
    name="zeeschuimer",
    about="items that a browser's extension kept, as 4CAT reads them (.ndjson)",
    platforms=tuple(dict.fromkeys(site.platform for site in SITES.values())),
    read=by_ending(ndjson=json_lines, jsonl=json_lines, json=json_lines),
    parse=_parse,
    platform_of=platform_of,
)
