"""Heads: one logistic function per label on top of the encoder's mean vector, and their calibration per language."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from scipy.special import expit

from classify.errors import ModelError
from classify.labels import Label


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


def load_heads(weights: Path, described: Path) -> Heads:
    """Reads heads from safetensors and their description in JSON. Errors: ModelError when they do not agree."""
    try:
        tensors = load_tensors(weights.read_bytes())
        meta: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
        labels = tuple(
            Label(each["name"], each["definition"], float(each["threshold"])) for each in meta["labels"]
        )
        calibration = {
            language: (np.array(pair["slope"], np.float64), np.array(pair["offset"], np.float64))
            for language, pair in meta["calibration"].items()
        }
        heads = Heads(labels, tensors["weight"], tensors["bias"], calibration)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{weights}: the heads cannot be read ({type(error).__name__}: {error})") from error
    if heads.weight.shape[0] != len(labels) or heads.bias.shape != (len(labels),):
        raise ModelError(f"{weights}: {heads.weight.shape[0]} heads, but {described.name} describes {len(labels)}")
    return heads
