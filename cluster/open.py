"""Opens the Dask cluster that a job runs on: one of processes here, with or without GPUs, or one at an address."""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import Client, LocalCluster

from cluster.errors import ClusterError
from cluster.workers import DEATHS, GPU

WORKER_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # a folder named cluster/ or classify/ where a job starts must not shadow the packages
    "TOKENIZERS_PARALLELISM": "false",  # a thread pool in a process that may fork deadlocks
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    # An error of a task comes back to whoever asked for it, in one line; its stack trace does not belong on a terminal.
    "DASK_LOGGING__DISTRIBUTED": os.environ.get("DASK_LOGGING__DISTRIBUTED", "critical"),
}
"""What every worker process is started with."""

_DASK = {
    # No page and no metrics are served, be it on loopback: whatever asks there is not asked who it is.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.scheduler.worker-saturation": 1.0,
}


@dataclass(frozen=True)
class ClusterSpec:
    """What to open. `workers` counts the processes of a local cluster, of one task each; a `cuda` cluster has one per
    device. `address` is a scheduler's, for that kind.
    """

    kind: Literal["local", "cuda", "address"] = "local"
    workers: int = 2
    address: str | None = None


@contextmanager
def open_cluster(spec: ClusterSpec) -> Iterator[Client]:
    """Gives a client of the cluster for the time of a `with` block; a local cluster ends with it.

    Errors: ClusterError when nothing answers at the address, no worker is there, a `cuda` cluster cannot be, or
    the folder for temporary files cannot.
    """
    with dask.config.set({**_DASK, "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
        if spec.kind == "address":
            with _connect(str(spec.address)) as client:
                yield client
            return
        with _started(spec) as local, Client(local) as client:
            yield client


def _started(spec: ClusterSpec) -> LocalCluster:
    # Tasks run in one thread each: a model or a crawl has the process for itself. Dask runs whatever reaches its
    # scheduler, and other people may use this machine: the processes of a cluster know each other by a certificate
    # that is made for it and never leaves their memory.
    options: dict[str, Any] = {
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "security": True,
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "worker_dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
        "silence_logs": 40,
        "local_directory": _scratch(),
        "env": WORKER_ENVIRONMENT,
        "preload": ["cluster.interrupts"],
    }
    if spec.kind == "local":
        return LocalCluster(n_workers=spec.workers, **options)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError(
            f'cluster.kind "cuda" needs dask-cuda ({error}); install postsweep with its extra cuda'
        ) from error
    try:
        devices: LocalCluster = LocalCUDACluster(resources=dict(GPU), device_memory_limit=None, **options)
    except Exception as error:  # the driver's errors have no narrower base
        raise ClusterError(
            f'cluster.kind "cuda": no GPU can be used here ({error}); see what nvidia-smi says, or set "local"'
        ) from error
    return devices


def _scratch() -> str | None:
    """The folder of the workers' temporary files, where the environment names one."""
    named = os.environ.get("POSTSWEEP_SCRATCH") or None
    try:
        if named is not None:
            Path(named).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"POSTSWEEP_SCRATCH: no folder {named} can be made ({error.strerror}); name another folder"
        ) from None
    return named


def _connect(address: str) -> Client:
    where = f"cluster.address {address}"
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    if not (scheme in ("tls", "tcp") and host and port.isdigit()):
        raise ClusterError(f"{where}: not an address such as tls://scheduler.example:8786")
    if scheme != "tls" and host != "localhost" and not _is_loopback(host):
        raise ClusterError(f"{where}: another host is reached by tls:// only, as Dask runs whatever reaches it")
    try:
        client = Client(address, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"{where}: no Dask scheduler answers there; start it, or correct the address") from error
    except TypeError as error:
        raise ClusterError(
            f"{where}: no certificates for tls; name them in Dask's configuration, as in "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT and ...__CLIENT__KEY"
        ) from error
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError as error:
        client.close()
        raise ClusterError(f"{where}: the scheduler has no worker after 60 s; start some") from error
    return client


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
