"""A low-rank adapter in peft's layout, added to the base encoder's matrices with numpy: scoring needs no peft.

The sum has the same bits on every machine: factors are stored as float16, so a product is a multiple of 2**-48, and as
long as sums stay below 2**5 float64 holds each of them exactly, in whatever order they are added.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from classify.base import PACKED_GRAPH, Floats, bert_name, read_weights, write_weights
from classify.errors import ModelError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_LARGEST = 32.0


@dataclass(frozen=True)
class Adapter:
    """Factors by the matrix that they are added to (its name in `BertModel`): `scale * up @ down`."""

    factors: Mapping[str, tuple[NDArray[np.float16], NDArray[np.float16]]]
    scale: float


def read_adapter(weights: bytes, config: bytes, where: str) -> Adapter:
    """Reads peft's files. Errors: ModelError when they are no adapter of linear layers, or none that adds exactly."""
    try:
        tensors, said = load(weights), json.loads(config)
        scale = float(said["lora_alpha"]) / float(said["r"])
        if said["peft_type"] != "LORA" or said.get("bias", "none") != "none" or said.get("use_rslora"):
            raise ValueError("another kind of adapter than plain LoRA")
        names = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight"))
        if len(tensors) != 2 * len(names):
            raise ValueError("tensors that are no pairs of lora_A and lora_B")
        factors = {}
        for name in names:
            up, down = tensors[f"{name}.lora_B.weight"], tensors[f"{name}.lora_A.weight"]
            _check(up, down, name)
            factors[f"{name.removeprefix(_PREFIX)}.weight"] = (up, down)
    except (SafetensorError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{where}: the adapter cannot be read ({type(error).__name__}: {error})") from None
    return Adapter(factors, scale)


def _check(up: NDArray[np.float16], down: NDArray[np.float16], name: str) -> None:
    if up.dtype != np.float16 or down.dtype != np.float16 or up.shape[1] != down.shape[0]:
        raise ValueError(f"{name}: not two float16 matrices of one rank")
    largest = [float(np.abs(each.astype(np.float64)).max(initial=0)) for each in (up, down)]
    if not len(down) * largest[0] * largest[1] < _LARGEST:
        raise ValueError(f"{name}: too large, or no numbers, to be added exactly")


def adapted(floats: Floats, adapter: Adapter) -> Floats:
    """The base's tensors with the adapter added, as float32."""

    def with_adapter(name: str, *shape: int) -> NDArray[np.float32]:
        base = floats(name, *shape)
        factors = adapter.factors.get(bert_name(name))
        if factors is None:
            return base
        up, down = (each.astype(np.float64) for each in factors)
        if (len(up), down.shape[1]) != base.shape:
            raise ModelError(f"the adapter's {name} is {len(up)} by {down.shape[1]}, and the encoder's {base.shape}")
        return (base.astype(np.float64) + adapter.scale * (up @ down)).astype(np.float32)

    return with_adapter


def write_adapter(
    folder: Path, tensors: Mapping[str, NDArray[np.float32]], targets: list[str], scale: int, base: str
) -> None:
    """Writes trained factors, by peft's names, as peft's files; `base` says over which encoder they are."""
    half = {name.replace(".default.", "."): each.astype(np.float16) for name, each in tensors.items()}
    rank = min(min(each.shape) for each in half.values())
    layers = sorted({int(name.split(".layer.")[1].split(".")[0]) for name in half})
    config = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        "layers_to_transform": layers,
        "layers_pattern": "layer",
        "inference_mode": True,
    }
    (folder / WEIGHTS).write_bytes(save(dict(sorted(half.items()))))
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def add_to_weights(source: Path, added: Adapter, target: Path) -> None:
    """Writes a prepared encoder's weights file again, with an adapter added."""
    held = read_weights(source, PACKED_GRAPH)
    floats = adapted(lambda name, *_: np.ascontiguousarray(held[name].T), added)
    matrices = {name for name, array in held.items() if name.endswith(".w") and array.ndim == 2}
    arrays = [
        (name, np.ascontiguousarray(floats(name).T) if name in matrices else array) for name, array in held.items()
    ]
    write_weights(arrays, target)
