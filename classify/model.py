"""Models: prepared once on disk, then loaded by each worker from there, verified by digest, without a network.

A model is a folder, in the project's own format (`classify.folder`; the embedded model's is one) or in the layout of
transformers (`classify.checkpoint`). What it says of itself is read without an engine; `load` opens it in one.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from classify.base import known_graphs
from classify.batching import Shape
from classify.checkpoint import is_checkpoint, read_checkpoint
from classify.columns import Column, choose
from classify.description import Description
from classify.embedded import default_folder, official_folder
from classify.engines import Engine
from classify.errors import ModelError
from classify.files import check_digests, refuse_pickles
from classify.folder import is_own, read_folder
from classify.heads import Activation, Head, load_heads
from classify.hub import hub_folder
from classify.labels import Label
from classify.spec import DEFAULT, EMBEDDED, OFFICIAL, ModelRef, ModelSpec, checked, hub_id, looks_unpinned, path_safe
from classify.tokenizer import read, specials

__all__ = ["Model", "ModelRef", "ModelSpec", "check_together", "describe_model", "load", "prepare"]


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    ref: ModelRef
    engine: Engine
    tokenizer: Tokenizer
    shape: Shape
    head: Head
    columns: tuple[Column, ...]
    languages: frozenset[str] | None = None
    """The languages that it was trained and calibrated for, others are not scored; None: any."""
    prefix: str = ""
    """What is put before every text."""
    entry: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[Label, ...]:
        """What it scores, as the run's columns."""
        return tuple(column.label for column in self.columns)

    def manifest(self) -> dict[str, Any]:
        """What decides the scores, for a run's manifest: that of `describe_model`."""
        return copy.deepcopy(self.entry)


def prepare(spec: ModelSpec | str) -> ModelRef:
    """Makes a model ready on this machine's disk and checks all of it that can be without opening it in an engine.

    A plain string is the spec of that model with nothing else said. Only this may use the network, for the base of the
    embedded model and for models of the hub, the first time. Errors: ModelError.
    """
    spec = checked(ModelSpec(spec) if isinstance(spec, str) else spec)
    pinned = hub_id(spec.model)
    folder = _folder(spec)
    said = _describe(folder, spec)
    check_digests(folder, said.files)
    choose(said.labels, spec)
    called = spec.model if spec.model in EMBEDDED else pinned[0].partition("/")[2] if pinned else None
    name = spec.name or path_safe(called or folder.resolve().name)
    revision = pinned[1] if pinned else None
    return ModelRef(name, str(folder.resolve()), said.digest, spec, revision, tuple(sorted(said.files.items())))


def describe_model(ref: ModelRef) -> dict[str, Any]:
    """A prepared model's entry in a run's manifest: all that decides its scores, read without torch or a device.

    Errors: ModelError when the folder is another than the one that was prepared.
    """
    said = _described(ref)
    return _entry(ref, said, choose(said.labels, ref.spec))


def _entry(ref: ModelRef, said: Description, columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "name": ref.name,
        "model": ref.public,
        "digest": ref.digest,
        "files": said.files,
        "base": said.base,
        "labels": [
            {
                "name": each.label.name,
                "definition": each.label.definition,
                "threshold": each.label.threshold,
                "of": each.of,
            }
            for each in columns
        ],
        "licence": said.licence,
        "languages": None if said.languages is None else sorted(said.languages),
        "window": said.window,
        "overlap": said.overlap,
        "engine": said.engine,
        "device": ref.spec.device,
        "dtype": ref.spec.dtype,
        "exactness": said.exactness,
        "activation": said.activation,
    }


def load(ref: ModelRef, threads: int = 1) -> Model:
    """Opens a prepared model in its engine, every file checked by digest and without a network. Errors: ModelError."""
    folder = Path(ref.folder)
    said = _described(ref)
    check_digests(folder, said.files)
    tokenizer = read(folder / "tokenizer.json")
    head = _head(folder, said)
    shape = _shape(folder, said, tokenizer)
    columns = choose(said.labels, ref.spec)
    engine = _open(folder, said, ref.spec, threads)
    entry = _entry(ref, said, columns)
    model = Model(ref, engine, tokenizer, shape, head, columns, said.languages, said.prefix, entry)
    _try(model)
    return model


def check_together(entries: Sequence[Mapping[str, Any]]) -> None:
    """Whether models can be of one run, by their manifest entries.

    Errors: ModelError when two are called the same, or have a column of one name.
    """
    owners: dict[str, str] = {}
    for place, entry in enumerate(entries):
        if any(entry["name"] == other["name"] for other in entries[:place]):
            raise ModelError(f"two models of the run are called {entry['name']}; give one another name")
        columns = [label["name"] for label in entry["labels"]]
        for column in columns:
            first = owners.get(column.casefold())
            if first is not None:
                both = f"models {first} and {entry['name']} both give a column {column!r}"
                raise ModelError(f"{both}; map one of them to another name under labels")
        owners |= {column.casefold(): entry["name"] for column in columns}


def _folder(spec: ModelSpec) -> Path:
    if spec.model == DEFAULT:
        return default_folder()
    if spec.model == OFFICIAL:
        return official_folder()
    pinned = hub_id(spec.model)
    if pinned:
        return hub_folder(spec, *pinned)
    folder = Path(spec.model)
    if folder.is_dir():
        return folder
    if looks_unpinned(spec.model):
        raise ModelError(
            f"model {spec.model}: no such folder, and no pinned model of the hub; pin one as owner/name@<commit>, the "
            "40 hex digits that its page shows under Files, History"
        )
    raise ModelError(f"model {spec.model}: no such folder; name a model folder, or {DEFAULT} for the embedded model")


def _describe(folder: Path, spec: ModelSpec, known: dict[str, str] | None = None) -> Description:
    if is_own(folder):
        return read_folder(folder, spec)
    if is_checkpoint(folder):
        return read_checkpoint(folder, spec, known)
    if not folder.is_dir():
        raise ModelError(f"{folder}: is gone; prepare the model again")
    refuse_pickles(folder, [entry.name for entry in sorted(folder.iterdir()) if entry.is_file()])
    raise ModelError(
        f"{folder}: no weights here that this version reads (model.json with encoder.onnx, or config.json with "
        "model.safetensors or model.onnx); name a model's folder"
    )


def _described(ref: ModelRef) -> Description:
    said = _describe(Path(ref.folder), ref.spec, dict(ref.files))
    if said.digest != ref.digest:
        raise ModelError(f"{ref.folder}: another model than the one that was prepared; prepare it again")
    return said


def _head(folder: Path, said: Description) -> Head:
    if is_own(folder):
        return load_heads(folder / "heads.safetensors", folder / "heads.json")
    kind: Literal["sigmoid", "softmax"] = "sigmoid" if said.activation == "sigmoid" else "softmax"
    return Activation(kind, len(said.labels))


def _shape(folder: Path, said: Description, tokenizer: Tokenizer) -> Shape:
    before, after = specials(tokenizer)
    if said.begin is not None and said.end is not None:
        before, after = (*said.begin, *prefix_ids(tokenizer, said.prefix)), said.end
    shape = Shape(before, after, said.window, said.overlap, said.pad)
    if shape.window - len(shape.before) - len(shape.after) <= shape.overlap:
        named = "model.json" if is_own(folder) else "config.json"
        raise ModelError(f"{folder / named}: the overlap leaves a window of {shape.window} tokens no room")
    return shape


def _open(folder: Path, said: Description, spec: ModelSpec, threads: int) -> Engine:
    """The engine; each is imported only where it is used."""
    own = is_own(folder)
    if said.engine == "onnxruntime":
        from classify.engines.onnx import OnnxClassifier, OnnxEncoder

        graph = folder / str(said.graph)
        return OnnxEncoder(graph, threads) if own else OnnxClassifier(graph, threads)
    try:
        import torch as _  # noqa: F401
    except ImportError:
        raise ModelError(
            f"model {spec.model}: the engine torch is not installed; install the extra `postsweep[torch]`"
        ) from None
    from classify.engines.torch import open_classifier, open_encoder

    if own:
        graph_name = known_graphs()[said.files["encoder.onnx"]]
        return open_encoder(folder, graph_name, spec.device, spec.dtype, threads)
    return open_classifier(folder, spec.device, spec.dtype, threads)


def _try(model: Model) -> None:
    """Runs the shortest window there is: what cannot work with this head is told before the first text."""
    folder = Path(model.ref.folder)
    ids = np.array([[*model.shape.before, *model.shape.after] or [0]], np.int64)
    rows = model.engine.rows(ids, np.ones_like(ids))
    check_numbers(model, rows)
    try:
        model.head.scores(rows, [""], min(model.languages or {""}))
    except ValueError as error:
        raise ModelError(f"{folder}: gives {error}; the head belongs to another encoder; restore it") from None
    if model.prefix:
        prefix = prefix_ids(model.tokenizer, model.prefix)
        probe = model.tokenizer.encode(model.prefix + "a", add_special_tokens=False).ids
        if probe[: len(prefix)] != prefix:
            where = folder / "tokenizer.json"
            raise ModelError(f"{where}: joins the prefix {model.prefix!r} to a text; end it in a space")


def check_numbers(model: Model, rows: NDArray[np.float32]) -> None:
    """Errors: ModelError when what an engine gave holds NaN or infinite values."""
    if not np.isfinite(rows).all():
        raise ModelError(f"{model.ref.folder}: gives no numbers (NaN or infinite); its weights are damaged")


def prefix_ids(tokenizer: Tokenizer, prefix: str) -> list[int]:
    """Token ids of the prefix as it stands before a text, where its last space belongs to the text's first token."""
    ids: list[int] = tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
    return ids
