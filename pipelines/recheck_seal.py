"""Sealing a round: what was found in both passes becomes one row per post, sorted and in parts, once.

Two phases, as a sweep is sealed: all is staged and the finished manifest laid down as a draft; then the folder moves to
its place by one rename, the manifest is created, and the checkpoint goes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.sighting import GONE, STATES
from pipelines.archive import FORMAT, Manifest, moment, round_manifest, round_manifest_name, software, write_manifest
from pipelines.digests import Digest, file_sha256, row_digests
from pipelines.lease import Lease
from pipelines.recheck_holes import holes_of
from pipelines.recheck_rounds import (
    PROBE,
    ROW_GROUP,
    SIGHTING_SCHEMA,
    VISIT_SCHEMA,
    Round,
    Row,
    Shard,
    finding,
    plans_of,
    shards_of,
)
from pipelines.sorting import sort_by_hash
from pipelines.store import Store, disk_errors

FOUND_AGAIN = "the second visit found it again"
NOT_CONFIRMED = "the second visit could not be made"
_PASS = pa.field("number", pa.int8())
_KEYS = [("uid", "ascending"), ("number", "ascending")]


@dataclass(frozen=True)
class RoundSeal:
    """What a round's manifest says besides its rows."""

    sweep_digest: str
    generation: int
    config: Row
    fingerprint: str
    part_rows: int
    public_names: dict[str, str]


def seal_round(store: Store, lease: Lease, of: Round, settings: RoundSeal) -> Manifest:
    """Seals a round whose visits are over, or goes on with a sealing that was cut off; returns the manifest.

    Errors: ArchiveError (no space left, lease lost).
    """
    sealed = round_manifest(store, of.sweep, of.number)
    if sealed is None:
        if not store.exists(of.draft):
            staged = {"token": lease.token, "manifest": _stage(store, lease, of, settings)}
            lease.check(store)
            store.create(of.draft, orjson.dumps(staged))
        lease.check(store)
        sealed = finish_round(store, of)
    clear_round(store, of)
    return sealed


def finish_round(store: Store, of: Round) -> Manifest:
    """The second phase: what is staged moves to its place, and the manifest is created."""
    staged = orjson.loads(store.read(of.draft) or b"")
    sealed: Manifest = staged["manifest"]
    store.move_folder(_staging(of, staged["token"]), of.folder)
    write_manifest(store, round_manifest_name(of.sweep, of.number), sealed)
    return sealed


def clear_round(store: Store, of: Round) -> None:
    """Removes the checkpoint of a round: what was found first, as it counts for nothing without its plan."""
    store.remove(of.incoming)
    store.remove(of.private)


def _staging(of: Round, token: int) -> str:
    return f"{of.incoming}/_sealing.{token}/sightings"


def _stage(store: Store, lease: Lease, of: Round, settings: RoundSeal) -> Manifest:
    for left in store.matching(f"{of.incoming}/_sealing.*"):
        store.remove(left)
    staging = _staging(of, lease.token)
    asked = shards_of(store, of)
    shards = [shard for shard in asked if shard.number != PROBE]
    whole, counts = Digest(), _Counts()
    parts: list[Row] = []
    with disk_errors(store.root), TemporaryDirectory(dir=store.scratch()) as scratch:
        for platform in sorted({shard.platform for shard in shards}):
            its = [shard for shard in shards if shard.platform == platform]
            rows = sum(shard.meta["rows"] for shard in its if shard.number == 1)
            writer = _Parts(store, of, platform, staging, rows, settings.part_rows)
            for table in _joined(store, its, Path(scratch)):
                counts.add(platform, table)
                writer.write(table, whole)
            parts += writer.close()
    if not parts:
        store.path(staging).mkdir(parents=True, exist_ok=True)
    store.sync_folder(staging)
    gaps = _gaps(store, of, asked, settings.public_names)
    return {
        "format": FORMAT,
        "sweep": of.sweep,
        "round": of.number,
        "generation": settings.generation,
        "posts_digest": settings.sweep_digest,
        "sealed_at": moment(datetime.now(UTC)),
        "window": counts.window,
        "config": settings.config,
        "counts": counts.told,
        "gaps": gaps,
        "holes": holes_of(store, of, settings.public_names),
        "requests": sum(shard.meta["requests"] for shard in asked),
        "parts": parts,
        "digest": whole.hex,
        "pseudonym_key": settings.fingerprint,
        "software": software(),
    }


def _gaps(store: Store, of: Round, shards: list[Shard], public: dict[str, str]) -> list[Row]:
    """Sources that could not be visited to their end, by their public names, and why."""
    named = {plan.group: public[plan.group] for number in (1, 2, PROBE) for plan in plans_of(store, of, number)}
    found = {(named[shard.group], shard.number, shard.meta["gap"]) for shard in shards if shard.meta["gap"] is not None}
    return [{"source": source, "visit": number, "reason": gap} for source, number, gap in sorted(found)]


class _Counts:
    """Counts sightings by platform and state, and remembers from when to when the visits were."""

    def __init__(self) -> None:
        self._platforms: dict[str, Counter[str]] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add(self, platform: str, table: pa.Table) -> None:
        """Takes some rows of a platform."""
        count_rows(self._platforms.setdefault(platform, Counter()), table)
        began, ended = table.column("first_visited_at").to_pylist(), table.column("visited_at").to_pylist()
        self._first = min([*began, *([self._first] if self._first else [])])
        self._last = max([*ended, *([self._last] if self._last else [])])

    @property
    def window(self) -> Row | None:
        """When the first and the last visit were."""
        return {"since": moment(self._first), "until": moment(self._last)} if self._first and self._last else None

    @property
    def told(self) -> Row:
        """As a manifest says it."""
        return told_counts(self._platforms)


def count_rows(into: Counter[str], table: pa.Table) -> None:
    """Counts the states of sightings; `gone` are those of `unknown` that are gone and nobody says why."""
    for state, counted, phrase in zip(
        *(table.column(name).to_pylist() for name in ("state", "counted", "phrase")), strict=True
    ):
        into[state] += 1
        into["gone"] += state == "unknown" and counted and phrase == GONE


def told_counts(platforms: dict[str, Counter[str]]) -> Row:
    """The counts of a round as its manifest says them."""

    def told(counts: Counter[str]) -> Row:
        states = {state: counts[state] for state in STATES}
        return {"posts": sum(states.values()), "states": states, "gone": counts["gone"]}

    whole = sum(platforms.values(), Counter())
    return {**told(whole), "platforms": {name: told(counts) for name, counts in sorted(platforms.items())}}


class _Parts:
    """Writes the sightings of one platform in parts of nearly equal size."""

    def __init__(  # noqa: PLR0917 - what a part is of, where it goes, how large it is
        self, store: Store, of: Round, platform: str, staging: str, rows: int, part_rows: int
    ) -> None:
        self._store = store
        self._of = of
        self._platform = platform
        self._staging = staging
        parts = max(1, -(-rows // part_rows))
        self._sizes = [rows // parts + (index < rows % parts) for index in range(parts)]
        self._rest = SIGHTING_SCHEMA.empty_table()
        self._parts: list[Row] = []

    def write(self, table: pa.Table, whole: Digest) -> None:
        """Takes the next rows."""
        self._rest = pa.concat_tables([self._rest, table])
        while len(self._parts) < len(self._sizes) and self._rest.num_rows >= self._sizes[len(self._parts)]:
            size = self._sizes[len(self._parts)]
            self._part(self._rest.slice(0, size).combine_chunks(), whole)
            self._rest = self._rest.slice(size)

    def close(self) -> list[Row]:
        """The parts as a manifest names them."""
        if self._rest.num_rows:
            raise AssertionError("more sightings than were visited")
        return self._parts

    def _part(self, table: pa.Table, whole: Digest) -> None:
        index = len(self._parts)
        below = f"platform={self._platform}/part-{index:05d}.parquet"
        digest = Digest(whole)
        for row in row_digests(table):
            digest.add(row)
        with self._store.writing(f"{self._staging}/{below}") as path:
            pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)
        written = self._store.path(f"{self._staging}/{below}")
        self._parts.append(
            {
                "path": f"{self._of.folder}/{below}",
                "platform": self._platform,
                "rows": table.num_rows,
                "bytes": written.stat().st_size,
                "sha256": file_sha256(written),
                "digest": digest.hex,
            }
        )


def _joined(store: Store, shards: list[Shard], scratch: Path) -> Iterator[pa.Table]:
    """Both passes, one row per post, in the order of uids."""

    def tables() -> Iterator[pa.Table]:
        for shard in shards:
            read = pq.read_table(store.path(shard.name), schema=VISIT_SCHEMA, partitioning=None)
            read = read.replace_schema_metadata(None)
            yield read.append_column(_PASS, pa.array([shard.number] * read.num_rows, _PASS.type))

    for table in sort_by_hash(tables(), _KEYS, scratch):
        rows: dict[str, list[Row]] = {}
        for row in table.to_pylist():
            rows.setdefault(row["uid"], []).append(row)
        yield pa.Table.from_pylist([judged(*visits) for visits in rows.values()], schema=SIGHTING_SCHEMA)


def judged(first: Row, second: Row | None = None) -> Row:
    """The one row of a post out of its visits. What only one visit found gone counts, as the round before found the
    same: that is why there was no second one. Visits that disagree leave it unknown; two that agree that it is gone,
    and not by whose hand, leave the cause untold."""
    row: Row = {**(second or first), "first_state": first["state"], "first_visited_at": first["visited_at"]}
    before = finding(first["state"], first["phrase"])
    row["counted"] = before is not None
    if second is not None:
        after = finding(second["state"], second["phrase"])
        if after is None:
            found = FOUND_AGAIN if second["state"] in ("alive", "edited", "restricted") else NOT_CONFIRMED
            row |= {"state": "unknown", "counted": False, "phrase": found, "code": None, "input_digest": None}
        elif before != after:
            row |= {"state": "unknown", "phrase": GONE, "code": None}
    return {name: row[name] for name in SIGHTING_SCHEMA.names}


def sightings_of(store: Store, manifest: Manifest, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a sealed round, in bounded memory, in the order of its parts."""
    for part in manifest["parts"]:
        with pq.ParquetFile(store.path(part["path"])) as file:
            for batch in file.iter_batches(ROW_GROUP, columns=columns):
                yield from batch.to_pylist()
