"""Runs many tasks on a cluster: a bounded number in flight, retried, with progress, and cancelled when one fails."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from distributed import Client, as_completed, get_worker
from distributed.scheduler import KilledWorker

from cluster.errors import ClusterError

Task = TypeVar("Task")
Result = TypeVar("Result")
Event = dict[str, Any]

IN_FLIGHT_PER_WORKER = 2
"""Tasks handed out per worker: one at work and one waiting, so that millions of tasks never sit on the scheduler."""

_topic: ContextVar[str | None] = ContextVar("topic", default=None)
"""Where the events of the task at work go: jobs that share a cluster must not hear each other's."""


def report(event: Event) -> None:
    """Sends a small event from inside a task to whoever runs it; nothing happens outside a task."""
    topic = _topic.get()
    if topic is not None:
        get_worker().log_event(topic, event)


def _run(function: Callable[[Task], Result], task: Task, topic: str) -> Result:
    """What a worker is given: the task, with its events on their way."""
    token = _topic.set(topic)
    try:
        return function(task)
    finally:
        _topic.reset(token)


def run_tasks(
    client: Client,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    retries: int = 2,
    resources: Mapping[str, float] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Yields each task with its result as it is done, in no particular order.

    Functions, tasks and results travel through the scheduler: they are small, and carry no secret. An exception that a
    task still raises after its retries is raised here, and what is in flight is cancelled. Errors: ClusterError when
    the workers that had a task died each time.
    """
    waiting = iter(enumerate(tasks))
    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    places: dict[Any, int] = {}
    done = as_completed()
    topic = f"postsweep-{uuid.uuid4().hex}"

    def submit() -> bool:
        for place, task in waiting:
            future = client.submit(
                _run, function, task, topic, pure=False, retries=retries, resources=dict(resources or {}) or None
            )
            places[future.key] = place
            done.add(future)
            return True
        return False

    with _listening(client, topic, on_event):
        for _ in range(workers * IN_FLIGHT_PER_WORKER):
            submit()
        try:
            for future in done:
                result = future.result()
                yield tasks[places.pop(future.key)], result
                submit()
        except KilledWorker as error:
            raise ClusterError(
                "a worker died each time it had the same task, most likely for lack of memory; "
                "give workers more, or make parts smaller (sweep.part_rows)"
            ) from error
        finally:
            client.cancel(list(done.futures), force=True)


@contextmanager
def _listening(client: Client, topic: str, on_event: Callable[[Event], None] | None) -> Iterator[None]:
    if on_event is None:
        yield
        return
    client.subscribe_topic(topic, lambda event: on_event(event[1]))
    try:
        yield
    finally:
        client.unsubscribe_topic(topic)
