"""Runs by torch, by several models and by models of other makers, from the sweep file to the manifest."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from classify.model import ModelSpec, load, prepare
from classify.tolerance import measured_tolerance
from pipelines.archive import read_archive, replace_run_manifest, run_manifest
from pipelines.digests import file_sha256
from pipelines.progress import Progress
from pipelines.score_part import MEASURED_TEXTS, noted_of
from pipelines.verify import verify_archive
from tests import small_classifiers, small_model
from tests.jobs import postsweep
from tests.sweeps import SOURCES, SWEEP, one_source, page, post, sealed_sweep

WORDS = ("ferry", "late", "again", "bread", "night", "office", "prize", "rain", "今天", "大雪", "路上")
POSTS = 120


@pytest.fixture(scope="module")
def folder(key: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one sweep, and models of two makes beside it."""
    folder = tmp_path_factory.mktemp("models")
    texts = [" ".join(WORDS[(n * step) % 11] for step in range(1, 3 + n % 19)) + f" {n}" for n in range(POSTS)]
    posts = [post(number, text=text) for number, text in enumerate(texts)]
    sealed_sweep(folder / "archive", {SOURCES[0]: [page(0, posts, last=True)]}, part_rows=50)
    small_model.make(folder / "own")
    small_classifiers.make(folder / "toxic", "bert", problem_type="multi_label_classification")
    return folder


def classify(folder: Path, *more: str) -> tuple[dict[str, Any], pl.DataFrame]:
    done = postsweep("classify", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    run = done.stdout.split()[-1]
    manifest = run_manifest(read_archive(folder / "archive"), run)
    assert manifest is not None
    scores = pl.read_parquet(folder / f"archive/scores/run={run}/**/*.parquet", hive_partitioning=False)
    return manifest, scores.sort("uid")


def test_several_models_make_one_run_with_the_columns_that_the_sweep_file_gives_them(folder: Path) -> None:
    (folder / "sweep.toml").write_text(
        one_source("https://one.example")
        + '[[classify.models]]\nmodel = "own"\nthresholds = { rumor = 0.4 }\n'
        + '[[classify.models]]\nname = "other"\nmodel = "toxic"\nengine = "torch"\n'
        + 'labels = { toxic = "poison" }\nthresholds = { poison = 0.7 }\n'
        + 'definitions = { poison = "What the makers of the model call toxic." }\n'
    )
    manifest, scores = classify(folder, "sweep.toml")
    assert [label["name"] for label in manifest["labels"]] == ["rumor", "hate", "abuse", "scam", "clickbait", "poison"]
    assert manifest["labels"][-1] == {
        "name": "poison", "of": "toxic", "model": "other", "threshold": 0.7,
        "definition": "What the makers of the model call toxic.",
    }  # fmt: skip
    assert [model["exactness"] for model in manifest["models"]] == ["exact", "tolerance"]
    assert manifest["exactness"] == "tolerance"
    assert manifest["counts"]["posts"] == manifest["counts"]["scored"] == POSTS
    for label in manifest["labels"]:
        flagged = int((scores[label["name"]] >= np.float32(label["threshold"])).sum())
        assert manifest["counts"]["flags"][label["name"]] == flagged
        assert scores["flags"].list.contains(label["name"]).sum() == flagged
    assert manifest["counts"]["flags"]["poison"] > 0
    assert verify_archive(folder / "archive", None, Progress()) == []
    again = postsweep("rerun", manifest["run"], "--json", cwd=folder)
    outcome = json.loads(again.stdout)
    assert outcome["verdict"] in ("exact", "within tolerance"), outcome
    assert outcome["causes"] == []
    assert json.loads(postsweep("status", "sweep.toml", "--json", cwd=folder).stdout)["runs"]


def test_a_model_of_another_maker_alone_is_a_one_liner(folder: Path) -> None:
    manifest, scores = classify(folder, "archive", "--sweep", SWEEP, "-m", "toxic", "--engine", "torch")
    assert scores.columns == ["uid", "lang", "windows", "calm", "toxic", "off_topic", "flags"]
    (model,) = manifest["models"]
    assert (model["name"], model["engine"], model["device"], model["dtype"]) == ("toxic", "torch", "cpu", "float32")
    (environment,) = manifest["environments"]
    assert environment["parts"] == 3
    assert {"torch", "transformers", "numpy", "tokenizers"} <= set(environment["packages"])
    assert str(folder) not in json.dumps(manifest)


def test_flags_that_lie_within_the_tolerance_of_their_threshold_are_counted(folder: Path) -> None:
    first, scores = classify(folder, "archive", "--sweep", SWEEP, "-m", "toxic", "--engine", "torch")
    assert 0 < first["tolerance"] < 1e-5
    model = load(prepare(ModelSpec(str(folder / "toxic"), engine="torch")))
    parts = [pl.read_parquet(folder / "archive" / part["posts_path"])["text"].to_list() for part in first["parts"]]
    measured = [measured_tolerance(model, texts[:MEASURED_TEXTS], first["token_budget"]) for texts in parts]
    assert first["tolerance"] == max(measured)
    assert first["tolerance_texts"] == sum(min(len(texts), MEASURED_TEXTS) for texts in parts) == POSTS
    planted = float(np.sort(scores["toxic"].to_numpy())[POSTS // 2])
    manifest, scores = classify(
        folder, "archive", "--sweep", SWEEP, "-m", "toxic", "--engine", "torch", "--threshold", f"toxic={planted!r}"
    )
    distance = np.abs(scores["toxic"].to_numpy().astype(np.float64) - float(np.float32(planted)))
    wanted = int((distance <= manifest["tolerance"]).sum())
    assert wanted > 0
    assert manifest["near_threshold"] == {"calm": 0, "toxic": wanted, "off_topic": 0}


def test_an_exact_run_has_no_tolerance(folder: Path) -> None:
    manifest, _ = classify(folder, "archive", "--sweep", SWEEP, "-m", "own")
    assert (manifest["exactness"], manifest["tolerance"]) == ("exact", 0.0)
    assert set(manifest["near_threshold"].values()) == {0}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("-m", "own", "-m", "own"), "two models of the run are called own; give one another name"),
        (("-m", "own", "--threshold", "nonsense=0.5"), "thresholds name 'nonsense', which is no column of it"),
        (("-m", "own", "--threshold", "rumor=2"), "--threshold rumor=2: not a number from 0 to 1"),
        (("-m", "own", "--dtype", "float64"), "--dtype float64: use float32, bfloat16, float16"),
        (("-m", "own", "--device", "tpu"), "--device tpu: use cpu, cuda or cuda:<number>"),
        (("-m", "toxic", "--device", "cuda"), 'cluster.kind "cuda"'),
        (("-m", "toxic", "--device", "cuda", "--workers", "3"), "--workers 3: with --device cuda there"),
        (("-m", "toxic", "--device", "cuda:1"), "no worker declares GPU=1, which these tasks need"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, more: tuple[str, ...], told: str) -> None:
    done = postsweep("classify", "archive", "--sweep", SWEEP, *more, cwd=folder)
    assert done.returncode in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert told in line


def test_a_cuda_cluster_is_asked_for_no_second_device_by_the_command_line_either(folder: Path) -> None:
    (folder / "cuda.toml").write_text(
        one_source("https://one.example") + '[classify]\nmodel = "toxic"\n[cluster]\nkind = "cuda"\n'
    )
    done = postsweep("classify", "cuda.toml", "--device", "cuda:1", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith('error: device cuda:1: a worker of cluster.kind "cuda" has one device')


def test_a_run_of_a_gpu_is_repeated_on_gpus_or_on_the_device_that_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "archive", tmp_path / "archive")
    shutil.copytree(folder / "toxic", tmp_path / "toxic")
    run, _ = classify(tmp_path, "archive", "--sweep", SWEEP, "-m", "toxic", "--engine", "torch")
    (model,) = run["models"]
    replace_run_manifest(read_archive(tmp_path / "archive"), {**run, "models": [{**model, "device": "cuda"}]})
    refused = postsweep("rerun", run["run"], cwd=tmp_path)
    assert refused.returncode == 1
    assert 'error: cluster.kind "cuda"' in refused.stderr
    repeated = postsweep("rerun", run["run"], "--device", "cpu", "--json", cwd=tmp_path)
    outcome = json.loads(repeated.stdout)
    assert outcome["verdict"] in ("exact", "within tolerance")
    assert [cause["text"] for cause in outcome["causes"]] == ["device of model toxic: cuda, then cpu"]


def test_another_threshold_takes_the_scores_that_stand_and_flags_them_anew(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "archive", tmp_path / "archive")
    shutil.copytree(folder / "own", tmp_path / "own")
    first, scores = classify(tmp_path, "archive", "--sweep", SWEEP, "-m", "own")
    for part in first["parts"]:
        note_another_processor(tmp_path / "archive" / part["path"])
    refused = postsweep("classify", "archive", "--sweep", SWEEP, "-m", "own", "--threshold", "scam=0.4", cwd=tmp_path)
    assert refused.returncode == 1
    assert "not as it was committed" in refused.stderr.splitlines()[-1]
    parts = [{**part, "sha256": file_sha256(tmp_path / "archive" / part["path"])} for part in first["parts"]]
    replace_run_manifest(read_archive(tmp_path / "archive"), {**first, "parts": parts})
    second, flagged = classify(tmp_path, "archive", "--sweep", SWEEP, "-m", "own", "--threshold", "scam=0.4")
    assert second["run"] != first["run"]
    assert flagged.drop("flags").equals(scores.drop("flags"))
    wanted = int((scores["scam"] >= np.float32(0.4)).sum())
    assert second["counts"]["flags"]["scam"] == wanted == flagged["flags"].list.contains("scam").sum()
    assert second["counts"]["flags"]["scam"] > first["counts"]["flags"]["scam"]
    assert [each["processor"] for each in second["environments"]] == ["one of another day"]
    outcome = json.loads(postsweep("rerun", second["run"], "--json", cwd=tmp_path).stdout)
    assert (outcome["verdict"], outcome["flips"]) == ("exact", 0)
    assert "one of another day" in json.dumps(outcome["causes"])


@pytest.mark.parametrize("what", ["gone", "not as it was committed"])
def test_where_earlier_scores_are_lost_the_line_says_how_to_score_anew(folder: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(folder / "archive", tmp_path / "archive")
    shutil.copytree(folder / "own", tmp_path / "own")
    first, scores = classify(tmp_path, "archive", "--sweep", SWEEP, "-m", "own")
    lost = tmp_path / "archive" / first["parts"][0]["path"]
    if what == "gone":
        lost.unlink()
    else:
        note_another_processor(lost)
    asked = ("archive", "--sweep", SWEEP, "-m", "own", "--threshold", "scam=0.4")
    refused = postsweep("classify", *asked, cwd=tmp_path)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if "error" in line]
    assert line.startswith("error: ")
    assert f"{lost.name}: {what}" in line
    assert "--anew" in line
    second, anew = classify(tmp_path, *asked, "--anew")
    assert anew.drop("flags").equals(scores.drop("flags"))
    assert "one of another day" not in json.dumps(second["environments"])


def note_another_processor(part: Path) -> None:
    """Marks the scores of a part, so that it shows where they are found again."""
    noted = noted_of(part)
    noted["environment"]["processor"] = "one of another day"
    table = pq.read_table(part, partitioning=None).replace_schema_metadata({b"postsweep": json.dumps(noted)})
    pq.write_table(table, part)
