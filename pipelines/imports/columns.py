"""Tables of posts that any tool wrote: a map file says which column is what.

platform = "weibo"
[columns]
id = "mid"
text = "content"
created_at = { column = "time", format = "%Y-%m-%d %H:%M", zone = "Asia/Shanghai" }
author = "uid"
lang = { value = "zh" }
"""

import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crawlers.platforms.counts import approximate
from crawlers.post import Account, Kind, ParseError, Post, PostId
from crawlers.text import clean, read_plain, well_formed
from pipelines.errors import ConfigError
from pipelines.imports.kinds import Capture, ImportKind, by_ending
from pipelines.imports.readers import column_names, csv_rows, json_any, json_lines, parquet_rows

PARSER_VERSION = 1
NEEDED = ("id", "text")
TEXTS = ("id", "text", "title", "warning", "author", "author_name", "url", "lang", "reply_to", "repost_of", "quote_of")
TIMES = ("created_at", "edited_at", "fetched_at")
COUNTS = ("likes", "reposts", "replies", "views")
_EPOCH_MILLISECONDS = 1e11
_DAY = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
"""A day in eight digits, which is no number of seconds."""


@dataclass(frozen=True)
class Column:
    """Where a field comes from: a column (of a JSON line, inside objects by dots), or one value for all."""

    column: str | None = None
    value: str | None = None
    format: str | None = None
    zone: str = "UTC"

    def read(self, row: dict[str, Any]) -> Any:
        """What a row has for it; None for nothing."""
        if self.column is None:
            return self.value
        found: Any = row.get(self.column)
        if found is None and "." in self.column:
            found = row
            for key in self.column.split("."):
                found = found.get(key) if isinstance(found, dict) else None
        return None if found == "" else found


@dataclass(frozen=True)
class Map:
    """A map file, read and validated."""

    platform: str
    host: str
    columns: dict[str, Column]


def load_map(path: Path) -> Map:
    """Reads a map file. Errors: ConfigError with one line per mistake."""
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: the map cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a map in TOML that can be read ({error})") from None
    mistakes = []

    def wrong(key: str, what: str) -> None:
        named = re.compile(rf"\s*\"?{re.escape(key)}\b")
        line = next((number for number, line in enumerate(text.splitlines(), 1) if named.match(line)), 1)
        mistakes.append(f"{path}:{line}: {key}: {what}")

    platform = told.get("platform")
    if not isinstance(platform, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", platform):
        wrong("platform", "needed: small letters, digits and _, such as weibo")
        platform = ""
    for key in set(told) - {"platform", "host", "columns"}:
        wrong(key, "unknown key; known are platform, host, columns")
    given = told.get("columns")
    columns = {}
    for field, place in (given if isinstance(given, dict) else {}).items():
        if field not in (*TEXTS, *TIMES, *COUNTS):
            wrong(field, f"no field of a post; known are {', '.join((*TEXTS, *TIMES, *COUNTS))}")
        elif (column := _column(place)) is None:
            wrong(
                field, 'write a column\'s name, { column = "...", format = "...", zone = "..." } or { value = "..." }'
            )
        else:
            columns[field] = column
    for field in NEEDED:
        if not isinstance(given, dict) or field not in given:
            wrong("columns", f"{field} is missing")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Map(platform, str(told.get("host", platform)), columns)


def table(columns: Map) -> ImportKind:
    """The kind of import that a map file makes."""
    return ImportKind(
        name="table",
        about="tables with a column map: CSV, JSON lines, Parquet",
        platforms=(columns.platform,),
        read=by_ending(csv=csv_rows, jsonl=json_lines, ndjson=json_lines, json=json_any, parquet=parquet_rows),
        parse=lambda row, capture: parse_row(row, columns, capture),
        check=lambda path: _check_names(path, columns),
    )


def _check_names(path: Path, columns: Map) -> None:
    """Whether a table has the columns that its map needs, and no mapped one twice. Errors: ConfigError."""
    names = column_names(path)
    for field, column in columns.columns.items():
        if names is None or column.column is None:
            continue
        if field in NEEDED and column.column not in names and column.column.partition(".")[0] not in names:
            there = ", ".join(names[:20])[:500]
            raise ConfigError(f"{path}: no column {column.column!r}, which the map reads {field} from; it has {there}")
        if names.count(column.column) > 1:
            raise ConfigError(f"{path}: {names.count(column.column)} columns are called {column.column!r}; rename one")


def parse_row(row: Any, columns: Map, capture: Capture) -> Post:
    """A row as a map reads it. Errors: ParseError."""
    if not isinstance(row, dict):
        raise ParseError("row", "expected an object")
    texts = {name: _text(row, name, columns) for name in TEXTS}
    times = {name: _time(row, name, columns) for name in TIMES}
    if not texts["id"]:
        raise ParseError("id", "missing or empty")
    body = read_plain(texts["text"] or "")
    related = {
        name: PostId(columns.platform, None, columns.host, value) if (value := texts[name]) else None
        for name in ("reply_to", "repost_of", "quote_of")
    }
    counts = {name: _count(row, name, columns) for name in COUNTS}
    author = texts["author"]
    return Post(
        id=PostId(columns.platform, None, columns.host, texts["id"]),
        host=columns.host,
        fetched_at=times["fetched_at"] or capture.fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(related),
        author=Account(author, handle=texts["author_name"]) if author else None,
        url=texts["url"],
        created_at=times["created_at"],
        edited_at=times["edited_at"],
        title=_plain(texts["title"]),
        warning=_plain(texts["warning"]),
        text=body.text or None,
        lang=texts["lang"],
        mention_count=body.mentions,
        links=list(body.links),
        raw=row,
        reply_to=related["reply_to"],
        repost_of=related["repost_of"],
        quote_of=related["quote_of"],
        likes=counts["likes"],
        reposts=counts["reposts"],
        replies=counts["replies"],
        views=counts["views"],
    )


def _column(place: Any) -> Column | None:
    if isinstance(place, str) and place:
        return Column(column=place)
    if not isinstance(place, dict) or not all(isinstance(value, str) for value in place.values()):
        return None
    if set(place) == {"value"}:
        return Column(value=place["value"])
    if "column" not in place or set(place) - {"column", "format", "zone"}:
        return None
    try:
        ZoneInfo(place.get("zone", "UTC"))
    except (KeyError, ValueError, OSError):
        return None
    return Column(**place)


def _kind(related: dict[str, PostId | None]) -> Kind:
    """A repost before a quote before a reply."""
    if related["repost_of"]:
        return "repost"
    if related["quote_of"]:
        return "quote"
    return "reply" if related["reply_to"] else "post"


def _text(row: dict[str, Any], name: str, columns: Map) -> str | None:
    value = columns.columns[name].read(row) if name in columns.columns else None
    if value is None:
        return None
    if isinstance(value, bool | dict | list | float | bytes):
        raise ParseError(name, "not a text")
    return well_formed(str(value))


def _plain(value: str | None) -> str | None:
    return None if value is None else read_plain(clean(value)).text or None


def _count(row: dict[str, Any], name: str, columns: Map) -> int | None:
    value = columns.columns[name].read(row) if name in columns.columns else None
    if value is None:
        return None
    try:
        number = float(value)  # pandas writes 12.0 where some rows have nothing
        whole = int(value) if isinstance(value, int) else int(number)
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, str) and (shown := approximate(value)) is not None:
            return shown
        raise ParseError(name, "not a count") from None
    return whole if number == whole and 0 <= whole < 1 << 63 else None


def _time(row: dict[str, Any], name: str, columns: Map) -> datetime | None:
    """ISO 8601, seconds or milliseconds since 1970, or what the map's format says; without a zone, in the map's."""
    if name not in columns.columns or (value := columns.columns[name].read(row)) is None:
        return None
    column, told = columns.columns[name], str(value).strip()
    try:
        if isinstance(value, datetime):
            found = value
        elif column.format:
            found = datetime.strptime(told, column.format)
        elif re.fullmatch(r"-?\d+(\.\d+)?", told) and not _DAY.fullmatch(told):
            number = float(told)
            found = datetime.fromtimestamp(number / 1000 if abs(number) > _EPOCH_MILLISECONDS else number, UTC)
        else:
            found = datetime.fromisoformat(told)
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(column.zone))).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError(name, "not a time") from None
