"""Scores a file of texts: the same rows in the same order, with a column per label and one of flags.

Rows stream through in batches; the output stands under its name only when it is whole.
"""

import csv
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from classify.model import Model, load, prepare
from classify.scoring import TOKEN_BUDGET, score_texts
from pipelines.errors import ConfigError, PostsweepError
from pipelines.progress import Progress

BATCH_ROWS = 1024
ENDINGS = (".jsonl", ".csv", ".parquet")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]
Write = Callable[[list[Row]], None]


def score_file(source: Path, out: Path, text_field: str, model: str, progress: Progress) -> dict[str, int]:
    """Scores a JSONL, CSV or Parquet file into one of those, by their endings; returns the counts.

    Errors: ConfigError (no such file or column, an unknown ending, a name that is taken), PostsweepError (a broken
    row), ModelError.
    """
    for path in (source, out):
        if path.suffix.lower() not in ENDINGS:
            raise ConfigError(f"{path}: unknown ending {path.suffix!r}; use one of {', '.join(ENDINGS)}")
    if not source.is_file():
        raise ConfigError(f"{source}: no such file")
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"{out}: its folder does not exist; make it first")
    with progress.stage("prepare model"):
        loaded = load(prepare(model))
    columns = _columns(source)
    _check_names(source, columns, text_field, loaded)
    counts = {"rows": 0, "scored": 0, "flagged": 0}
    with progress.stage("score") as stage, _writing(out, source, columns, loaded) as write:
        for rows in _batched(_read(source, columns)):
            scored = _score(rows, text_field, loaded, source, counts["rows"])
            write(scored)
            counts["rows"] += len(scored)
            counts["scored"] += sum(any(row[label.name] is not None for label in loaded.labels) for row in scored)
            counts["flagged"] += sum(bool(row["flags"]) for row in scored)
            stage.advance(len(scored))
            stage.note(f"{counts['rows']:,} rows")
    return counts


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while batch := list(itertools.islice(rest, BATCH_ROWS)):
        yield batch


def _score(rows: list[Row], field: str, model: Model, source: Path, before: int) -> list[Row]:
    texts = [row.get(field) for row in rows]
    for index, text in enumerate(texts):
        if text is not None and not isinstance(text, str):
            raise PostsweepError(f"{source}: row {before + index + 1}: {field} is not a text; see --text-field")
    scores = score_texts(model, texts, TOKEN_BUDGET).drop_columns(["lang", "windows"]).to_pylist()
    return [{**row, **score} for row, score in zip(rows, scores, strict=True)]


def _check_names(source: Path, columns: list[str] | None, field: str, model: Model) -> None:
    """Columns are None for JSONL, whose rows may differ."""
    if columns is None:
        columns = list(next(_read(source, None), {field: None}))
    if field not in columns:
        raise ConfigError(f"{source}: no column {field!r}; there are {', '.join(columns[:20])}; see --text-field")
    taken = sorted({*(label.name for label in model.labels), "flags"} & set(columns))
    if taken:
        raise ConfigError(f"{source}: has a column {taken[0]!r} already, which the scores would take; rename it")


def _columns(source: Path) -> list[str] | None:
    ending = source.suffix.lower()
    try:
        if ending == ".parquet":
            return list(pq.read_schema(source).names)
        if ending == ".csv":
            with source.open(encoding="utf-8-sig", newline="") as file:
                return next(csv.reader(file), [])
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise PostsweepError(f"{source}: not {ending[1:].upper()} ({str(error).splitlines()[0]})") from None
    return None


def _read(source: Path, columns: list[str] | None) -> Iterator[Row]:
    ending = source.suffix.lower()
    if ending == ".parquet":
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
    elif ending == ".csv":
        yield from _read_csv(source, columns or [])
    else:
        with source.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise PostsweepError(f"{source}:{number}: not JSON ({error.msg}); mend the line") from None
                if not isinstance(row, dict):
                    raise PostsweepError(f"{source}:{number}: not a JSON object; mend or remove the line")
                yield row


def _read_csv(source: Path, columns: list[str]) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(reader, None)
        try:
            for cells in reader:
                if len(cells) != len(columns):
                    raise PostsweepError(
                        f"{source}:{reader.line_num}: {len(cells)} cells, {len(columns)} in the header; mend it"
                    )
                yield dict(zip(columns, cells, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise PostsweepError(f"{source}:{reader.line_num}: not CSV in UTF-8 ({error}); mend the file") from None


@contextmanager
def _writing(out: Path, source: Path, columns: list[str] | None, model: Model) -> Iterator[Write]:
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    ending = out.suffix.lower()
    writer = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[ending]
    try:
        with writer(temporary, source, columns, model) as write:
            yield write
        temporary.replace(out)
    except OSError as error:
        raise PostsweepError(f"{out}: cannot be written ({error.strerror}); nothing was left there") from None
    finally:
        temporary.unlink(missing_ok=True)


def _all_columns(source: Path, columns: list[str] | None) -> list[str]:
    """The columns of the input; JSONL is read once more for them, as its rows may differ."""
    return columns if columns is not None else list(dict.fromkeys(key for row in _read(source, None) for key in row))


def _added(model: Model) -> list[pa.Field]:
    labels = [pa.field(label.name, pa.float32()) for label in model.labels]
    return [*labels, pa.field("flags", pa.list_(pa.string()))]


@contextmanager
def _parquet(path: Path, source: Path, columns: list[str] | None, model: Model) -> Iterator[Write]:
    if source.suffix.lower() == ".parquet":
        before = list(pq.read_schema(source).remove_metadata())
    else:
        # Text, unless a type is certain: what a JSON row holds beside texts is written as JSON.
        before = [pa.field(name, pa.string()) for name in _all_columns(source, columns)]
    schema = pa.schema([*before, *_added(model)])
    as_text = [field.name for field in before] if source.suffix.lower() == ".jsonl" else []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: list[Row]) -> None:
            plain = [{**row, **{name: _text(row.get(name)) for name in as_text}} for row in rows]
            writer.write_table(pa.Table.from_pylist(plain, schema=schema))

        yield write


@contextmanager
def _csv(path: Path, source: Path, columns: list[str] | None, model: Model) -> Iterator[Write]:
    names = [*_all_columns(source, columns), *(field.name for field in _added(model))]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(name) for name in names])

        def write(rows: list[Row]) -> None:
            writer.writerows([_cell(row.get(name)) for name in names] for row in rows)

        yield write


@contextmanager
def _jsonl(path: Path, source: Path, columns: list[str] | None, model: Model) -> Iterator[Write]:
    with path.open("wb") as file:

        def write(rows: list[Row]) -> None:
            file.writelines(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

        yield write


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _cell(value: Any) -> str:
    """A cell: lists as JSON; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    return "" if value is None else repr(value) if isinstance(value, float) else _text(value) or ""
