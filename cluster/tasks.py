"""Runs many tasks on a cluster: a bounded number in flight, retried, with progress, and cancelled when one fails."""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from distributed import Client, Future, get_worker
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker, NoValidWorkerError

from cluster.errors import ClusterError
from cluster.workers import CONNECTION_LOST, DEATHS, LOOK_SECONDS, Workers

Task = TypeVar("Task")
Result = TypeVar("Result")
Event = dict[str, Any]

_topic: ContextVar[str | None] = ContextVar("topic", default=None)
"""Where the events of the task at work go: jobs that share a cluster must not hear each other's."""


def report(event: Event) -> None:
    """Sends a small event from inside a task to whoever runs it; nothing happens outside a task."""
    topic = _topic.get()
    if topic is not None:
        get_worker().log_event(topic, event)


def _run(function: Callable[[Task], Result], topic: str, task: Task) -> Result:
    """What a worker is given: the task, with its events on their way."""
    token = _topic.set(topic)
    try:
        return function(task)
    finally:
        _topic.reset(token)


def slots(client: Client) -> int:
    """How many tasks without needs run at once on the workers that are there. Errors: ClusterError when none is."""
    return Workers(client, {}, patience=0).slots


def run_tasks(
    client: Client,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    retries: int = 2,
    fatal: tuple[type[Exception], ...] = (),
    resources: Mapping[str, float] | None = None,
    patience: float = 300,
    on_event: Callable[[Event], None] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Yields each task with its result as it is done, in no particular order.

    Functions, tasks and results travel through the scheduler: they are small, and carry no secret. With `resources`,
    such as `GPU`, tasks run only on workers that declare them; without, on workers that declare no GPU, if there are
    any. A task whose worker died runs again, there when it is back or on another that may have it.

    What a task still raises after its retries, or at once where it is of the `fatal` kinds, is raised here, and what is
    in flight is cancelled. Errors: ClusterError when no worker may have the tasks at the start, or later for
    longer than `patience` seconds; when the workers that had a task died each time; when the scheduler is gone.
    """
    workers = Workers(client, resources or {}, patience)
    waiting = deque(range(len(tasks)))
    failures: Counter[int] = Counter()
    deaths: Counter[int] = Counter()
    topic = f"postsweep-{uuid.uuid4().hex}"
    flight = _Flight(client, partial(_run, function, topic), resources or {})

    with _listening(client, topic, on_event):
        try:
            while waiting or len(flight):
                workers.look()
                for place in flight.take_back(workers):
                    deaths[place] += 1
                    if deaths[place] > DEATHS:
                        raise ClusterError(_KILLED)
                    waiting.appendleft(place)
                while waiting and len(flight) < workers.room:
                    place = waiting.popleft()
                    flight.send(place, tasks[place], workers.only)
                for place, result, error in flight.ended():
                    if error is None:
                        yield tasks[place], result
                        continue
                    failures[place] += 1
                    if isinstance(error, fatal) or failures[place] > retries:
                        raise error
                    waiting.appendleft(place)
        finally:
            flight.cancel()


class _Flight:
    """The tasks of a run that are on the cluster, each with its place among them all."""

    def __init__(self, client: Client, run: Callable[[Any], Any], needs: Mapping[str, float]) -> None:
        self._client = client
        self._run = run
        self._needs = dict(needs)
        self._sent: dict[Future[Any], tuple[int, frozenset[str] | None]] = {}
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._sent)

    def send(self, place: int, task: Any, only: frozenset[str] | None) -> None:
        """Puts a task on the cluster; `only` are the addresses of the workers that it is kept to, if it is."""
        future = self._client.submit(
            self._run,
            task,
            pure=False,
            resources=self._needs or None,
            workers=None if only is None else list(only),
        )
        self._sent[future] = place, only
        future.add_done_callback(self._ended.put)

    def take_back(self, workers: Workers) -> Iterator[int]:
        """Takes back the tasks that were kept to workers which are all gone, and gives their places."""
        for future, (place, only) in list(self._sent.items()):
            if workers.strand(only):
                del self._sent[future]
                self._client.cancel([future], force=True)
                yield place

    def ended(self) -> Iterator[tuple[int, Any, Exception | None]]:
        """Waits a little for a task to end and gives its place, with its result or what it raised.

        Errors: ClusterError for what is no fault of the task's code.
        """
        try:
            future = self._ended.get(timeout=LOOK_SECONDS)
        except Empty:
            return
        if future not in self._sent:  # taken back
            return
        if (error := _error(future)) is not None:
            yield self._sent.pop(future)[0], None, error
            return
        try:
            result = future.result(timeout=LOOK_SECONDS)
        except TimeoutError:  # its worker died with it, and the task runs again
            future.add_done_callback(self._ended.put)
            return
        except FutureCancelledError as error:
            raise ClusterError(CONNECTION_LOST) from error
        yield self._sent.pop(future)[0], result, None

    def cancel(self) -> None:
        """Cancels what has not ended, if the scheduler is still there to hear of it."""
        if self._client.status == "running":
            self._client.cancel(list(self._sent), force=True)


def _error(future: Future[Any]) -> Exception | None:
    if future.status == "cancelled":
        raise ClusterError(CONNECTION_LOST)
    if future.status != "error":
        return None
    error: Exception = future.exception()
    if isinstance(error, KilledWorker):
        raise ClusterError(_KILLED) from error
    if isinstance(error, NoValidWorkerError):
        raise ClusterError("the cluster gave up waiting for a worker that may have the tasks; start one") from error
    return error.with_traceback(future.traceback())


_KILLED = (
    "a worker died each time it had the same task, most likely for lack of memory; "
    "give workers more, or make parts smaller (sweep.part_rows)"
)


@contextmanager
def _listening(client: Client, topic: str, on_event: Callable[[Event], None] | None) -> Iterator[None]:
    if on_event is None:
        yield
        return
    client.subscribe_topic(topic, lambda event: on_event(event[1]))
    try:
        yield
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic)
