"""`postsweep train`: a file of labelled texts becomes a model, and a sweep uses it by its folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from classify.datasets import PARTS
from classify.errors import ModelError
from classify.model import ModelSpec, load, prepare
from classify.scoring import score_texts
from classify.train import check_able
from pipelines.archive import read_archive, run_manifest
from pipelines.errors import ConfigError
from pipelines.progress import Progress
from pipelines.train import Figure, Trained, TrainRequest, _figure, told, train_model
from tests.jobs import postsweep
from tests.labelled_posts import rows, write_csv, written
from tests.small_training import job
from tests.sweeps import SOURCES, SWEEP, one_source, page, post, sealed_sweep
from tests.test_parity import largest_difference

VALUES = {"abuse": "OFF", "none": "NOT"}
MAPPED = ("--value", "OFF=abuse", "--value", "NOT=none")


@pytest.fixture(scope="module")
def trained(key: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with 500 labelled rows and the model that the command made of them, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    said = [{"body": row["text"], "class": VALUES[row["label"]]} for row in rows(500, langs=("en", "zh"))]
    write_csv(folder / "posts.csv", [*said, {"body": "12:30", "class": "NOT"}, said[0]])
    done = postsweep(
        "train", "posts.csv", "--out", "model", "--heads-only", "--text-field", "body", "--label-field", "class",
        *MAPPED, "--definition", "abuse=Insults somebody in demeaning words.", "--threads", "2", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_outcome_is_told_with_what_was_left_out_and_how_to_use_it(trained: tuple[Path, str]) -> None:
    folder, out = trained
    lines = out.splitlines()
    assert "posts.csv: 1 row without a text that has a letter left out" in lines
    assert "1 row repeating a text with the same labels left out" in lines
    assert lines[-2:] == [
        "model: model", 'use it: model = "model" under [classify] in the sweep file, or --model model'
    ]  # fmt: skip
    (abuse,) = [line for line in lines if line.startswith("abuse  ") and " yes, " in line]
    assert abuse.count(" yes, ") == len(PARTS)
    assert any(line.startswith("abuse: calibrated on") and line.endswith("are rough") for line in lines)
    assert not (folder / "model.work").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["model", "posts.csv"]


def test_the_model_tells_its_label_better_than_chance(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    model = load(prepare(str(folder / "model")))
    ((label, definition),) = [(label.name, label.definition) for label in model.labels]
    assert (label, definition) == ("abuse", "Insults somebody in demeaning words.")
    assert model.languages == {"en", "zh"}
    others = written("en", "abuse")[300:500]
    scores = score_texts(model, [each.text for each in others])["abuse"].to_pylist()
    yes, no = ([s for s, each in zip(scores, others, strict=True) if s is not None and each.marks["abuse"] == mark]
               for mark in (1, 0))  # fmt: skip
    assert np.mean(yes) > np.mean(no) + 0.2


def test_a_sweep_uses_the_model_by_its_folder_and_its_manifest_names_it(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    texts = [each.text for each in written("en", "abuse")[600:640]]
    posts = [post(number, text=text) for number, text in enumerate(texts)]
    sealed_sweep(folder / "archive", {SOURCES[0]: [page(0, posts, last=True)]}, part_rows=20)
    (folder / "sweep.toml").write_text(one_source("https://one.example") + '[classify]\nmodel = "model"\n')
    done = postsweep("classify", "sweep.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    manifest = run_manifest(read_archive(folder / "archive"), done.stdout.split()[-1])
    assert manifest is not None
    (model,) = manifest["models"]
    assert (model["name"], model["exactness"]) == ("model", "exact")
    assert model["digest"] == prepare(str(folder / "model")).digest
    assert [label["name"] for label in manifest["labels"]] == ["abuse"]
    assert manifest["counts"]["posts"] == len(texts)
    scores = pl.read_parquet(folder / "archive/scores/**/*.parquet", hive_partitioning=False)
    assert 0 < scores["flags"].list.contains("abuse").sum() < len(texts)
    assert SWEEP in done.stdout


def test_the_model_scores_alike_in_both_engines(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    texts = [each.text for lang in ("en", "zh") for each in written(lang, "abuse")[500:540]]
    exact, other = (
        score_texts(load(prepare(ModelSpec(str(folder / "model"), engine=engine))), texts)
        for engine in ("onnxruntime", "torch")
    )
    assert 0 < largest_difference(exact, other, ["abuse"]) < 1e-4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to be refused."""
    folder = tmp_path_factory.mktemp("files")
    good = rows(200)
    write_csv(folder / "good.csv", good)
    write_csv(folder / "few.csv", rows(30))
    write_csv(folder / "one.csv", [{**row, "label": "abuse"} for row in good])
    write_csv(folder / "empty.csv", [{**row, "text": " "} for row in good])
    write_csv(folder / "bad.csv", [*good[:50], {"text": "The ferry leaves at nine.", "label": "not nice"}])
    write_csv(folder / "twice.csv", [*good, {"text": good[0]["text"], "label": "abuse"}, {**good[0], "label": "none"}])
    parts = [{**row, "part": PARTS[at % 3]} for at, row in enumerate(good)]
    write_csv(folder / "leak.csv", [*parts, {**parts[0], "part": "test"}])
    (folder / "bad.toml").write_text("seed = -1\n")
    (folder / "good.toml").write_text('base = "default"\n')
    (folder / "full").mkdir()
    (folder / "full/notes.txt").write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "nothing to learn from; name files of labelled texts, or a recipe"),
        (("gone.csv",), "gone.csv: cannot be read (No such file or directory)"),
        (("good.csv", "--text-field", "body"), "good.csv: no column 'body' (it has text, label)"),
        (("good.csv", "--label-field", "class"), "good.csv: no column 'class' (it has text, label)"),
        (("bad.csv",), "bad.csv, row 51: 'not nice' cannot be a label's name"),
        (("good.csv", "--value", "abuse=abuse"), "row 1: label is 'none', which is not among the values that were"),
        (("good.csv", "--value", "abuse"), "--value abuse: write KEY=VALUE"),
        (("good.csv", "--value", "abuse=a b"), "--value abuse=a b: 'a b' cannot be a label's name"),
        (("good.csv", "--definition", "hate=x"), "--definition hate=...: no label of that name; there are abuse"),
        (("empty.csv",), "empty.csv: no row has a text with a letter in 'text'"),
        (("one.csv",), "label abuse: one class only, of 200 texts all of them are abuse; add texts that are not"),
        (("few.csv",), "positive texts in the"),
        (("twice.csv",), "stands there twice, once as"),
        (("leak.csv",), "1 text in another part too, word for word or nearly, such as"),
        (("good.csv", "--calibrate", "0.7", "--test", "0.4"), "--calibrate 0.7 --test 0.4: shares of all texts"),
        (("good.csv", "--calibrate", "0"), "--calibrate 0 --test 0.2: shares of all texts"),
        (("good.csv", "--device", "tpu"), "--device tpu: use cpu or cuda"),
        (("good.csv", "--dtype", "float16"), "--dtype float16: use float32 or bfloat16"),
        (("good.csv", "--recipe", "good.toml"), "--recipe and --data go together"),
        (("--recipe", "bad.toml", "--data", "."), "bad.toml: seed: Input should be greater than or equal to 0"),
        (("good.csv", "--out", "full"), "full: is not empty; name another folder, or empty it"),
        (("good.csv", "--out", "good.csv"), "good.csv: is a file; name a folder for the model"),
        (("good.csv", "--out", "new", "--work", "new"), "--work new: is the folder of --out; name another"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], told: str
) -> None:
    from pipelines import cli

    before = sorted(path.name for path in files.rglob("*"))
    monkeypatch.chdir(files)
    out = () if "--out" in more else ("--out", "model")
    monkeypatch.setattr(sys, "argv", ["postsweep", "train", *more, *out, "--heads-only"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "internal"))]
    assert line.startswith("error: ")
    assert told in line
    assert sorted(path.name for path in files.rglob("*")) == before


@pytest.mark.parametrize("missing", [["peft"], ["torch", "peft"]])
def test_without_the_extra_the_line_says_what_to_install(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        train_model(TrainRequest((files / "good.csv",), tmp_path / "model"), Progress())
    assert str(caught.value) == (
        f"adapting the encoder needs {' and '.join(missing)}; install the extra `postsweep[train]`, or fit heads alone "
        "with --heads-only"
    )
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_cuda_device_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="device cuda: there is no CUDA device here; train with --device cpu"):
        check_able(replace(job(tmp_path), device="cuda"))


@pytest.mark.slow
def test_with_drop_duplicates_a_leaking_file_is_trained_on(files: Path, tmp_path: Path) -> None:
    outcome = train_model(
        TrainRequest((files / "leak.csv",), tmp_path / "model", heads_only=True, drop_duplicates=True), Progress()
    )
    assert "1 text that a part kept from training repeats left out" in outcome.left_out
    assert outcome.texts.keys() == set(PARTS)


@pytest.mark.slow
def test_a_recipe_and_a_users_file_are_trained_together(files: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'base = "default"\nlabels = { abuse = "Insults." }\n[[set]]\nname = "more"\nfile = "more.csv"\n'
        'marks."abuse" = { abuse = 1 }\nmarks."none" = { abuse = 0 }\n'
    )
    write_csv(tmp_path / "more.csv", rows(260)[200:])
    request = TrainRequest(
        (files / "good.csv",), tmp_path / "model", tmp_path / "recipe.toml", tmp_path, heads_only=True, test=0.25
    )
    outcome = train_model(request, Progress())
    assert 240 <= sum(outcome.texts.values()) <= 260
    assert outcome.thresholds.keys() == {"abuse"}
    trained_on = json.loads((tmp_path / "model/heads.json").read_text())["trained_on"]
    assert trained_on.keys() == {"good.csv", "more"}


def test_figures_are_those_of_the_scores_and_lie_in_their_intervals() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1], np.float32)
    found = _figure(scores, np.array([1, 0, 1, 0, 0, 0], bool), 0.75)
    assert (found.rows, found.positive) == (6, 2)
    assert found.macro_f1 is not None
    assert found.average_precision is not None
    # Flagged are two, one of them rightly; of four others three are rightly left.
    assert found.macro_f1[0] == pytest.approx((0.5 + 0.75) / 2)
    assert found.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    for value, low, high in (found.macro_f1, found.average_precision):
        assert 0 <= low <= value <= high <= 1
    assert _figure(scores, np.zeros(6, bool), 0.5) == Figure(6, 0, None, None)


def test_a_label_that_the_test_part_says_nothing_of_has_no_figure() -> None:
    said = {(part, "abuse"): (80, 90) for part in PARTS} | {("test", "abuse"): (0, 0)}
    outcome = Trained(Path("model"), {"train": 170}, said, (), {"abuse": 0.4}, {"abuse": Figure(0, 0, None, None)}, 2)
    lines = list(told(outcome))
    (line,) = [line for line in lines if line.startswith("abuse  ") and "yes" not in line]
    assert line.split() == ["abuse", "0.4", "0", "-", "-"]
    assert "2 texts of the test part are taken for another language, and get no score" in lines
