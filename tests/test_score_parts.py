"""The parts of a run: what was damaged is never scored or kept, and scores are taken only where they are the same."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from classify.model import ModelSpec
from pipelines.archive import read_archive, run_manifest, software
from pipelines.classify import plan_run, sealed
from pipelines.progress import Progress
from pipelines.verify import verify_archive
from tests import small_classifiers, small_model
from tests.jobs import postsweep
from tests.runs import Rule, run_of
from tests.sweeps import SOURCES, SWEEP, one_source, page, post, sealed_sweep

ASKED = ("classify", "archive", "--sweep", SWEEP, "--workers", "1", "-m")


@pytest.fixture
def folder(key: None, tmp_path: Path) -> Path:
    """An archive of a sweep of three parts, and models beside it."""
    posts = [post(number, text=f"The ferry {number} leaves at nine.") for number in range(12)]
    sealed_sweep(tmp_path / "archive", {SOURCES[0]: [page(0, posts, last=True)]}, part_rows=4)
    small_model.make(tmp_path / "own")
    small_classifiers.make(tmp_path / "toxic", "bert")
    return tmp_path


def classify(folder: Path, *asked: str) -> dict[str, Any]:
    """The manifest of a run."""
    done = postsweep(*ASKED, *asked, cwd=folder)
    assert done.returncode == 0, done.stderr
    return manifest_of(folder, done.stdout)


def manifest_of(folder: Path, told: str) -> dict[str, Any]:
    """The manifest of the run that a command tells of."""
    manifest = run_manifest(read_archive(folder / "archive"), told.rsplit(maxsplit=1)[-1])
    assert manifest is not None
    return manifest


def cut_off(folder: Path, run: dict[str, Any]) -> list[Path]:
    """Leaves a finished run as a kill before its end does; returns its parts."""
    archive = folder / "archive"
    (archive / f"manifests/runs/{run['run']}.json").unlink()
    (archive / "incoming").mkdir(exist_ok=True)
    (archive / f"scores/run={run['run']}").rename(archive / f"incoming/run={run['run']}")
    return [archive / part["path"].replace("scores/", "incoming/", 1) for part in run["parts"]]


@pytest.mark.parametrize(
    ("model", "differs", "taken"),
    [
        ("own", {}, True),
        ("own", {"token_budget": 64}, True),
        ("toxic", {}, True),
        ("toxic", {"token_budget": 64}, False),
        ("own", {"postsweep": "0.0.9"}, False),
        ("own", {"commit": "5eed" * 10}, False),
        ("own", {"dtype": "float16"}, False),
    ],
)
def test_scores_are_taken_of_a_run_whose_models_code_and_batches_are_the_same(
    folder: Path, model: str, differs: dict[str, Any], taken: bool
) -> None:
    store = read_archive(folder / "archive")
    sweep = sealed(store, SWEEP)
    plan = plan_run(sweep, [ModelSpec(str(folder / model))], Progress())
    models = [{key: differs.get(key, value) for key, value in each.items()} for each in plan.described]
    code = {key: differs.get(key, value) for key, value in software().items()}
    budget = differs.get("token_budget", 512)
    rules: dict[str, Rule] = {label["name"]: lambda _: 0.3 for each in models for label in each["labels"]}
    changes = {"models": models, "software": code, "token_budget": budget, "environments": []}
    run = run_of(folder / "archive", sweep, "earlier", rules, **changes)
    assert plan.earlier(store, 512) == (run if taken else None)


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill_with_parts_of_its_own_batches_alone(folder: Path) -> None:
    def run(budget: int) -> dict[str, Any]:
        asked = f'[classify]\nmodel = "toxic"\ntoken_budget = {budget}\n'
        (folder / "sweep.toml").write_text(one_source("https://one.example") + asked)
        done = postsweep("classify", "sweep.toml", cwd=folder)
        assert done.returncode == 0, done.stderr
        return manifest_of(folder, done.stdout)

    first = cut_off(folder, run(64))
    before = [path.stat().st_mtime_ns for path in first]
    again = run(128)
    assert again["token_budget"] == 128
    assert not {(folder / "archive" / part["path"]).stat().st_mtime_ns for part in again["parts"]} & set(before)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def turn_a_bit_of_a_score(path: Path) -> None:
    """In the middle of a column's data, where Parquet itself notices nothing."""
    chunk = pq.read_metadata(path).row_group(0).column(3)
    place = chunk.data_page_offset + chunk.total_compressed_size - 5
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def forget_what_it_is_of(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata(None), path)


@pytest.mark.parametrize("damage", [truncate, turn_a_bit_of_a_score, forget_what_it_is_of])
def test_a_damaged_checkpoint_is_scored_again_and_the_others_are_kept(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    run = classify(folder, "own")
    first, second, third = cut_off(folder, run)
    damage(second)
    kept = [path.stat().st_mtime_ns for path in (first, third)]
    again = classify(folder, "own")
    assert [part["sha256"] for part in again["parts"]] == [part["sha256"] for part in run["parts"]]
    parts = [folder / "archive" / part["path"] for part in again["parts"]]
    assert [parts[0].stat().st_mtime_ns, parts[2].stat().st_mtime_ns] == kept
    assert verify_archive(folder / "archive", None, Progress()) == []


def test_scores_that_are_damaged_before_their_manifest_stands_are_one_line(folder: Path) -> None:
    run = classify(folder, "own")
    (folder / "archive" / f"manifests/runs/{run['run']}.json").unlink()
    damaged = folder / "archive" / run["parts"][1]["path"]
    truncate(damaged)
    refused = postsweep(*ASKED, "own", cwd=folder)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if "error" in line]
    assert line.startswith(f"error: {damaged.resolve()}: damaged; ")
    assert f"scores/run={run['run']}" in line
    shutil.rmtree(folder / f"archive/scores/run={run['run']}")
    assert classify(folder, "own")["digest"] == run["digest"]


@pytest.mark.parametrize("damage", [truncate, turn_a_bit_of_a_score, Path.unlink])
def test_a_damaged_posts_part_is_not_scored(folder: Path, damage: Callable[[Path], None]) -> None:
    (part, *_) = (folder / "archive").glob("posts/**/part-00001.parquet")
    damage(part)
    refused = postsweep(*ASKED, "own", cwd=folder)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if "error" in line]
    assert line.startswith(f"error: {part.resolve()}: ")
    assert "restore it" in line
    assert not list((folder / "archive").glob("scores/*"))
