"""A training that is killed goes on from its last checkpoint to the same result, bit by bit."""

import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from classify.base import PACKED_GRAPH
from classify.datasets import Example
from classify.embedded import default_folder
from classify.engines.torch import open_encoder
from classify.errors import ModelError
from classify.heads import load_heads
from classify.model import load, prepare
from classify.recipe import Recipe
from classify.scoring import encode_windows, first_windows
from classify.train import train
from tests.small_training import RECIPE, examples, job


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[str]]:
    """The files of a training that nothing disturbed, and what it said."""
    folder = tmp_path_factory.mktemp("undisturbed")
    said: list[str] = []
    train(job(folder / "work", said.append), examples(), folder / "out")
    return files(folder / "out"), said


class PowerCutError(Exception):
    """Ends a training where it stands."""


def cut_at(line: int) -> Callable[[str], None]:
    """Ends the training that says so many lines."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == line:
            raise PowerCutError

    return say


def test_a_training_that_is_cut_off_comes_to_the_same_files(
    undisturbed: tuple[dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    wanted, said = undisturbed
    looks = [line for line in said if "on the calibrate part" in line and line.startswith("step")]
    assert len(looks) == 6
    with pytest.raises(PowerCutError):
        train(job(tmp_path / "work", cut_at(4)), examples(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    again: list[str] = []
    train(job(tmp_path / "work", again.append), examples(), tmp_path / "out")
    assert again == said[4:]
    assert files(tmp_path / "out") == wanted


@pytest.mark.slow
def test_a_training_that_stopped_early_and_was_cut_off_then_does_not_go_on(tmp_path: Path) -> None:
    impatient = changed_adapter(patience=1, check=1, epochs=3, rate=0.5)
    with pytest.raises(PowerCutError):
        train(job(tmp_path / "work", cut_at_first("the best", absent=True), impatient), examples(), tmp_path / "out")
    last = (tmp_path / "work/last.safetensors").read_bytes()
    train(job(tmp_path / "work", recipe=impatient), examples(), tmp_path / "out")
    assert (tmp_path / "work/last.safetensors").read_bytes() == last


def cut_at_first(words: str, absent: bool) -> Callable[[str], None]:
    """Ends the training at its first look that has the words, or lacks them."""

    def say(text: str) -> None:
        if text.startswith("step") and (words in text) != absent:
            raise PowerCutError

    return say


def changed_adapter(**changes: object) -> Recipe:
    """The small recipe with another adapter."""
    assert RECIPE.adapter is not None
    return RECIPE.model_copy(update={"adapter": RECIPE.adapter.model_copy(update=changes)})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a training that was cut off."""
    work = tmp_path_factory.mktemp("begun")
    with pytest.raises(PowerCutError):
        train(job(work, cut_at(1)), examples(), work / "out")
    return work


@pytest.mark.parametrize(
    ("recipe", "texts"),
    [
        (RECIPE.model_copy(update={"seed": 6}), examples()),
        (changed_adapter(rate=1e-3), examples()),
        (RECIPE, [*examples()[1:], replace(examples()[0], text="The bus to the harbour was on time today")]),
    ],
    ids=["seed", "recipe", "texts"],
)
def test_a_work_folder_of_another_training_is_refused(
    begun: Path, tmp_path: Path, recipe: Recipe, texts: list[Example]
) -> None:
    before = {path.name for path in begun.iterdir()}
    with pytest.raises(ModelError, match="another training") as caught:
        train(job(begun, recipe=recipe), texts, tmp_path / "out")
    assert str(caught.value).startswith(str(begun))
    assert not (tmp_path / "out").exists()
    assert {path.name for path in begun.iterdir()} == before


@pytest.mark.slow
def test_another_seed_gives_another_adapter_and_the_folder_is_read_back(
    undisturbed: tuple[dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    wanted, _ = undisturbed
    heads = train(job(tmp_path / "work", recipe=RECIPE.model_copy(update={"seed": 6})), examples(), tmp_path / "out")
    other = files(tmp_path / "out")
    assert set(other) == set(wanted)
    assert {name for name in wanted if other[name] != wanted[name]} == {
        "adapter_model.safetensors", "heads.json", "heads.safetensors", "model.json", "weights.bin"
    }  # fmt: skip
    read = load_heads(tmp_path / "out/heads.safetensors", tmp_path / "out/heads.json")
    assert read.labels == heads.labels
    assert read.weight.tobytes() == heads.weight.tobytes()


def killed_after(line: int, work: Path, out: Path) -> int:
    """Starts the training and kills it, without a warning, once it has said so many lines; returns how it ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.small_training", str(work), str(out)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(line):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    return child.returncode


@pytest.mark.slow
def test_a_process_killed_twice_at_random_steps_comes_to_the_same_files(
    undisturbed: tuple[dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    wanted, _ = undisturbed
    chance = random.Random()
    lines = [chance.randint(1, 2) for _ in range(2)]
    for line in lines:
        assert killed_after(line, tmp_path / "work", tmp_path / "out") == -signal.SIGKILL, lines
    done = subprocess.run(
        [sys.executable, "-m", "tests.small_training", str(tmp_path / "work"), str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "step 2 of 12" not in done.stdout  # it went on, and did not begin again
    assert files(tmp_path / "out") == wanted, lines


def test_the_folder_gives_the_vectors_that_peft_gives_over_the_base(
    undisturbed: tuple[dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    wanted, _ = undisturbed
    for name, data in wanted.items():
        (tmp_path / name).write_bytes(data)
    merged = load(prepare(str(tmp_path)))
    network = open_encoder(default_folder(), PACKED_GRAPH, "cpu", "float32", 1).module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        adapted = PeftModel.from_pretrained(network, str(tmp_path)).eval()
    for window in first_windows(merged, [each.text for each in examples()[:8]]):
        with torch.inference_mode():
            hidden = adapted(input_ids=torch.tensor([window])).last_hidden_state
        theirs = hidden.mean(dim=1).numpy()
        ours = encode_windows(merged, [window], 512)
        one, other = (merged.head.scores(rows, [""], "en") for rows in (ours, theirs))
        assert np.abs(one - other).max() < 1e-4
        assert np.abs(ours - theirs).max() < 1e-4
