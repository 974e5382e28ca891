"""Calibration and its measures: Platt scaling, the expected calibration error, and the choice of a threshold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def platt(logits: Floats, positive: Bools) -> tuple[float, float]:
    """Slope and offset of a logistic function fitted to logits, with Platt's targets against overconfidence.

    Source: J. Platt, Probabilistic outputs for support vector machines, 1999, section 2.
    """
    high = (positive.sum() + 1) / (positive.sum() + 2)
    low = 1 / ((~positive).sum() + 2)
    target = np.where(positive, high, low)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = logits * parameters[0] + parameters[1]
        error = (expit(z) - target) / len(target)
        return float(np.mean(np.logaddexp(0, z) - target * z)), np.array([error @ logits, error.sum()])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return float(slope), float(offset)


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


MOST_ORDINARY = 0.03
"""The largest share of ordinary posts of a language that a threshold may flag."""


def best_threshold(groups: list[tuple[Floats, Bools]], ordinary: Sequence[Floats] = ()) -> float:
    """The threshold in steps of 0.01 with the highest mean macro-F1 over groups (languages), each weighing the same.

    Only those count that flag at most `MOST_ORDINARY` of each array of `ordinary` scores: what people are shown must
    not be everyday talk and opinion, even where labelled sets, half of them positive, would reward it.
    """
    steps = np.arange(20, 96) / 100  # the very numbers that are written down
    allowed = [step for step in steps if all((scores >= step).mean() <= MOST_ORDINARY for scores in ordinary)]
    tried = allowed or [steps[-1]]
    means = [np.mean([f1_scores(scores >= step, truth)[2] for scores, truth in groups]) for step in tried]
    return float(tried[int(np.argmax(means))])
