"""Rounds: where the sightings of a sweep lie, open and sealed, and what is visited in one.

A sealed round is `sightings/sweep=<id>/round=<n>/platform=<p>/part-*.parquet` and `manifests/rounds/<sweep>.<n>.json`.
An open one is its own checkpoint. Its plan, made once, lists the posts by the host that is asked (private, as it leads
back to people). What was found lies in shards, whose names say which rows of a plan they are of:
`<group>.<pass>.<first row>-<last row>.parquet`.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.sighting import GONE, REMOVALS, Batch, Known, Seen
from crawlers.source import Source
from pipelines.archive import round_numbers
from pipelines.lease import Lease
from pipelines.shards import META, noted_in
from pipelines.store import Store

FLUSH_ROWS = 2000
FLUSH_SECONDS = 20.0
ROW_GROUP = 8192
PROBE = 3
"""The pass that asks for ids that are missing (`recheck_holes.py`); the posts are visited in the first two."""

Row = dict[str, Any]

_TEXT, _TIME, _BYTES = pa.string(), pa.timestamp("us", tz="UTC"), pa.binary()
SIGHTING_SCHEMA = pa.schema(
    [
        pa.field("uid", _TEXT, nullable=False),
        pa.field("state", _TEXT, nullable=False),
        pa.field("counted", pa.bool_(), nullable=False),
        pa.field("visited_at", _TIME, nullable=False),
        pa.field("status", pa.int32()),
        pa.field("code", _TEXT),
        pa.field("phrase", _TEXT),
        pa.field("input_digest", _BYTES),
        pa.field("first_state", _TEXT, nullable=False),
        pa.field("first_visited_at", _TIME, nullable=False),
    ]
)
"""The `sightings` table: a row is a post in one round. `counted`: a removal, or a post that is gone and nobody says
why, that a second visit found too, or the round before. `first_state` is what the first visit found."""

PLAN_SCHEMA = pa.schema(
    [
        pa.field("uid", _TEXT, nullable=False),
        *(pa.field(name, _TEXT) for name in ("global_id", "authority", "native_id", "url")),
        *(pa.field(name, _TEXT) for name in ("author_id", "author_handle", "kind")),
        pa.field("input_digest", _BYTES),
        pa.field("before", _TEXT),
        pa.field("not_before", _TIME),
    ]
)
"""`before`: what the round before found (`finding`). `not_before`: when a second visit may be; null in a first plan."""
VISIT_SCHEMA = pa.schema(
    [
        *(SIGHTING_SCHEMA.field(name) for name in ("uid", "state", "visited_at", "status", "code", "phrase")),
        SIGHTING_SCHEMA.field("input_digest"),
    ]
)

_NAME = re.compile(r"([0-9a-f]{16})\.([123])\.(\d{8,})-(\d{8,})\.parquet")


@dataclass(frozen=True)
class Round:
    """One round of a sweep, by its number."""

    sweep: str
    number: int

    @property
    def name(self) -> str:
        """As file names have it."""
        return f"{self.sweep}.{self.number}"

    @property
    def incoming(self) -> str:
        """The folder of what was found so far."""
        return f"incoming/round={self.name}"

    @property
    def private(self) -> str:
        """The folder of the plan."""
        return f"identities/incoming/round={self.name}"

    @property
    def folder(self) -> str:
        """The folder of the sealed round."""
        return f"sightings/sweep={self.sweep}/round={self.number}"

    @property
    def draft(self) -> str:
        """What stands from the moment on when all visits are over."""
        return f"{self.incoming}/_manifest.json"

    def plan(self, group: str, number: int) -> str:
        """The list of a group's posts for a pass."""
        return f"{self.private}/{group}.{number}.parquet"


@dataclass(frozen=True)
class Shard:
    """What was found of some rows of a group's plan. `meta`: its source, gap and requests."""

    name: str
    group: str
    number: int
    first: int
    last: int
    meta: Row = field(repr=False)

    @property
    def platform(self) -> str:
        """Out of its path."""
        return self.name.partition("platform=")[2].partition("/")[0]


def finding(state: str, phrase: str | None) -> str | None:
    """What two visits must agree in: a removal's state, or `gone` for one whose cause is not told; None for others."""
    if state in REMOVALS:
        return state
    return "gone" if state == "unknown" and phrase == GONE else None


def shards_of(store: Store, of: Round, group: str = "*", number: int | str = "*") -> list[Shard]:
    """The shards that follow on each other, for each group and pass. Where a task ran twice, of several that begin at
    one row the longest counts."""
    found: dict[tuple[str, int], dict[int, Shard]] = {}
    for name in store.matching(f"{of.incoming}/platform=*/{group}.{number}.*.parquet"):
        if match := _NAME.fullmatch(Path(name).name):
            shard = Shard(name, match[1], int(match[2]), int(match[3]), int(match[4]), noted_in(store.path(name)))
            begins = found.setdefault((shard.group, shard.number), {})
            if shard.first not in begins or shard.last > begins[shard.first].last:
                begins[shard.first] = shard
    chained = []
    for key in sorted(found):
        place = 0
        while place in found[key]:
            chained.append(found[key][place])
            place = chained[-1].last + 1
    return chained


@dataclass(frozen=True)
class Plan:
    """The posts of one group for one pass: a file, its source, and how many there are."""

    group: str
    source: Source
    platform: str
    rows: int


def plans_of(store: Store, of: Round, number: int) -> list[Plan]:
    """The plans of a pass."""
    found = []
    for name in store.matching(f"{of.private}/*.{number}.parquet"):
        path = store.path(name)
        meta = noted_in(path)
        rows = pq.read_metadata(path).num_rows
        found.append(Plan(Path(name).name.partition(".")[0], Source.of(meta["source"]), meta["platform"], rows))
    return found


class PlanWriter:
    """Writes the plans of one pass, a file for each group, and all of them whole or none."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._rows: dict[str, list[Row]] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, group: str, source: Source, row: Row) -> None:
        """Takes the next post of a group."""
        rows = self._rows.setdefault(group, [])
        rows.append(row)
        if group not in self._writers:
            meta = {META: orjson.dumps({"source": _told(source), "platform": source.platform})}
            path = self._folder / f"{group}.{self._number}.parquet"
            path.touch(mode=0o600)
            self._writers[group] = pq.ParquetWriter(path, PLAN_SCHEMA.with_metadata(meta), compression="zstd")
        if len(rows) >= FLUSH_ROWS // 4:
            self._flush(group)

    def _flush(self, group: str) -> None:
        rows, self._rows[group] = self._rows[group], []
        if rows:
            self._writers[group].write_table(pa.Table.from_pylist(rows, schema=self._writers[group].schema))

    def close(self) -> None:
        """Ends all files."""
        for group, writer in self._writers.items():
            self._flush(group)
            writer.close()


def _told(source: Source) -> Row:
    return orjson.loads(orjson.dumps(asdict(source)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class RoundSettings:
    """What all that visit in a round share."""

    store: Store
    of: Round
    number: int
    lease: Lease
    on_commit: Callable[[Row], None] | None = None


class RoundVisits:
    """The posts of one group in one pass, and what is found of them (`crawlers.revisit.Visits`)."""

    def __init__(self, settings: RoundSettings, plan: Plan) -> None:
        self._settings = settings
        self._plan = plan
        self._store = settings.store
        done = shards_of(self._store, settings.of, plan.group, settings.number)
        self._next = done[-1].last + 1 if done else 0
        self._found: list[Row] = []
        self._oldest = time.monotonic()

    def batches(self, size: int) -> Iterator[Batch]:
        """See `Visits`."""
        start = self._next
        with pq.ParquetFile(self._store.path(self._settings.of.plan(self._plan.group, self._settings.number))) as file:
            for piece in file.iter_batches(size):
                rows = piece.to_pylist()[max(0, start) :] if start < piece.num_rows else []
                start = max(0, start - piece.num_rows)
                if rows:
                    times = [row["not_before"] for row in rows if row["not_before"] is not None]
                    yield Batch([_known(row, self._plan.platform) for row in rows], max(times, default=None))

    def keep(self, found: Sequence[Seen]) -> None:
        """See `Visits`."""
        if self._found and (len(self._found) >= FLUSH_ROWS or time.monotonic() - self._oldest > FLUSH_SECONDS):
            self._commit(None, 0)
        if not self._found:
            self._oldest = time.monotonic()
        self._found += [_row(each) for each in found]

    def finish(self, gap: str | None, requests: int) -> None:
        """See `Visits`."""
        if self._found:
            self._commit(gap, requests)

    def _commit(self, gap: str | None, requests: int) -> None:
        rows, self._found = self._found, []
        settings, first = self._settings, self._next
        self._next = first + len(rows)
        name = f"{settings.of.incoming}/platform={self._plan.platform}/"
        name += f"{self._plan.group}.{settings.number}.{first:08d}-{self._next - 1:08d}.parquet"
        states = Counter(row["state"] for row in rows)
        meta = {"gap": gap, "requests": requests, "states": states, "rows": len(rows)}
        table = pa.Table.from_pylist(rows, schema=VISIT_SCHEMA.with_metadata({META: orjson.dumps(meta)}))
        settings.lease.check(self._store)
        with self._store.writing(name) as path:
            pq.write_table(table, path, compression="zstd")
            settings.lease.check(self._store)
        if settings.on_commit is not None:
            settings.on_commit(meta)


def _known(row: Row, platform: str) -> Known:
    told = {key: row[key] for key in ("global_id", "authority", "native_id", "url", "author_id", "author_handle")}
    return Known(uid=row["uid"], platform=platform, kind=row["kind"], input_digest=row["input_digest"], **told)


def _row(seen: Seen) -> Row:
    evidence = seen.sighting.evidence
    return {
        "uid": seen.sighting.uid,
        "state": seen.state,
        "visited_at": seen.visited_at,
        **asdict(evidence),
        "input_digest": seen.input_digest,
    }


def second_plans(store: Store, of: Round, into: Path, confirm_after: timedelta) -> None:
    """Writes the plans of the second pass to a folder: what was found gone, unless the round before found the same."""
    for plan in plans_of(store, of, 1):
        writer = PlanWriter(into, 2)
        shards = shards_of(store, of, plan.group, 1)
        found = (row for shard in shards for row in _rows(store.path(shard.name)))
        planned = _rows(store.path(of.plan(plan.group, 1)))
        for row, seen in zip(planned, found, strict=True):
            what = finding(seen["state"], seen["phrase"])
            if what is not None and what != row["before"]:
                later: datetime = seen["visited_at"] + confirm_after
                writer.add(plan.group, plan.source, {**row, "not_before": later})
        writer.close()


def _rows(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(FLUSH_ROWS):
            yield from batch.to_pylist()


def open_rounds(store: Store) -> list[Round]:
    """Rounds that are begun and not sealed, of any sweep."""
    names = [*store.matching("incoming/round=*"), *store.matching("identities/incoming/round=*")]
    found = {Path(name).name.removeprefix("round=") for name in names}
    rounds = {Round(name.rpartition(".")[0], int(name.rpartition(".")[2])) for name in found}
    return sorted((r for r in rounds if r.number not in round_numbers(store, r.sweep)), key=lambda r: r.name)
