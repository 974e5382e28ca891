"""GPU workers: processes that declare a GPU. What they declare is what places tasks, so they need none to be tested."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from cluster.errors import ClusterError
from cluster.kept import kept
from cluster.open import open_cluster
from cluster.tasks import report, run_tasks, slots
from cluster.workers import GPU, Workers
from tests.dask_by_hand import ByHand, cluster_by_hand

DECLARED = ("--resources", "GPU=1")


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    with cluster_by_hand(tmp_path) as cluster:
        yield cluster


class Model:
    """Notes in a file that it was loaded, and by which process."""

    def __init__(self, folder: Path) -> None:
        with (folder / "loads").open("a") as loads:
            loads.write(f"{os.getpid()}\n")


def loads(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "loads").read_text().split()]


def hold(folder: Path, number: int, times: int) -> None:
    """Has the next processes that get a task stay at it until they are killed."""
    (folder / f"hold-{number}").write_text(str(times))


def score(task: tuple[str, int]) -> int:
    """Says what it does and where, and stays at it when it is to."""
    folder, number = Path(task[0]), task[1]
    kept(folder, lambda: Model(folder))
    noted = folder / f"hold-{number}"
    times = int(noted.read_text()) if noted.exists() else 0
    hold(folder, number, max(0, times - 1))
    report({"number": number, "pid": os.getpid(), "held": times > 0})
    if times > 0:
        threading.Event().wait(60)
        raise AssertionError("nobody killed the process")
    return os.getpid()


def place(number: int) -> int:
    """A task that needs no GPU."""
    return os.getpid()


def test_gpu_tasks_and_nothing_else_run_on_the_one_gpu_worker_which_is_killed_and_comes_back(
    by_hand: ByHand, tmp_path: Path
) -> None:
    plain = by_hand.workers(3)
    gpu = by_hand.workers(1, *DECLARED)
    tasks = [(str(tmp_path), number) for number in range(8)]
    hold(tmp_path, 4, times=1)
    killed = threading.Event()
    placed: dict[bool, set[int]] = {False: set(), True: set()}

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            by_hand.end(event["pid"])
            killed.set()

    def run_plain_tasks() -> None:
        with open_cluster(by_hand.spec) as client:
            for _, pid in run_tasks(client, place, range(30)):
                placed[False].add(pid)
            assert killed.wait(60)
            for _, pid in run_tasks(client, place, range(30)):
                placed[True].add(pid)
        gpu.append(by_hand.worker(*DECLARED))

    others = threading.Thread(target=run_plain_tasks)
    others.start()
    with open_cluster(by_hand.spec) as client:
        done = list(run_tasks(client, score, tasks, resources=GPU, patience=60, on_event=on_event))
    others.join()

    assert sorted(task for task, _ in done) == tasks
    assert len(gpu) == 2
    assert {pid for _, pid in done} == set(gpu)
    assert loads(tmp_path) == gpu
    assert placed[False] | placed[True] <= set(plain)
    assert placed[False] and placed[True]


def test_a_death_counts_against_the_task_at_work_and_not_against_the_next(by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.workers(1, *DECLARED)
    tasks = [(str(tmp_path), number) for number in range(3)]
    hold(tmp_path, 0, times=3)
    hold(tmp_path, 1, times=1)
    deaths: Counter[int] = Counter()

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            deaths[event["number"]] += 1
            by_hand.end(event["pid"])
            by_hand.worker(*DECLARED)

    with open_cluster(by_hand.spec) as client:
        done = list(run_tasks(client, score, tasks, resources=GPU, on_event=on_event))

    assert deaths == {0: 3, 1: 1}
    assert sorted(task for task, _ in done) == tasks


def test_without_a_gpu_worker_tasks_that_need_one_are_refused_at_once(by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.workers(1)
    with open_cluster(by_hand.spec) as client:
        with pytest.raises(ClusterError) as refused:
            list(run_tasks(client, score, [(str(tmp_path), 0)], resources=GPU))
        assert str(refused.value) == (
            "no worker declares GPU=1, which these tasks need; start one on a machine that has it: "
            f'dask worker {by_hand.spec.address} --nthreads 1 --resources "GPU=1", '
            'or set cluster.kind = "cuda" on a machine with a GPU'
        )


@pytest.mark.parametrize("needs", [GPU, {}])
def test_a_worker_that_does_not_come_back_is_waited_for_as_long_as_was_said(
    needs: dict[str, float], by_hand: ByHand, tmp_path: Path
) -> None:
    hold(tmp_path, 1, times=1)
    by_hand.workers(1, *(DECLARED if needs else ()))
    with (
        open_cluster(by_hand.spec) as client,
        pytest.raises(ClusterError, match=r"and none came for 0\.1 s; start one"),
    ):
        for _ in run_tasks(
            client,
            score,
            [(str(tmp_path), number) for number in range(2)],
            resources=needs,
            patience=0.1,
            on_event=lambda event: by_hand.end(event["pid"]) if event["held"] else None,
        ):
            pass


def test_a_result_that_was_lost_with_its_worker_is_not_waited_for_forever(by_hand: ByHand) -> None:
    (pid,) = by_hand.workers(1, "--resources", "GPU=2", threads=2)
    with open_cluster(by_hand.spec) as client:
        results = run_tasks(client, place, range(2), resources=GPU, patience=0.1)
        assert next(results)[1] == pid
        by_hand.end(pid)
        with pytest.raises(ClusterError, match="no worker declares GPU=1"):
            list(results)


_both = threading.Barrier(2)


def meet(folder: str) -> tuple[int, int]:
    """Ends when two are at it in one process."""
    model = kept(folder, lambda: Model(Path(folder)))
    _both.wait(60)
    return os.getpid(), id(model)


def test_a_worker_with_two_gpus_and_two_threads_runs_two_tasks_with_one_model(by_hand: ByHand, tmp_path: Path) -> None:
    (two,) = by_hand.workers(1, "--resources", "GPU=2", threads=2)
    with open_cluster(by_hand.spec) as client:
        done = [result for _, result in run_tasks(client, meet, [str(tmp_path)] * 6, resources=GPU)]
    assert len(done) == 6
    assert len(set(done)) == 1
    assert loads(tmp_path) == [two]


def test_where_every_worker_declares_a_gpu_other_tasks_run_there_too(by_hand: ByHand, tmp_path: Path) -> None:
    gpus = by_hand.workers(1, *DECLARED)
    tasks = [(str(tmp_path), number) for number in range(4)]
    hold(tmp_path, 2, times=1)

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            by_hand.end(event["pid"])
            gpus.append(by_hand.worker(*DECLARED))

    with open_cluster(by_hand.spec) as client:
        done = list(run_tasks(client, score, tasks, on_event=on_event))
    assert sorted(task for task, _ in done) == tasks
    assert {pid for _, pid in done} == set(gpus)


def test_a_worker_with_a_gpu_is_no_place_for_other_tasks_unless_all_have_one(by_hand: ByHand) -> None:
    by_hand.workers(1, *DECLARED)
    with open_cluster(by_hand.spec) as client:
        assert slots(client) == 1
        by_hand.workers(1)
        by_hand.workers(1, threads=2)
        assert slots(client) == 3


def test_other_tasks_use_a_gpu_worker_when_theirs_stay_away(by_hand: ByHand, tmp_path: Path) -> None:
    (gpu,) = by_hand.workers(1, *DECLARED)
    (plain,) = by_hand.workers(1)
    tasks = [(str(tmp_path), number) for number in range(4)]
    hold(tmp_path, 2, times=1)

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            by_hand.end(event["pid"])

    with open_cluster(by_hand.spec) as client:
        ran = dict(run_tasks(client, score, tasks, patience=0.1, on_event=on_event))
    assert set(ran) == set(tasks)
    assert set(ran.values()) == {plain, gpu}
    assert ran[tasks[2]] == gpu


def test_other_tasks_at_work_on_a_gpu_worker_stay_there_when_one_of_theirs_comes(by_hand: ByHand) -> None:
    (gpu,) = by_hand.workers(1, *DECLARED)
    with open_cluster(by_hand.spec) as client:
        workers = Workers(client, {}, patience=60)
        at_work_on = workers.only
        by_hand.workers(1)
        while workers.only == at_work_on:
            workers.look()
        assert not workers.strand(at_work_on)
        by_hand.end(gpu)
        while not workers.strand(at_work_on):
            workers.look()


def test_other_tasks_go_on_with_a_worker_that_came_in_place_of_theirs(by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.workers(1, *DECLARED)
    plain = by_hand.workers(1)
    hold(tmp_path, 2, times=1)

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            by_hand.end(event["pid"])
            plain.append(by_hand.worker())

    tasks = [(str(tmp_path), number) for number in range(6)]
    with open_cluster(by_hand.spec) as client:
        done = list(run_tasks(client, score, tasks, fatal=(ClusterError,), on_event=on_event))
    assert sorted(task for task, _ in done) == tasks
    assert {pid for _, pid in done} == set(plain)


def test_other_tasks_at_work_do_not_move_to_a_gpu_worker_that_came_later(by_hand: ByHand, tmp_path: Path) -> None:
    plain = by_hand.workers(1)
    tasks = [(str(tmp_path), number) for number in range(4)]
    hold(tmp_path, 1, times=1)
    at_work = threading.Event()

    def on_event(event: dict[str, Any]) -> None:
        if event["held"]:
            at_work.set()

    with open_cluster(by_hand.spec) as client:
        results = run_tasks(client, score, tasks, on_event=on_event)
        done = [next(results)]
        assert at_work.wait(60)
        by_hand.workers(1, *DECLARED)
        by_hand.end(plain[0])
        plain.append(by_hand.worker())
        done += results
    assert sorted(task for task, _ in done) == tasks
    assert {pid for _, pid in done} == set(plain)


def test_a_scheduler_that_is_gone_while_a_worker_is_waited_for_is_told(by_hand: ByHand) -> None:
    (gpu,) = by_hand.workers(1, *DECLARED)
    with open_cluster(by_hand.spec) as client:
        workers = Workers(client, GPU, patience=10)
        by_hand.end(gpu)
        while workers.room:
            workers.look()
        by_hand.end(by_hand.scheduler)
        with pytest.raises(ClusterError, match="the same command goes on"):
            while True:
                workers.look()


def test_a_client_that_was_closed_between_two_results_is_told(by_hand: ByHand) -> None:
    by_hand.workers(1)
    with Client(by_hand.spec.address, timeout=1) as client:
        results = run_tasks(client, place, range(2), on_event=print)
        next(results)
        by_hand.end(by_hand.scheduler)
        while client.status != "closed":
            threading.Event().wait(0.05)
        with pytest.raises(ClusterError, match="the same command goes on"):
            next(results)


@pytest.mark.parametrize("needs", [GPU, {}])
def test_a_task_that_kills_every_worker_is_given_up(needs: dict[str, float], by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.workers(1, *DECLARED)
    by_hand.workers(1)
    hold(tmp_path, 0, times=100)

    def on_event(event: dict[str, Any]) -> None:
        by_hand.end(event["pid"])
        by_hand.worker(*(DECLARED if needs else ()))

    with open_cluster(by_hand.spec) as client, pytest.raises(ClusterError, match="a worker died each time"):
        list(run_tasks(client, score, [(str(tmp_path), 0)], resources=needs, on_event=on_event))
