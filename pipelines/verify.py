"""Verifying an archive: each file that a manifest names is there and says what it said; nothing else is in a table."""

import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.archive import (
    PRIVATE_TABLES,
    TABLES,
    Manifest,
    accounts_manifest,
    accounts_manifest_name,
    archive_key,
    incoming,
    private_incoming,
    read_archive,
    receipt,
    refuse_erasing,
    round_manifest,
    round_manifest_name,
    round_numbers,
    run_ids,
    run_manifest,
    sweep_generations,
    sweep_ids,
    sweep_manifest,
)
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.erasure.ledger import RECEIPTS
from pipelines.errors import ArchiveError
from pipelines.progress import Progress
from pipelines.recheck_seal import count_rows, told_counts
from pipelines.store import Store

Part = dict[str, Any]


def verify_archive(archive: Path, sweep: str | None, progress: Progress) -> list[str]:
    """Checks one sweep and its runs, or all of the archive; returns one line per problem, none when all is well.

    Errors: ArchiveError when there is no archive, the sweep is not sealed, or an erasure is under way.
    """
    store = read_archive(archive)
    refuse_erasing(store)
    sealed = sweep_ids(store)
    if sweep is not None and sweep not in sealed:
        raise ArchiveError(f"{archive}: sweep {sweep} is not sealed; there is nothing to verify yet")
    problems: list[str] = []
    runs = [run for each in run_ids(store) if (run := _read(run_manifest, store, each, problems)) is not None]
    for each in [sweep] if sweep is not None else sealed:
        manifest = _read(sweep_manifest, store, each, problems)
        if manifest is None:
            continue
        try:
            problems += _claim_problems(store, manifest)
            its_runs = [run for run in runs if run["sweep"] == each]
            rounds = _rounds(store, each, problems)
            parts = [part for table in TABLES for part in manifest["parts"][table]]
            total = len(parts) + sum(len(made["parts"]) for made in (*its_runs, *rounds))
            with progress.stage(f"verify {each}", total=total) as stage:
                for found in chain(_problems(store, manifest, its_runs), _round_problems(store, manifest, rounds)):
                    if found is None:
                        stage.advance(1)
                    else:
                        problems.append(found)
        except (KeyError, TypeError, AttributeError) as error:
            problems.append(f"sweep {each}: a manifest of it lacks what every manifest has ({error}); restore it")
    if sweep is None:
        problems += [
            f"manifests/runs/{run['run']}.json: sweep {run['sweep']} has no manifest; restore it"
            for run in runs
            if run["sweep"] not in sealed
        ]
        problems += _unnamed(store)
        problems += _ledger_problems(store)
        problems += _unnamed_claims(store)
    return problems + _open_to_others(store)


def _read(
    read: Callable[[Store, str], Manifest | None], store: Store, name: str, problems: list[str]
) -> Manifest | None:
    """A manifest; one that cannot be read is a problem, and does not hide the others."""
    try:
        return read(store, name)
    except (ArchiveError, OSError) as error:
        problems.append(str(error))
        return None


def _problems(store: Store, manifest: Manifest, runs: list[Manifest]) -> Iterator[str | None]:
    """Problems as they are found, and None after each part."""
    sweep = manifest["sweep"]
    where = f"manifests/sweeps/{sweep}.{manifest['generation']}.json"
    posts = _Table(store, "uid")
    for table in TABLES:
        parts = manifest["parts"][table]
        yield from _strangers(store, f"{table}/sweep={sweep}", parts)
        checked = posts if table == "posts" else _Table(store, "author" if table == "accounts" else "uid")
        for part in parts:
            yield from checked.problems(part, ordered=table != "rejects")
            yield None
    if posts.sound and posts.whole.hex != manifest["digest"]:
        yield f"{where}: the posts' content digest is not the one that it gives"
    yield from (f"{where}: {told}" for told in _miscounted(manifest))
    if manifest["pseudonym_key"] != archive_key(store):
        yield f"{where}: made under another pseudonym key than manifests/archive.json names"
    for left in (incoming(sweep), private_incoming(sweep)):
        if store.exists(left):
            yield f"{left}: left over beside a sealed sweep; run the sweep's command again to remove it"
    for run in runs:
        yield from _run_problems(store, manifest, run, posts)


def _claim_problems(store: Store, sweep: Manifest) -> list[str]:
    """What is wrong with the list of a sweep's accounts that claim to be an institution."""
    problems: list[str] = []
    told = _read(accounts_manifest, store, sweep["sweep"], problems)
    if told is None:
        return problems
    where, path = accounts_manifest_name(sweep["sweep"]), store.path(told["list"]["path"])
    again = "run `postsweep accounts` again"
    if told["generation"] != sweep["generation"]:
        return [f"{where}: of another generation than its sweep; {again}"]
    if not path.exists():
        return [f"{told['list']['path']}: missing; {again}"]
    if path.stat().st_size != told["list"]["bytes"] or file_sha256(path) != told["list"]["sha256"]:
        return [f"{told['list']['path']}: its bytes are not those that were committed (SHA-256 differs); {again}"]
    counted = sum(claim["accounts"] for claim in told["claims"] if claim["state"] != "verified")
    return [] if counted == told["list"]["rows"] else [f"{where}: its counts are not those of its list; {again}"]


def _unnamed_claims(store: Store) -> Iterator[str]:
    """Lists of accounts without their manifest, and manifests without their sweep."""
    sealed = sweep_ids(store)
    for name in store.names("manifests/accounts"):
        if Path(name).stem not in sealed:
            yield f"{name}: sweep {Path(name).stem} has no manifest; restore it"
    for name in store.names("identities/claims"):
        if not store.exists(accounts_manifest_name(Path(name).stem)):
            yield f"{name}: no manifest names it; run `postsweep accounts` again, or remove it"


def _rounds(store: Store, sweep: str, problems: list[str]) -> list[Manifest]:
    """The rounds of rechecks of a sweep whose manifests can be read."""
    found = (
        _read(lambda store, name: round_manifest(store, sweep, int(name)), store, str(number), problems)
        for number in round_numbers(store, sweep)
    )
    return [each for each in found if each is not None]


def _round_problems(store: Store, manifest: Manifest, rounds: list[Manifest]) -> Iterator[str | None]:
    """What is wrong with the sightings of a sweep."""
    sweep = manifest["sweep"]
    parts = [part for told in rounds for part in told["parts"]]
    yield from _strangers(store, f"sightings/sweep={sweep}", parts)
    for told in rounds:
        where = round_manifest_name(sweep, told["round"])
        sightings = _Table(store, "uid")
        platforms: dict[str, Counter[str]] = {}
        for part in told["parts"]:
            yield from sightings.problems(part, ordered=True)
            if part["path"] not in sightings.damaged:
                for table in _tables(store.path(part["path"])):
                    count_rows(platforms.setdefault(part["platform"], Counter()), table)
            yield None
        if not sightings.sound:
            continue
        if sightings.whole.hex != told["digest"]:
            yield f"{where}: the sightings' content digest is not the one that it gives"
        if told_counts(platforms) != told["counts"]:
            yield f"{where}: its counts are not those of its parts"
        if told["counts"]["posts"] != manifest["counts"]["posts"]:
            posts, seen = manifest["counts"]["posts"], told["counts"]["posts"]
            yield f"{where}: it tells of {seen} posts, and sweep {sweep} has {posts}"


def _tables(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def _miscounted(manifest: Manifest) -> Iterator[str]:
    """Counts of a manifest that its parts do not bear out."""
    counts, parts = manifest["counts"], manifest["parts"]
    rows = {table: sum(part["rows"] for part in parts[table]) for table in TABLES}
    platforms: Counter[str] = Counter()
    for part in parts["posts"]:
        platforms[part["platform"]] += part["rows"]
    if counts["posts"] != rows["posts"] or counts["platforms"] != dict(platforms):
        yield f"it counts {counts['posts']} posts, its parts hold {rows['posts']}"
    if counts["rejects"] != rows["rejects"]:
        yield f"it counts {counts['rejects']} rejects, its parts hold {rows['rejects']}"
    if rows["identities"] != rows["posts"]:
        yield f"its parts hold {rows['posts']} posts and {rows['identities']} identities; each post has one"


def _run_problems(store: Store, manifest: Manifest, run: Manifest, posts: "_Table") -> Iterator[str | None]:
    where = f"manifests/runs/{run['run']}.json"
    yield from _strangers(store, f"scores/run={run['run']}", run["parts"])
    digests = {part["path"]: part["digest"] for part in manifest["parts"]["posts"]}
    if sorted(part["posts_path"] for part in run["parts"]) != sorted(digests):
        yield f"{where}: it does not cover the parts of sweep {manifest['sweep']} one by one"
    scores = _Table(store, "uid")
    for part in run["parts"]:
        yield from scores.problems(part, ordered=True)
        if digests.get(part["posts_path"]) != part["posts_digest"]:
            yield f"{part['path']}: made for another version of {part['posts_path']}"
        elif {part["path"], part["posts_path"]} & (scores.damaged | posts.damaged):
            pass  # told already
        elif not _same_uids(store.path(part["path"]), store.path(part["posts_path"])):
            yield f"{part['path']}: its uids are not those of {part['posts_path']}, row by row"
        yield None
    if scores.sound and scores.whole.hex != run["digest"]:
        yield f"{where}: the scores' content digest is not the one that it gives"
    if run["counts"]["posts"] != sum(part["rows"] for part in run["parts"]):
        yield f"{where}: it counts {run['counts']['posts']} posts, its parts hold another number"


class _Table:
    """Checks the parts of one table in order, with what goes beyond one part: the order of keys and the digest."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._last: tuple[str, str] = ("", "")
        self.whole = Digest()
        self.damaged: set[str] = set()

    @property
    def sound(self) -> bool:
        """Whether all parts so far are as their manifest says."""
        return not self.damaged

    def problems(self, part: Part, ordered: bool) -> Iterator[str]:
        """What is wrong with the next part."""
        try:
            told = self._problem(part, ordered)
        except (OSError, pa.ArrowException) as error:
            told = f"cannot be read ({type(error).__name__}); restore it"
        if told is not None:
            self.damaged.add(part["path"])
            yield f"{part['path']}: {told}"

    def _problem(self, part: Part, ordered: bool) -> str | None:
        path = self._store.path(part["path"])
        if not path.exists():
            return "missing"
        if path.stat().st_size != part["bytes"] or file_sha256(path) != part["sha256"]:
            return "its bytes are not those that were committed (SHA-256 differs); restore it"
        digest = Digest(self.whole)
        for row in part_rows(path):
            digest.add(row)
        if digest.rows != part["rows"] or digest.hex != part["digest"]:
            return "its rows are not those that the manifest counts and digests"
        if ordered and not self._ascending(part["platform"], path):
            return f"not sorted by {self._key} after the part before it, or one occurs twice"
        return None

    def _ascending(self, platform: str, path: Path) -> bool:
        for value in _column(path, self._key):
            if (platform, value) <= self._last:
                return False
            self._last = (platform, value)
        return True


def _strangers(store: Store, folder: str, parts: list[Part]) -> Iterator[str]:
    known = {part["path"] for part in parts}
    for name in store.names(folder):
        if name not in known:
            yield f"{name}: no manifest names it; move it out of the archive"


def _unnamed(store: Store) -> list[str]:
    """What lies in a table beside the folders of sealed sweeps and finished runs: a plain glob would read it."""
    sweeps = {f"sweep={sweep}" for sweep in sweep_ids(store)}
    runs = {f"run={run}" for run in run_ids(store)}
    work = {"incoming", "tmp", "sweeps", "feeds", "erasing", "claims"}
    found = []
    for table in (*TABLES, "scores", "sightings"):
        known = runs if table == "scores" else sweeps | work if table == "identities" else sweeps
        for name in store.matching(f"{table}/*"):
            if Path(name).name not in known:
                found.append(f"{name}: no manifest names it; move it out of the archive, or restore its manifest")
    for name in store.names("manifests/sweeps"):
        if not re.fullmatch(r".+\.\d+\.json", name):
            found.append(f"{name}: not the name of a manifest; move it out of the archive")
    return found


def _ledger_problems(store: Store) -> Iterator[str]:
    """What erasures left is whole: each has its receipt, its entries, and sweeps of its generation or a later one."""
    known: set[str] = set()
    for name in store.matching(f"{RECEIPTS}/*.json"):
        problems: list[str] = []
        told = _read(receipt, store, name, problems)
        yield from problems
        if told is None:
            continue
        entries = told["ledger"]["path"]
        known.add(entries)
        if not store.exists(entries):
            yield f"{entries}: missing; restore it, or what was erased can come back"
        elif file_sha256(store.path(entries)) != told["ledger"]["sha256"]:
            yield f"{entries}: its bytes are not those that were committed (SHA-256 differs); restore it"
        for sweep in told["sweeps"]:
            if max(sweep_generations(store, sweep["sweep"]), default=-1) < sweep["generation"]:
                where = f"manifests/sweeps/{sweep['sweep']}.{sweep['generation']}.json"
                yield f"{where}: missing, yet {name} tells of it; restore it"
    for name in store.matching("ledger/*.parquet"):
        if name not in known:
            yield f"{name}: no receipt names it; restore the receipt"


def _open_to_others(store: Store) -> list[str]:
    """What leads back to people and is not its owner's alone."""
    found = []
    for table in PRIVATE_TABLES:
        for name in (table, *store.matching(f"{table}/**/*")):
            with suppress(FileNotFoundError):  # a crawl may be at work beside
                if stat.S_IMODE(store.path(name).stat().st_mode) & 0o077:
                    found.append(f"{name}: open to others than its owner; run chmod go= on it")
    return found


def _column(path: Path, key: str) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[key]):
            yield from batch.column(0).to_pylist()


def _same_uids(scores: Path, posts: Path) -> bool:
    if pq.read_metadata(scores).num_rows != pq.read_metadata(posts).num_rows:
        return False
    return all(a == b for a, b in zip(_column(scores, "uid"), _column(posts, "uid"), strict=True))
