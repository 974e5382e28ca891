"""The process that reads hosts: a job in JSON on standard input, progress and the outcome as JSON lines on output.

Started by `pipelines.crawl.read_hosts` as `python -P -m pipelines.read_hosts`. It ends at once when its input closes:
the worker that started it is gone, and another may take its place.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson

from crawlers.run import CrawlSettings, crawl
from crawlers.source import Source, Window
from pipelines.archive import reopen_archive, software
from pipelines.crawl import HostsJob
from pipelines.errors import Exit, PostsweepError
from pipelines.keys import key_for
from pipelines.lease import Lease
from pipelines.shards import ShardSink, SinkSettings
from pipelines.store import Store, disk_errors

LONGEST_WAIT = 6 * 3600.0
"""Seconds that a job waits for a host which another process reads."""


Say = Callable[[dict[str, Any]], None]


def main() -> int:
    """Runs one job that reads sources."""
    return serve(lambda told, say: _read(HostsJob(**told), say))


def serve(work: Callable[[dict[str, Any], Say], None]) -> int:
    """Runs one job, told in JSON, and says in JSON how it goes on and ends."""
    output = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not end up among the events
    write = threading.Lock()

    def say(event: dict[str, Any]) -> None:
        with write:
            output.write(orjson.dumps(event).decode() + "\n")
            output.flush()

    told = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(told, say)
    except PostsweepError as error:
        say({"error": str(error), "exit": int(error.exit_code)})
        return int(Exit.FAILED)
    return int(Exit.DONE)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(int(Exit.FAILED))


def _read(job: HostsJob, say: Say) -> None:
    names = key_for(Path(job.archive))
    store = reopen_archive(Path(job.archive), f"sweep-{job.sweep}", names.fingerprint)
    settings = SinkSettings(
        store=store,
        sweep=job.sweep,
        lease=Lease(job.lease_name, job.lease_token),
        names=names,
        keep_raw=job.keep_raw,
        keep_accounts=job.keep_accounts,
        on_commit=lambda _source, meta: say(
            {
                "source": meta["source"],
                "state": meta["state"],
                "pages": meta["pages"],
                "posts": meta["posts"],
                "rejects": meta["rejects"],
            }
        ),
    )
    sources = [Source.of(source) for source in job.sources]
    with alone_at(store, {names.link(source.authority) for source in sources}, lambda: say({"waits": True})):
        _crawl(job, settings, sources)


@contextmanager
def alone_at(store: Store, hosts: set[str], waits: Callable[[], None]) -> Iterator[Callable[[str], bool]]:
    """Waits until no other process reads these hosts for this archive, another sweep's or one that is still ending.
    Yields a way to take one more host without a wait, which says whether it could.

    Locks of the operating system: a process that dies holds none. Taken in one order, so that nobody waits in a circle.
    Errors: PostsweepError after `LONGEST_WAIT`.
    """
    until = time.monotonic() + LONGEST_WAIT
    folder = store.path("leases/hosts")
    with disk_errors(store.root), ExitStack() as opened:
        folder.mkdir(parents=True, exist_ok=True)
        held: set[str] = set()

        def take(host: str) -> bool:
            if host in held:
                return True
            file = (folder / f"{host}.lock").open("w")
            if not _locked(file):
                file.close()
                return False
            opened.enter_context(file)
            held.add(host)
            return True

        for host in sorted(hosts):
            while not take(host):
                if time.monotonic() > until:
                    raise PostsweepError(
                        f"{store.root}: another process has been reading one of these hosts for "
                        f"{LONGEST_WAIT / 3600:.0f} hours; stop it, or run the same command again later"
                    )
                waits()
                time.sleep(1)
        yield take


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _crawl(job: HostsJob, settings: SinkSettings, sources: list[Source]) -> None:
    crawl(
        sources=sources,
        window=Window(datetime.fromisoformat(job.since), datetime.fromisoformat(job.until)),
        settings=CrawlSettings(
            contact=job.contact,
            version=software()["postsweep"],
            delay_seconds=job.delay_seconds,
            retries=job.retries,
        ),
        open_sink=lambda source: ShardSink(settings, source),
    )


if __name__ == "__main__":
    sys.exit(main())
