"""Page shards: an open sweep is its own checkpoint.

A shard holds whole pages of one source, and its name says which: `<source hash>.<first page>-<last page>.parquet`.
What goes with it lies in files that carry the name of its writer too, and are written first: identities, accounts and
the cursor to go on from below `identities/`, records that could not be parsed below `_rejects/`. The page shard names
its writer and is the commit: files of a writer that no page shard names count for nothing.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.post import ACCOUNT_SCHEMA, IDENTITY_SCHEMA, POST_SCHEMA, REJECT_SCHEMA, Post
from crawlers.pseudonyms import Pseudonyms, account_row, identity_row, post_row
from crawlers.sink import Gap, Memory, Page, Position, Reject, Traffic
from crawlers.source import Source
from pipelines.archive import PRIVATE_TABLES, incoming, moment, private_incoming
from pipelines.erasure.clearing import ERASED, clear_new
from pipelines.erasure.ledger import Ledger, read_ledger
from pipelines.erasure.traces import names_in_json
from pipelines.errors import ArchiveError
from pipelines.lease import Lease
from pipelines.store import Store

FLUSH_ROWS = 2000
"""Posts and rejects that a shard holds at most before it is committed (a page more, as pages stay whole)."""
FLUSH_SECONDS = 20.0
"""How long a read page may wait for its commit, once the next page has come."""

META = b"postsweep"
"""The key of that note among a Parquet file's metadata."""
_NAME = re.compile(r"([0-9a-f]{16})\.(\d{6,})-(\d{6,})\.parquet")
_STATES = ("open", "gap", "complete")

Row = dict[str, Any]
Place = tuple[int, str | None]
"""Where a shard begins or goes on: the number of a page and the keyed hash of its cursor."""


@dataclass(frozen=True)
class Shard:
    """A committed page shard. `meta` is what its writer noted: source, state, counts, gaps, traffic and places."""

    name: str
    source_hash: str
    first: int
    last: int
    meta: Row = field(repr=False)

    @property
    def platform(self) -> str:
        """Out of its path."""
        return self.name.partition("platform=")[2].partition("/")[0]

    @property
    def begin(self) -> Place:
        """Where its first page stands in the source."""
        return self.first, self.meta["begin"]

    @property
    def end(self) -> Place:
        """Where the page after its last one stands."""
        return self.last + 1, self.meta["end"]

    def beside(self, sweep: str, table: str) -> str:
        """The name of the file of `identities`, `accounts` or `rejects` that goes with it."""
        return _beside(self.name, sweep, table, self.meta["writer"])


def _beside(name: str, sweep: str, table: str, writer: str) -> str:
    top = f"{incoming(sweep)}/_rejects" if table == "rejects" else f"{private_incoming(sweep)}/{table}"
    return f"{top}/{name.removeprefix(incoming(sweep) + '/').removesuffix('.parquet')}.{writer}.parquet"


def shards_of(store: Store, sweep: str, source_hash: str = "*") -> list[Shard]:
    """The committed shards of an open sweep or of one source, in page order per source."""
    found: dict[str, list[Shard]] = {}
    for shard in every_shard(store, sweep, source_hash):
        found.setdefault(shard.source_hash, []).append(shard)
    return [shard for key in sorted(found) for shard in _chain(found[key])]


def every_shard(store: Store, sweep: str, source_hash: str = "*") -> Iterator[Shard]:
    """All shards that lie there, also those that follow on no other and count for nothing."""
    for name in store.matching(f"{incoming(sweep)}/platform=*/{source_hash}.*.parquet"):
        match = _NAME.fullmatch(Path(name).name)
        if match is not None:
            yield Shard(name, match[1], int(match[2]), int(match[3]), noted_in(store.path(name)))


def _chain(shards: list[Shard]) -> Iterator[Shard]:
    """The shards of one source that follow on each other, page by page and cursor by cursor.

    A writer that lost its lease, or a task that ran twice, may have left others beside them. Of several ways through
    the one counts that ends the source, else the one that gets furthest.
    """
    best: dict[Place, tuple[tuple[int, int], Shard]] = {}
    for shard in sorted(shards, key=lambda each: (-each.first, each.name)):
        onward = best.get(shard.end)
        worth = (_STATES.index(shard.meta["state"]), shard.last) if onward is None else onward[0]
        if shard.begin not in best or worth > best[shard.begin][0]:
            best[shard.begin] = (worth, shard)
    place: Place = (0, None)
    while place in best:
        yield best[place][1]
        place = best[place][1].end


def noted_in(path: Path) -> Row:
    """What its writer noted in a shard, or in a file beside one."""
    return orjson.loads(pq.read_schema(path).metadata[META])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SinkSettings:
    """What every sink of a sweep shares."""

    store: Store
    sweep: str
    lease: Lease
    names: Pseudonyms = field(repr=False)
    keep_raw: bool = False
    keep_accounts: bool = False
    on_commit: Callable[[Source, Row], None] | None = None

    @cached_property
    def ledger(self) -> Ledger:
        """What was erased or redacted: it cannot grow while a lease of the archive is held."""
        return read_ledger(self.store, self.names)


class ShardSink:
    """Keeps the pages of one source as shards (`crawlers.sink.Sink`)."""

    def __init__(self, settings: SinkSettings, source: Source) -> None:
        self._settings = settings
        self._store = settings.store
        self._source = source
        self._name = settings.names.source(source)
        self._hash = settings.names.file_hash(source)
        self._writer = uuid.uuid4().hex[:12]
        self._pages: list[Page] = []
        self._oldest = time.monotonic()
        self._begun = datetime.now(UTC)
        self._next = Position(begun=self._begun)
        self._memory: Memory | None = None
        self._left_out = False

    def position(self) -> Position | None:
        """Where to go on; None when the source is complete. A source that ended in a gap is tried again from there."""
        shards = shards_of(self._store, self._settings.sweep, self._hash)
        if shards:
            last = shards[-1]
            if last.meta["state"] == "complete":
                return None
            identities = self._store.path(last.beside(self._settings.sweep, "identities"))
            if not identities.exists():
                raise ArchiveError(f"{identities}: missing beside its page shard; restore it")
            if begun := shards[0].meta.get("begun"):  # not in shards that earlier code wrote
                self._begun = datetime.fromisoformat(begun)
            self._next = Position(last.last + 1, noted_in(identities)["next_cursor"], self._begun)
        return self._next

    def page(self, page: Page) -> None:
        """Takes one whole page; commits when enough have come together. The latest one waits, as it may be the last."""
        if self._pages and (self._rows() >= FLUSH_ROWS or time.monotonic() - self._oldest > FLUSH_SECONDS):
            self._commit("open", [], None)
        if not self._pages:
            self._oldest = time.monotonic()
        self._pages.append(page)

    def _rows(self) -> int:
        return sum(len(page.posts) + len(page.rejects) for page in self._pages)

    def finish(self, gaps: list[Gap], traffic: Traffic) -> None:
        """Commits what is left, and with it that the source is complete, or which parts of the window are missing."""
        self._commit("gap" if gaps else "complete", gaps, traffic)

    def memory(self) -> Memory | None:
        """What an earlier sweep remembered of this source."""
        kept = self._store.read(self._memory_name("json"))
        body = self._store.read(self._memory_name("body"))
        if kept is None or body is None:
            return None
        noted = orjson.loads(kept)
        if noted["bytes"] != len(body):  # a kill between the two writes: ask for the whole again
            return None
        return Memory(body, noted["etag"], noted["last_modified"], noted["content_type"])

    def remember(self, memory: Memory) -> None:
        """Keeps validators and body for later sweeps, apart, as a feed can name its author; a body that holds what was
        erased or redacted is not kept."""
        if self._settings.ledger:  # the posts that are parsed out of it tell
            self._memory = memory
        else:
            self._keep(memory)

    def _keep(self, memory: Memory) -> None:
        self._settings.lease.check(self._store)
        self._store.remove(self._memory_name("json"))
        noted: Row = {"etag": memory.etag, "last_modified": memory.last_modified, "content_type": memory.content_type}
        noted["bytes"] = len(memory.body)
        for kind, data in (("body", memory.body), ("json", orjson.dumps(noted))):
            with self._store.writing(self._memory_name(kind), private=True) as path:
                path.write_bytes(data)
                self._settings.lease.check(self._store)

    def _memory_name(self, kind: str) -> str:
        return f"identities/feeds/{self._hash}.{kind}"

    def _commit(self, state: str, gaps: list[Gap], traffic: Traffic | None) -> None:
        pages, self._pages = self._pages, []
        first = self._next.page
        last = pages[-1].number if pages else first
        following = pages[-1].next_cursor if pages else self._next.cursor
        tables, rejects = self._storable(pages)
        settings = self._settings
        meta = {
            "source": self._name,
            "platform": self._source.platform,
            "host": self._source.authority,
            "writer": self._writer,
            "begun": moment(self._begun),
            "begin": self._link(self._next.cursor),
            "end": self._link(following),
            "state": state,
            "pages": len(pages),
            "posts": tables.posts.num_rows,
            "outside": sum(page.outside for page in pages),
            "rejects": len(rejects),
            "gaps": [{"since": moment(g.since), "until": moment(g.until), "reason": g.reason} for g in gaps],
            "traffic": asdict(traffic or Traffic()),
        }
        folder = f"{incoming(settings.sweep)}/platform={self._source.platform}"
        name = f"{folder}/{self._hash}.{first:06d}-{last:06d}.parquet"
        settings.lease.check(self._store)
        self._put("identities", name, tables.identities, {"next_cursor": following})
        if settings.keep_accounts and tables.accounts.num_rows:
            self._put("accounts", name, tables.accounts)
        if rejects:
            self._put("rejects", name, pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA))
        with self._store.writing(name) as path:
            pq.write_table(_noted(tables.posts, meta), path, compression="zstd")
            settings.lease.check(self._store)
        self._next = Position(last + 1, following)
        if self._memory is not None and not self._left_out and not self._names_any(self._memory.body):
            self._keep(self._memory)
        self._memory = None
        if settings.on_commit is not None:
            settings.on_commit(self._source, meta)

    def _put(self, table: str, name: str, rows: pa.Table, meta: Row | None = None) -> None:
        """Writes what goes with a page shard, under this writer's own name."""
        beside = _beside(name, self._settings.sweep, table, self._writer)
        with self._store.writing(beside, private=table in PRIVATE_TABLES) as path:
            pq.write_table(_noted(rows, meta or {}), path, compression="zstd")
            # An erasure that this process slept through would not find the file again.
            self._settings.lease.check(self._store)

    def _link(self, cursor: str | None) -> str | None:
        return None if cursor is None else self._settings.names.link(cursor)

    def _storable(self, pages: list[Page]) -> tuple["_Tables", list[Row]]:
        """The posts that Arrow can hold, and the rejects, among them the posts that it cannot."""
        rejects = [self._reject(page, reject) for page in pages for reject in page.rejects]
        made = []
        for page in pages:
            link = self._link(page.cursor)
            for position, post in enumerate(page.posts):
                kept = self._cleared(post, self._kept(page, link, post))
                if kept is None:
                    rejects.append(self._reject(page, Reject(position, "post", ERASED)))
                else:
                    made.append((page, position, kept))
        tables = _tables([kept for _, _, kept in made])
        if tables is not None:
            return tables, rejects
        fitting = []
        for page, position, kept in made:
            if _tables([kept]) is not None:
                fitting.append(kept)
            else:
                reason = "a value is out of the range that the archive can hold"
                rejects.append(self._reject(page, Reject(position, "post", reason)))
        tables = _tables(fitting)
        assert tables is not None, "rows that fit one by one fit together"
        return tables, rejects

    def _kept(self, page: Page, link: str | None, post: Post) -> "_Kept":
        names = self._settings.names
        return _Kept(
            post_row(post, self._name, page.number, link, names),
            identity_row(post, self._source, names, self._settings.keep_raw),
            account_row(post, names),
        )

    def _cleared(self, post: Post, kept: "_Kept") -> "_Kept | None":
        """What may be kept of a post, None for one that was erased."""
        if not self._settings.ledger:
            return kept
        cleared = clear_new(post, kept.row, kept.identity, self._settings.ledger)
        self._left_out |= cleared is None or cleared != (kept.row, kept.identity)
        return None if cleared is None else replace(kept, row=cleared[0], identity=cleared[1])

    def _names_any(self, body: bytes) -> bool:
        ledger, text = self._settings.ledger, body.decode(errors="replace")
        return any(entries.names_any(names_in_json(text)) for entries in (ledger.erased, ledger.redacted))

    def _reject(self, page: Page, reject: Reject) -> Row:
        return {
            "source": self._name,
            "page": page.number,
            "position": reject.position,
            "place": reject.place,
            "reason": reject.reason,
            "fetched_at": page.fetched_at,
        }


@dataclass(frozen=True)
class _Kept:
    """The rows that one post becomes."""

    row: Row
    identity: Row
    account: Row | None


@dataclass(frozen=True)
class _Tables:
    """The tables that the posts of a shard become."""

    posts: pa.Table
    identities: pa.Table
    accounts: pa.Table


def _tables(kept: list[_Kept]) -> _Tables | None:
    """The tables of these rows; None where Arrow cannot hold one: it has no lone surrogates, and integers of 64 bits.
    """
    try:
        return _Tables(
            pa.Table.from_pylist([each.row for each in kept], schema=POST_SCHEMA),
            pa.Table.from_pylist([each.identity for each in kept], schema=IDENTITY_SCHEMA),
            pa.Table.from_pylist([each.account for each in kept if each.account], schema=ACCOUNT_SCHEMA),
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


def _noted(table: pa.Table, meta: Row) -> pa.Table:
    return table.replace_schema_metadata({META: orjson.dumps(meta)})
