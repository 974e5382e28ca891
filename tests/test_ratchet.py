"""The ratchet: the embedded model's figures on the suites may rise and never fall."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from classify import ratchet
from classify.errors import ModelError
from classify.evaluate import Scored, score_rows
from classify.files import sha256
from classify.labelled import Columns, read_labelled
from classify.model import load, prepare
from classify.ratchet import Reached, fallen, main, raised, reached, read_floors
from classify.suites import suite
from tests import small_model
from tests.shared_data import SHARED

DATA = None if SHARED is None else SHARED / "datasets/train"


@pytest.fixture(scope="module")
def scored() -> dict[Path, Scored]:
    """Both suites, scored by the embedded model."""
    model = load(prepare("default"), threads=2)
    labels = [label.name for label in model.labels]
    return {
        path: score_rows(model, read_labelled([path], Columns(partial=True), labels).rows) for path in suite("fairness")
    }


def figures(scored: dict[Path, Scored], shift: float = 0.0) -> dict[str, Reached]:
    """What the suites give when every logit is shifted, as offsets of the heads would."""
    return {
        path.stem: reached(sha256(path), replace(each, scores=shifted(each.scores, shift)))
        for path, each in scored.items()
    }


def shifted(scores: np.ndarray, shift: float) -> np.ndarray:
    return expit(logit(scores.astype(np.float64)) + shift).astype(np.float32) if shift else scores


def test_the_embedded_model_is_at_or_over_every_floor(scored: dict[Path, Scored]) -> None:
    assert fallen(read_floors(), figures(scored)) == []


@pytest.mark.parametrize(
    ("shift", "figure"), [(-1.0, "found"), (1.0, "left alone")], ids=["scores lowered", "scores raised"]
)
def test_a_model_made_worse_on_purpose_falls(scored: dict[Path, Scored], shift: float, figure: str) -> None:
    wrong = fallen(read_floors(), figures(scored, shift))
    for suite_ in ("fairness_zh", "fairness_en"):
        assert any(line.startswith(f"{suite_}: {figure}: 0.") and "under its floor of" in line for line in wrong)


def test_its_floors_are_not_lowered_by_an_update(scored: dict[Path, Scored]) -> None:
    with pytest.raises(ModelError, match=r"fairness_zh: found: 0\.\d+, 0\.\d+ under its floor of .*is not lowered"):
        raised(read_floors(), figures(scored, -1.0))


def test_scores_of_no_meaning_lose_the_pairs(scored: dict[Path, Scored]) -> None:
    random = np.random.default_rng(3)
    mixed = {path: replace(each, scores=random.permutation(each.scores)) for path, each in scored.items()}
    assert any(line.startswith("fairness_en: pairs, all: 0.") for line in fallen(read_floors(), figures(mixed)))


def test_a_better_figure_raises_its_floor_to_just_below_it_and_others_stay() -> None:
    floors = {"small": {"sha256": "a", "at_least": {"found": 0.5, "pairs, all": 0.7}}, "set other": {"at_least": {}}}
    found = {"small": Reached("a", {"found": (0.8, 0.05), "pairs, all": (0.72, 0.05), "left alone": (0.9, 0.01)})}
    new = raised(floors, found)
    assert new["small"]["at_least"] == {"found": 0.75, "left alone": 0.89, "pairs, all": 0.7}
    assert new["set other"] is floors["set other"]
    assert raised(new, found) == new
    assert fallen(new, found) == []


def test_a_changed_suite_must_be_named() -> None:
    floors = {"small": {"sha256": "a" * 64, "at_least": {"found": 0.9}}}
    found = {"small": Reached("b" * 64, {"found": (0.5, 0.1)})}
    assert fallen(floors, found) == [f"small: is another than the floors are of (sha256 {'b' * 64})"]
    with pytest.raises(ModelError, match=r"sha256 aaaaaaaaaaaa, now bbbbbbbbbbbb.*add --suite-changed 'small'"):
        raised(floors, found)
    assert raised(floors, found, ["small"]) == {"small": {"sha256": "b" * 64, "at_least": {"found": 0.4}}}
    with pytest.raises(ModelError, match="other: no suite of that name was judged by"):
        raised(floors, found, ["small", "other"])


def test_what_is_measured_no_more_and_what_has_no_floor_is_told() -> None:
    floors = {"small": {"sha256": "a", "at_least": {"found, hate": 0.9}}}
    found = {"small": Reached("a", {}), "new": Reached("c", {})}
    gone, new = fallen(floors, found)
    assert gone == "small: found, hate: has a floor of 0.9 and is measured no more"
    assert new.startswith("new: no floor is pinned")


def test_heads_with_shifted_offsets_fail_the_command_and_lower_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, floors = small_model.make(tmp_path / "model"), tmp_path / "floors.json"
    given = ["--model", str(model), "--floors", str(floors)]
    assert main(["update", *given]) == 0
    assert main(["check", *given]) == 0
    assert "2 suites: nothing fell" in capsys.readouterr().out
    before = floors.read_bytes()

    heads = small_model.describe_heads()
    for fitted in heads["calibration"].values():
        fitted["offset"] = [offset - 1.5 for offset in fitted["offset"]]
    small_model.write_heads(model, heads)
    small_model.write_description(model)
    assert main(["check", *given]) == 1
    assert "fairness_en: found: 0.0" in capsys.readouterr().out
    assert main(["update", *given]) == 1
    assert "a floor is not lowered" in capsys.readouterr().err
    assert floors.read_bytes() == before


def test_what_is_no_file_of_floors_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "floors.json").write_text("{")
    assert main(["check", "--floors", str(tmp_path / "floors.json")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'floors.json'}: cannot be read as floors")


def test_every_suite_has_its_floors() -> None:
    assert {"fairness_zh", "fairness_en"} <= set(json.loads(ratchet.FLOORS.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.skipif(DATA is None or not DATA.is_dir(), reason="no development sets beside the checkout")
def test_the_embedded_model_is_at_or_over_its_floors_on_the_development_sets() -> None:
    assert DATA is not None
    if not set(read_floors()) - {path.stem for path in suite("fairness")}:
        pytest.skip("no floors of development sets are pinned: the first weights may have learnt from them")
    assert fallen(read_floors(), ratchet.reached_on_sets(load(prepare("default"), threads=2), DATA)) == []
