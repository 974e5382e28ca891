"""Reruns: what was scored comes out the same, and whatever was changed since is named."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load, save

from pipelines.archive import read_archive, run_manifests
from pipelines.progress import Progress
from pipelines.verify import verify_archive
from tests import small_model
from tests.erasable import let_go
from tests.jobs import postsweep
from tests.sweeps import SOURCES, SWEEP, page, post, sealed_sweep

WORDS = ("ferry", "late", "again", "bread", "night", "office", "prize", "rain")


def said(number: int) -> str:
    return " ".join(WORDS[(number * step) % 8] for step in range(1, 4 + number % 7)) + f" {number}"


@pytest.fixture(scope="module")
def classified(key: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of 60 posts and a model `small`, and a run of it."""
    folder = tmp_path_factory.mktemp("classified")
    posts = [post(number, text=said(number)) for number in range(60)]
    sealed_sweep(folder / "archive", {SOURCES[0]: [page(0, posts, last=True)]}, part_rows=25)
    small_model.make(folder / "small")
    done = postsweep("classify", "archive", "--sweep", SWEEP, "-m", "small", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(classified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(classified, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path / "cache"))
    yield tmp_path


def only_run(folder: Path) -> str:
    (run,) = run_manifests(read_archive(folder / "archive"))
    return str(run["run"])


def rerun(folder: Path, run: str, *more: str) -> tuple[int, dict[str, Any]]:
    done = postsweep("rerun", run, *more, "--json", cwd=folder)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def causes(outcome: dict[str, Any]) -> str:
    return "\n".join(cause["text"] for cause in outcome["causes"])


def test_a_run_repeated_is_exact_and_leaves_nothing(folder: Path) -> None:
    before = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("archive/**/*.parquet"))
    code, outcome = rerun(folder, only_run(folder), "-m", "small=small")
    assert (code, outcome["verdict"]) == (0, "exact")
    assert outcome["scores"] == 5 * 60
    assert (outcome["moved"], outcome["flips"], outcome["causes"]) == (0, 0, [])
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("archive/**/*.parquet")) == before
    assert verify_archive(folder / "archive", None, Progress()) == []


def test_a_model_that_moved_is_found_by_name_and_one_that_is_known_by_its_digest(folder: Path) -> None:
    run = only_run(folder)
    (folder / "small").rename(folder / "elsewhere")
    done = postsweep("rerun", run, cwd=folder)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "its model small" in line
    assert "--model small=FOLDER" in line
    assert rerun(folder, run, "-m", "small=elsewhere")[1]["verdict"] == "exact"
    assert rerun(folder, run)[1]["verdict"] == "exact"


def test_one_changed_weight_is_named(folder: Path) -> None:
    heads = folder / "small/heads.safetensors"
    tensors = load(heads.read_bytes())
    tensors["weight"][0, 0] += np.float32(0.25)
    heads.write_bytes(save(tensors))
    small_model.write_description(folder / "small")
    code, outcome = rerun(folder, only_run(folder), "-m", "small=small")
    assert (code, outcome["verdict"]) == (1, "not comparable")
    assert outcome["moved"] == 60
    assert "heads.safetensors" in causes(outcome)
    assert "encoder.onnx" not in causes(outcome)


def test_one_changed_threshold_is_named(folder: Path) -> None:
    described = small_model.describe_heads()
    described["labels"][3]["threshold"] = 0.4
    small_model.write_heads(folder / "small", described)
    small_model.write_description(folder / "small")
    code, outcome = rerun(folder, only_run(folder), "-m", "small=small")
    assert (code, outcome["verdict"], outcome["moved"]) == (1, "not comparable", 0)
    assert outcome["flips"] > 0
    assert all(0.4 <= flip["after"] < 0.6 for flip in outcome["flipped"])
    assert "threshold of label scam: 0.6, then 0.4" in causes(outcome)


def test_one_changed_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder / "packages/tokenizers-99.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: tokenizers\nVersion: 99.0\n")
    path = [str(folder / "packages"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", ":".join(path))
    code, outcome = rerun(folder, only_run(folder), "-m", "small=small")
    assert (code, outcome["verdict"]) == (0, "exact")
    assert "tokenizers" in causes(outcome)
    assert "99.0" in causes(outcome)


def test_another_threshold_of_the_command_line_is_a_run_of_its_own(folder: Path) -> None:
    first = only_run(folder)
    done = postsweep("classify", "archive", "--sweep", SWEEP, "-m", "small", "--threshold", "scam=0.4", cwd=folder)
    assert done.returncode == 0, done.stderr
    second = done.stdout.split()[-1]
    assert second != first
    one, two = (run["counts"]["flags"]["scam"] for run in run_manifests(read_archive(folder / "archive")))
    assert two > one
    assert rerun(folder, second)[1]["verdict"] == "exact"
    again = postsweep("classify", "archive", "--sweep", SWEEP, "-m", "small", "--threshold", "scam=0.4", cwd=folder)
    assert again.stdout.split()[-1] == second


def test_posts_that_were_redacted_since_are_named_and_no_later_run_has_a_score_of_them(folder: Path) -> None:
    first = only_run(folder)
    let_go(read_archive(folder / "archive"))
    redacted = postsweep("redact", "archive", "--before", "2026-01-01T12:00:05Z", "--yes", cwd=folder)
    assert redacted.returncode == 0, redacted.stderr
    code, outcome = rerun(folder, first, "-m", "small=small")
    assert (code, outcome["verdict"], outcome["reread"]) == (1, "not comparable", 5)
    assert "redactions since it was scored: 20" in causes(outcome)
    done = postsweep("classify", "archive", "--sweep", SWEEP, "-m", "small", "--threshold", "scam=0.4", cwd=folder)
    assert done.returncode == 0, done.stderr
    _, second = run_manifests(read_archive(folder / "archive"))
    assert (second["counts"]["scored"], second["counts"]["empty"]) == (55, 5)
    assert rerun(folder, second["run"])[1]["verdict"] == "exact"
    compared = postsweep("compare", first, second["run"], "--archive", "archive", cwd=folder)
    assert "redactions since it was scored: 20" in compared.stdout


def test_scores_that_were_changed_since_are_not_compared(folder: Path) -> None:
    (manifest,) = run_manifests(read_archive(folder / "archive"))
    part = folder / "archive" / manifest["parts"][0]["path"]
    pq.write_table(pq.read_table(part, partitioning=None), part, compression="none")
    done = postsweep("rerun", manifest["run"], "-m", "small=small", cwd=folder)
    assert done.returncode == 1
    assert f"{part.name}: not as it was committed (SHA-256 differs); restore it" in done.stderr


def test_an_unknown_run_is_one_line_that_names_those_there_are(folder: Path) -> None:
    done = postsweep("rerun", "nothing", cwd=folder)
    assert done.returncode == 1
    assert f"no finished run nothing; there are: {only_run(folder)}" in done.stderr


@pytest.mark.parametrize("command", [("rerun", "x", "-a", "nowhere"), ("classify", "empty", "--sweep", SWEEP)])
def test_where_no_archive_is_none_is_made(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "empty").mkdir()
    done = postsweep(*command, cwd=folder)
    assert done.returncode == 1
    assert "no archive here" in done.stderr
    assert not (folder / "nowhere").exists()
    assert not any((folder / "empty").iterdir())
