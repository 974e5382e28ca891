"""From what an engine gives for a window to probabilities.

Heads are one linear function per label of an encoder's mean vector, a lexicon beside it where there is one, and what
joins the two to a calibrated probability per language; a classifier's logits need an activation alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.special import expit, softmax

from classify.columns import TAKEN, is_column
from classify.errors import ModelError
from classify.labels import Label
from classify.lexical import Lexicon

Floats = NDArray[np.float64]


class Head(Protocol):
    """What turns an engine's rows into probabilities."""

    def scores(self, rows: NDArray[np.float32], texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """Probabilities `[windows, labels]` of one text in a language, from rows `[windows, width]` and words of each.

        Errors: ValueError when the rows are of another width.
        """


@dataclass(frozen=True)
class Activation:
    """Makes probabilities of a classifier's logits, in float64."""

    kind: Literal["sigmoid", "softmax"]
    labels: int

    def scores(self, rows: NDArray[np.float32], texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """See `Head`; words and language have no part in it."""
        if rows.shape[1] != self.labels:
            raise ValueError(f"{rows.shape[1]} logits, and {self.labels} labels")
        wide = rows.astype(np.float64)
        probabilities: NDArray[np.float64] = expit(wide) if self.kind == "sigmoid" else softmax(wide, axis=1)
        return probabilities.astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """What joins a language's logits, each float64 `[labels]`: `slope` is of the vector's, `lexical` of the words'."""

    slope: Floats
    lexical: Floats
    offset: Floats

    def probabilities(self, logits: Floats, words: Floats) -> NDArray[np.float32]:
        """Of both logits `[rows, labels]`."""
        calibrated: Floats = expit(logits * self.slope + words * self.lexical + self.offset)
        return calibrated.astype(np.float32)


@dataclass(frozen=True)
class Heads:
    """Weights float32 `[labels, width]`, biases `[labels]`, a lexicon or none, and the calibration per language.

    The probability of a label is `expit(slope * (weight . vector + bias) + lexical * words + offset)`, in float64: that
    is J. Platt's scaling (1999) with the two logits as its inputs.
    """

    labels: tuple[Label, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    calibration: dict[str, Calibration]
    lexicon: Lexicon | None = None

    def logits(self, vectors: NDArray[np.float32]) -> Floats:
        """`[rows, labels]` of vectors `[rows, width]`, before words and calibration.

        Each is a sum over one row by itself, in a fixed order: a matrix product would round differently with the
        number of rows.
        """
        wide = vectors.astype(np.float64)
        weight = self.weight.astype(np.float64)
        columns = [(wide * row).sum(axis=1) for row in weight]
        return np.stack(columns, axis=1) + self.bias.astype(np.float64)

    def words(self, texts: Sequence[str]) -> Floats:
        """`[texts, labels]`: what the words alone say; 0 without a lexicon."""
        return np.zeros((len(texts), len(self.labels))) if self.lexicon is None else self.lexicon.logits(texts)

    def scores(self, rows: NDArray[np.float32], texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """See `Head`: the calibrated probabilities of mean vectors and words."""
        if rows.shape[1] != self.weight.shape[1]:
            raise ValueError(f"vectors of {rows.shape[1]} numbers, and heads of {self.weight.shape[1]}")
        return self.calibration[language].probabilities(self.logits(rows), self.words(texts))


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
            language: Calibration(
                np.array(fitted["slope"], np.float64),
                np.array(fitted.get("lexical", [0.0] * len(labels)), np.float64),
                np.array(fitted["offset"], np.float64),
            )
            for language, fitted in meta["calibration"].items()
        }
        lexicon = None
        if "lexicon" in meta:
            lexicon = Lexicon(
                tensors["lexicon"], np.array(meta["lexicon"]["step"], np.float64), int(meta["lexicon"]["run"])
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{described}: the heads cannot be read ({type(error).__name__}: {error})") from None
    heads = Heads(labels, weight, bias, calibration, lexicon)
    for path, wrong in ((weights, _wrong_weights(heads)), (described, _wrong_description(heads))):
        if wrong:
            raise ModelError(f"{path}: {wrong}; train the heads again")
    return heads


def save_heads(heads: Heads, weights: Path, described: Path, trained_on: dict[str, Any]) -> None:
    """Writes what `load_heads` reads; `trained_on` is kept with the description."""
    tensors: dict[str, NDArray[Any]] = {"weight": heads.weight, "bias": heads.bias}
    said: dict[str, Any] = {
        "labels": [
            {"name": label.name, "definition": label.definition, "threshold": label.threshold}
            for label in heads.labels
        ],
        "calibration": {
            language: {
                "slope": fitted.slope.tolist(), "lexical": fitted.lexical.tolist(), "offset": fitted.offset.tolist()
            }
            for language, fitted in heads.calibration.items()
        },
    }  # fmt: skip
    if heads.lexicon is not None:
        tensors["lexicon"] = heads.lexicon.weight
        said["lexicon"] = {"step": heads.lexicon.step.tolist(), "run": heads.lexicon.run}
    weights.write_bytes(save_tensors(tensors))
    said["trained_on"] = trained_on
    described.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _wrong_weights(heads: Heads) -> str | None:
    count = len(heads.labels)
    if heads.weight.ndim != 2 or heads.bias.ndim != 1 or not len(heads.weight) == len(heads.bias) == count:
        shapes = f"weight {list(heads.weight.shape)} and bias {list(heads.bias.shape)}"
        return f"{shapes} are not the heads of {count} labels, which heads.json describes"
    if heads.weight.dtype != np.float32 or heads.bias.dtype != np.float32:
        return "the heads are not float32"
    if not (np.isfinite(heads.weight).all() and np.isfinite(heads.bias).all()):
        return "the heads hold NaN or infinite weights"
    if heads.lexicon is not None:
        weight = heads.lexicon.weight
        if weight.dtype != np.int8 or weight.ndim != 2 or len(weight) != count or weight.shape[1].bit_count() != 1:
            return f"the lexicon is not int8 of {count} labels and a power of two of buckets"
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
    return _wrong_fit(heads, len(names))


def _wrong_fit(heads: Heads, count: int) -> str | None:
    if not heads.calibration:
        return "no language is calibrated"
    for language, fitted in heads.calibration.items():
        for each in (fitted.slope, fitted.lexical, fitted.offset):
            if each.shape != (count,) or not np.isfinite(each).all():
                return f"the calibration of {language} is not a number for each of {count} labels"
    if heads.lexicon is not None:
        step, run = heads.lexicon.step, heads.lexicon.run
        if step.shape != (count,) or not np.isfinite(step).all() or not 1 <= run <= 8:
            return f"the lexicon is not a step for each of {count} labels and a run of 1 to 8 characters"
    return None
