"""Fits of heads: logistic regressions on vectors and on hashed words, and what joins the two to a probability."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit

from classify.calibration import choose_threshold, platt
from classify.datasets import Example
from classify.heads import Calibration
from classify.lexical import Lexicon, in_steps, rows_of
from classify.recipe import LexicalPart, ThresholdPart

L2 = 3e-4
GRADIENT = 1e-6
LEAST = 10
"""Rows of either kind below which a language has no calibration of its own for a label: that of all rows stands in."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Marks = NDArray[np.int8]


def marks_of(examples: Sequence[Example], labels: Sequence[str]) -> Marks:
    """`[examples, labels]`: 1, 0, or -1 where the set says nothing, or where a near-duplicate before has said it.

    So a text that was passed on a hundred times counts once, in training as in every figure.
    """
    said = np.array([[example.marks.get(label, -1) for label in labels] for example in examples], np.int8)
    groups = np.unique([example.group for example in examples], return_inverse=True)[1]
    for column in said.T:
        speaking = np.flatnonzero(column >= 0)
        first = np.unique(groups[speaking], return_index=True)[1]
        column[np.delete(speaking, first)] = -1
    return said


def fit_head(rows: NDArray[np.float32], positive: Bools, steps: int = 5000) -> tuple[Floats, float]:
    """Logistic regression with an L2 penalty on standardised columns; returns weight and bias for raw columns.

    Errors: RuntimeError when the optimum is not reached, to a slope of `GRADIENT` in every weight, within the steps.
    """
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1  # a column that is the same everywhere tells nothing
    weight, bias = _regression((rows - mean) / scale, positive, L2, steps)
    weight = weight / scale
    return weight, float(bias - weight @ mean)


def fit_heads(rows: NDArray[np.float32], marks: NDArray[np.int8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heads fitted to vectors `[texts, width]` by their marks `[texts, labels]`."""
    weight, bias = np.zeros((marks.shape[1], rows.shape[1]), np.float32), np.zeros(marks.shape[1], np.float32)
    for index in range(marks.shape[1]):
        said = marks[:, index] >= 0
        fitted, offset = fit_head(rows[said], marks[said, index] == 1)
        weight[index], bias[index] = fitted.astype(np.float32), np.float32(offset)
    return weight, bias


def fit_lexicon(texts: Sequence[str], marks: Marks, part: LexicalPart) -> Lexicon:
    """A lexicon `[labels, buckets]` of texts and their marks `[texts, labels]`."""
    rows = rows_of(texts, part.run, part.buckets)
    weight = np.zeros((marks.shape[1], part.buckets))
    for label in range(marks.shape[1]):
        said = np.flatnonzero(marks[:, label] >= 0)
        weight[label], _ = _regression(rows[said], marks[said, label] == 1, part.penalty, part.steps, stopped=True)
    return Lexicon(*in_steps(weight), part.run)


def _regression(
    rows: NDArray[np.floating] | csr_array, positive: Bools, penalty: float, steps: int, stopped: bool = False
) -> tuple[Floats, float]:
    """Weight and bias of a logistic regression; `stopped` takes what the steps have reached."""
    target = positive.astype(np.float64)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weight, bias = parameters[:-1], parameters[-1]
        logits = rows @ weight + bias
        value = float(np.mean(np.logaddexp(0, logits) - target * logits) + penalty * weight @ weight / 2)
        error = (expit(logits) - target) / len(target)
        return value, np.append(rows.T @ error + penalty * weight, error.sum())

    start = np.zeros(rows.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 0, "gtol": GRADIENT})
    if not found.success and not stopped:
        raise RuntimeError(f"a head's fit stopped short of its optimum after {found.nit} steps ({found.message})")
    return found.x[:-1], float(found.x[-1])


def calibrate(
    logits: Floats, words: Floats, marks: Marks, langs: NDArray[np.str_], languages: Sequence[str]
) -> dict[str, Calibration]:
    """Joins both logits `[rows, labels]` per language and label, by Platt scaling on rows that no fit has seen.

    A language with fewer than `LEAST` rows of either kind for a label takes what fits all rows.
    """
    found = {}
    for lang in languages:
        columns = [_joined(logits[:, at], words[:, at], marks[:, at], langs == lang) for at in range(marks.shape[1])]
        slope, lexical, offset = (np.array(each) for each in zip(*columns, strict=True))
        found[lang] = Calibration(slope, lexical, offset)
    return found


def _joined(logits: Floats, words: Floats, marks: Marks, here: Bools) -> tuple[float, float, float]:
    chosen = here & (marks >= 0)
    if min((marks[chosen] == 1).sum(), (marks[chosen] == 0).sum()) < LEAST:
        chosen = marks >= 0
    inputs = np.stack([logits[chosen], words[chosen]], axis=1)
    (slope, lexical), offset = platt(inputs, marks[chosen] == 1)
    return float(slope), float(lexical), offset


def probabilities(
    calibration: Mapping[str, Calibration], logits: Floats, words: Floats, langs: NDArray[np.str_]
) -> Floats:
    """Calibrated probabilities of both logits `[rows, labels]`, each row in its language."""
    found = np.zeros(logits.shape)
    for lang, fitted in calibration.items():
        here = langs == lang
        found[here] = fitted.probabilities(logits[here], words[here])
    return found


def thresholds(
    scores: NDArray[np.floating], marks: Marks, examples: Sequence[Example], part: ThresholdPart
) -> list[float]:
    """The threshold of each label, chosen on scores `[examples, labels]` of rows that no fit has seen."""
    langs = np.array([each.lang for each in examples])
    calm = np.array([each.dataset if each.ordinary else "" for each in examples])
    found = []
    for label in range(marks.shape[1]):
        said = marks[:, label] >= 0
        places = [at for lang in np.unique(langs) if (at := said & (langs == lang)).any()]
        groups = [(scores[at, label], marks[at, label] == 1) for at in places]
        bounded = [scores[at, label] for name in np.unique(calm) if name and (at := said & (calm == name)).any()]
        found.append(choose_threshold(groups, bounded, part.target, part.value, part.ordinary))
    return found
