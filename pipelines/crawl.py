"""Crawling a sweep: hosts are dealt out to Dask tasks, each of which reads its hosts in one Scrapy process.

The pages go to shards of the archive (`shards.py`); when all sources have ended, the sweep is sealed (`seal.py`).
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

import orjson

from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import report, run_tasks, slots
from crawlers.pseudonyms import Pseudonyms
from crawlers.source import Source
from pipelines.archive import (
    incoming,
    is_archive,
    moment,
    open_archive,
    private_incoming,
    refuse_erasing,
    sweep_manifest,
)
from pipelines.config import SweepConfig
from pipelines.erasure.ledger import refuse_erased_sources
from pipelines.errors import ArchiveError, ConfigError, Exit, PostsweepError, SealedError
from pipelines.keys import key_for, load_key
from pipelines.lease import Lease, held
from pipelines.progress import Progress
from pipelines.seal import SealSettings, clear_incoming, is_sealing, seal
from pipelines.shards import shards_of
from pipelines.startup import check_roots
from pipelines.store import Store


@dataclass(frozen=True)
class HostsJob:
    """What one task reads: some hosts' sources, wholly in JSON. It carries no key and no password."""

    archive: str
    sweep: str
    lease_name: str
    lease_token: int
    since: str
    until: str
    contact: str
    delay_seconds: float
    retries: int
    keep_raw: bool
    keep_accounts: bool
    sources: tuple[dict[str, Any], ...]


def crawl_sweep(config: SweepConfig, progress: Progress) -> Exit:
    """Crawls and seals a sweep, or goes on where an earlier call was cut off.

    Errors: SealedError when it is sealed already, ConfigError for a source that was erased, LeaseHeldError,
    KeyMismatchError, ArchiveError, ClusterError.
    """
    if not config.sources:
        raise ConfigError(f"sweep {config.id} has no [[source]] to read; its sweep file needs one")
    names = key_for(config.archive) if is_archive(config.archive) else load_key()
    store = open_archive(config.archive, f"sweep-{config.id}", names.fingerprint)
    refuse_erased_sources(store, names, config.sources)  # told also where the sweep is sealed
    _refuse_sealed(store, config, names)
    with held(store, f"sweep-{config.id}") as lease:
        refuse_erasing(store)
        refuse_erased_sources(store, names, config.sources)  # an erasure may have come to its end meanwhile
        if sweep_manifest(store, config.id) is not None:  # sealed by another process meanwhile
            clear_incoming(store, config.id)
        _refuse_sealed(store, config, names)
        store.clear_scratch()
        _open_sweep(store, config, names)
        if not is_sealing(store, config.id):
            _read_sources(store, lease, config, names, progress)
        with progress.stage("seal"):
            manifest = seal(store, lease, _seal_settings(config, names))
    return Exit.GAPS if any(source["gaps"] for source in manifest["sources"]) else Exit.DONE


def _refuse_sealed(store: Store, config: SweepConfig, names: Pseudonyms) -> None:
    """Raises SealedError for a sealed sweep, ArchiveError when what was sealed is not what the sweep file asks for."""
    sealed = sweep_manifest(store, config.id)
    if sealed is None:
        return
    if store.exists(incoming(config.id)) or store.exists(private_incoming(config.id)):
        with held(store, f"sweep-{config.id}"):
            clear_incoming(store, config.id)
    _refuse_change(config, "sealed", _noted_in(sealed["window"], sealed["config"]), _noted(config, names))
    raise SealedError(
        f"{config.archive}: sweep {config.id} was sealed at {sealed['sealed_at']} and cannot change; "
        "choose another id under [sweep]"
    )


def _refuse_change(config: SweepConfig, done: str, before: dict[str, Any], noted: dict[str, Any]) -> None:
    changed = [key for key in noted if before.get(key) != noted[key]]
    if changed:
        raise ArchiveError(
            f"{config.archive}: sweep {config.id} was {done} with another {' and '.join(changed)}; "
            "restore the sweep file, or choose another id under [sweep]"
        )


def _noted(config: SweepConfig, names: Pseudonyms) -> dict[str, Any]:
    """What a sweep reads and keeps: the same for all calls of one sweep."""
    window = {"since": moment(config.window.since), "until": moment(config.window.until)}
    return _noted_in(window, config.public(names))


def _noted_in(window: dict[str, Any], public: dict[str, Any]) -> dict[str, Any]:
    return {
        "window": window,
        "sources": sorted(source["source"] for source in public["source"]),
        "keep_raw": public["sweep"]["keep_raw"],
        "keep_accounts": public["sweep"]["keep_accounts"],
    }


def _seal_settings(config: SweepConfig, names: Pseudonyms) -> SealSettings:
    return SealSettings(
        sweep=config.id,
        window={"since": moment(config.window.since), "until": moment(config.window.until)},
        config=config.public(names),
        sources=[names.source(source) for source in config.sources],
        fingerprint=names.fingerprint,
        part_rows=config.sweep.part_rows,
    )


def _open_sweep(store: Store, config: SweepConfig, names: Pseudonyms) -> None:
    """Notes what the sweep reads; a later call must read the same. Its full configuration is kept apart."""
    noted = _noted(config, names)
    name = f"{incoming(config.id)}/_open.json"
    if not store.create(name, orjson.dumps(noted)):
        _refuse_change(config, "begun", orjson.loads(store.read(name) or b"{}"), noted)
    store.put(f"identities/sweeps/{config.id}.json", orjson.dumps(config.private()), private=True)


def _read_sources(store: Store, lease: Lease, config: SweepConfig, names: Pseudonyms, progress: Progress) -> None:
    complete = {shard.source_hash for shard in shards_of(store, config.id) if shard.meta["state"] == "complete"}
    undone = tuple(source for source in config.sources if names.file_hash(source) not in complete)
    if not undone:
        return
    spec = ClusterSpec(kind=config.cluster.kind, workers=config.cluster.workers, address=config.cluster.address)
    with progress.stage("crawl", total=len(config.sources)) as stage, open_cluster(spec) as client:
        stage.advance(len(config.sources) - len(undone))
        totals = {"posts": 0, "pages": 0, "rejects": 0}

        def on_event(event: dict[str, Any]) -> None:
            if "waits" in event:
                stage.note("waits for another sweep of this archive that reads the same host")
                return
            for key in totals:
                totals[key] += event[key]
            stage.note(f"{totals['posts']:,} posts, {totals['pages']:,} pages, {totals['rejects']:,} rejects")
            if event["state"] != "open":
                stage.advance(1)

        base = HostsJob(
            archive=str(store.root),
            sweep=config.id,
            lease_name=lease.name,
            lease_token=lease.token,
            since=moment(config.window.since),
            until=moment(config.window.until),
            contact=config.sweep.contact,
            delay_seconds=config.sweep.delay_seconds,
            retries=config.sweep.retries,
            keep_raw=config.sweep.keep_raw,
            keep_accounts=config.sweep.keep_accounts,
            sources=(),
        )
        jobs = [
            replace(base, sources=tuple(asdict(source) for source in group))
            for group in deal_hosts(undone, slots(client))
        ]
        for _ in run_tasks(client, read_hosts, jobs, on_event=on_event):
            pass


def deal_hosts(sources: tuple[Source, ...], groups: int) -> list[list[Source]]:
    """Deals sources out so that all of a host's are in one group, the groups nearly equal in number of sources."""
    hosts: dict[str, list[Source]] = {}
    for source in sources:
        hosts.setdefault(source.authority, []).append(source)
    dealt: list[list[Source]] = [[] for _ in range(min(groups, len(hosts)))]
    for _, members in sorted(hosts.items(), key=lambda host: (-len(host[1]), host[0])):
        min(dealt, key=len).extend(members)
    return dealt


def read_hosts(job: HostsJob) -> None:
    """The Dask task: reads the job's hosts in a process of its own, as Scrapy's reactor cannot be started twice.

    The process ends when its standard input closes, so it never outlives the worker. Errors: PostsweepError.
    """
    run_process("pipelines.read_hosts", asdict(job), f"reading {len(job.sources)} sources")


def run_process(module: str, told: dict[str, Any], doing: str) -> None:
    """Runs a job in a process of its own, hands its events on, and ends with its failure. Errors: PostsweepError."""
    check_roots()
    command = [sys.executable, "-P", "-m", module]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child,
        _draining(child.stderr) as complaints,
    ):
        if child.stdin is None or child.stdout is None:
            raise AssertionError("pipes were asked for")
        try:
            with suppress(OSError):  # it is gone already, and its complaint says why
                child.stdin.write(orjson.dumps(told) + b"\n")
                child.stdin.flush()
            failure = None
            for line in child.stdout:
                event = orjson.loads(line)
                failure = event if "error" in event else failure
                if "error" not in event:
                    report(event)
            code = child.wait()
        finally:
            child.kill()
    if failure is not None:
        raise JobError(failure["error"], failure["exit"])
    if code != 0:
        last = complaints[-1] if complaints else "no message"
        raise JobError(f"{doing}: the process ended with code {code}: {last}", Exit.FAILED)


class JobError(PostsweepError):
    """A failure inside a task, brought back as one line and an exit code (picklable)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)
        self.exit_code = Exit(exit_code)

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def _draining(stream: IO[bytes] | None) -> Iterator[list[str]]:
    """Reads a stream in the background, keeping its last lines, so that the writer never waits."""
    lines: list[str] = []

    def drain() -> None:
        for line in stream or ():
            lines.append(line.decode(errors="replace").strip()[:500])
            del lines[:-20]

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        thread.join(timeout=5)


