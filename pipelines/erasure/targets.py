"""Whom and what a request for erasure means, and everything in the archive that goes with it: it reads, and changes
nothing.

A request in plain words (a handle, an address, an id) becomes pseudonyms (`resolve`), and those become the entries of
the ledger (`find`): uids, native names, addresses and sources, 24 bytes each while they are gathered.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from crawlers.catalogue import PLATFORMS
from crawlers.post import Account, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.source import Source
from pipelines.archive import sweep_ids, sweep_manifest
from pipelines.config import SourcePart
from pipelines.erasure.clearing import RELATIONS, going
from pipelines.erasure.ledger import Doing, Entries, Kind
from pipelines.erasure.traces import account_names, plain_name, source_names
from pipelines.errors import ArchiveError, ConfigError
from pipelines.shards import every_shard
from pipelines.store import Store

By = Literal["author", "post", "url", "before"]

_OWN = {kind.name for about in PLATFORMS.values() for kind in about.kinds if kind.own}
_OWN_KINDS = re.compile(rf"[^:]+:.+:(?:{'|'.join(sorted(_OWN))})(?:\[[^\]]*\])?:([0-9a-f]{{16}})")
"""Sources that give nothing but what one account wrote or passed on."""
_HASH = re.compile(r"[0-9a-f]{32}")
_POSTS = ["uid", "author", "kind", "created_at", "server_time", "fetched_at", "seen_by", *RELATIONS]
_ADDRESSES = ("global_id", "native_id", "url")
_NAMES = ("author_id", "author_handle", "author_url")
_ACCOUNTS = ["author", "account_id", "handle", "url"]


@dataclass(frozen=True)
class Request:
    """What somebody asks for. `value` may name a person: it stays out of every log, error and file."""

    doing: Doing
    by: By
    value: str = field(repr=False)


@dataclass(frozen=True)
class Who:
    """The same in pseudonyms: all posts of these accounts, these posts, or all posts before a moment."""

    authors: tuple[str, ...] = ()
    posts: tuple[str, ...] = ()
    before: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.authors or self.posts or self.before)


@dataclass(frozen=True)
class Targets:
    """What goes: the ledger's entries, and how many posts of which sealed and open sweeps; `met` are posts of others
    that lead to one of them."""

    hashes: bytes = field(repr=False)
    sealed: dict[str, int]
    open: dict[str, int]
    met: int

    @property
    def posts(self) -> int:
        """How many rows of posts."""
        return sum(self.sealed.values()) + sum(self.open.values())

    def __bool__(self) -> bool:
        return bool(self.posts or self.met)


def resolve(store: Store, names: Pseudonyms, request: Request) -> Who:
    """Finds whom or what a request means; an empty `Who` when the archive knows nothing by that name.

    Errors: ConfigError for a bare name or id that several have, and for a moment that is none or not over.
    """
    if request.by == "before":
        return Who(before=_moment(request.value))
    if request.by == "author":
        return Who(authors=_authors(store, names, request.value))
    posts = _posts(store, names, request.value)
    if not posts and request.by == "url":
        return Who(authors=_authors(store, names, request.value))
    return Who(posts=posts)


def possible_posts(names: Pseudonyms, value: str) -> set[str]:
    """The uids that a post may have which is called so: the uid itself, or that of a global id or of a whole name."""
    value = value.strip()
    found = {names.post(PostId(platform, value)) for platform in PLATFORMS} | {names.named_post(value)}
    return found | ({value} if _HASH.fullmatch(value) else set())


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ConfigError("--before: not a date such as 2026-01-01 or 2026-01-01T00:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment > datetime.now(UTC):
        raise ConfigError("--before: lies in the future; name a moment that is over")
    return moment


def _authors(store: Store, names: Pseudonyms, value: str) -> tuple[str, ...]:
    wanted = plain_name(value)
    ids = {names.author(platform, Account(value.strip())) for platform in PLATFORMS} | {value.strip()}
    found: set[str] = set()
    for author, *called in _named_accounts(store):
        if author not in found and (author in ids or wanted in account_names(*called)):
            found.add(author)
    asked = {names.source_hash(source) for _, _, source in configured(store) if wanted in source_names(source)}
    if asked:  # a repository gives no handle, but the sweep file says whose it is
        for source, authors in _own_sources(store).items():
            found |= authors if source in asked and len(authors) == 1 else set()
    # A whole handle, an address or an id is one person's, however many platforms show it; a bare word may be many's.
    if not ("@" in wanted or "/" in wanted or ":" in wanted):
        _one(found, "--author", "account", "its whole handle, its profile's address or its pseudonym")
    return tuple(sorted(_with_twins(store, names, found))) if found else ()


def _with_twins(store: Store, names: Pseudonyms, found: set[str]) -> set[str]:
    """Accounts with their other pseudonyms on their platform: a server that gives an account no id tells it by its
    address."""

    def by_address(author: str, id: str | None, url: str) -> str | None:
        for platform in PLATFORMS:
            if id is not None and names.author(platform, Account(id)) == author:
                return names.author(platform, Account(url))
        return None

    addresses = {url for author, _, _, url in _named_accounts(store) if author in found and url}
    twins = set()
    for author, id, _, url in _named_accounts(store):
        if url in addresses and (twin := by_address(author, id, url)) is not None:
            twins |= {author, twin} if author in found or twin in found else set()
    return found | twins


def _posts(store: Store, names: Pseudonyms, value: str) -> tuple[str, ...]:
    value = value.strip()
    possible = possible_posts(names, value)
    found: set[str] = set()
    for table in _identities(store, ["uid", "alias", *_ADDRESSES]):
        for uid, alias, *called in _rows(table, "uid", "alias", *_ADDRESSES):
            if uid in possible or (alias is not None and alias in possible) or value in called:
                found.add(uid)
    if not found:  # a post that the archive does not hold, but may hold reposts of
        for _, table in _post_tables(store, ["uid", *RELATIONS]):
            for name in RELATIONS:
                found |= possible & set(table.column(name).to_pylist())
    if "/" in value:  # as with accounts, an address means all that have it: several feeds may show one
        return tuple(sorted(found))
    return _one(found, "--post", "post", "its whole address or its uid")


def _one(found: set[str], option: str, kind: str, better: str) -> tuple[str, ...]:
    if len(found) > 1:
        raise ConfigError(f"{option}: {len(found)} {kind}s of this archive are called so; give {better}")
    return tuple(found)


def find(store: Store, names: Pseudonyms, who: Who, doing: Doing) -> Targets:
    """Gathers what goes: the posts, pure reposts of them by anybody, and all names that lead to them."""
    return _Finder(store, names, who, doing).targets()


class _Finder:
    def __init__(self, store: Store, names: Pseudonyms, who: Who, doing: Doing) -> None:
        self._store = store
        self._names = names
        self._who = who
        self._doing = doing
        self._gathered = bytearray()
        for author in who.authors:
            self._note("author", author)
        for uid in who.posts:
            self._note("post", uid)

    def targets(self) -> Targets:
        """See `find`."""
        known = -1
        while len(self._gathered) != known:  # a repost may itself be named by others
            known = len(self._gathered)
            self._gather_posts(self._entries())
            self._gather_identities(self._entries())
            self._gathered = bytearray(_distinct(self._gathered))
        if self._who.authors:
            self._gather_accounts()
        entries = self._entries()
        counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        met = 0
        for (sweep, is_sealed), table in _post_tables(self._store, _POSTS):
            which = going(table, entries)
            counts[is_sealed][sweep] += sum(which)
            for gone, *others in zip(which, *(table.column(name).to_pylist() for name in RELATIONS), strict=True):
                met += not gone and any(entries.holds("post", uid) for uid in others)
        sealed, unsealed = ({sweep: n for sweep, n in counts[each].items() if n} for each in (True, False))
        return Targets(_distinct(self._gathered), sealed, unsealed, met)

    def _note(self, kind: Kind, name: str) -> None:
        if name:
            self._gathered += self._names.ledger(kind, name)

    def _entries(self) -> Entries:
        short = np.frombuffer(bytes(self._gathered), ">u8")[::2]
        return Entries(self._names, array("Q", np.unique(short).astype(np.uint64).tobytes()), self._who.before)

    def _gather_posts(self, entries: Entries) -> None:
        for _, table in _post_tables(self._store, _POSTS):
            for uid, gone in zip(table.column("uid").to_pylist(), going(table, entries), strict=True):
                if gone:
                    self._note("post", uid)

    def _gather_identities(self, entries: Entries) -> None:
        for table in _identities(self._store, ["uid", "alias", "author", *_ADDRESSES]):
            for uid, alias, author, *called in _rows(table, "uid", "alias", "author", *_ADDRESSES):
                # Of a post that two servers showed, the author may have one id here and another in its row of posts.
                if entries.holds("post", uid) or author in self._who.authors:
                    self._note("post", uid)
                    self._note("post", alias or "")
                    for name in called:
                        self._note("name", plain_name(name or ""))

    def _gather_accounts(self) -> None:
        """What the accounts are called, and the sources that are theirs."""
        wanted = set(self._who.authors)
        called: set[str] = set()
        for author, *names in _named_accounts(self._store):
            if author in wanted:
                called |= account_names(*names)
        asked = {self._names.source_hash(source): source_names(source) for _, _, source in configured(self._store)}
        own = {source for source, authors in _own_sources(self._store).items() if authors <= wanted}
        for source in own & asked.keys():
            called |= asked[source]
        for name in called:
            self._note("asked", name)
            if self._doing == "erase":
                self._note("name", name)
        if self._doing == "erase":
            for source in own | {source for source, named in asked.items() if called & named}:
                self._note("source", source)


def configured(store: Store) -> Iterator[tuple[str, int, Source]]:
    """The sources of all sweeps as their files named them: the file in `identities/sweeps`, the place, the source.

    Errors: ArchiveError for one that this code does not know.
    """
    for name in store.matching("identities/sweeps/*.json"):
        config = orjson.loads(store.read(name) or b"{}")
        for place, part in enumerate(config.get("source", [])):
            try:
                source = SourcePart.kept(part).source
            except ValidationError:  # its message holds what the file says
                told = f"{store.path(name)}: source[{place}] is none that this postsweep knows"
                raise ArchiveError(f"{told}; use the version that crawled the sweep, or a later one") from None
            yield name, place, source


def _own_sources(store: Store) -> dict[str, set[str]]:
    """The hashes of all sources that are one account's own, with the authors of what each of them gave."""
    found: dict[str, set[str]] = {}
    for _, table in _post_tables(store, ["author", "seen_by"]):
        for author, sources in _rows(table, "author", "seen_by"):
            for source in sources if author is not None else ():
                if own := _OWN_KINDS.fullmatch(source):
                    found.setdefault(own[1], set()).add(author)
    return found


def _distinct(hashes: bytearray) -> bytes:
    """Each hash of 16 bytes once, in order."""
    return np.unique(np.frombuffer(bytes(hashes), "S16")).tobytes()


def open_sweeps(store: Store) -> list[str]:
    """Sweeps that are begun and not sealed."""
    found = {Path(name).name.removeprefix("sweep=") for name in store.matching("incoming/sweep=*")}
    found |= {Path(name).name.removeprefix("sweep=") for name in store.matching("identities/incoming/sweep=*")}
    return sorted(found - set(sweep_ids(store)))


def _rows(table: pa.Table, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def _post_tables(store: Store, columns: list[str]) -> Iterator[tuple[tuple[str, bool], pa.Table]]:
    """The posts of the archive in pieces, with their sweep and whether it is sealed."""
    for sweep in sweep_ids(store):
        for part in (sweep_manifest(store, sweep) or {})["parts"]["posts"]:
            for table in pieces(store, part["path"], columns):
                yield (sweep, True), table
    for sweep in open_sweeps(store):
        for shard in every_shard(store, sweep):
            for table in pieces(store, shard.name, columns):
                yield (sweep, False), table


def _identities(store: Store, columns: list[str]) -> Iterator[pa.Table]:
    """The identities of the archive in pieces."""
    for sweep in sweep_ids(store):
        for part in (sweep_manifest(store, sweep) or {})["parts"]["identities"]:
            yield from pieces(store, part["path"], columns)
    for sweep in open_sweeps(store):
        for shard in every_shard(store, sweep):
            yield from pieces(store, shard.beside(sweep, "identities"), columns)


def _named_accounts(store: Store) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    """Accounts with the names that one place has for them: pseudonym, id, handle and address."""
    for table in _identities(store, ["author", *_NAMES]):
        yield from (row for row in _rows(table, "author", *_NAMES) if row[0] is not None)
    for sweep in sweep_ids(store):
        for part in (sweep_manifest(store, sweep) or {})["parts"]["accounts"]:
            for table in pieces(store, part["path"], _ACCOUNTS):
                yield from _rows(table, *_ACCOUNTS)
    for sweep in open_sweeps(store):
        for shard in every_shard(store, sweep):
            if store.exists(name := shard.beside(sweep, "accounts")):
                for table in pieces(store, name, _ACCOUNTS):
                    yield from _rows(table, *_ACCOUNTS)


def pieces(store: Store, name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A Parquet file by row groups. Errors: ArchiveError when it cannot be read."""
    try:
        with pq.ParquetFile(store.path(name)) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(
            f"{store.path(name)}: cannot be read ({type(error).__name__}); restore it first"
        ) from None
