"""Which workers may run the tasks of a run: those that declare what a task needs, and no GPU for what needs none."""

import math
import time
from collections.abc import Mapping
from typing import Any

from distributed import Client

from cluster.errors import ClusterError

GPU: Mapping[str, float] = {"GPU": 1}
"""What a worker declares for each device it has, and what a task that computes on one asks for."""

LOOK_SECONDS = 1.0
"""How old the view of a cluster may be: workers come and go."""

IN_FLIGHT_PER_THREAD = 2
"""Tasks handed out per thread: one at work and one waiting, so that millions of tasks never sit on the scheduler."""

DEATHS = 3
"""How often the workers that had a task may die before it is given up; the next death is one too many."""

CONNECTION_LOST = "the connection to the Dask scheduler was lost; see that it runs, and the same command goes on"
"""The line for who lost a cluster."""


class Workers:
    """The workers of a cluster that may have the tasks of one run, as last seen.

    Tasks with needs go where these are declared. Tasks without are kept off workers that declare a GPU, since they
    would hold up what can run nowhere else, unless there are no other workers.

    Errors: ClusterError when no worker may have the tasks, at once or later for longer than `patience` seconds, or when
    the scheduler is gone.
    """

    def __init__(self, client: Client, needs: Mapping[str, float], patience: float) -> None:
        self._client = client
        self._needs = dict(needs)
        self._patience = patience
        self._present: dict[str, int] = {}
        self._slots: dict[str, int] = {}
        self._address = ""
        self._looked_at = self._preferred_at = self._able_at = -math.inf
        self.look()

    def look(self) -> None:
        """Sees again which workers are there, if the last look is a while ago."""
        if self._client.status != "running":  # it would go on telling what it heard last
            raise ClusterError(CONNECTION_LOST)
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        seen = self._client.scheduler_info(n_workers=-1)
        self._looked_at = now
        self._address = seen["address"]
        self._present = {address: int(worker["nthreads"]) for address, worker in seen["workers"].items()}
        fitting = {address: self._fitting(worker) for address, worker in seen["workers"].items()}
        self._slots = {address: slots for address, slots in fitting.items() if slots}
        if self._slots:
            self._preferred_at = now
        elif not self._needs and now - self._preferred_at > self._patience:
            self._slots = self._present
        if self._slots:
            self._able_at = now
        elif now - self._able_at > self._patience:
            raise ClusterError(self._missing(ever=self._able_at > -math.inf))

    def _fitting(self, worker: Mapping[str, Any]) -> int:
        """How many tasks a worker has room for at once."""
        declared, threads = worker["resources"], int(worker["nthreads"])
        if not self._needs:
            return 0 if any(declared.get(name, 0) > 0 for name in GPU) else threads
        fits = [int(declared.get(name, 0) // need) for name, need in self._needs.items()]
        return min(threads, *fits)

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return sum(self._slots.values())

    @property
    def room(self) -> int:
        """How many tasks are in flight at most.

        Tasks with needs do not wait on a worker behind others: Dask counts a worker's death against all tasks that it
        was given, and those that only waited there would be given up with the one that kills workers.
        """
        return self.slots * (1 if self._needs else IN_FLIGHT_PER_THREAD)

    @property
    def only(self) -> frozenset[str] | None:
        """The addresses that a task is kept to, where its needs do not do that: also where no worker declares a GPU, as
        one may come while the task is at work."""
        return None if self._needs else frozenset(self._slots)

    def strand(self, only: frozenset[str] | None) -> bool:
        """Whether a task that was kept to these addresses can run on none of them any more."""
        return only is not None and bool(self._slots) and only.isdisjoint(self._present)

    def _missing(self, ever: bool) -> str:
        """The line for who has no worker for these tasks, after there was one or from the start."""
        lately = f", and none came for {self._patience:g} s" if ever else ""
        how = f"dask worker {self._address} --nthreads 1"
        if not self._needs:
            return f"the cluster has no worker{lately}; start one: {how}"
        declared = ",".join(f"{name}={need:g}" for name, need in self._needs.items())
        told, cuda = f"no worker declares {declared}, which these tasks need{lately}", 'set cluster.kind = "cuda"'
        if self._client.cluster is not None:  # started for this command, so nobody else can join it
            return f'{told}: {cuda} on a machine with a GPU, or the model\'s device to "cpu"'
        return (
            f"{told}; start one on a machine that has it: "
            f'{how} --resources "{declared}", or {cuda} on a machine with a GPU'
        )
