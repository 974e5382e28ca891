"""The ledger of what was erased or redacted: keyed hashes, so that a rerun or an import does not bring it back.

One file per erasure, `ledger/<id>.parquet`, of hashes that occur nowhere else in the archive: a pseudonym itself would
go on naming who is gone. What the entries do to rows is left to `clearing.py`.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.pseudonyms import Pseudonyms
from crawlers.source import Source
from pipelines.archive import Manifest, receipt
from pipelines.erasure.traces import plain_name, source_names
from pipelines.errors import ArchiveError, ConfigError
from pipelines.store import Store

Kind = Literal["post", "author", "name", "source", "asked"]
"""What an entry stands for: a uid or the hash of a native name; an account's pseudonym; an address or a handle that
others may have written; the hash of a source; an account's name that somebody may ask for, or name as a source."""
Doing = Literal["erase", "redact"]

RECEIPTS = "ledger/receipts"

_META = b"postsweep"
_SCHEMA = pa.schema([pa.field("hash", pa.binary(16), nullable=False)])
_ROW_GROUP = 65_536


@dataclass(frozen=True)
class Entries:
    """Entries of one or several erasures, 8 bytes each, and the moment before which everything goes."""

    names: Pseudonyms = field(repr=False)
    hashes: "array[int]" = field(repr=False)
    before: datetime | None = None

    def holds(self, kind: Kind, name: str | None) -> bool:
        """Whether a thing of that kind is among them."""
        if name is None or not self.hashes:
            return False
        wanted = int.from_bytes(self.names.ledger(kind, name)[:8], "big")
        place = bisect_left(self.hashes, wanted)
        return place < len(self.hashes) and self.hashes[place] == wanted

    def names_any(self, names: Iterable[str]) -> bool:
        """Whether one of these names, spelled plainly, belongs to a post or an account among them."""
        return bool(self.hashes) and any(self.holds("name", name) for name in names)

    def takes(
        self, uid: str, author: str | None, kind: str, repost_of: str | None, time: datetime
    ) -> bool:
        """Whether a post is one of them: by its uid, its author or its time, or as a repost, which holds nothing else
        than what it reposts."""
        if self.before is not None and time < self.before:
            return True
        reposts = kind == "repost" and self.holds("post", repost_of)
        return reposts or self.holds("post", uid) or self.holds("author", author)

    def __bool__(self) -> bool:
        return bool(self.hashes) or self.before is not None


@dataclass(frozen=True)
class Ledger:
    """What may not come back, and what comes back without its text."""

    erased: Entries
    redacted: Entries

    def __bool__(self) -> bool:
        return bool(self.erased) or bool(self.redacted)


def read_ledger(store: Store, names: Pseudonyms, only: str | None = None) -> Ledger:
    """The whole ledger, or one erasure's part of it."""
    files = [ledger_name(only)] if only is not None else _files(store)
    of: dict[str, list[str]] = {"erase": [], "redact": []}
    for name in files:
        of[ledger_meta(store, name)["doing"]].append(name)
    return Ledger(_entries(store, names, of["erase"]), _entries(store, names, of["redact"]))


def _files(store: Store) -> list[str]:
    return store.matching("ledger/*.parquet")


def _entries(store: Store, names: Pseudonyms, files: list[str]) -> Entries:
    hashes: array[int] = array("Q")
    moments = []
    for name in files:
        with pq.ParquetFile(store.path(name)) as file:
            for batch in file.iter_batches():
                hashes.extend(int.from_bytes(each[:8], "big") for each in batch.column(0).to_pylist())
        before = ledger_meta(store, name)["before"]
        moments += [] if before is None else [datetime.fromisoformat(before)]
    return Entries(names, array("Q", sorted(hashes)), max(moments, default=None))


def ledger_name(id: str) -> str:
    """Where an erasure's entries lie."""
    return f"ledger/{id}.parquet"


def ledger_meta(store: Store, name: str) -> Manifest:
    """What an erasure's entries are of: what was done, when, before which moment, and which sweeps it met.

    Errors: ArchiveError when the file cannot be read.
    """
    try:
        return orjson.loads(pq.read_metadata(store.path(name)).metadata[_META])  # type: ignore[no-any-return]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{store.path(name)}: cannot be read ({type(error).__name__}); restore it") from None


def write_ledger(store: Store, id: str, hashes: bytes, meta: dict[str, Any]) -> None:
    """Writes an erasure's entries, sorted hashes of 16 bytes each: nothing tells which is of what."""
    with store.writing(ledger_name(id)) as path:
        rows = pa.Array.from_buffers(pa.binary(16), len(hashes) // 16, [None, pa.py_buffer(hashes)])
        schema = _SCHEMA.with_metadata({_META: orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)})
        pq.write_table(pa.table([rows], schema=schema), path, row_group_size=_ROW_GROUP, compression="none")


def done_before(store: Store, names: Pseudonyms, doing: Doing, posts: Iterable[str], asked: str) -> str | None:
    """When one of these uids, or a post or an account that is called so, was erased (or redacted); None for never."""
    name = plain_name(asked)
    for file in _files(store):
        meta = ledger_meta(store, file)
        if meta["doing"] == doing:
            entries = _entries(store, names, [file])
            by_name = entries.holds("asked", name) or entries.holds("name", name) or entries.holds("author", asked)
            if by_name or any(entries.holds("post", uid) for uid in posts):
                return str(meta["at"])
    return None


def refuse_erased_sources(store: Store, names: Pseudonyms, sources: tuple[Source, ...]) -> None:
    """Raises ConfigError for a source that names an account which was erased from the archive."""
    erased = read_ledger(store, names).erased
    for number, source in enumerate(sources):
        if not source.names_account:
            continue
        known = erased.holds("source", names.source_hash(source))
        if known or any(erased.holds("asked", name) for name in source_names(source)):
            raise ConfigError(
                f"source[{number}]: names an account that was erased from {store.root}; take it out of the sweep file"
            )


def receipts(store: Store) -> list[tuple[str, Manifest]]:
    """The receipts of all erasures, with their names. Errors: ArchiveError when one was damaged."""
    return [(name, receipt(store, name)) for name in store.matching(f"{RECEIPTS}/*.json")]


def receipt_name(at: str, id: str) -> str:
    """Where the receipt of an erasure lies that began at a moment."""
    return f"{RECEIPTS}/{re.sub('[-:]', '', at)[:15]}Z-{id}.json"
