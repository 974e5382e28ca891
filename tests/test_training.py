"""What training fits: heads, calibration, thresholds, weights of losses; against scikit-learn and counts by hand."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from classify import train as training
from classify.adapter_training import (
    epoch_batches,
    epoch_texts,
    learning_rate,
    masked_loss,
    padded,
    row_weights,
)
from classify.calibration import (
    average_precision,
    choose_threshold,
    expected_calibration_error,
    f1_scores,
    platt,
)
from classify.datasets import Example
from classify.embedded import default_folder
from classify.errors import ModelError
from classify.fitting import L2, calibrate, fit_head, marks_of
from classify.recipe import Recipe
from classify.scoring import encode_windows, first_windows
from classify.train import open_encoder, train, vectors
from tests.small_training import ADAPTER, RECIPE, examples, job

WIDTH = 12
LABELS = ("rumor", "hate")


def rows(count: int = 200, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, and whether each is of a label that they tell somewhat."""
    random = np.random.default_rng(seed)
    found = (random.normal(size=(count, WIDTH)) * random.uniform(0.01, 5, WIDTH) + 1).astype(np.float32)
    return found, random.random(count) < 1 / (1 + np.exp(-(found @ random.normal(size=WIDTH) / 4 - 1)))


def test_a_head_is_the_logistic_regression_of_scikit_learn() -> None:
    given, positive = rows(900)
    weight, bias = fit_head(given, positive)
    mean, scale = given.mean(axis=0, dtype=np.float64), given.std(axis=0, dtype=np.float64)
    # Ours is mean loss + L2 / 2 * |w|^2, theirs |w|^2 / 2 + C * summed loss.
    theirs = LogisticRegression(C=1 / (len(given) * L2), tol=1e-10, max_iter=5000)
    theirs.fit((given - mean) / scale, positive)
    assert weight * scale == pytest.approx(theirs.coef_[0], abs=5e-4)
    assert bias + weight @ mean == pytest.approx(theirs.intercept_[0], abs=5e-4)


def test_a_fit_that_stops_short_of_its_optimum_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="stopped short of its optimum after 3 steps"):
        fit_head(*rows(), steps=3)


def test_a_column_that_is_the_same_everywhere_has_no_part() -> None:
    given, positive = rows()
    weight, _ = fit_head(given, positive)
    wider, _ = fit_head(np.hstack([given, np.full((200, 1), 7, np.float32)]), positive)
    assert wider[:-1] == pytest.approx(weight, abs=1e-4)
    assert np.isfinite(wider).all()


def test_of_near_duplicates_the_first_that_speaks_of_a_label_counts() -> None:
    story = [{"hate": 0}, {"rumor": 1}, {"rumor": 0, "hate": 1}]
    said = [Example(f"number {n}", "en", "a", marks, "story", "train") for n, marks in enumerate(story)]
    other = Example("another", "en", "a", {"rumor": 0}, "other", "train")
    assert marks_of([*said, other], LABELS).tolist() == [[-1, 0], [1, -1], [-1, -1], [0, -1]]


def test_platt_scaling_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    for count in (30, 4000):
        logits = random.normal(size=count) * 3
        positive = random.random(count) < 1 / (1 + np.exp(-(0.7 * logits - 1)))
        (slope,), offset = platt(logits[:, None], positive)
        theirs = _SigmoidCalibration().fit(logits, positive.astype(int))
        assert (slope, offset) == pytest.approx((-theirs.a_, -theirs.b_), abs=2e-3)


def test_platt_scaling_of_one_class_stays_finite_and_off_the_ends() -> None:
    logits = np.linspace(-1, 1, 20)
    (slope,), offset = platt(logits[:, None], np.zeros(20, bool))
    claimed = 1 / (1 + np.exp(-(slope * logits + offset)))
    assert ((claimed > 0.001) & (claimed < 0.2)).all()


def test_of_two_logits_the_one_that_tells_nothing_has_no_slope_and_none_is_below_0() -> None:
    random = np.random.default_rng(4)
    positive = random.random(3000) < 0.4
    telling = positive * 2.0 - 1 + random.normal(size=3000)
    slopes, _ = platt(np.stack([telling, random.normal(size=3000)], axis=1), positive)
    assert slopes[0] > 1
    assert 0 <= slopes[1] < 0.1
    slopes, _ = platt(np.stack([telling, -telling + random.normal(size=3000)], axis=1), positive)
    assert (slopes >= 0).all()


def test_a_language_with_few_rows_takes_the_calibration_of_all() -> None:
    random = np.random.default_rng(9)
    langs = np.array(["en"] * 300 + ["zh"] * 300 + ["es"] * 12)
    marks = (random.random((612, 1)) < 0.5).astype(np.int8)
    logits = marks * np.where(langs == "zh", 3.0, 0.5)[:, None] + random.normal(size=(612, 1))
    found = calibrate(logits, np.zeros((612, 1)), marks, langs, ["en", "es", "zh"])
    (slope, _), offset = platt(np.hstack([logits, np.zeros((612, 1))]), marks[:, 0] == 1)
    assert (found["es"].slope[0], found["es"].offset[0]) == (slope, offset)
    assert found["zh"].slope[0] > found["es"].slope[0] > found["en"].slope[0]


def test_the_calibration_error_is_a_count_by_hand() -> None:
    claimed = np.array([0.05, 0.15, 0.15, 0.95, 1.0, 0.0])
    positive = np.array([0, 1, 0, 1, 0, 0], bool)
    # Ten bins: 0.0-0.1 holds 0.05 of 0 seen, 0.1-0.2 claims 0.30 of 1 seen, 0.9-1.0 claims 1.95 of 1 seen.
    assert expected_calibration_error(claimed, positive, bins=10) == pytest.approx((0.05 + 0.7 + 0.95) / 6)
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool)))


def test_f1_is_scikit_learns() -> None:
    random = np.random.default_rng(2)
    for share in (0, 0.1, 0.5, 1):
        truth, guess = random.random(50) < share, random.random(50) < 0.4
        precision, recall, macro = f1_scores(guess, truth)
        assert precision == pytest.approx(precision_score(truth, guess, zero_division=0))
        assert recall == pytest.approx(recall_score(truth, guess, zero_division=0))
        labels = [False, True]
        assert macro == pytest.approx(f1_score(truth, guess, average="macro", labels=labels, zero_division=0))


def test_average_precision_is_scikit_learns() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        scores, truth = np.round(random.random(60), 1), random.random(60) < 0.3
        assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


def test_a_threshold_for_a_precision_is_the_lowest_that_reaches_it() -> None:
    scores, truth = np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.array([0, 1, 0, 1, 1], bool)
    assert choose_threshold([(scores, truth)], target="precision", value=0.7) == 0.11
    assert choose_threshold([(scores, truth)], target="precision", value=0.76) == 0.51


def test_a_threshold_for_a_share_of_review_flags_no_more() -> None:
    scores = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    assert choose_threshold([(scores, scores > 0.4)], target="review", value=0.4) == 0.51


def test_ordinary_posts_bound_every_threshold() -> None:
    scores, truth = np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.array([0, 1, 1, 1, 1], bool)
    calm = np.repeat([0.1, 0.6], [97, 3])
    assert choose_threshold([(scores, truth)]) == 0.2
    assert choose_threshold([(scores, truth)], [calm], most_ordinary=0.02) == 0.61
    assert choose_threshold([(scores, truth)], [calm], most_ordinary=0.05) == 0.2
    assert choose_threshold([(scores, truth)], [np.full(100, 0.99)]) == 0.95


def test_a_threshold_is_the_lowest_of_the_best_over_languages_of_equal_weight() -> None:
    truth = np.array([0, 0, 1, 1], bool)
    assert choose_threshold([(np.array([0.1, 0.305, 0.5, 0.9]), truth)]) == 0.31
    # A hundred times more rows in one language weigh no more than the other: at 0.41 the first is whole, the second
    # half; at 0.61 the other way round with a larger loss.
    first = (np.array([0.1, 0.4, 0.45, 0.5]), truth)
    second = (np.tile([0.1, 0.2, 0.44, 0.9], 100), np.tile(truth, 100))
    assert choose_threshold([first, second]) == 0.41


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=40), st.integers(0, 9))
def test_what_is_masked_has_no_part_in_the_loss(marks: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(len(marks), 1)).astype(np.float32)).requires_grad_()
    targets, weights = torch.tensor(marks, dtype=torch.float32)[:, None], torch.ones((len(marks), 1))
    loss = masked_loss(logits, targets, weights)
    loss.backward()
    assert logits.grad is not None
    assert [bool(each) for each in logits.grad[:, 0] != 0] == [mark >= 0 for mark in marks]
    said = [at for at, mark in enumerate(marks) if mark >= 0]
    each = [math.log1p(math.exp(-logits[at].item() * (2 * marks[at] - 1))) for at in said]
    assert loss.item() == pytest.approx(sum(each) / max(1, len(said)), rel=1e-4, abs=1e-6)


def test_weights_raise_few_positives_up_to_four_times_and_languages_count_alike() -> None:
    said = [Example("a", lang, "a", {}, str(at)) for at, lang in enumerate(["en"] * 400 + ["zh"] * 100)]
    marks = np.zeros((500, 2), np.int8)
    marks[:100, 0], marks[400:450, 0] = 1, 1  # a quarter of the English and half of the Chinese rows
    marks[:2, 1], marks[400:, 1] = 1, -1
    weights = row_weights(said, marks)
    assert weights[0, 0] / weights[399, 0] == pytest.approx(math.sqrt(3))
    assert weights[400, 0] == pytest.approx(weights[499, 0])
    assert weights[499, 0] / weights[399, 0] == pytest.approx(2)  # the root of four times fewer rows
    assert weights[0, 1] / weights[399, 1] == pytest.approx(4)
    assert not weights[400:, 1].any()
    assert weights[:, 0].mean() == pytest.approx(1)
    assert weights[:400, 1].mean() == pytest.approx(1)


def test_the_rate_rises_to_its_highest_at_a_tenth_and_falls_to_nothing() -> None:
    rates = [learning_rate(step, 200) for step in range(1, 201)]
    assert rates.index(max(rates)) == 19
    assert max(rates) == 1
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert rates[-1] == pytest.approx(0)
    assert rates[109] == pytest.approx(0.5)
    assert [learning_rate(step, 2) for step in (1, 2)] == [1, pytest.approx(0)]


@given(
    st.lists(st.tuples(st.integers(1, 160), st.integers(1, 3)), min_size=1, max_size=300), st.integers(64, 2048),
    st.integers(0, 3),
)  # fmt: skip
def test_an_epoch_has_each_row_as_often_as_it_is_repeated_in_batches_under_the_budget(
    given_rows: list[tuple[int, int]], tokens: int, epoch: int
) -> None:
    lengths = [length for length, _ in given_rows]
    said = [Example("a", "en", "a", {}, str(at), repeat=repeat) for at, (_, repeat) in enumerate(given_rows)]
    plan = epoch_batches(lengths, said, tokens, 1, epoch)
    assert Counter(row for batch in plan for row in batch) == {at: each.repeat for at, each in enumerate(said)}
    for batch in plan:
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= tokens
    assert plan == epoch_batches(lengths, said, tokens, 1, epoch)


def test_epochs_read_other_texts_and_other_batches_and_the_same_every_time() -> None:
    said = examples()
    texts = [epoch_texts(said, ADAPTER, 1, epoch) for epoch in (0, 1)]
    assert texts[0] != texts[1]
    assert texts[0] == epoch_texts(said, ADAPTER, 1, 0)
    assert texts[0] != epoch_texts(said, ADAPTER, 2, 0)
    changed = sum(text != each.text for text, each in zip(texts[0], said, strict=True))
    assert 0.05 * len(said) < changed < 0.7 * len(said)
    plain = ADAPTER.model_copy(update={"altered": 0.0})
    assert epoch_texts(said, plain, 1, 0) == [each.text for each in said]
    lengths = [len(each.text) for each in said]
    plans = [epoch_batches(lengths, said, 256, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert plans[0] != plans[1]
    assert plans[0] != plans[2]


def test_padding_is_masked() -> None:
    ids, mask = padded([(5, 6), (7,)])
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]


HEADS_ONLY: Recipe = RECIPE.model_copy(update={"adapter": None})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def heads_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of heads alone, and the work folder beside it."""
    folder = tmp_path_factory.mktemp("heads")
    train(job(folder / "work", recipe=HEADS_ONLY), examples(), folder / "out")
    return folder


def test_the_test_part_has_no_part_in_anything_that_is_written(heads_only: Path, tmp_path: Path) -> None:
    turned = [
        replace(each, text=each.text[::-1], marks={label: 1 - mark for label, mark in each.marks.items()})
        if each.part == "test" else each
        for each in examples()
    ]  # fmt: skip
    train(job(heads_only / "work", recipe=HEADS_ONLY), turned, tmp_path / "out")
    assert files(tmp_path / "out") == files(heads_only / "out")


def test_the_calibrate_part_has_no_part_in_weights_and_words(heads_only: Path, tmp_path: Path) -> None:
    turned = [
        replace(each, marks={label: 1 - mark for label, mark in each.marks.items()})
        if each.part == "calibrate" else each
        for each in examples()
    ]  # fmt: skip
    train(job(heads_only / "work", recipe=HEADS_ONLY), turned, tmp_path / "out")
    one, other = files(heads_only / "out"), files(tmp_path / "out")
    assert other["heads.safetensors"] == one["heads.safetensors"]
    assert other["heads.json"] != one["heads.json"]


def test_kept_vectors_are_those_of_the_engine_and_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHUNK", 7)
    model = open_encoder(default_folder(), ("abuse",), 1)
    windows = first_windows(model, [each.text for each in examples()[:20]])
    first = vectors(model, windows, job(tmp_path))
    assert np.array_equal(first, encode_windows(model, windows, 512))
    chunks = sorted(tmp_path.glob("vectors-*.npy"))
    assert len(chunks) == 3
    chunks[1].unlink()
    said: list[str] = []
    assert np.array_equal(vectors(model, windows, job(tmp_path, said.append)), first)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("part", "mark", "told"),
    [
        ("train", 1, "label abuse: 9 positive texts in the train part, and 10 are needed"),
        ("train", 0, "label abuse: 9 negative texts in the train part, and 10 are needed"),
        ("calibrate", 1, "label abuse: 4 positive texts in the calibrate part, and 5 are needed"),
        ("calibrate", 0, "label abuse: 4 negative texts in the calibrate part, and 5 are needed"),
    ],
)
def test_a_label_with_too_little_to_learn_from_is_one_line(tmp_path: Path, part: str, mark: int, told: str) -> None:
    of = [each for each in examples() if each.part == part and each.marks["abuse"] == mark]
    gone = of[9 if part == "train" else 4 :]
    with pytest.raises(ModelError) as caught:
        train(job(tmp_path / "work", recipe=HEADS_ONLY), [e for e in examples() if e not in gone], tmp_path / "out")
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
