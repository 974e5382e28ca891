"""Page shards: an open sweep is its own checkpoint.

A shard holds whole pages of one source, and its name says which: `<source hash>.<first page>-<last page>.parquet`.
What leads back to people (identities, accounts, the cursor to go on from) lies in shards of the same name below
`identities/`, written first: the page shard is the commit. Private shards without a page shard count for nothing.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.post import ACCOUNT_SCHEMA, IDENTITY_SCHEMA, POST_SCHEMA, Post
from crawlers.pseudonyms import Pseudonyms, account_row, identity_row, post_row
from crawlers.sink import Gap, Memory, Page, Position, Reject, Traffic
from crawlers.source import Source
from pipelines.archive import incoming, moment, private_incoming
from pipelines.errors import ArchiveError
from pipelines.lease import Lease
from pipelines.store import Store

FLUSH_ROWS = 2000
"""Posts and rejects that a shard holds at most before it is committed (a page more, as pages stay whole)."""
FLUSH_SECONDS = 20.0
"""How long a read page may wait for its commit."""

_META = b"postsweep"
_NAME = re.compile(r"([0-9a-f]{16})\.(\d{6})-(\d{6})\.parquet")

Row = dict[str, Any]


@dataclass(frozen=True)
class Shard:
    """A committed page shard: where it lies and what its metadata says."""

    name: str
    source_hash: str
    first: int
    last: int

    @property
    def platform(self) -> str:
        """Out of its path."""
        return self.name.partition("platform=")[2].partition("/")[0]


def shards_of(store: Store, sweep: str, source_hash: str | None = None) -> list[Shard]:
    """The committed shards of an open sweep, in page order per source.

    A writer that lost its lease may have left a shard that overlaps; from each page on, the longest shard counts.
    """
    found: dict[str, dict[int, Shard]] = {}
    for name in store.names(incoming(sweep), ".parquet"):
        match = _NAME.fullmatch(Path(name).name)
        if match is None or "/_" in name or (source_hash is not None and match[1] != source_hash):
            continue
        shard = Shard(name, match[1], int(match[2]), int(match[3]))
        starts = found.setdefault(shard.source_hash, {})
        if shard.first not in starts or starts[shard.first].last < shard.last:
            starts[shard.first] = shard
    return [shard for key in sorted(found) for shard in _chain(found[key])]


def _chain(starts: dict[int, Shard]) -> Iterator[Shard]:
    page = 0
    while page in starts:
        yield starts[page]
        page = starts[page].last + 1


def shard_metadata(path: Path) -> Row:
    """What a shard's writer noted of it: pages, counts, state, gaps, rejects and traffic."""
    metadata = pq.read_schema(path).metadata
    return orjson.loads(metadata[_META])  # type: ignore[no-any-return]


def private_names(name: str, sweep: str) -> tuple[str, str]:
    """The identities shard and the accounts shard that belong to a page shard."""
    below = name.removeprefix(incoming(sweep) + "/")
    return f"{private_incoming(sweep)}/identities/{below}", f"{private_incoming(sweep)}/accounts/{below}"


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


class ShardSink:
    """Keeps the pages of one source as shards (`crawlers.sink.Sink`)."""

    def __init__(self, settings: SinkSettings, source: Source) -> None:
        self._settings = settings
        self._store = settings.store
        self._source = source
        self._name = settings.names.source(source)
        self._hash = settings.names.source_hash(source)
        self._pages: list[Page] = []
        self._oldest = time.monotonic()
        self._next = Position()

    def position(self) -> Position | None:
        """Where to go on; None when the source is complete. A source that ended in a gap is tried again from there."""
        shards = shards_of(self._store, self._settings.sweep, self._hash)
        if shards:
            last = shards[-1]
            if shard_metadata(self._store.path(last.name))["state"] == "complete":
                return None
            identities, _ = private_names(last.name, self._settings.sweep)
            if not self._store.exists(identities):
                raise ArchiveError(f"{self._store.path(identities)}: missing beside its page shard; restore it")
            cursor = shard_metadata(self._store.path(identities))["next_cursor"]
            self._next = Position(last.last + 1, cursor)
        return self._next

    def page(self, page: Page) -> None:
        """Takes one whole page; commits when enough have come together. The latest one waits, as it may be the last."""
        if not self._pages:
            self._oldest = time.monotonic()
        elif self._rows() >= FLUSH_ROWS or time.monotonic() - self._oldest > FLUSH_SECONDS:
            self._commit("open", [], None)
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
        return Memory(body, noted["etag"], noted["last_modified"])

    def remember(self, memory: Memory) -> None:
        """Keeps validators and body for later sweeps, apart, as a feed can name its author."""
        self._store.remove(self._memory_name("json"))
        self._store.put(self._memory_name("body"), memory.body, private=True)
        noted = {"etag": memory.etag, "last_modified": memory.last_modified, "bytes": len(memory.body)}
        self._store.put(self._memory_name("json"), orjson.dumps(noted), private=True)

    def _memory_name(self, kind: str) -> str:
        return f"identities/feeds/{self._hash}.{kind}"

    def _commit(self, state: str, gaps: list[Gap], traffic: Traffic | None) -> None:
        pages, self._pages = self._pages, []
        first = self._next.page
        last = pages[-1].number if pages else first
        following = pages[-1].next_cursor if pages else self._next.cursor
        posts, rejects = self._storable(pages)
        settings = self._settings
        meta = {
            "source": self._name,
            "platform": self._source.platform,
            "host": self._source.authority,
            "state": state,
            "pages": len(pages),
            "posts": len(posts),
            "outside": sum(page.outside for page in pages),
            "rejects": rejects,
            "gaps": [{"since": moment(g.since), "until": moment(g.until), "reason": g.reason} for g in gaps],
            "traffic": asdict(traffic or Traffic()),
        }
        folder = f"{incoming(settings.sweep)}/platform={self._source.platform}"
        name = f"{folder}/{self._hash}.{first:06d}-{last:06d}.parquet"
        identities, accounts = private_names(name, settings.sweep)
        self._write(identities, IDENTITY_SCHEMA, [kept.identity for kept in posts], {"next_cursor": following}, True)
        if settings.keep_accounts:
            account_rows = [kept.account for kept in posts if kept.account is not None]
            self._write(accounts, ACCOUNT_SCHEMA, account_rows, {}, True)
        settings.lease.check(self._store)
        self._write(name, POST_SCHEMA, [kept.row for kept in posts], meta)
        self._next = Position(last + 1, following)
        if settings.on_commit is not None:
            settings.on_commit(self._source, meta)

    def _write(self, name: str, schema: pa.Schema, rows: list[Row], meta: Row, private: bool = False) -> None:
        table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata({_META: orjson.dumps(meta)})
        with self._store.writing(name, private=private) as path:
            pq.write_table(table, path, compression="zstd")

    def _storable(self, pages: list[Page]) -> tuple[list["_Kept"], list[Row]]:
        """Rows of the posts that Arrow can hold, and the rejects, among them the posts that it cannot."""
        rejects = [self._reject(page, reject) for page in pages for reject in page.rejects]
        made = [
            (page, position, self._kept(page, post)) for page in pages for position, post in enumerate(page.posts)
        ]
        if _fit([kept for _, _, kept in made]):
            return [kept for _, _, kept in made], rejects
        fitting = []
        for page, position, kept in made:
            if _fit([kept]):
                fitting.append(kept)
            else:
                reason = "a value is out of the range that the archive can hold"
                rejects.append(self._reject(page, Reject(position, "post", reason)))
        return fitting, rejects

    def _kept(self, page: Page, post: Post) -> "_Kept":
        names = self._settings.names
        cursor = None if page.cursor is None else names.link(page.cursor)
        return _Kept(
            post_row(post, self._name, page.number, cursor, names),
            identity_row(post, self._source, names, self._settings.keep_raw),
            account_row(post, names),
        )

    def _reject(self, page: Page, reject: Reject) -> Row:
        return {
            "source": self._name,
            "page": page.number,
            "position": reject.position,
            "place": reject.place,
            "reason": reject.reason,
            "fetched_at": moment(page.fetched_at),
        }


@dataclass(frozen=True)
class _Kept:
    """The rows that one post becomes."""

    row: Row
    identity: Row
    account: Row | None


def _fit(kept: list[_Kept]) -> bool:
    """Whether Arrow can hold the rows: it has no lone surrogates, and integers of 64 bits."""
    try:
        pa.Table.from_pylist([each.row for each in kept], schema=POST_SCHEMA)
        pa.Table.from_pylist([each.identity for each in kept], schema=IDENTITY_SCHEMA)
        pa.Table.from_pylist([each.account for each in kept if each.account], schema=ACCOUNT_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return False
    return True
