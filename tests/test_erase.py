"""Erasing and redacting, on a real archive: what is gone, what stays, what does not come back, and kills."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.erase import Outcome, erase
from pipelines.erasure_targets import Request
from pipelines.progress import Progress
from pipelines.verify import verify_archive
from tests.erasable import make, needles
from tests.sweeps import NAMES, contents

HANDLE = Request("erase", "author", "@fernhollow@home.example")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
        folder = tmp_path_factory.mktemp("erasable")
        make(folder)
        yield folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The archive and its sweep files, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def archive(folder: Path) -> Path:
    return folder / "archive"


def erased(archive: Path, request: Request = HANDLE) -> Outcome:
    return erase(archive, request, Progress(), lambda _: True)


def found_in(archive: Path, needle: bytes) -> list[str]:
    files = [path for path in archive.rglob("*") if path.is_file()]
    return [str(path) for path in files if needle in contents(path) or needle in str(path).encode()]


def rows(archive: Path, table: str = "posts") -> list[dict[str, Any]]:
    paths = sorted(archive.glob(f"{table}/**/part-*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def test_nothing_that_leads_to_an_erased_author_is_in_any_file(archive: Path) -> None:
    for needle in needles():
        assert found_in(archive, needle), needle  # the search finds what is there
    outcome = erased(archive)
    assert outcome.posts == 2 * (3 + 2) + 6  # hers and reposts of hers, once a sealed sweep; sightings of an open one
    assert outcome.sweeps == 3
    for needle in needles():
        assert found_in(archive, needle) == [], needle
    assert verify_archive(archive, None, Progress()) == []
