"""Fixtures that several files use."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipelines.demo.network import Network
from tests.jobs import postsweep
from tests.sweeps import NAMES

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")


LONGEST = ("test_sweep", "test_report", "test_run_models", "test_rerun", "test_erase", "test_accounts", "test_ratchet")
"""Files of few and long tests: they begin first, so that no worker is left with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the order of all others stays."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The sample network, running."""
    with Network() as running:
        yield running


@pytest.fixture(scope="session")
def swept(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole sweep of the sample network: archive, report and sweep file. Read it, change nothing."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "sweep.toml").write_text(network.sweep_file(folder / "archive", part_rows=12))
    begun = time.monotonic()
    done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=folder)
    (folder / "seconds.txt").write_text(str(time.monotonic() - begun))
    (folder / "stderr.txt").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def manifest(swept: Path) -> dict[str, object]:
    """The manifest of that sweep."""
    found: dict[str, object] = json.loads((swept / "archive/manifests/sweeps/d2026-01-01.0.json").read_text())
    return found


@pytest.fixture(scope="module")
def key() -> Iterator[None]:
    """Commands of a module's tests run under the key of the posts that `tests.sweeps` makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.jobs.KEY", NAMES.key.hex())
        yield
