"""The embedded model's folder, made in the cache of the shipped adapter and heads over a base encoder, by two names.

`default` has the base out of the pinned package, `default-official` the one of the hub. Which it is, is said by name
and never by what happens to be reachable.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from classify import adapter, hub
from classify.adapter import Adapter, adapted, read_adapter
from classify.base import (
    PACKED_GRAPH,
    PLAIN_GRAPH,
    Floats,
    bert_name,
    fetch,
    parse,
    plain_weights,
    weights,
    write_weights,
)
from classify.cache import cache_folder, put
from classify.errors import ModelError
from classify.files import digest_of, sha256
from classify.spec import DEFAULT, OFFICIAL
from classify.tensors import read_header
from classify.tokenizer import build

SHIPPED = (adapter.WEIGHTS, adapter.CONFIG, "heads.safetensors", "heads.json")

OFFICIAL_BASE = "intfloat/multilingual-e5-small"
OFFICIAL_REVISION = "614241f622f53c4eeff9890bdc4f31cfecc418b3"
OFFICIAL_FILES: Mapping[str, str] = {
    "model.safetensors": "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
    "tokenizer.json": "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
}


def default_folder() -> Path:
    """The folder of `default`, made when it is not there whole. Errors: ModelError."""
    shipped = _shipped(PACKED_GRAPH)
    folder = _folder(DEFAULT, shipped)
    wanted = json.loads(shipped["model.json"])["files"]
    if _is_whole(folder, wanted):
        return folder

    def make(made: Path) -> None:
        make_base(made, wanted, _adapter(shipped))
        for name, data in shipped.items():
            (made / name).write_bytes(data)

    return put(folder, make)


def make_base(folder: Path, wanted: Mapping[str, str], added: Adapter | None = None) -> None:
    """Writes weights and tokenizer into a folder, from the pinned package, with an adapter added or as they are.

    `wanted` are the digests that the files must come out with. Errors: ModelError.
    """
    base = parse(fetch(folder))
    write_weights(weights(base, adapted(base.floats, added) if added else base.floats), folder / "weights.bin")
    build(base).save(str(folder / "tokenizer.json"), pretty=False)
    for name in ("weights.bin", "tokenizer.json"):
        if sha256(folder / name) != wanted[name]:
            raise ModelError(f"{name}: came out with a wrong digest; the installed tokenizers or numpy may be too new")


def official_folder(files: Mapping[str, str] = OFFICIAL_FILES) -> Path:
    """The folder of `default-official`, made from the hub's files when it is not there whole.

    `files` are the digests that the base's files must have. Errors: ModelError.
    """
    shipped = _shipped(PLAIN_GRAPH)
    folder = _folder(OFFICIAL, {**shipped, "hub": json.dumps(dict(files), sort_keys=True).encode()})
    try:
        if _is_whole(folder, json.loads((folder / "model.json").read_bytes())["files"]):
            return folder
    except (OSError, ValueError, KeyError):
        pass  # not there, or damaged: made anew

    def make(made: Path) -> None:
        with TemporaryDirectory(dir=made) as fetched:
            hub.fetch(OFFICIAL_BASE, OFFICIAL_REVISION, list(files), Path(fetched))
            make_official(Path(fetched), files, made)

    return put(folder, make)


def make_official(base: Path, files: Mapping[str, str], folder: Path) -> None:
    """Makes the model out of the hub's files in `base`, once these have their digests. Errors: ModelError."""
    for name, wanted in files.items():
        if digest_of(base / name) != wanted:
            raise ModelError(
                f"{OFFICIAL_BASE}@{OFFICIAL_REVISION}: wrong digest of {name}; it was changed, fetch it again"
            )
    shipped = _shipped(PLAIN_GRAPH)
    floats, added = _floats(base / "model.safetensors"), _adapter(shipped)
    write_weights(plain_weights(adapted(floats, added)), folder / "weights.bin")
    shutil.copyfile(base / "tokenizer.json", folder / "tokenizer.json")
    described = json.loads(shipped.pop("model.json"))
    for name, data in shipped.items():
        (folder / name).write_bytes(data)
    described["base"] = f"{OFFICIAL_BASE}@{OFFICIAL_REVISION}, model.safetensors {files['model.safetensors']}"
    described["files"] = {name: digest_of(folder / name) for name in sorted(described["files"])}
    (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def _floats(path: Path) -> Floats:
    held = read_header(path)

    def floats(name: str, *shape: int) -> NDArray[np.float32]:
        parameter = bert_name(name)
        stored = held.get(parameter)
        if stored is None or stored.shape != shape or stored.dtype != "F32":
            said = f"{parameter} is missing, or not float32 {list(shape)}"
            raise ModelError(f"{path}: {said}; it should be that of {OFFICIAL_BASE}")
        with safe_open(path, "numpy") as tensors:
            found: NDArray[np.float32] = tensors.get_tensor(parameter)
        return found

    return floats


def _shipped(graph: str) -> dict[str, bytes]:
    """What ships with the package: a graph under its name in a model's folder, the adapter, heads and `model.json`."""
    folder = resources.files("classify.default")
    names = {"encoder.onnx": graph} | {name: name for name in (*SHIPPED, "model.json")}
    return {name: folder.joinpath(source).read_bytes() for name, source in names.items()}


def _adapter(shipped: Mapping[str, bytes]) -> Adapter:
    return read_adapter(shipped[adapter.WEIGHTS], shipped[adapter.CONFIG], "classify/default")


def _folder(name: str, shipped: Mapping[str, bytes]) -> Path:
    digest = hashlib.sha256(b"".join(hashlib.sha256(shipped[each]).digest() for each in sorted(shipped))).hexdigest()
    return cache_folder() / f"{name}-{digest[:16]}"


def _is_whole(folder: Path, wanted: Mapping[str, str]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in wanted.items()
    )
