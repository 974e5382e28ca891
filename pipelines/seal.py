"""Sealing: page shards become the sorted, evenly sized parts of a sealed sweep, once.

Two phases, so that a kill at any moment is mended by running it again. First everything is staged beside the shards and
the finished manifest is laid down there as a draft: from then on the crawl is over. Then each table's folder is moved
to its place by one rename, the manifest is created, and the shards go. DuckDB joins and sorts out of core.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.post import ACCOUNT_SCHEMA, IDENTITY_SCHEMA, POST_SCHEMA, REJECT_SCHEMA
from pipelines.archive import (
    FORMAT,
    PRIVATE_TABLES,
    TABLES,
    Manifest,
    incoming,
    moment,
    private_incoming,
    software,
    sweep_manifest,
    sweep_manifest_name,
    write_manifest,
)
from pipelines.digests import combine, file_sha256, row_digests
from pipelines.lease import Lease
from pipelines.shards import Row, Shard, private_names, shard_metadata, shards_of
from pipelines.store import PRIVATE_FILE, Store, disk_errors

ROW_GROUP = 8192
"""Rows of a row group: what a reader of a part holds at once."""
MEMORY_LIMIT = "384MB"
"""What DuckDB may hold; the rest of a sort goes to the archive's scratch folder."""

_SCHEMAS = {"posts": POST_SCHEMA, "rejects": REJECT_SCHEMA, "identities": IDENTITY_SCHEMA, "accounts": ACCOUNT_SCHEMA}


@dataclass(frozen=True)
class SealSettings:
    """What the manifest says of a sweep besides its rows: all of it public. `part_rows`: the most rows of a part."""

    sweep: str
    window: Row
    config: Row
    sources: list[str]
    fingerprint: str
    part_rows: int


def seal(store: Store, lease: Lease, settings: SealSettings) -> Manifest:
    """Seals a sweep whose crawl is over, or goes on with a sealing that was cut off; returns the manifest.

    Errors: ArchiveError (no space left, lease lost).
    """
    sweep = settings.sweep
    sealed = sweep_manifest(store, sweep)
    if sealed is None:
        draft = _draft_name(sweep)
        if not store.exists(draft):
            manifest = _stage(store, settings)
            lease.check(store)
            store.put(draft, orjson.dumps(manifest))
        sealed = orjson.loads(store.read(draft) or b"")
        lease.check(store)
        for table in TABLES:
            if sealed["parts"][table]:
                store.move_folder(_staging(table, sweep), f"{table}/sweep={sweep}")
        write_manifest(store, sweep_manifest_name(sweep), sealed)
    clear_incoming(store, sweep)
    return sealed


def is_sealing(store: Store, sweep: str) -> bool:
    """Whether a sealing was begun that must be finished before anything else: the crawl is over."""
    return store.exists(_draft_name(sweep))


def clear_incoming(store: Store, sweep: str) -> None:
    """Removes the shards of a sealed sweep; what a kill left of them, too."""
    store.remove(private_incoming(sweep))
    store.remove(incoming(sweep))


def _draft_name(sweep: str) -> str:
    return f"{incoming(sweep)}/_manifest.json"


def _staging(table: str, sweep: str) -> str:
    base = private_incoming(sweep) if table in PRIVATE_TABLES else incoming(sweep)
    return f"{base}/_sealing/{table}"


def _stage(store: Store, settings: SealSettings) -> Manifest:
    sweep = settings.sweep
    shards = shards_of(store, sweep)
    for table in TABLES:
        store.remove(_staging(table, sweep))
    sources = _sources(store, shards, settings.sources)
    parts: dict[str, list[Row]] = {table: [] for table in TABLES}
    rows = _Rows(store, sweep, shards)
    digests: list[bytes] = []
    try:
        for platform in sorted({shard.name.split("platform=")[1].split("/")[0] for shard in shards}):
            rows.gather(platform)
            for table in TABLES:
                writer = _Parts(store, sweep, table, platform, settings.part_rows)
                written = writer.write(rows.count(table), rows.read(table))
                parts[table] += written
                if table == "posts":
                    digests += writer.digests
    finally:
        rows.close()
    for table in TABLES:
        if parts[table]:
            store.sync_folder(_staging(table, sweep))
    posts = sum(part["rows"] for part in parts["posts"])
    seen = sum(source["posts"] for source in sources)
    platforms: dict[str, int] = {}
    for part in parts["posts"]:
        platforms[part["platform"]] = platforms.get(part["platform"], 0) + part["rows"]
    return {
        "format": FORMAT,
        "sweep": sweep,
        "generation": 0,
        "sealed_at": moment(datetime.now(UTC)),
        "window": settings.window,
        "config": settings.config,
        "sources": sources,
        "counts": {
            "posts": posts,
            "rejects": sum(part["rows"] for part in parts["rejects"]),
            "duplicates": seen - posts,
            "platforms": platforms,
        },
        "parts": parts,
        "digest": combine(digests),
        "pseudonym_key": settings.fingerprint,
        "software": software(),
    }


def _sources(store: Store, shards: list[Shard], order: list[str]) -> list[Row]:
    """What became of each source, summed over its shards; gaps are those of the last try."""
    found: dict[str, Row] = {}
    for shard in shards:
        meta = shard_metadata(store.path(shard.name))
        source = found.setdefault(
            meta["source"],
            {
                **{key: meta[key] for key in ("source", "platform", "host")},
                **dict.fromkeys(("pages", "posts", "rejects", "outside"), 0),
                "traffic": dict.fromkeys(meta["traffic"], 0),
            },
        )
        for key in ("pages", "posts", "outside"):
            source[key] += meta[key]
        source["rejects"] += len(meta["rejects"])
        source["traffic"] = {key: source["traffic"][key] + value for key, value in meta["traffic"].items()}
        source["state"], source["gaps"] = meta["state"], meta["gaps"]
    return sorted(found.values(), key=lambda source: (order.index(source["source"]), source["source"]))


class _Parts:
    """Writes one table of one platform in parts of nearly equal size."""

    def __init__(self, store: Store, sweep: str, table: str, platform: str, part_rows: int) -> None:
        self._store = store
        self._folder = f"{_staging(table, sweep)}/platform={platform}"
        self._final = f"{table}/sweep={sweep}/platform={platform}"
        self._platform = platform
        self._schema = _SCHEMAS[table]
        self._table = table
        self._part_rows = part_rows
        self.digests: list[bytes] = []

    def write(self, count: int, batches: Iterator[pa.Table]) -> list[Row]:
        """Writes `count` rows; a platform without a post still gets one empty part of posts and identities."""
        if count == 0 and self._table in ("rejects", "accounts"):
            return []
        parts = max(1, -(-count // self._part_rows))
        sizes = [count // parts + (index < count % parts) for index in range(parts)]
        waiting = _Slices(batches, self._schema)
        return [self._part(index, size, waiting) for index, size in enumerate(sizes)]

    def _part(self, index: int, size: int, waiting: "_Slices") -> Row:
        name = f"{self._folder}/part-{index:05d}.parquet"
        digests: list[bytes] = []
        private = self._table in PRIVATE_TABLES
        with self._store.writing(name, private=private) as path:
            with pq.ParquetWriter(path, self._schema, compression="zstd") as writer:
                for table in waiting.take(size):
                    digests += row_digests(table)
                    writer.write_table(table)
            if private:
                path.chmod(PRIVATE_FILE)
        self.digests += digests
        written = self._store.path(name)
        return {
            "path": f"{self._final}/part-{index:05d}.parquet",
            "platform": self._platform,
            "rows": size,
            "bytes": written.stat().st_size,
            "sha256": file_sha256(written),
            "digest": combine(digests),
        }


class _Slices:
    """Cuts a stream of tables into pieces of a row group at most, counted out to the parts."""

    def __init__(self, batches: Iterator[pa.Table], schema: pa.Schema) -> None:
        self._batches = batches
        self._schema = schema
        self._rest = schema.empty_table()

    def take(self, count: int) -> Iterator[pa.Table]:
        """The next `count` rows. The cutting depends on the counts alone, never on how the stream was batched."""
        while count:
            size = min(count, ROW_GROUP)
            while self._rest.num_rows < size:
                self._rest = pa.concat_tables([self._rest, next(self._batches).cast(self._schema)])
            yield self._rest.slice(0, size).combine_chunks()
            self._rest = self._rest.slice(size)
            count -= size


_WINNERS = """
create or replace temp table winners as
select * from (
    select uid, filename, file_row_number, row_number() over (
        partition by uid
        order by edited_at desc nulls last, filled desc, source, fetched_at desc, filename, file_row_number
    ) as place
    from sightings
) where place = 1
"""

_SIGHTINGS = """
create or replace temp table sightings as
select uid, source, edited_at, fetched_at, input_digest, filename, file_row_number, ({filled}) as filled
from read_parquet({files}, filename = true, file_row_number = true, hive_partitioning = false)
"""

_SEEN = """
create or replace temp table seen as
select uid, list_sort(list(distinct source)) as seen_by, max(versions) - 1 as version from (
    select uid, source, count(distinct (edited_at, input_digest)) as versions from sightings group by uid, source
) group by uid
"""

_POSTS = """
select {columns}
from read_parquet({files}, filename = true, file_row_number = true, hive_partitioning = false) as post
join winners on winners.filename = post.filename and winners.file_row_number = post.file_row_number
join seen on seen.uid = post.uid
left join aliases as reply on reply.alias = post.reply_to
left join aliases as repost on repost.alias = post.repost_of
left join aliases as quote on quote.alias = post.quote_of
order by post.uid
"""

_IDENTITIES = """
select {columns} from (
    select *, row_number() over (partition by uid order by source, fetched_at desc, filename, file_row_number) as place
    from read_parquet({files}, filename = true, file_row_number = true, hive_partitioning = false)
) where place = 1 order by uid
"""

_ACCOUNTS = """
select {columns} from (
    select *, row_number() over (partition by author order by fetched_at desc, filename, file_row_number) as place
    from read_parquet({files}, filename = true, file_row_number = true, hive_partitioning = false)
) where place = 1 order by author
"""

_PLACED = {
    "seen_by": "seen.seen_by",
    "version": "seen.version",
    "reply_to": "coalesce(reply.uid, post.reply_to)",
    "repost_of": "coalesce(repost.uid, post.repost_of)",
    "quote_of": "coalesce(quote.uid, post.quote_of)",
}


class _Rows:
    """The rows of each sealed table, one platform at a time, streamed in order out of DuckDB."""

    def __init__(self, store: Store, sweep: str, shards: list[Shard]) -> None:
        self._store = store
        self._sweep = sweep
        self._shards = shards
        self._files: dict[str, list[str]] = {}
        with disk_errors(store.root):
            self._connection = duckdb.connect()
            self._run("set TimeZone = 'UTC'")
            self._run(f"set memory_limit = '{MEMORY_LIMIT}'")
            self._run("set threads = 2")
            self._run("set preserve_insertion_order = false")
            self._run(f"set temp_directory = {_text(store.scratch(private=True))}")

    def _run(self, query: str) -> list[tuple[object, ...]]:
        return self._connection.execute(query).fetchall()

    def close(self) -> None:
        """Frees the memory and the temporary files."""
        self._connection.close()

    def gather(self, platform: str) -> None:
        """Decides, for one platform, which sighting of each post wins and which name each relation has."""
        shards = [shard for shard in self._shards if f"/platform={platform}/" in shard.name]
        private = [private_names(shard.name, self._sweep) for shard in shards]
        self._files = {
            "posts": self._existing([shard.name for shard in shards]),
            "identities": self._existing([identities for identities, _ in private]),
            "accounts": self._existing([accounts for _, accounts in private]),
            "rejects": [shard.name for shard in shards],
        }
        filled = " + ".join(
            f'("{name}" is not null)::int' for name in POST_SCHEMA.names if POST_SCHEMA.field(name).nullable
        )
        run = self._run
        run(_SIGHTINGS.format(filled=filled, files=_texts(self._files["posts"])))
        run(_WINNERS)
        run(_SEEN)
        run(
            "create or replace temp table aliases as select alias, min(uid) as uid "
            f"from read_parquet({_texts(self._files['identities'])}, hive_partitioning = false) "
            "where alias is not null group by alias"
        )

    def count(self, table: str) -> int:
        """How many rows a table of the gathered platform will have."""
        if table == "rejects":
            return sum(len(shard_metadata(self._store.path(name))["rejects"]) for name in self._files["rejects"])
        if not self._files[table]:
            return 0
        key = "author" if table == "accounts" else "uid"
        files = _texts(self._files[table])
        ((counted,),) = self._run(f"select count(distinct {key}) from read_parquet({files}, hive_partitioning = false)")
        return int(str(counted))

    def read(self, table: str) -> Iterator[pa.Table]:
        """The rows of a table of the gathered platform, in order."""
        if table == "rejects":
            yield from self._rejects()
            return
        if not self._files[table]:
            return
        query = {"posts": _POSTS, "identities": _IDENTITIES, "accounts": _ACCOUNTS}[table]
        prefix = "post." if table == "posts" else ""
        placed = _PLACED if table == "posts" else {}
        columns = ", ".join(f'{placed.get(n, prefix + chr(34) + n + chr(34))} as "{n}"' for n in _SCHEMAS[table].names)
        relation = self._connection.sql(query.format(columns=columns, files=_texts(self._files[table])))
        for batch in relation.to_arrow_reader(ROW_GROUP):
            yield pa.Table.from_batches([batch])

    def _rejects(self) -> Iterator[pa.Table]:
        for name in self._files["rejects"]:
            rejects = shard_metadata(self._store.path(name))["rejects"]
            for reject in rejects:
                reject["fetched_at"] = datetime.fromisoformat(reject["fetched_at"])
            yield pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA)

    def _existing(self, names: list[str]) -> list[str]:
        return [str(path) for name in names if (path := self._store.path(name)).exists()]


def _text(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _texts(values: list[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"

