"""Sealing: page shards become the sorted, evenly sized parts of a sealed sweep, once.

Two phases, so that a kill at any moment is mended by running it again. First everything is staged beside the shards and
the finished manifest is laid down there as a draft: from then on the crawl is over. Then each table's folder is moved
to its place by one rename, the manifest is created, and the shards go. Rows are sorted by `sorting.py`, out of core.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
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
from pipelines.digests import UNSTABLE, Digest, file_sha256, row_digests
from pipelines.errors import ArchiveError
from pipelines.lease import Lease
from pipelines.shards import Row, Shard, shards_of
from pipelines.sorting import Follower, firsts, group_by_hash, sort_by_hash
from pipelines.store import PRIVATE_FILE, Store, disk_errors

ROW_GROUP = 8192
"""Rows of a row group: what a reader of a part holds at once."""

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

    Errors: ArchiveError (a source that was not read to an end, no space left, lease lost).
    """
    sweep = settings.sweep
    sealed = sweep_manifest(store, sweep)
    if sealed is None:
        draft = _draft_name(sweep)
        if not store.exists(draft):
            staged = {"token": lease.token, "manifest": _stage(store, settings, lease.token)}
            lease.check(store)
            store.create(draft, orjson.dumps(staged))
        lease.check(store)
        sealed = finish_sealing(store, sweep)
    clear_incoming(store, sweep)
    return sealed


def finish_sealing(store: Store, sweep: str) -> Manifest:
    """The second phase of a sealing: what is staged moves to its place, and the manifest is created."""
    staged = orjson.loads(store.read(_draft_name(sweep)) or b"")
    sealed: Manifest = staged["manifest"]
    for table in TABLES:
        if sealed["parts"][table]:
            staging = _staging(table, sweep, staged["token"])
            store.move_folder(staging, f"{table}/sweep={sweep}", private=table in PRIVATE_TABLES)
    write_manifest(store, sweep_manifest_name(sweep), sealed)
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


def _staging(table: str, sweep: str, token: int) -> str:
    """Where a holder of the lease, known by its token, stages a table."""
    base = private_incoming(sweep) if table in PRIVATE_TABLES else incoming(sweep)
    return f"{base}/_sealing.{token}/{table}"


def _stage(store: Store, settings: SealSettings, token: int) -> Manifest:
    sweep = settings.sweep
    shards = shards_of(store, sweep)
    # No draft stands, so what earlier holders of the lease staged is of no use, and may be what fills the disk.
    for folder in (incoming(sweep), private_incoming(sweep)):
        for left in store.matching(f"{folder}/_sealing.*"):
            store.remove(left)
    sources = _sources(shards, settings)
    parts: dict[str, list[Row]] = {table: [] for table in TABLES}
    whole = Digest()
    with disk_errors(store.root), TemporaryDirectory(dir=store.scratch(private=True)) as scratch:
        for platform in sorted({shard.platform for shard in shards}):
            rows = _Rows(store, sweep, [shard for shard in shards if shard.platform == platform], Path(scratch))
            for table in TABLES:
                staging = f"{_staging(table, sweep, token)}/platform={platform}"
                writer = _Parts(store, sweep, table, platform, staging, settings.part_rows)
                of = whole if table == "posts" else None
                parts[table] += writer.write(rows.count(table), rows.read(table), of)
    for table in TABLES:
        if parts[table]:
            store.sync_folder(_staging(table, sweep, token))
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
        "digest": whole.hex,
        "pseudonym_key": settings.fingerprint,
        "software": software(),
    }


def _sources(shards: list[Shard], settings: SealSettings) -> list[Row]:
    """What became of each source, summed over its shards; gaps are those of the last try.

    Errors: ArchiveError when one was not read to an end, be it with a gap: what is missing must never go unsaid.
    """
    found: dict[str, Row] = {}
    for meta in (shard.meta for shard in shards):
        source = found.setdefault(
            meta["source"],
            {
                **{key: meta[key] for key in ("source", "platform", "host")},
                **dict.fromkeys(("pages", "posts", "rejects", "outside"), 0),
                "traffic": dict.fromkeys(meta["traffic"], 0),
            },
        )
        for key in ("pages", "posts", "rejects", "outside"):
            source[key] += meta[key]
        source["traffic"] = {key: source["traffic"][key] + value for key, value in meta["traffic"].items()}
        source["state"], source["gaps"] = meta["state"], meta["gaps"]
    unread = [name for name in settings.sources if name not in found or found[name]["state"] == "open"]
    if unread:
        raise ArchiveError(
            f"sweep {settings.sweep}: {len(unread)} of its sources were not read to an end, {unread[0]} first; "
            "run the same command again"
        )
    return [found[name] for name in settings.sources]


class _Parts:
    """Writes one table of one platform in parts of nearly equal size."""

    def __init__(  # noqa: PLR0917 - what a part is of, where it goes, how large it is
        self, store: Store, sweep: str, table: str, platform: str, staging: str, part_rows: int
    ) -> None:
        self._store = store
        self._folder = staging
        self._final = f"{table}/sweep={sweep}/platform={platform}"
        self._platform = platform
        self._schema = _SCHEMAS[table]
        self._table = table
        self._part_rows = part_rows

    def write(self, count: int, batches: Iterator[pa.Table], whole: Digest | None) -> list[Row]:
        """Writes `count` rows and adds them to a digest of the whole; a platform without a post still gets one
        empty part of posts and identities."""
        if count == 0 and self._table in ("rejects", "accounts"):
            return []
        parts = max(1, -(-count // self._part_rows))
        sizes = [count // parts + (index < count % parts) for index in range(parts)]
        waiting = _Slices(batches, self._schema)
        return [self._part(index, size, waiting, whole) for index, size in enumerate(sizes)]

    def _part(self, index: int, size: int, waiting: "_Slices", whole: Digest | None) -> Row:
        name = f"{self._folder}/part-{index:05d}.parquet"
        digest = Digest(whole)
        private = self._table in PRIVATE_TABLES
        with self._store.writing(name, private=private) as path:
            with pq.ParquetWriter(path, self._schema, compression="zstd") as writer:
                for table in waiting.take(size):
                    for row in row_digests(table):
                        digest.add(row)
                    writer.write_table(table)
            if private:
                path.chmod(PRIVATE_FILE)
        written = self._store.path(name)
        return {
            "path": f"{self._final}/part-{index:05d}.parquet",
            "platform": self._platform,
            "rows": size,
            "bytes": written.stat().st_size,
            "sha256": file_sha256(written),
            "digest": digest.hex,
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


_PRECEDENCE = [
    ("uid", "ascending"),
    ("edited_at", "descending"),
    ("filled", "descending"),
    ("source", "ascending"),
    ("fetched_at", "descending"),
]
"""Of several sightings of a post the first in this order is its row: the newest edit, then the one with most fields."""
_OF_TABLE = {
    "identities": [("uid", "ascending"), ("source", "ascending"), ("fetched_at", "descending")],
    "accounts": [("author", "ascending"), ("fetched_at", "descending")],
}
_RELATIONS = ("reply_to", "repost_of", "quote_of")
_NAMED = pa.schema([("alias", pa.string()), ("uid", pa.string())])
_RESOLVED = pa.schema([("uid", pa.string()), ("alias", pa.string()), ("target", pa.string())])


class _Rows:
    """The rows of each sealed table of one platform, in order; no more than a bounded piece of them is in memory."""

    def __init__(self, store: Store, sweep: str, shards: list[Shard], scratch: Path) -> None:
        self._scratch = scratch
        self._shards = shards
        self._files = {"posts": [store.path(shard.name) for shard in shards]}
        for table in ("identities", "accounts", "rejects"):
            paths = [store.path(shard.beside(sweep, table)) for shard in shards]
            self._files[table] = [path for path in paths if table == "identities" or path.exists()]

    def count(self, table: str) -> int:
        """How many rows a table of the platform will have."""
        if table == "rejects":
            return sum(shard.meta["rejects"] for shard in self._shards)
        key = "author" if table == "accounts" else "uid"
        ordered = sort_by_hash(self._tables(table, [key]), [(key, "ascending")], self._scratch)
        return sum(len(firsts(each, key)) for each in ordered)

    def read(self, table: str) -> Iterator[pa.Table]:
        """The rows of a table of the platform, in order."""
        if table == "rejects":
            yield from self._tables("rejects")
        elif table == "posts":
            yield from self._posts()
        else:
            keys = _OF_TABLE[table]
            for each in sort_by_hash(self._tables(table), keys, self._scratch):
                yield each.take(firsts(each, keys[0][0]))

    def _posts(self) -> Iterator[pa.Table]:
        sightings = (each.append_column("filled", _filled(each)) for each in self._tables("posts"))
        resolved = sort_by_hash(self._resolved(), [("uid", "ascending")], self._scratch)
        targets = Follower(resolved, "uid", _RESOLVED)
        for each in sort_by_hash(sightings, _PRECEDENCE, self._scratch):
            merged = _merged(each.drop_columns("filled"))
            yield _related(merged, targets.through(merged.column("uid")[-1].as_py()))

    def _resolved(self) -> Iterator[pa.Table]:
        """For each post the relations that name a post of this sweep by its native name, and that post's uid."""
        if not any(each.num_rows for each in self._named("identities", ["alias"])):
            return  # a platform whose posts are named globally alone
        keys = [("alias", "ascending"), ("uid", "ascending")]
        names = Follower(sort_by_hash(self._named("identities", ["alias"]), keys, self._scratch), "alias", _NAMED)
        known = _NAMED.empty_table()
        for asks in group_by_hash(self._named("posts", _RELATIONS), "alias", self._scratch):
            last = asks.column("alias")[-1].as_py()
            # Tables of one much asked name overlap: the names that the next one may ask for again stay.
            known = known.filter(pc.equal(pc.utf8_slice_codeunits(known.column("alias"), 0, 8), last[:8]))
            known = pa.concat_tables([known, names.through(last)])
            targets = known.column("uid").take(pc.index_in(asks.column("alias"), value_set=known.column("alias")))
            found = pa.table([asks.column("uid"), asks.column("alias"), targets], schema=_RESOLVED)
            yield found.filter(pc.is_valid(targets))

    def _named(self, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Native names in any of the columns, with the uid of the row."""
        for each in self._tables(table, ["uid", *columns]):
            for column in columns:
                given = each.filter(pc.is_valid(each.column(column)))
                yield pa.table([given.column(column), given.column("uid")], schema=_NAMED)

    def _tables(self, table: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        for path in self._files[table]:
            read = pq.read_table(path, columns=columns, partitioning=None).replace_schema_metadata(None)
            yield read if columns is not None else _widened(read, _SCHEMAS[table])


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of a shard that earlier code wrote, with nulls in the columns that came since: they stand last."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _filled(posts: pa.Table) -> pa.Array:
    """How many of its fields each row has, but for those that change from one fetch to the next."""
    filled = np.zeros(posts.num_rows, np.int32)
    for name in sorted(set(POST_SCHEMA.names) - UNSTABLE):
        filled += posts.column(name).is_valid().to_numpy()
    return pa.array(filled)


def _merged(sightings: pa.Table) -> pa.Table:
    """One row per post out of sightings in the order of precedence: the first, with what all of them say."""
    starts = firsts(sightings, "uid")
    sources = sightings.column("source").to_pylist()
    seen_by, versions = [], []
    for start, end in pairwise([*starts.tolist(), len(sources)]):
        seen_by.append(sorted(set(sources[start:end])))
        versions.append(0 if end - start == 1 else _edits(sightings.slice(start, end - start)))
    rows = sightings.take(starts)
    rows = _with(rows, "seen_by", pa.array(seen_by, pa.list_(pa.string())))
    return _with(rows, "version", pa.array(versions, pa.int32()))


def _edits(sightings: pa.Table) -> int:
    """How many edits of one post were seen, by the source that saw most of them."""
    seen: dict[str, set[tuple[object, object]]] = {}
    for row in sightings.select(["source", "edited_at", "input_digest"]).to_pylist():
        seen.setdefault(row["source"], set()).add((row["edited_at"], row["input_digest"]))
    return max(map(len, seen.values())) - 1


def _related(posts: pa.Table, targets: pa.Table) -> pa.Table:
    """Relations that name a post of the sweep by its native name hold that post's uid instead."""
    for name in _RELATIONS:
        column = posts.column(name)
        places = pc.index_in(column, value_set=targets.column("alias"))
        posts = _with(posts, name, pc.coalesce(targets.column("target").take(places), column))
    return posts


def _with(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
