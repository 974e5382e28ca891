"""Verifying an archive: every file that a manifest names is there and says what it said; nothing else lies beside."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.archive import (
    PRIVATE_TABLES,
    TABLES,
    Manifest,
    incoming,
    private_incoming,
    read_archive,
    run_manifests,
    sweep_ids,
    sweep_manifest,
)
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.errors import ArchiveError
from pipelines.progress import Progress
from pipelines.store import Store


def verify_archive(archive: Path, sweep: str | None, progress: Progress) -> list[str]:
    """Checks one sweep and its runs, or all of them; returns one line per problem, none when all is well.

    Errors: ArchiveError when there is no archive, or the sweep is not sealed.
    """
    store = read_archive(archive)
    sweeps = [sweep] if sweep is not None else sweep_ids(store)
    problems: list[str] = []
    for each in sweeps:
        manifest = sweep_manifest(store, each)
        if manifest is None:
            raise ArchiveError(f"{archive}: sweep {each} is not sealed; there is nothing to verify yet")
        runs = run_manifests(store, each)
        parts = sum(len(manifest["parts"][table]) for table in TABLES) + sum(len(run["parts"]) for run in runs)
        with progress.stage(f"verify {each}", total=parts) as stage:
            for found in _problems(store, manifest, runs):
                if found is None:
                    stage.advance(1)
                else:
                    problems.append(found)
    return problems


def _problems(store: Store, manifest: Manifest, runs: list[Manifest]) -> Iterator[str | None]:
    """Problems as they are found, and None after each part."""
    sweep = manifest["sweep"]
    wholes = {table: Digest() for table in TABLES}
    for table in TABLES:
        yield from _strangers(store, f"{table}/sweep={sweep}", manifest["parts"][table])
        for part in manifest["parts"][table]:
            yield from _part_problems(store, part, "author" if table == "accounts" else "uid", wholes[table])
            if table in PRIVATE_TABLES:
                yield from _mode_problems(store, part["path"])
            yield None
    if _differs(wholes["posts"], manifest["parts"]["posts"], manifest["digest"]):
        yield f"manifests/sweeps/{sweep}: the posts' content digest is not the one the manifest gives"
    for left in (incoming(sweep), private_incoming(sweep)):
        if store.exists(left):
            yield f"{left}: left over beside a sealed sweep; run the sweep's command again to remove it"
    for run in runs:
        yield from _run_problems(store, manifest, run)


def _run_problems(store: Store, manifest: Manifest, run: Manifest) -> Iterator[str | None]:
    yield from _strangers(store, f"scores/run={run['run']}", run["parts"])
    posts = {part["path"]: part["digest"] for part in manifest["parts"]["posts"]}
    if sorted(part["posts_path"] for part in run["parts"]) != sorted(posts):
        yield f"run {run['run']}: it does not cover the parts of sweep {manifest['sweep']} one by one"
    whole = Digest()
    for part in run["parts"]:
        yield from _part_problems(store, part, "uid", whole)
        if posts.get(part["posts_path"]) != part["posts_digest"]:
            yield f"{part['path']}: made for another version of {part['posts_path']}"
        elif not _same_uids(store, part["path"], part["posts_path"]):
            yield f"{part['path']}: its uids are not those of {part['posts_path']}, row by row"
        yield None
    if _differs(whole, run["parts"], run["digest"]):
        yield f"manifests/runs/{run['run']}: the scores' content digest is not the one the manifest gives"


def _differs(whole: Digest, parts: list[dict[str, Any]], digest: str) -> bool:
    """Whether parts that are all whole have another digest together than their manifest says."""
    return whole.rows == sum(part["rows"] for part in parts) and whole.hex != digest


def _part_problems(store: Store, part: dict[str, Any], key: str, whole: Digest) -> Iterator[str]:
    """Problems of one part; the rows of one that is readable are added to the digest of the whole."""
    path = store.path(part["path"])
    if not path.exists():
        yield f"{part['path']}: missing"
        return
    if path.stat().st_size != part["bytes"] or file_sha256(path) != part["sha256"]:
        yield f"{part['path']}: its bytes are not those that were committed (SHA-256 differs); restore it"
        return
    digest = Digest()
    for row in part_rows(path):
        digest.add(row)
        whole.add(row)
    if digest.rows != part["rows"] or digest.hex != part["digest"]:
        yield f"{part['path']}: its rows are not those that the manifest counts and digests"
    elif "rejects/" not in part["path"] and not _ascending(_column(path, key)):
        yield f"{part['path']}: not sorted by {key}, or one occurs twice"


def _mode_problems(store: Store, name: str) -> Iterator[str]:
    path = store.path(name)
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield f"{name}: readable by others than its owner; run chmod 600 on it"


def _strangers(store: Store, folder: str, parts: list[dict[str, Any]]) -> Iterator[str]:
    known = {part["path"] for part in parts}
    for name in store.names(folder):
        if name not in known:
            yield f"{name}: no manifest names it; move it out of the archive"


def _column(path: Path, key: str) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[key]):
            yield from batch.column(0).to_pylist()


def _ascending(values: Iterator[str]) -> bool:
    last = None
    for value in values:
        if last is not None and value <= last:
            return False
        last = value
    return True


def _same_uids(store: Store, scores: str, posts: str) -> bool:
    ours, theirs = store.path(scores), store.path(posts)
    if not (ours.exists() and theirs.exists()):
        return False
    if pq.read_metadata(ours).num_rows != pq.read_metadata(theirs).num_rows:
        return False
    return all(a == b for a, b in zip(_column(ours, "uid"), _column(theirs, "uid"), strict=True))
