"""A model's folder: what it must hold, and what is refused before anything in it is opened.

`model.json` says how the model reads and names the SHA-256 of every other file. A file that it does not name has no
part in the model: the graph may take tensors only from files of the folder that are named, and nothing is unpickled.
"""

import hashlib
import json
import mmap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from classify.errors import ModelError

NEEDED = ("encoder.onnx", "tokenizer.json", "heads.safetensors", "heads.json")
"""The files that every model has, beside `model.json` and what the graph names."""

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
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


def describe(folder: Path) -> dict[str, Any]:
    """What `model.json` says, once it is whole and all files that it names are there. Errors: ModelError."""
    path = folder / "model.json"
    if not path.is_file():
        _refuse_pickles(folder, [entry.name for entry in sorted(folder.iterdir()) if entry.is_file()])
        raise ModelError(f"{folder}: no weights here that this version reads (model.json and encoder.onnx are missing)")
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
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / name}: a link that leads out of the model's folder; put the file itself there")
    missing = [name for name in (*NEEDED, *described["files"]) if not (folder / name).is_file()]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise ModelError(f"{folder}: model folder without {names}; restore the files and their digests")
    unnamed = [name for name in NEEDED if name not in described["files"]]
    if unnamed:
        raise ModelError(f"{path}: no digest of {', '.join(unnamed)}; add its SHA-256 to files")
    return described


def check(folder: Path, described: dict[str, Any]) -> None:
    """Every file against its digest, and the graph's tensors against the files that are named. Errors: ModelError."""
    for name, wanted in described["files"].items():
        try:
            found = sha256(folder / name)
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({error.strerror}); restore it") from None
        if found != wanted:
            raise ModelError(f"{folder / name}: wrong digest; the file was changed or damaged, prepare the model again")
    _refuse_pickles(folder, described["files"])
    graph = folder / "encoder.onnx"
    try:
        outside = external_files(graph) - set(described["files"])
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"{graph}: not an ONNX graph ({error}); export it again") from None
    if outside:
        raise ModelError(
            f"{graph}: takes tensors from {min(outside)!r}, which model.json does not name; "
            "a graph's weights lie in its own folder and have a digest"
        )


def external_files(graph: Path) -> set[str]:
    """Where an ONNX graph takes tensors from beside itself. Errors: OSError; ValueError, IndexError when it is damaged.

    The protobuf is walked by hand, down to the fields that hold tensors, as the onnx package is not needed to score.
    """
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_locations(data, 0, len(data), "model"))


# The fields of onnx.proto3 that lead to a tensor, by message and field number; 13 of a tensor is `external_data`.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def _locations(data: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    for number, at, stop in _fields(data, start, end):
        inner = _INSIDE[message].get(number)
        if inner == "entry":
            pair = {key: data[begin:finish].decode() for key, begin, finish in _fields(data, at, stop)}
            if pair.get(1) == "location":
                yield pair.get(2, "")
        elif inner is not None:
            yield from _locations(data, at, stop, inner)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, start and end."""
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of kind {kind}")
        size, at = _varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + size > end:
            raise ValueError("a field is longer than what holds it")
        if kind == 2:
            yield tag >> 3, at, at + size
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number without end")


def _refuse_pickles(folder: Path, names: list[str] | dict[str, str]) -> None:
    """By ending and by content: a pickle, or an archive that holds one as torch writes it, whatever it is called."""
    for name in names:
        path = folder / name
        try:
            refused = _is_pickle(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); allow it or restore the file") from None
        if refused or path.suffix in _PICKLES or path.name == "pytorch_model.bin":
            raise ModelError(f"{path}: pickled weights can run code and are refused; convert them to ONNX")


def _is_pickle(path: Path) -> bool:
    """A pickle of protocol 2 to 5 begins with its number and an opcode and ends with a stop; weights rarely do."""
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(max(0, path.stat().st_size - 1))
        last = file.read(1)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[2:] >= b" " and last == b".":
        return True
    if start[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_PICKLES) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False


def sha256(path: Path) -> str:
    """A file's digest. Errors: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
