"""Calibration and its measures: Platt scaling, the expected calibration error, and the choice of a threshold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def platt(inputs: Floats, positive: Bools) -> tuple[NDArray[np.float64], float]:
    """Slopes and offset of a logistic function fitted to logits `[rows, inputs]`, with targets against overconfidence.

    No slope is below 0: more of a logit never means less of its label. Source: J. Platt, Probabilistic outputs for
    support vector machines, 1999, section 2.
    """
    high = (positive.sum() + 1) / (positive.sum() + 2)
    low = 1 / ((~positive).sum() + 2)
    target = np.where(positive, high, low)
    count = inputs.shape[1]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = inputs @ parameters[:-1] + parameters[-1]
        error = (expit(z) - target) / len(target)
        return float(np.mean(np.logaddexp(0, z) - target * z)), np.append(inputs.T @ error, error.sum())

    start = np.append(np.full(count, 1 / count), 0.0)
    bounds = [(0.0, None)] * count + [(None, None)]
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return fitted[:-1], float(fitted[-1])


def expected_calibration_error(probabilities: Floats, positive: Bools, bins: int = 15) -> float:
    """The mean distance between claimed and seen share of positives, over bins of equal width, weighted by size.

    Source: C. Guo et al., On calibration of modern neural networks, ICML 2017, equation 3, for a binary label.
    """
    if len(probabilities) == 0:
        return float("nan")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    sizes = np.bincount(place, minlength=bins)
    claimed = np.bincount(place, weights=probabilities, minlength=bins)
    seen = np.bincount(place, weights=positive.astype(float), minlength=bins)
    return float(np.abs(claimed - seen).sum() / sizes.sum())


def f1_scores(predicted: Bools, positive: Bools) -> tuple[float, float, float]:
    """Precision, recall and macro-F1 (the mean of F1 of the positive and of the negative class); 0 where undefined."""

    def f1(guess: Bools, truth: Bools) -> tuple[float, float, float]:
        hits = float((guess & truth).sum())
        precision = hits / guess.sum() if guess.any() else 0.0
        recall = hits / truth.sum() if truth.any() else 0.0
        return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0

    precision, recall, ours = f1(predicted, positive)
    return precision, recall, (ours + f1(~predicted, ~positive)[2]) / 2


def average_precision(scores: Floats, positive: Bools) -> float:
    """The area under the precision-recall curve as a sum over recall (M. Zhu, 2004); ties count as one step."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[ends]
    precision, recall = hits / (ends + 1), hits / max(1, hits[-1])
    return float((np.diff(recall, prepend=0) * precision).sum())


STEPS = np.arange(5, 96) / 100
"""The thresholds that are tried: the very numbers that are written down."""


def choose_threshold(
    groups: Sequence[tuple[Floats, Bools]],
    ordinary: Sequence[Floats] = (),
    target: str = "macro_f1",
    value: float | None = None,
    most_ordinary: float = 0.02,
) -> float:
    """The threshold for a stated target, over groups (languages) of scores and truths that weigh alike.

    `macro_f1`: the highest mean macro-F1. `precision`: the lowest with a mean precision of at least `value`. `review`:
    the lowest that flags at most the share `value`. Only those count that flag at most `most_ordinary` of each array of
    `ordinary` scores, or one score: what people are shown must not be everyday talk and opinion, even where labelled
    sets, half of them positive, would reward it. The highest of all where none will do.
    """
    allowed = [
        step
        for step in STEPS
        if all((scores >= step).sum() <= max(1, most_ordinary * len(scores)) for scores in ordinary)
    ]
    if target == "macro_f1":
        tried = [step for step in allowed if step >= LOWEST] or [STEPS[-1]]
        means = [np.mean([f1_scores(scores >= step, truth)[2] for scores, truth in groups]) for step in tried]
        return float(tried[int(np.argmax(means))])
    for step in allowed:
        flags = [scores >= step for scores, _ in groups]
        assert value is not None
        if target == "review":
            reached = np.mean([each.mean() for each in flags]) <= value
        else:
            precisions = [f1_scores(each, truth)[0] for each, (_, truth) in zip(flags, groups, strict=True)]
            reached = all(each.any() for each in flags) and np.mean(precisions) >= value
        if reached:
            return float(step)
    return float(STEPS[-1])


LOWEST = 0.2
"""Below this no threshold is chosen for macro-F1: a flag that is wrong four times in five is no help to who reviews."""
