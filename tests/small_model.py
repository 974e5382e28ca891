"""Makes a small model folder in the project's own format, with random fixed weights: for tests and benchmarks of what
surrounds a model. Its scores mean nothing, and are spread so that some posts of any lot are flagged.

`python -m tests.small_model FOLDER` makes one, to be named under `[classify] model = "FOLDER"`.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from safetensors.numpy import save
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from classify.labels import CODEBOOK

WIDTH = 32
SPECIALS = ("<s>", "</s>")

_GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
encoder (int64[batch, length] ids, int64[batch, length] mask) => (float[batch, length, 32] hidden) {
    rows = Gather (words, ids)
    keys = MatMul (rows, key)
    turned = Transpose <perm = [0, 2, 1]> (keys)
    scores = MatMul (rows, turned)
    wide = Unsqueeze (mask, middle)
    seen = Cast <to = 1> (wide)
    closed = Sub (seen, one)
    bias = Mul (closed, huge)
    open = Add (scores, bias)
    shares = Softmax <axis = -1> (open)
    mixed = MatMul (shares, rows)
    dense = MatMul (mixed, inner)
    curved = Tanh (dense)
    summed = Add (rows, curved)
    hidden = LayerNormalization <axis = -1> (summed, scale)
}
"""


def weights(tokens: int) -> dict[str, NDArray[Any]]:
    """The tensors of the encoder: one layer of attention, without positions."""
    random = np.random.default_rng(11)
    return {
        "words": random.normal(size=(tokens, WIDTH)).astype(np.float32),
        "key": (random.normal(size=(WIDTH, WIDTH)) / WIDTH).astype(np.float32),
        "inner": (random.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32),
        "scale": np.ones(WIDTH, np.float32),
        "one": np.ones((), np.float32),
        "huge": np.full((), 1e9, np.float32),
        "middle": np.array([1], np.int64),
    }


def encoder(tensors: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The graph, with its weights inside."""
    graph = parser.parse_model(_GRAPH)
    graph.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
    return graph


def tokenizer() -> Tokenizer:
    """Every byte of a text is a token: any language, and no two texts alike."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return made


def make(folder: Path) -> Path:
    """Makes a model in a folder, which need not exist, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    bytewise = tokenizer()
    bytewise.save(str(folder / "tokenizer.json"))
    (folder / "encoder.onnx").write_bytes(encoder(weights(bytewise.get_vocab_size())).SerializeToString())
    random = np.random.default_rng(12)
    heads = {
        "weight": random.normal(size=(len(CODEBOOK), WIDTH)).astype(np.float32),
        "bias": np.full(len(CODEBOOK), -1, np.float32),
    }
    (folder / "heads.safetensors").write_bytes(save(heads))
    write_heads(folder, describe_heads())
    write_description(folder)
    return folder


def describe_heads() -> dict[str, Any]:
    """What `heads.json` says: the labels of the codebook, calibrated for Chinese and English."""
    labels = [{"name": each.name, "definition": each.definition, "threshold": 0.6} for each in CODEBOOK]
    pair = {"slope": [2.0] * len(labels), "offset": [-4.8, -2.0, -3.6, 1.4, -3.0]}
    return {"labels": labels, "calibration": {"zh": pair, "en": pair}}


def write_heads(folder: Path, described: Mapping[str, Any]) -> None:
    """Writes `heads.json`."""
    (folder / "heads.json").write_text(json.dumps(described), encoding="utf-8")


def write_description(folder: Path, **changes: object) -> None:
    """Writes `model.json` with the digests of what lies in the folder; `changes` stand over what it would say."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    files.pop("model.json", None)
    said = {"prefix": "query: ", "begin": [256], "end": [257], "window": 256, "overlap": 32, "files": files}
    (folder / "model.json").write_text(json.dumps({**said, **changes}), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
