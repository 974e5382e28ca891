"""From what an engine gives for a window to probabilities.

Heads are one logistic function per label on top of an encoder's mean vector, with their calibration per language; a
classifier's logits need an activation alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from scipy.special import expit, softmax

from classify.columns import TAKEN, is_column
from classify.errors import ModelError
from classify.labels import Label


class Head(Protocol):
    """What turns an engine's rows into probabilities."""

    def scores(self, rows: NDArray[np.float32], language: str) -> NDArray[np.float32]:
        """Probabilities `[windows, labels]` of the rows `[windows, width]` of one text in a language.

        Errors: ValueError when the rows are of another width.
        """


@dataclass(frozen=True)
class Activation:
    """Makes probabilities of a classifier's logits, in float64."""

    kind: Literal["sigmoid", "softmax"]
    labels: int

    def scores(self, rows: NDArray[np.float32], language: str) -> NDArray[np.float32]:
        """See `Head`; the language has no part in it."""
        if rows.shape[1] != self.labels:
            raise ValueError(f"{rows.shape[1]} logits, and {self.labels} labels")
        wide = rows.astype(np.float64)
        probabilities: NDArray[np.float64] = expit(wide) if self.kind == "sigmoid" else softmax(wide, axis=1)
        return probabilities.astype(np.float32)


@dataclass(frozen=True)
class Heads:
    """Weights float32 `[labels, width]`, biases `[labels]`, and per language the slope and offset of each label.

    The probability of a label is `expit(slope * (weight . vector + bias) + offset)` (Platt 1999), in float64.
    """

    labels: tuple[Label, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    calibration: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """`[rows, labels]` of vectors `[rows, width]`.

        Each is a sum over one row by itself, in a fixed order: a matrix product would round differently with the
        number of rows.
        """
        wide = vectors.astype(np.float64)
        weight = self.weight.astype(np.float64)
        columns = [(wide * row).sum(axis=1) for row in weight]
        return np.stack(columns, axis=1) + self.bias.astype(np.float64)

    def probabilities(self, logits: NDArray[np.float64], language: str) -> NDArray[np.float32]:
        """Calibrated probabilities of logits `[rows, labels]` in one language."""
        slope, offset = self.calibration[language]
        calibrated: NDArray[np.float64] = expit(logits * slope + offset)
        return calibrated.astype(np.float32)

    def scores(self, rows: NDArray[np.float32], language: str) -> NDArray[np.float32]:
        """See `Head`: the calibrated probabilities of mean vectors."""
        if rows.shape[1] != self.weight.shape[1]:
            raise ValueError(f"vectors of {rows.shape[1]} numbers, and heads of {self.weight.shape[1]}")
        return self.probabilities(self.logits(rows), language)


def is_flag(scores: NDArray[np.floating], threshold: float | NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether a score is at or over a threshold, both as the 32-bit floats that scores are stored in.

    A score that reads as the threshold is a flag: as a 64-bit float, the 32-bit 0.35 would be less than 0.35.
    """
    return scores.astype(np.float32) >= np.asarray(threshold, np.float32)


def load_heads(weights: Path, described: Path) -> Heads:
    """Reads heads from safetensors and their description in JSON. Errors: ModelError when they do not agree."""
    try:
        tensors = load_tensors(weights.read_bytes())
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{weights}: the heads cannot be read ({type(error).__name__}: {error})") from None
    try:
        meta: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
        labels = tuple(
            Label(str(each["name"]), str(each["definition"]), float(each["threshold"])) for each in meta["labels"]
        )
        calibration = {
            language: (np.array(pair["slope"], np.float64), np.array(pair["offset"], np.float64))
            for language, pair in meta["calibration"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{described}: the heads cannot be read ({type(error).__name__}: {error})") from None
    heads = Heads(labels, weight, bias, calibration)
    for path, wrong in ((weights, _wrong_weights(heads)), (described, _wrong_description(heads))):
        if wrong:
            raise ModelError(f"{path}: {wrong}; train the heads again")
    return heads


def _wrong_weights(heads: Heads) -> str | None:
    count = len(heads.labels)
    if heads.weight.ndim != 2 or heads.bias.ndim != 1 or not len(heads.weight) == len(heads.bias) == count:
        shapes = f"weight {list(heads.weight.shape)} and bias {list(heads.bias.shape)}"
        return f"{shapes} are not the heads of {count} labels, which heads.json describes"
    if heads.weight.dtype != np.float32 or heads.bias.dtype != np.float32:
        return "the heads are not float32"
    if not (np.isfinite(heads.weight).all() and np.isfinite(heads.bias).all()):
        return "the heads hold NaN or infinite weights"
    return None


def _wrong_description(heads: Heads) -> str | None:
    names = [label.name for label in heads.labels]
    if not names or len(set(names)) != len(names):
        return "no label, or one label twice"
    for label in heads.labels:
        if not is_column(label.name):
            return f"{label.name!r} cannot be a label's name (letters, digits, _; not {', '.join(sorted(TAKEN))})"
        if not 0 <= label.threshold <= 1:
            return f"the threshold of {label.name} is {label.threshold}, not from 0 to 1"
    if not heads.calibration:
        return "no language is calibrated"
    for language, (slope, offset) in heads.calibration.items():
        for each in (slope, offset):
            if each.shape != (len(names),) or not np.isfinite(each).all():
                return f"the calibration of {language} is not a number for each of {len(names)} labels"
    return None
