"""One writer per sweep or run: a lease with a time to live and a fencing token.

Tokens count up; the lease with token n is the file `leases/<name>.<n>.json`, created only if absent, so of two that
ask at once one wins. The highest token is the holder; it renews by rewriting its own file. A writer whose token is no
longer the highest has lost the lease and must not commit. Where process ids mean the same (one boot of one machine, one
PID namespace) a holder whose process is gone is known to be gone at once; elsewhere its time to live runs out.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipelines.errors import ArchiveError, LeaseHeldError
from pipelines.store import Store

TIME_TO_LIVE = 60.0
"""Seconds that a lease holds without a renewal."""


@dataclass(frozen=True)
class Lease:
    """What a holder carries, and hands to the processes that write for it."""

    name: str
    token: int

    def check(self, store: Store) -> None:
        """Raises ArchiveError when somebody else holds the lease by now: the caller must not commit."""
        newest = max(_tokens(store, self.name), default=0)
        if newest != self.token:
            raise ArchiveError(f"{self.name}: another process took over its lease; this one stops without writing")


def _file(name: str, token: int) -> str:
    return f"leases/{name}.{token}.json"


def _tokens(store: Store, name: str) -> list[int]:
    folder = store.path("leases")
    pattern = re.compile(re.escape(name) + r"\.(\d+)\.json")
    if not folder.is_dir():
        return []
    return sorted(int(found[1]) for entry in folder.iterdir() if (found := pattern.fullmatch(entry.name)))


def process_start(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot (Linux, proc(5)), None when it is gone or unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _machine() -> str | None:
    """What makes process ids comparable: this boot of this machine, seen from this PID namespace (namespaces(7))."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _holder_lives(record: dict[str, object]) -> bool:
    """Whether a lease still holds. A process is believed to be gone only where its id means the same as here."""
    if record["released"] or time.time() > float(str(record["expires"])):
        return False
    if record["machine"] is None or record["machine"] != _machine() or record["started"] is None:
        return True
    pid = int(str(record["pid"]))
    started = process_start(pid)
    return started == record["started"] or (started is None and _is_anothers(pid))


def _is_anothers(pid: int) -> bool:
    """Whether a process that cannot be looked at is another user's, which /proc may hide; a zombie of ours is gone."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _record(released: bool = False) -> bytes:
    return orjson.dumps(
        {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "expires": time.time() + TIME_TO_LIVE,
            "released": released,
        }
    )


def acquire(store: Store, name: str) -> Lease:
    """Takes the lease, or raises LeaseHeldError naming who holds it and for how long."""
    tokens = _tokens(store, name)
    newest = tokens[-1] if tokens else 0
    held = store.read(_file(name, newest)) if tokens else None
    if held is not None and _holder_lives(record := orjson.loads(held)):
        left = max(0, round(float(record["expires"]) - time.time()))
        raise LeaseHeldError(
            f"{name}: process {record['pid']} on {record['host']} is working on it (lease renews every "
            f"{TIME_TO_LIVE / 3:.0f} s, {left} s left); wait for it or stop it"
        )
    lease = Lease(name, newest + 1)
    if not store.create(_file(name, lease.token), _record()):
        raise LeaseHeldError(f"{name}: another process took the lease at this moment; wait for it or stop it")
    for token in tokens:
        store.remove(_file(name, token))
    return lease


def names(store: Store) -> list[str]:
    """Everything that a lease was ever taken of."""
    return sorted({Path(name).name.rsplit(".", 2)[0] for name in store.matching("leases/*.*.json")})


def fence(store: Store, name: str) -> None:
    """Takes a lease and lets it go again: who held it before and only slept commits nothing more.

    Errors: LeaseHeldError when somebody is at work.
    """
    _rewrite(store, acquire(store, name), _record(released=True))


def _rewrite(store: Store, lease: Lease, record: bytes) -> None:
    """Replaces a holder's own file, unless somebody else holds the lease by now. A full disk or a file server that is
    away may pass before the lease runs out."""
    with suppress(OSError, ArchiveError):
        if max(_tokens(store, lease.name), default=0) == lease.token:
            store.put(_file(lease.name, lease.token), record)


@contextmanager
def held(store: Store, name: str) -> Iterator[Lease]:
    """Holds the lease for the time of a `with` block, renewing it in the background."""
    lease = acquire(store, name)
    done = threading.Event()

    def renew() -> None:
        while not done.wait(TIME_TO_LIVE / 3):
            _rewrite(store, lease, _record())

    thread = threading.Thread(target=renew, name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        _rewrite(store, lease, _record(released=True))
