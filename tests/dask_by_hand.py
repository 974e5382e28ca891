"""A Dask cluster as operators start one by hand: a scheduler and worker processes on loopback, ended by their pids."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distributed import Client

from cluster.open import ClusterSpec

ROOT = Path(__file__).resolve().parents[1]


class ByHand:
    """Processes of a cluster, by their pids. `spec` opens it."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self._folder = folder
        self._processes = processes
        self._by_pid: dict[int, subprocess.Popen[bytes]] = {}
        file = folder / "scheduler.json"
        own = ("--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file))
        self.scheduler = self._start("scheduler", *own)
        self._client = processes.enter_context(Client(scheduler_file=str(file), timeout="60s"))
        self.spec = ClusterSpec("address", address=self._client.scheduler.address)

    def workers(self, count: int, *arguments: str, threads: int = 1) -> list[int]:
        """Starts workers, waits until they are there, and gives their pids."""
        before = len(self._client.scheduler_info(n_workers=-1)["workers"])
        pids = [self.worker(*arguments, threads=threads) for _ in range(count)]
        self._client.wait_for_workers(before + count, timeout=60)
        return pids

    def worker(self, *arguments: str, threads: int = 1) -> int:
        """Starts a worker without a nanny and gives its pid."""
        own = ("--no-nanny", "--nthreads", str(threads), "--memory-limit", "0", "--dashboard-address", "127.0.0.1:0")
        return self._start("worker", str(self.spec.address), *own, *arguments)

    def end(self, pid: int) -> None:
        """Ends a process as a system does that runs out of memory, and waits until it is gone."""
        self._by_pid[pid].send_signal(signal.SIGKILL)
        self._by_pid[pid].wait(30)

    def _start(self, command: str, *arguments: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", command, "--host", "127.0.0.1", *arguments],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DASK_LOGGING__DISTRIBUTED": "critical"},
            stdout=subprocess.DEVNULL,
        )
        self._by_pid[process.pid] = self._processes.enter_context(process)
        self._processes.callback(process.kill)
        return process.pid


@contextmanager
def cluster_by_hand(folder: Path) -> Iterator[ByHand]:
    """A scheduler without workers, ended with all that was started for it; after three minutes in any case, so that
    what waits for it forever is told.
    """
    with ExitStack() as processes:
        cluster = ByHand(folder, processes)
        end = threading.Timer(180, cluster.end, [cluster.scheduler])
        processes.callback(end.cancel)
        end.start()
        yield cluster
