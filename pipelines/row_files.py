"""Files of rows that people bring: JSONL, CSV and Parquet, read in chunks and written back with further columns.

A file is looked through once before anything is made of it, so that a broken line is told at once and not after hours.
What a format cannot hold becomes text; between files of one format a row's own values are passed on untouched.
"""

import base64
import csv
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.text import well_formed
from pipelines.errors import ConfigError, PostsweepError
from pipelines.store import PRIVATE_FILE

ENDINGS = (".jsonl", ".csv", ".parquet")
CHUNK_ROWS, CHUNK_BYTES = 1024, 8 * 2**20
"""A chunk ends at so many rows, or when its rows are about so large."""

Row = dict[str, Any]
T = TypeVar("T")
Write = Callable[["Chunk", pa.Table], None]


@dataclass(frozen=True)
class Chunk:
    """Some rows: as a table out of Parquet, else as dictionaries, of JSONL with the lines that they were read from."""

    rows: list[Row] | pa.Table
    lines: list[bytes] | None = None

    def texts(self, column: str) -> list[str | None]:
        """One column's values."""
        if isinstance(self.rows, pa.Table):
            return self.rows.column(column).to_pylist()  # type: ignore[no-any-return]
        return [row.get(column) for row in self.rows]

    def dictionaries(self) -> list[Row]:
        """The rows by name."""
        if not isinstance(self.rows, pa.Table):
            return self.rows
        table = self.rows
        for place, field in enumerate(table.schema):
            # Python's times hold microseconds; a text holds them whole.
            if getattr(field.type, "unit", None) == "ns" and not pa.types.is_duration(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
            elif pa.types.is_duration(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
        return table.to_pylist()  # type: ignore[no-any-return]


class RowFile(Protocol):
    """A file that was looked through: its columns in order with their types, and how many rows it has."""

    path: Path
    schema: pa.Schema
    count: int

    def chunks(self) -> Iterator[Chunk]:
        """The rows in order. Errors: PostsweepError when they cannot be read."""


def open_rows(path: Path, text_field: str) -> RowFile:
    """Looks a file through, by its ending. Errors: ConfigError (no such file or column, two columns of one name, a
    column that holds no texts), PostsweepError (a broken line).
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    kinds: dict[str, Callable[[Path, str], RowFile]] = {".jsonl": Jsonl, ".csv": Csv, ".parquet": Parquet}
    found = kinds[path.suffix.lower()](path, text_field)
    names = found.schema.names
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError(f"{path}: two columns are called {twice!r}; rename one")
    if text_field not in names and not (found.count == 0 and isinstance(found, Jsonl)):
        there = f"there are {', '.join(names[:20])}" if names else "there are none: the file is empty"
        raise ConfigError(f"{path}: no column {text_field!r}; {there}; see --text-field")
    return found


class Jsonl:
    """JSON objects, one a line; keys may differ from line to line, and a row without a key has null there."""

    def __init__(self, path: Path, text_field: str) -> None:
        self.path, self.count = path, 0
        kinds: dict[str, set[str]] = {}
        for number, row, _ in self._lines():
            self.count += 1
            text = row.get(text_field)
            if text is not None and not isinstance(text, str):
                said = f"{text_field} is {_NAMED[type(text)]}, not a text"
                raise PostsweepError(f"{path}:{number}: {said}; see --text-field")
            for key, value in row.items():
                known = kinds.setdefault(key, set())
                if value is not None:
                    known.add(_kind(value))
        self.schema = pa.schema([pa.field(name, _column_type(found)) for name, found in kinds.items()])

    def chunks(self) -> Iterator[Chunk]:
        """See `RowFile`."""
        for group in _grouped(((row, line) for _, row, line in self._lines()), lambda pair: len(pair[1])):
            yield Chunk([row for row, _ in group], [line for _, line in group])

    def _lines(self) -> Iterator[tuple[int, Row, bytes]]:
        with _reading(self.path), self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                bare = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                bare = bare.strip(b" \t\r\n")
                if not bare:
                    continue
                try:
                    row = json.loads(bare.decode("utf-8"))
                except UnicodeDecodeError as error:
                    raise PostsweepError(f"{self.path}:{number}: not UTF-8 ({error.reason}); mend the line") from None
                except (ValueError, RecursionError) as error:
                    told = getattr(error, "msg", str(error))
                    raise PostsweepError(f"{self.path}:{number}: not JSON ({told}); mend the line") from None
                if not isinstance(row, dict):
                    raise PostsweepError(f"{self.path}:{number}: not a JSON object; mend or remove the line")
                if b"\\u" in bare:
                    row = {well_formed(key): value for key, value in row.items()}
                yield number, row, bare


class Csv:
    """Comma-separated cells in UTF-8, quoted as RFC 4180 says, under a header; every value is a text. Blank lines are
    no rows.
    """

    def __init__(self, path: Path, text_field: str) -> None:
        self.path = path
        rows = self._rows()
        header = next(rows, [])
        self.schema = pa.schema([pa.field(name, pa.string()) for name in header])
        self.count = sum(1 for _ in rows)

    def chunks(self) -> Iterator[Chunk]:
        """See `RowFile`."""
        rows = self._rows()
        names = next(rows, [])
        for group in _grouped(rows, lambda cells: sum(map(len, cells))):
            yield Chunk([dict(zip(names, cells, strict=True)) for cells in group])

    def _rows(self) -> Iterator[list[str]]:
        """The header, then every row."""
        csv.field_size_limit(2**31 - 1)
        with _reading(self.path), self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            width: int | None = None
            try:
                for cells in reader:
                    if not cells:
                        continue
                    width = len(cells) if width is None else width
                    if len(cells) != width:
                        counted = f"{len(cells)} cells, {width} in the header"
                        raise PostsweepError(f"{self.path}:{reader.line_num}: {counted}; mend the line")
                    yield cells
            except csv.Error as error:
                raise PostsweepError(f"{self.path}:{reader.line_num}: not CSV ({error}); mend the line") from None
            except UnicodeDecodeError as error:
                line = _undecodable(self.path)
                raise PostsweepError(f"{self.path}:{line}: not UTF-8 ({error.reason}); save it as UTF-8") from None


class Parquet:
    """A Parquet file, in the types that it has."""

    def __init__(self, path: Path, text_field: str) -> None:
        self.path = path
        with _reading(path), pq.ParquetFile(path) as file:
            self.schema: pa.Schema = file.schema_arrow
            self.count: int = file.metadata.num_rows
        for field in self.schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
            if field.name == text_field and not is_text and not pa.types.is_null(kind):
                raise ConfigError(f"{path}: column {text_field!r} is {field.type}, not a text; see --text-field")

    def chunks(self) -> Iterator[Chunk]:
        """See `RowFile`."""
        with _reading(self.path), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20) as file:
            for batch in file.iter_batches(CHUNK_ROWS):
                batch.validate(full=True)  # bytes that are called text and are not UTF-8, too
                table = pa.Table.from_batches([batch])
                rows = -(-table.num_rows // -(-max(1, table.nbytes) // CHUNK_BYTES))
                for start in range(0, table.num_rows, max(1, rows)):
                    yield Chunk(table.slice(start, rows))


@contextmanager
def writing(out: Path, schema: pa.Schema, added: list[pa.Field], *, private: bool = False) -> Iterator[Write]:
    """Opens a file for rows of a schema and columns more, by its ending; it stands under its name when it is whole.

    `private`: nobody but its owner may read it. Errors: PostsweepError when it cannot be written.
    """
    target = out.resolve()
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    writer = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[out.suffix.lower()]
    try:
        temporary.touch(mode=PRIVATE_FILE if private else 0o666, exist_ok=False)
        with writer(temporary, schema, added) as write:
            yield write
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise PostsweepError(f"{out}: cannot be written ({error.strerror or error}); nothing was left there") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _parquet(path: Path, schema: pa.Schema, added: list[pa.Field]) -> Iterator[Write]:
    whole = pa.schema([*schema, *added], schema.metadata)
    with pq.ParquetWriter(path, whole, compression="zstd") as writer:

        def write(chunk: Chunk, further: pa.Table) -> None:
            if isinstance(chunk.rows, pa.Table):
                table = chunk.rows
            else:
                table = pa.table([_array(chunk.rows, field) for field in schema], schema)
            columns = [*table.columns, *(further.column(field.name) for field in added)]
            writer.write_table(pa.Table.from_arrays(columns, schema=whole))

        yield write


@contextmanager
def _csv(path: Path, schema: pa.Schema, added: list[pa.Field]) -> Iterator[Write]:
    names = [*schema.names, *(field.name for field in added)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(name) for name in names])

        def write(chunk: Chunk, further: pa.Table) -> None:
            for row, more in zip(chunk.dictionaries(), named_rows(further), strict=True):
                whole = row | more
                writer.writerow([_cell(whole.get(name)) for name in names])

        yield write


@contextmanager
def _jsonl(path: Path, schema: pa.Schema, added: list[pa.Field]) -> Iterator[Write]:
    with path.open("wb") as file:

        def write(chunk: Chunk, further: pa.Table) -> None:
            rows = chunk.dictionaries()
            for place, more in enumerate(named_rows(further)):
                # A line of JSON stays as it was written, up to its last brace: no number or escape is told otherwise.
                line = chunk.lines[place] if chunk.lines else orjson.dumps(rows[place], default=_json)
                comma = b"," if rows[place] else b""
                file.write(line[:-1].rstrip() + comma + orjson.dumps(more, default=_json)[1:] + b"\n")

        yield write


def named_rows(table: pa.Table) -> list[Row]:
    """The rows of a table by name, in values that JSON and CSV can hold or `cell_text` makes texts of.

    32-bit floats are the shortest decimals that stand for them: 0.35, not 0.3499999940395355.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_float32(field.type):
            column = table.column(place).cast(pa.string()).cast(pa.float64())
            table = table.set_column(place, field.name, column)
    return Chunk(table).dictionaries()


def _array(rows: list[Row], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if pa.types.is_string(field.type):
        values = [cell_text(value) for value in values]
    return pa.array(values, field.type)


_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _cell(value: Any) -> str:
    """A cell of CSV; a text that a spreadsheet would run as a formula, and no number, gets an apostrophe before it."""
    text = "" if value is None else cell_text(value) or ""
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def cell_text(value: Any) -> str | None:
    """A value where only texts are held: a text as it is, a moment by ISO 8601, bytes in base64, else JSON."""
    if value is None or isinstance(value, str):
        return None if value is None else well_formed(value)
    if isinstance(value, datetime | date | time | Decimal | bytes):
        return str(_json(value))
    return well_formed(json.dumps(value, default=_json, ensure_ascii=False))


def _json(value: Any) -> str | int:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0 and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


_NAMED = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def _kind(value: Any) -> str:
    """What decides a column's type; up to 2**53 a whole number is the same as a float."""
    if type(value) is int and abs(value) < 2**63:
        return "small int" if abs(value) <= 2**53 else "int"
    return type(value).__name__ if type(value) in (bool, float) else "text"


def _column_type(kinds: set[str]) -> pa.DataType:
    """The type of a JSONL column in Parquet: text, unless all of its values are of one certain kind."""
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds and kinds <= {"small int", "int"}:
        return pa.int64()
    if kinds and kinds <= {"small int", "float"}:
        return pa.float64()
    return pa.string()


def _grouped(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    group: list[T] = []
    total = 0
    for row in rows:
        group.append(row)
        total += size(row)
        if len(group) == CHUNK_ROWS or total >= CHUNK_BYTES:
            yield group
            group, total = [], 0
    if group:
        yield group


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tells what goes wrong while a file is read as that file's fault."""
    try:
        yield
    except pa.ArrowInvalid as error:
        told = str(error).partition("\n")[0][:200]
        raise PostsweepError(f"{path}: not Parquet, or damaged ({told}); restore the file") from None
    except OSError as error:
        raise PostsweepError(f"{path}: cannot be read ({error.strerror or error}); restore the file") from None


def _undecodable(path: Path) -> int:
    """The first line of a file that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
