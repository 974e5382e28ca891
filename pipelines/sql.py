"""SQL over an archive: DuckDB sees the sealed tables under plain names, and nothing else.

A query is kept from the rest of the machine in three ways, so that a hole in one of them is not a hole in all:

- DuckDB's own parser must find one statement that only reads, out of the archive's tables and its own subqueries, and
  no table function but a few that make rows out of their arguments. So a query names no file, setting or extension.
- The file system is closed but for the files that manifests name, extensions are neither installed nor loaded, Python's
  variables are no tables, and the configuration is locked.
- A file that a manifest names must lie in its table's folder, reached by no link.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any, TypeVar

import duckdb
import orjson
import pyarrow as pa

from crawlers.post import ACCOUNT_SCHEMA, IDENTITY_SCHEMA, POST_SCHEMA, REJECT_SCHEMA
from pipelines.archive import (
    PRIVATE_TABLES,
    TABLES,
    Manifest,
    read_archive,
    round_manifests,
    run_manifests,
    sweep_ids,
    sweep_manifest,
)
from pipelines.errors import ArchiveError, ConfigError, PostsweepError
from pipelines.progress import Progress
from pipelines.recheck_rounds import SIGHTING_SCHEMA
from pipelines.row_files import CHUNK_ROWS, ENDINGS, Chunk, cell_text, named_rows, writing
from pipelines.store import Store
from pipelines.terminal import print_table

MEMORY_LIMIT = "1GB"
"""What DuckDB may hold; the rest goes to a folder for temporary files."""

SHOWN = 100
"""Rows that a table on a terminal has unless asked for otherwise."""

ROW_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
"""The table functions that a query may call: they make rows out of their arguments alone."""

_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_READING = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_STATEMENTS = "select, from, with, values, describe, summarize or show tables"
_TIME = pa.timestamp("us", tz="UTC")
_TEXT, _COUNT = pa.string(), pa.int64()

SCORES = pa.schema([("uid", _TEXT), ("lang", _TEXT), ("windows", pa.int32()), ("flags", pa.list_(_TEXT))])
"""What every table of scores has, beside a column for each label."""

_SCHEMAS = {
    "posts": POST_SCHEMA,
    "scores": SCORES,
    "rejects": REJECT_SCHEMA,
    "identities": IDENTITY_SCHEMA,
    "accounts": ACCOUNT_SCHEMA,
    "sightings": SIGHTING_SCHEMA,
}
"""What a table without a file has for columns, beside those in its path."""

_SWEEPS = pa.schema(
    [
        ("sweep", _TEXT),
        ("generation", _COUNT),
        ("since", _TIME),
        ("until", _TIME),
        ("sealed_at", _TIME),
        ("posts", _COUNT),
        ("rejects", _COUNT),
        ("duplicates", _COUNT),
        ("sources", _COUNT),
        ("gaps", _COUNT),
        ("digest", _TEXT),
        ("manifest", _TEXT),
    ]
)
_RUNS = pa.schema(
    [
        ("run", _TEXT),
        ("sweep", _TEXT),
        ("generation", _COUNT),
        ("finished_at", _TIME),
        ("posts", _COUNT),
        ("scored", _COUNT),
        ("empty", _COUNT),
        ("unsupported", _COUNT),
        ("flags", pa.map_(_TEXT, _COUNT)),
        ("thresholds", pa.map_(_TEXT, pa.float64())),
        ("exactness", _TEXT),
        ("digest", _TEXT),
        ("manifest", _TEXT),
    ]
)

T = TypeVar("T")


@dataclass(frozen=True)
class _Engine:
    """A closed database over an archive at `root`, whose files it sees below `seen`."""

    connection: duckdb.DuckDBPyConnection
    root: Path
    seen: Path

    def run(self, work: Callable[[], T]) -> T:
        """Runs a query beside the main thread, which stays free for signals; what stops it stops the query."""
        found: Future[T] = Future()

        def run() -> None:
            try:
                found.set_result(work())
            except BaseException as error:
                found.set_exception(error)

        thread = Thread(target=run, name="query", daemon=True)
        try:
            thread.start()
            with self.told():
                return found.result()
        finally:
            while thread.is_alive():
                if not found.done():
                    self.connection.interrupt()
                thread.join(0.1)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tells what DuckDB complains of in one line, as the fault of the query, the archive or the machine."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            told = _one_line(str(error)).partition(" Possible solutions")[0]
            raise PostsweepError(f"query: needs more than {MEMORY_LIMIT} ({told}); ask for less at once") from None
        except duckdb.Error as error:
            told = _one_line(str(error))
            # What has no kind comes from the reader of Parquet: pages that are no pages.
            if isinstance(error, duckdb.IOException) or type(error) is duckdb.Error or str(self.seen) in told:
                said = f"a file cannot be read ({told.replace(str(self.seen), str(self.root))})"
                raise ArchiveError(f"{self.root}: {said}; `postsweep verify` says which") from None
            raise ConfigError(f"query: {told}") from None


@dataclass(frozen=True)
class Answer:
    """What a query gives, not run yet: each of the methods runs it. Errors: ConfigError (a mistake in the query),
    ArchiveError (a damaged file), PostsweepError (out of memory or disk).
    """

    _engine: _Engine
    _relation: duckdb.DuckDBPyRelation

    def table(self, limit: int | None = None) -> pa.Table:
        """The rows, or the first of them, as an Arrow table."""
        asked = self._relation if limit is None else self._relation.limit(limit)
        return self._engine.run(lambda: asked.to_arrow_reader(CHUNK_ROWS).read_all())

    def count(self) -> int:
        """How many rows there are."""
        counted = self._relation.aggregate("count(*)")
        return int(self._engine.run(counted.fetchall)[0][0])

    def write(self, out: Path, limit: int | None = None, *, private: bool = False) -> int:
        """Writes the rows, or the first of them, to a .parquet, .csv or .jsonl file, as they come; returns how many.

        `private`: nobody but its owner may read the file. Errors: also ConfigError (an unknown ending, no such folder,
        a place in the archive).
        """
        if out.suffix.lower() not in ENDINGS:
            raise ConfigError(f"{out}: unknown ending {out.suffix!r}; use one of {', '.join(ENDINGS)}")
        if not out.resolve().parent.is_dir() or out.is_dir():
            raise ConfigError(f"{out}: not a file in a folder that exists; name another")
        if out.resolve().is_relative_to(self._engine.root.resolve()):
            raise ConfigError(f"{out}: lies in the archive, which holds nothing but what was committed; name another")
        asked = self._relation if limit is None else self._relation.limit(limit)

        def written() -> int:
            count = 0
            reader = asked.to_arrow_reader(CHUNK_ROWS)
            with writing(out, pa.schema([]), list(reader.schema), private=private) as write:
                for batch in reader:
                    write(Chunk([{}] * batch.num_rows), pa.Table.from_batches([batch]))
                    count += batch.num_rows
            return count

        try:
            return self._engine.run(written)
        except (pa.ArrowNotImplementedError, TypeError, OverflowError) as error:
            told = str(error).partition("\n")[0]
            raise ConfigError(f"{out}: cannot hold a column of the answer ({told}); cast it to varchar") from None


@dataclass(frozen=True)
class Session:
    """An archive that is open for queries; `tables` are the names that these may read."""

    _engine: _Engine
    tables: frozenset[str]

    def ask(self, query: str) -> Answer:
        """Checks a query and plans it. Errors: ConfigError when it is not one that reads the archive's tables."""
        _check(self._engine, query, self.tables)
        with self._engine.told():
            # A subquery's columns have a name each, as files and tables need: of two that are called `uid` the second
            # is `uid_1`.
            return Answer(self._engine, self._engine.connection.sql(query).project("*"))

    def keep(self, name: str, query: str) -> "Session":
        """Runs a query and keeps its rows, out of core, as a table of the session that is returned.

        Errors: those of `ask` and of an answer.
        """
        _check(self._engine, query, self.tables)
        self._engine.run(lambda: self._engine.connection.execute(f"create temp table {name} as {query}"))
        return Session(self._engine, self.tables | {name})


@contextmanager
def open_sql(root: Path, *, restricted: bool = False, only: Collection[str] | None = None) -> Iterator[Session]:
    """Opens an archive for queries: `posts`, `scores`, `rejects`, `sightings`, `runs` and `sweeps`: all that is
    sealed.

    `only` names the sweeps that are looked at, with their runs; None stands for all. `restricted` adds `identities` and
    `accounts`, which lead back to people. The tables' partitions (`sweep`, `platform` and, of scores, `run`) are
    columns; scores have a column for every label of any run, null where a run has none. Errors: ArchiveError (no
    archive, a damaged manifest, a file that is missing or a link).
    """
    store = read_archive(root)
    ids = [each for each in sweep_ids(store) if only is None or each in only]
    sweeps = [found for each in ids if (found := sweep_manifest(store, each)) is not None]
    runs = [run for run in run_manifests(store) if only is None or run["sweep"] in only]
    names = [name for name in TABLES if restricted or name not in PRIVATE_TABLES]
    parts = {name: [part_file(store, part, name) for each in sweeps for part in each["parts"][name]] for name in names}
    rounds = [told for each in ids for told in round_manifests(store, each)]
    parts["sightings"] = [part_file(store, part, "sightings") for each in rounds for part in each["parts"]]
    parts["scores"] = [part_file(store, part, "scores") for each in runs for part in each["parts"]]
    with tempfile.TemporaryDirectory() as scratch, _opened(Path(scratch), store.root, parts) as engine:
        engine.connection.register("sweeps", pa.Table.from_pylist([_sweep_row(each) for each in sweeps], _SWEEPS))
        engine.connection.register("runs", pa.Table.from_pylist([_run_row(each) for each in runs], _RUNS))
        yield Session(engine, frozenset({*parts, "sweeps", "runs"}))


def answer_query(  # noqa: PLR0917 - what the command line gives
    root: Path, query: str, progress: Progress, out: Path | None, limit: int | None, restricted: bool
) -> str:
    """Prints a query's rows as a table, 100 of them unless `limit` says otherwise, or writes them to `out`.

    Returns a line that says how many. Errors: ConfigError (a mistake in the query or an option), ArchiveError,
    PostsweepError.
    """
    with open_sql(root, restricted=restricted) as session:
        answer = session.ask(query)
        if out is not None:
            with progress.stage("write"):
                count = answer.write(out, limit, private=restricted)
            return f"{out}: {count:,} rows"
        most = SHOWN if limit is None else limit
        with progress.stage("query"):
            found = answer.table(most + 1)
            count = found.num_rows if found.num_rows <= most else answer.count()
    shown = found.slice(0, most)
    numbers = [any(test(kind) for test in _NUMBERS) for kind in shown.schema.types]
    try:
        cells = [[cell_text(value) for value in row.values()] for row in named_rows(shown)]
    except OverflowError as error:  # a time of no year from 1 to 9999
        raise ConfigError(f"query: a column cannot be shown ({error}); cast it to varchar") from None
    print_table(shown.schema.names, cells, numbers)
    more = f"; {count - most:,} more, see --limit and --out" if count > most else ""
    return f"{shown.num_rows:,} row{'' if shown.num_rows == 1 else 's'}{more}"


def part_file(store: Store, part: dict[str, Any], table: str) -> str:
    """The path of a part below the archive. Errors: ArchiveError when it would lead elsewhere."""
    name: str = part["path"]
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or pure.parts[0] != table:
        raise ArchiveError(f"{store.root}: a manifest names {name!r} as a file of {table}; restore it from a backup")
    if store.path(name).resolve() != store.root.resolve() / name:
        raise ArchiveError(f"{store.path(name)}: reached by a link, which may lead anywhere; put the file itself there")
    if not store.path(name).is_file():
        raise ArchiveError(f"{store.path(name)}: missing; restore it (`postsweep verify` says what else is wrong)")
    return name


@contextmanager
def _opened(scratch: Path, root: Path, parts: dict[str, list[str]]) -> Iterator[_Engine]:
    """A database in memory that holds a view of each table and can open no file but theirs."""
    # Seen through a link, no folder above the archive is taken for a partition or a pattern.
    seen = scratch / "archive"
    seen.symlink_to(root.resolve(), target_is_directory=True)
    files = {table: [str(seen / name) for name in names] for table, names in parts.items()}
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch / "spill"),
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    with duckdb.connect(config=config) as connection:
        engine = _Engine(connection, root, seen)
        with engine.told():
            _lay_out(connection, files)
        yield engine


def _lay_out(connection: duckdb.DuckDBPyConnection, files: dict[str, list[str]]) -> None:
    """Makes the views, closes what is open, and locks it."""
    allowed = {path for paths in files.values() for name in paths for path in (name, escape(name))}
    for setting in (
        "TimeZone = 'UTC'",
        f"allowed_paths = {_list(sorted(allowed))}",
        "enable_external_access = false",
    ):
        connection.execute(f"set {setting}")
    for table, paths in files.items():
        if paths:
            rounds = " replace (round::int as round)" if table == "sightings" else ""
            connection.execute(
                f"create view {table} as select *{rounds} from read_parquet({_list([escape(path) for path in paths])}, "
                "hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
            )
        else:
            partitions = [pa.field(name, pa.string()) for name in ("sweep", "platform")]
            first = {"scores": [pa.field("run", pa.string())], "sightings": [pa.field("round", pa.int32())]}
            fields = [*_SCHEMAS[table], *first.get(table, []), *partitions]
            connection.register(table, pa.schema(fields).empty_table())
    connection.execute("set lock_configuration = true")


def _check(engine: _Engine, query: str, tables: frozenset[str]) -> None:
    """Whether a query is one statement that reads nothing but the tables, by DuckDB's own parser."""
    if "\0" in query or any("\ud800" <= char <= "\udfff" for char in query):
        raise ConfigError("query: holds a character that is none; give it in UTF-8")
    parsed = _parsed(engine, query)
    if parsed["error"] and parsed["error_type"] == "parser":
        at = f", character {int(parsed['position']) + 1}" if parsed.get("position") else ""
        raise ConfigError(f"query{at}: {_one_line(parsed['error_message'])}")
    if parsed["error"]:
        raise ConfigError(f"query: nothing but a query that reads is answered; begin it with {_STATEMENTS}")
    if len(parsed["statements"]) != 1:
        raise ConfigError(f"query: {len(parsed['statements'])} statements; give one")
    for node, known in _nodes(parsed["statements"][0]):
        if "cte_map" in node and node["type"] not in _READING:
            raise ConfigError(f"query: nothing in it may write; begin its parts with {_STATEMENTS}")
        if node.get("type") == "BASE_TABLE":
            name = node["table_name"]
            # `recurring` is where a recursive part finds all of its rows so far.
            is_own = name.lower() in known and node["schema_name"].lower() in ("", "recurring")
            if not is_own and name.lower() not in tables:
                raise ConfigError(_no_table(name, tables))
        if node.get("type") == "TABLE_FUNCTION" and node["function"]["function_name"].lower() not in ROW_FUNCTIONS:
            name = node["function"]["function_name"]
            raise ConfigError(f"query: {name}() is closed; a query reads the tables {', '.join(sorted(tables))}")


def _parsed(engine: _Engine, query: str) -> dict[str, Any]:
    with engine.told():
        ((text,),) = engine.connection.execute("select json_serialize_sql(?)", [query]).fetchall()
    try:
        parsed: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ConfigError("query: nested too deep; write it with fewer brackets or operators in a row") from None
    return parsed


def _nodes(tree: Any) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """All objects of a parsed query, each with the names of the query's own parts that it can see: a name that is a
    part's elsewhere is a table's here, or a file's."""
    waiting: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while waiting:
        node, known = waiting.pop()
        if isinstance(node, list):
            waiting.extend((each, known) for each in node)
        elif isinstance(node, dict):
            if node.get("type") == "RECURSIVE_CTE_NODE":
                known |= {node["cte_name"].lower()}
            for part in node["cte_map"]["map"] if "cte_map" in node else ():
                waiting.append((part["value"], known))
                known |= {part["key"].lower()}
            yield node, known
            waiting.extend((value, known) for key, value in node.items() if key != "cte_map")


def _no_table(name: str, tables: frozenset[str]) -> str:
    if name in PRIVATE_TABLES:
        return f"query: {name} leads back to people and is closed; open it with --restricted"
    return f"query: no table {name}; there are {', '.join(sorted(tables))}"


def _one_line(message: str) -> str:
    """DuckDB's message without its kind and without the drawing of where in the query."""
    said = message.partition("\n\nLINE ")[0]
    kind, colon, rest = said.partition(" Error: ")
    return " ".join((rest if colon and "\n" not in kind else said).split())


def _sweep_row(manifest: Manifest) -> dict[str, Any]:
    window, counts = manifest["window"], manifest["counts"]
    return {
        **{key: manifest[key] for key in ("sweep", "generation", "digest")},
        **{key: counts[key] for key in ("posts", "rejects", "duplicates")},
        "since": _moment(window["since"]),
        "until": _moment(window["until"]),
        "sealed_at": _moment(manifest["sealed_at"]),
        "sources": len(manifest["sources"]),
        "gaps": sum(len(source["gaps"]) for source in manifest["sources"]),
        "manifest": _without_parts(manifest),
    }


def _run_row(manifest: Manifest) -> dict[str, Any]:
    counts = manifest["counts"]
    return {
        **{key: manifest[key] for key in ("run", "sweep", "generation", "exactness", "digest")},
        **{key: counts[key] for key in ("posts", "scored", "empty", "unsupported")},
        "finished_at": _moment(manifest["finished_at"]),
        "flags": list(counts["flags"].items()),
        "thresholds": [(label["name"], label["threshold"]) for label in manifest["labels"]],
        "manifest": _without_parts(manifest),
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _without_parts(manifest: Manifest) -> str:
    return orjson.dumps({key: value for key, value in manifest.items() if key != "parts"}).decode()


def _list(values: list[str]) -> str:
    quoted = ("'" + value.replace("'", "''") + "'" for value in values)
    return f"[{', '.join(quoted)}]"
