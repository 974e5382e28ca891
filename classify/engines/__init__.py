"""Engines run a model on a device. Whatever runs one fits behind `Engine`; nothing else in the package changes."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classify.description import EngineKind
from classify.errors import ModelError
from classify.spec import ModelSpec


class Engine(Protocol):
    """Runs a model, batch by batch."""

    def rows(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the model gives for each window of token ids and mask `[batch, length]`: float32 `[batch, width]`.

        An encoder gives the mean vector of its last hidden states, a classifier its logits. Errors: ModelError.
        """

    def token_budget(self, given: int) -> int:
        """Tokens of a batch, padding counted: what was given, or more where the device has room for it."""


def device_name(device: str) -> str:
    """What a device is called by who made it; `cpu` for the processor, which says its name elsewhere."""
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


def resolve(spec: ModelSpec, folder: Path, *, onnx: bool, torch: bool) -> EngineKind:
    """The engine that a spec means for a folder that holds ONNX, weights for torch or both.

    Errors: ModelError when the folder has nothing for it, or when it cannot do the device or dtype.
    """
    where = f"model {spec.model}"
    auto: EngineKind = "onnxruntime" if onnx and spec.device == "cpu" else "torch"
    engine = auto if spec.engine == "auto" else spec.engine
    if engine == "torch" and not torch:
        raise ModelError(
            f'{folder}: holds an ONNX graph and nothing that torch reads; say engine = "onnxruntime" and device = "cpu"'
        )
    if engine == "onnxruntime" and not onnx:
        raise ModelError(f'{folder}: holds no model.onnx; say engine = "torch", or export it to ONNX')
    if engine == "onnxruntime" and spec.device != "cpu":
        raise ModelError(f'{where}: onnxruntime runs on the cpu here, not on {spec.device}; say engine = "torch"')
    if engine == "onnxruntime" and spec.dtype != "float32":
        raise ModelError(f'{where}: onnxruntime computes in float32 here, not in {spec.dtype}; say engine = "torch"')
    return engine
