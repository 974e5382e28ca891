"""A model's folder in the project's own format: an encoder in ONNX with one small head per label.

`model.json` says how the model reads and names the SHA-256 of every other file. A file that it does not name has no
part in the model: the graph may take tensors only from files of the folder that are named, and nothing is unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from classify.base import known_graphs
from classify.description import Description
from classify.engines import resolve
from classify.errors import ModelError
from classify.files import check_digests, refuse_links_out, refuse_pickles
from classify.graph_file import read_graph
from classify.heads import load_heads
from classify.spec import ModelSpec

NEEDED = ("encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json")
"""The files that every model has, beside `model.json` and what the graph names."""

_TOKEN = Annotated[int, Field(ge=0, lt=2**31)]


class _Description(BaseModel):
    """What `model.json` must say; it may say more."""

    model_config = ConfigDict(strict=True)

    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    prefix: str
    begin: list[_TOKEN]
    end: list[_TOKEN]
    window: int = Field(ge=1, le=65_536)
    overlap: int = Field(ge=0)
    base: str | None = None
    licence: str | None = None


def is_own(folder: Path) -> bool:
    """Whether a folder is in this format."""
    return (folder / "model.json").is_file()


def read_folder(folder: Path, spec: ModelSpec) -> Description:
    """What the folder says; of the files, the graph and the heads are checked here. Errors: ModelError."""
    said = describe(folder)
    check_digests(folder, said["files"], NEEDED)
    refuse_pickles(folder, said["files"])
    graph = read_graph(folder / "encoder.onnx")
    outside = graph.external - set(said["files"])
    if outside:
        raise ModelError(
            f"{folder / 'encoder.onnx'}: takes tensors from {min(outside)!r}, which model.json does not name; "
            "a graph's weights lie in its own folder and have a digest"
        )
    # torch is given the weights under the names of the graphs that this package makes; others it cannot read.
    known = said["files"]["encoder.onnx"] in known_graphs()
    engine = resolve(spec, folder, onnx=True, torch=known)
    heads = load_heads(folder / "heads.safetensors", folder / "heads.json")
    return Description(
        files=said["files"],
        digest=hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
        labels=heads.labels,
        activation="sigmoid, calibrated per language",
        engine=engine,
        exactness="exact" if engine == "onnxruntime" and graph.exact else "tolerance",
        window=said["window"],
        overlap=said["overlap"],
        languages=frozenset(heads.calibration),
        base=said.get("base"),
        licence=said.get("licence"),
        prefix=said["prefix"],
        begin=tuple(said["begin"]),
        end=tuple(said["end"]),
        graph="encoder.onnx",
    )


def describe(folder: Path) -> dict[str, Any]:
    """What `model.json` says, once it is whole and all files that it names are there. Errors: ModelError."""
    path = folder / "model.json"
    try:
        text = path.read_text(encoding="utf-8")
        _Description.model_validate_json(text)
        described: dict[str, Any] = json.loads(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: not a model's description ({place or 'file'}: {first['msg']}); mend it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); restore it") from None
    for name in described["files"]:
        if name in ("", ".", "..", "model.json") or name != Path(name).name or "\\" in name:
            raise ModelError(f"{path}: names {name!r}, which is no file beside it; a model lies in one folder")
    refuse_links_out(folder, described["files"])
    missing = [name for name in (*NEEDED, *described["files"]) if not (folder / name).is_file()]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise ModelError(f"{folder}: model folder without {names}; restore the files and their digests")
    unnamed = [name for name in NEEDED if name not in described["files"]]
    if unnamed:
        raise ModelError(f"{path}: no digest of {', '.join(unnamed)}; add its SHA-256 to files")
    return described
