import gc
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import pytest
from distributed import LocalCluster

from cluster.errors import ClusterError
from cluster.kept import kept
from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import report, run_tasks
from cluster.workers import GPU
from pipelines.config import ClusterPart
from tests.dask_by_hand import cluster_by_hand


def doubled(number: int) -> int:
    report({"number": number})
    return 2 * number


def test_a_local_cluster_takes_nobody_without_its_certificate_and_serves_no_page() -> None:
    with open_cluster(ClusterSpec(workers=1)) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        page = HTTPConnection(urlsplit(client.dashboard_link).netloc, timeout=30)
        for path in ("/status", "/metrics", "/info/main/workers.html", "/health"):
            page.request("GET", path)
            answer = page.getresponse()
            assert (answer.status, len(answer.read()) < 200) == (404, True), path
        told: list[dict[str, object]] = []
        assert sorted(run_tasks(client, doubled, [1, 2, 3], on_event=told.append)) == [(1, 2), (2, 4), (3, 6)]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://192.0.2.1:8786", "reached by tls:// only"),
        ("tcp://scheduler.example:8786", "reached by tls:// only"),
        ("127.0.0.1:8786", "not an address such as"),
        ("tls://127.0.0.1", "not an address such as"),
        ("tls://127.0.0.1:9", "no certificates for tls"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(address: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said), open_cluster(ClusterSpec("address", address=address)):
        pass


def test_the_kinds_of_a_sweep_file_are_those_that_can_be_opened() -> None:
    kinds = set(get_args(ClusterPart.model_fields["kind"].annotation))
    assert kinds == set(get_args(get_type_hints(ClusterSpec)["kind"])) == {"local", "cuda", "address"}


class BrokenError(Exception):
    """What no second try mends."""


class SlipError(Exception):
    """What a second try may mend."""


def tried(task: tuple[str, type[Exception], int]) -> str:
    """Fails the first times, as often as the task says, and notes each try in its file."""
    name, kind, failures = task
    with Path(name).open("a") as tries:
        tries.write("x")
    if len(Path(name).read_text()) <= failures:
        raise kind(f"{Path(name).name} failed")
    return Path(name).read_text()


def test_a_failure_is_tried_again_and_one_that_no_try_mends_is_told_after_the_first(tmp_path: Path) -> None:
    with open_cluster(ClusterSpec(workers=1)) as client:
        slips = (str(tmp_path / "slips"), SlipError, 2)
        assert list(run_tasks(client, tried, [slips], fatal=(BrokenError,))) == [(slips, "xxx")]
        for kind, tries in ((SlipError, "xxx"), (BrokenError, "x")):
            file = tmp_path / kind.__name__
            with pytest.raises(kind, match=f"{file.name} failed"):
                list(run_tasks(client, tried, [(str(file), kind, 100)], fatal=(BrokenError,)))
            assert file.read_text() == tries


def test_a_local_cluster_without_a_gpu_is_told_what_it_can_do() -> None:
    with open_cluster(ClusterSpec(workers=1)) as client, pytest.raises(ClusterError) as refused:
        list(run_tasks(client, doubled, [1], resources=GPU))
    assert str(refused.value) == (
        "no worker declares GPU=1, which these tasks need: "
        'set cluster.kind = "cuda" on a machine with a GPU, or the model\'s device to "cpu"'
    )


def never(number: int) -> None:
    report({"number": number})
    threading.Event().wait(60)


def test_a_folder_for_temporary_files_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").touch()
    monkeypatch.setenv("POSTSWEEP_SCRATCH", str(tmp_path / "scratch"))
    with pytest.raises(ClusterError, match=r"POSTSWEEP_SCRATCH: .*; name another folder"), open_cluster(ClusterSpec()):
        raise AssertionError("no cluster can be open")


def test_a_scheduler_that_is_gone_is_told(tmp_path: Path) -> None:
    with cluster_by_hand(tmp_path) as by_hand:
        by_hand.workers(1)
        with open_cluster(by_hand.spec) as client, pytest.raises(ClusterError, match="the same command goes on"):
            list(run_tasks(client, never, [1], on_event=lambda event: by_hand.end(by_hand.scheduler)))


def test_a_cuda_cluster_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(ClusterError, match="install postsweep with its extra cuda"), open_cluster(ClusterSpec("cuda")):
        pass


class Devices(LocalCluster):
    """Stands in for dask-cuda where there is no GPU: a worker for each of two devices, told which by an environment
    of its own in place of the one that was asked for, and a module more loaded at its start.
    """

    def __init__(self, *, device_memory_limit: None, **options: Any) -> None:
        super().__init__(n_workers=0, **options)
        self.new_spec["options"]["preload"] = [*self.new_spec["options"].get("preload", []), "json"]
        self.scale(2)
        self.sync(self._correct_state)

    def new_worker_spec(self) -> dict[int, Any]:
        ((device, spec),) = super().new_worker_spec().items()
        return {device: {**spec, "options": {**spec["options"], "env": {"CUDA_VISIBLE_DEVICES": str(device)}}}}


def surroundings(number: int) -> tuple[str, str, bool]:
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["PYTHONSAFEPATH"], "cluster.interrupts" in sys.modules


def test_a_cuda_cluster_has_a_worker_for_each_device_which_declares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=Devices))
    with open_cluster(ClusterSpec("cuda")) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        page = HTTPConnection(urlsplit(client.dashboard_link).netloc, timeout=30)
        page.request("GET", "/status")
        assert page.getresponse().status == 404
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [(worker["resources"], worker["nthreads"]) for worker in workers] == [({"GPU": 1}, 1)] * 2
        assert {result[1:] for _, result in run_tasks(client, surroundings, range(4))} == {("1", True)}
        assert {result[0] for _, result in run_tasks(client, surroundings, range(4), resources=GPU)} <= {"0", "1"}


def test_a_machine_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=refuse))
    with pytest.raises(ClusterError, match=r"no GPU can be used here \(no driver\)"), open_cluster(ClusterSpec("cuda")):
        pass


class Thing:
    """Something slow to make."""


def test_a_thing_is_made_once_for_all_threads_that_ask_for_it() -> None:
    made: list[Thing] = []
    again = threading.Event()

    def make() -> Thing:
        made.append(Thing())
        if len(made) > 1:
            again.set()
        again.wait(0.2)  # long enough for another thread to begin, if it may
        return made[-1]

    everyone = threading.Barrier(4)

    def ask(_: int) -> Any:
        everyone.wait(30)
        return kept("asked by four", make)

    with ThreadPoolExecutor(4) as threads:
        given = list(threads.map(ask, range(4)))
    assert len(made) == 1
    assert all(thing is made[0] for thing in given)


def test_another_key_frees_what_no_task_holds_before_its_own_is_made() -> None:
    freed: list[str] = []
    weakref.finalize(kept("small", Thing), freed.append, "small")
    seen_by_make: list[list[str]] = []

    def make() -> Thing:
        seen_by_make.append(list(freed))
        return Thing()

    kept("large", make)
    assert seen_by_make == [["small"]]


def test_what_a_task_still_holds_is_not_made_a_second_time() -> None:
    held = kept("held", Thing)
    kept("other", Thing)
    assert kept("held", Thing) is held
    gone = weakref.ref(held)
    kept("other", Thing)
    del held
    gc.collect()
    assert gone() is None


def test_what_could_not_be_made_is_tried_again() -> None:
    def fail() -> Thing:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        kept("failing", fail)
    assert isinstance(kept("failing", Thing), Thing)
