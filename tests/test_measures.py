"""Measures, against scikit-learn and counts by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from classify import calibration
from classify.measures import Rows, differences, figures, holm, mcnemar, precision_recall, reliability, share

labelled = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(positive for _, positive in rows) < len(rows)
)


def rows_of(pairs: list[tuple[int, bool]], clusters: list[int] | None = None) -> Rows:
    scores, positive = zip(*pairs, strict=True)
    return Rows(
        np.array(scores, np.float32) / 20, np.array(positive, bool), np.array(clusters or range(len(scores)), np.intp)
    )


def invented(count: int = 400, seed: int = 1, shift: float = 0.0) -> Rows:
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.4
    logits = random.normal(size=count) + np.where(positive, 1 + shift, -1)
    return Rows((1 / (1 + np.exp(-logits))).astype(np.float32), positive, np.arange(count))


@settings(max_examples=25)
@given(labelled, st.integers(1, 19))
def test_the_figures_are_those_of_scikit_learn(pairs: list[tuple[int, bool]], cut: int) -> None:
    rows = rows_of(pairs)
    found = figures(rows, {"stored": cut / 20}, draws=2)
    flagged = [score >= cut for score, _ in pairs]
    at = found.cuts["stored"]
    assert found.average_precision.value == pytest.approx(average_precision_score(rows.positive, rows.scores))
    assert at.recall.value == pytest.approx(recall_score(rows.positive, flagged))
    assert at.macro_f1.value == pytest.approx(f1_score(rows.positive, flagged, average="macro", zero_division=0))
    assert at.f1.value == pytest.approx(f1_score(rows.positive, flagged, zero_division=0))
    assert at.flagged == sum(flagged)
    if any(flagged):
        assert at.precision.value == pytest.approx(precision_score(rows.positive, flagged))
    else:
        assert at.precision.value is None


@settings(max_examples=25)
@given(labelled)
def test_they_are_those_that_training_goes_by(pairs: list[tuple[int, bool]]) -> None:
    rows = rows_of(pairs)
    found = figures(rows, {"half": 0.5}, draws=1)
    assert found.average_precision.value == pytest.approx(calibration.average_precision(rows.scores, rows.positive))
    error = calibration.expected_calibration_error(rows.scores, rows.positive)
    assert found.calibration_error.value == pytest.approx(error, abs=1e-6)


@settings(max_examples=25)
@given(labelled)
def test_the_calibration_error_is_the_mean_gap_of_the_diagram(pairs: list[tuple[int, bool]]) -> None:
    rows = rows_of(pairs)
    bins = reliability(rows)
    gaps = [each.seen.rows * abs(each.claimed - (each.seen.value or 0)) for each in bins if each.claimed is not None]
    assert sum(each.seen.rows for each in bins) == len(pairs)
    assert figures(rows, {}, draws=1).calibration_error.value == pytest.approx(sum(gaps) / len(pairs), abs=1e-6)


@settings(max_examples=25)
@given(labelled)
def test_the_area_under_the_curve_that_is_drawn_is_the_average_precision(pairs: list[tuple[int, bool]]) -> None:
    rows = rows_of(pairs)
    recall, precision = precision_recall(rows)
    assert recall[-1] == 1
    assert (np.diff(recall, prepend=0) * precision).sum() == pytest.approx(
        average_precision_score(rows.positive, rows.scores)
    )


def test_a_row_without_a_score_is_not_flagged_comes_last_and_claims_nothing() -> None:
    rows = Rows(np.array([0.9, 0.2, np.nan, np.nan], np.float32), np.array([1, 0, 1, 0], bool), np.arange(4))
    found = figures(rows, {"none": 0.0}, draws=5)
    assert (found.unscored, found.cuts["none"].flagged) == (2, 2)
    assert found.cuts["none"].recall.value == 0.5
    # Found at once: one of one. The other positive stands with the last two of four.
    assert found.average_precision.value == pytest.approx((1 + 2 / 4) / 2)
    assert found.calibration_error.value == pytest.approx((0.1 + 0.2) / 2, abs=1e-6)


def test_what_is_not_defined_has_no_value() -> None:
    calm = Rows(np.array([0.1, 0.2], np.float32), np.zeros(2, bool), np.arange(2))
    found = figures(calm, {"half": 0.5}, draws=5)
    at = found.cuts["half"]
    assert [at.precision.value, at.recall.value, at.macro_f1.value, found.average_precision.value] == [None] * 4
    assert at.false_positives.value == 0
    assert at.false_positives.high == pytest.approx(0.6576, abs=1e-4)  # Wilson's for none of two
    empty = figures(calm.at(np.zeros(2, bool)), {"half": 0.5}, draws=5)
    assert (empty.rows, empty.calibration_error.value, empty.cuts["half"].recall.value) == (0, None, None)


def test_the_same_seed_draws_the_same_intervals_and_another_one_others() -> None:
    rows = invented()
    first, again, other = (figures(rows, {"half": 0.5}, draws=200, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.cuts["half"].macro_f1 != other.cuts["half"].macro_f1
    assert first.cuts["half"].macro_f1.value == other.cuts["half"].macro_f1.value


def test_intervals_hold_the_figure_and_narrow_with_more_rows() -> None:
    def width(count: int) -> float:
        found = figures(invented(count), {"half": 0.5}, draws=300).cuts["half"].macro_f1
        assert found.low is not None and found.value is not None and found.high is not None
        assert found.low <= found.value <= found.high
        return found.high - found.low

    assert width(3200) == pytest.approx(width(200) / 4, rel=0.35)


def test_rows_that_repeat_each_other_narrow_nothing_when_they_are_one_cluster() -> None:
    once = invented(200)
    chosen = np.tile(np.arange(200), 9)
    copied = Rows(once.scores[chosen], once.positive[chosen], once.clusters[chosen])
    apart = Rows(copied.scores, copied.positive, np.arange(1800))
    widths = []
    for rows in (once, copied, apart):
        found = figures(rows, {"half": 0.5}, draws=400)
        for each in (found.average_precision, found.cuts["half"].recall):
            assert each.high is not None and each.low is not None
            widths.append(each.high - each.low)
    assert widths[2] == pytest.approx(widths[0], rel=1e-6)
    assert widths[3] == pytest.approx(widths[1], rel=0.3)
    assert widths[4] == pytest.approx(widths[0] / 3, rel=0.3)


def test_draws_do_not_hang_on_how_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = invented(60)
    whole = figures(rows, {"half": 0.5}, draws=50)
    monkeypatch.setattr("classify.measures._CELLS", 130)
    assert figures(rows, {"half": 0.5}, draws=50) == whole


@settings(max_examples=25)
@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemars_test_is_the_sum_of_a_fair_coins_tails(one: int, other: int) -> None:
    count = one + other
    tail = sum(math.comb(count, each) for each in range(min(one, other) + 1)) / 2**count
    assert mcnemar(one, other) == pytest.approx(min(1, 2 * tail))


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_better_model_is_told_and_a_model_beside_itself_differs_in_nothing() -> None:
    weak, strong = invented(), invented(shift=1.5)
    same, better = differences([(weak, weak, 0.5, 0.5), (weak, strong, 0.5, 0.5)], draws=300)
    assert (same.macro_f1.value, same.macro_f1.low, same.macro_f1.high, same.p) == (0, 0, 0, 1)
    assert better.macro_f1.low is not None and better.macro_f1.low > 0
    assert better.average_precision.low is not None and better.average_precision.low > 0
    assert better.second_only > better.first_only
    assert better.p < better.adjusted < 0.01


def test_models_are_drawn_alike_so_that_what_they_share_drops_out() -> None:
    weak = invented()
    nearly = Rows(weak.scores.copy(), weak.positive, weak.clusters)
    wrong = np.flatnonzero((nearly.scores >= 0.5) != nearly.positive)[:8]
    nearly.scores[wrong] = nearly.positive[wrong]
    paired = differences([(weak, nearly, 0.5, 0.5)], draws=300)[0].macro_f1
    alone = figures(weak, {"half": 0.5}, draws=300).cuts["half"].macro_f1
    assert None not in (paired.high, paired.low, alone.high, alone.low)
    assert paired.high - paired.low < (alone.high - alone.low) / 2  # type: ignore[operator]


def test_a_share_of_nothing_can_be_anything() -> None:
    assert (share(0, 0).value, share(0, 0).low, share(0, 0).high) == (None, 0, 1)
    assert share(352, 352).high == 1
    theirs = binomtest(3, 352).proportion_ci(method="wilson")
    assert (share(3, 352).low, share(3, 352).high) == pytest.approx((theirs.low, theirs.high))
