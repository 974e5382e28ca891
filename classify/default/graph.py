"""Builds `encoder.onnx`, the base encoder without its weights, and `official.onnx`, the same for the base of the hub:
`python -m classify.default.graph`.

Tensors are declared as external data in `weights.bin`, which `classify.base` writes beside a copy of the graph. Word
embeddings of the first stay packed in 4 bits there and are unpacked after the lookup, so they never stand in memory as
floats; those of the second are floats.
Needs the `train` extra (onnx); scoring does not.
"""

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from classify.base import (
    BLOCK,
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    PACKED_GRAPH,
    PLAIN_GRAPH,
    POSITIONS,
    ROWS,
    Arrays,
    fetch,
    parse,
    place,
    plain_weights,
    weights,
    write_weights,
)
from classify.tokenizer import build

_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}
_TYPES |= {np.dtype(np.uint8): TensorProto.UINT8}
EPSILON = 1e-12


class Graph:
    """Collects nodes and constants; each call adds one node and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node."""
        output = name or f"{kind.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: object, dtype: type) -> str:
        """Adds a small constant."""
        array: NDArray[Any] = np.asarray(values, dtype=dtype)
        name = f"constant.{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name


def _embeddings(graph: Graph, rows: str) -> str:
    length = graph("Slice", graph("Shape", "ids"), *(graph.constant([at], np.int64) for at in (1, 2)))
    positions = graph("Slice", "position", graph.constant([0], np.int64), length, graph.constant([0], np.int64))
    summed = graph("Add", graph("Add", rows, "type"), positions)
    return graph("LayerNormalization", summed, "emb.ln.w", "emb.ln.b", axis=-1, epsilon=EPSILON)


def _unpacked_words(graph: Graph) -> str:
    packed = graph("Gather", "word.packed", "ids", axis=0)
    scales = graph("Gather", "word.scales", "ids", axis=0)
    low = graph("BitwiseAnd", packed, graph.constant(15, np.uint8))
    high = graph("BitShift", packed, graph.constant(4, np.uint8), direction="RIGHT")
    nibbles = graph("Cast", graph("Concat", low, high, axis=-1), to=TensorProto.FLOAT)
    signed = graph("Sub", nibbles, graph.constant(8, np.float32))
    factors = graph("Unsqueeze", graph("Cast", scales, to=TensorProto.FLOAT), graph.constant([-1], np.int64))
    return graph("Reshape", graph("Mul", signed, factors), graph.constant([0, 0, HIDDEN], np.int64))


def _dense(graph: Graph, value: str, name: str) -> str:
    return graph("Add", graph("MatMul", value, f"{name}.w"), f"{name}.b")


def _layer(graph: Graph, value: str, bias: str, layer: int) -> str:
    split = graph.constant([0, 0, HEADS, HIDDEN // HEADS], np.int64)

    def heads(name: str, order: list[int]) -> str:
        return graph("Transpose", graph("Reshape", _dense(graph, value, f"l{layer}.{name}"), split), perm=order)

    query, key, values = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    scale = graph.constant(1 / math.sqrt(HIDDEN // HEADS), np.float32)
    scores = graph("Add", graph("Mul", graph("MatMul", query, key), scale), bias)
    mixed = graph("Transpose", graph("MatMul", graph("Softmax", scores, axis=-1), values), perm=[0, 2, 1, 3])
    joined = graph("Reshape", mixed, graph.constant([0, 0, HIDDEN], np.int64))
    value = _norm(graph, graph("Add", value, _dense(graph, joined, f"l{layer}.ao")), f"l{layer}.aln")
    inner = _dense(graph, value, f"l{layer}.fi")
    # Exact gelu: x / 2 * (1 + erf(x / sqrt 2)).
    curve = graph("Erf", graph("Div", inner, graph.constant(math.sqrt(2), np.float32)))
    active = graph("Mul", inner, graph("Add", curve, graph.constant(1, np.float32)))
    halved = graph("Mul", active, graph.constant(0.5, np.float32))
    return _norm(graph, graph("Add", value, _dense(graph, halved, f"l{layer}.fo")), f"l{layer}.oln")


def _norm(graph: Graph, value: str, name: str) -> str:
    return graph("LayerNormalization", value, f"{name}.w", f"{name}.b", axis=-1, epsilon=EPSILON)


def build_graph(shapes: dict[str, tuple[np.dtype[np.generic], tuple[int, ...], int, int]]) -> onnx.ModelProto:
    """The encoder. Inputs `ids` and `mask`, int64 `[batch, length]`; output `hidden`, float32 `[batch, length, 384]`.

    `shapes` gives each external tensor's type, shape, offset and length in bytes; word embeddings are either `word` or
    `word.packed` with `word.scales`.
    """
    graph = Graph()
    mask = graph("Cast", graph("Unsqueeze", "mask", graph.constant([1, 2], np.int64)), to=TensorProto.FLOAT)
    open_places = graph("Sub", mask, graph.constant(1, np.float32))
    bias = graph("Mul", open_places, graph.constant(1e9, np.float32))
    words = graph("Gather", "word", "ids", axis=0) if "word" in shapes else _unpacked_words(graph)
    value = _embeddings(graph, words)
    for layer in range(LAYERS):
        value = _layer(graph, value, bias, layer)
    graph("Identity", value, name="hidden")
    tensors = []
    for name, (dtype, shape, offset, length) in shapes.items():
        tensor = TensorProto(name=name, data_type=_TYPES[dtype], dims=shape, data_location=TensorProto.EXTERNAL)
        for key, text in (("location", "weights.bin"), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=text)
        tensors.append(tensor)
    batch = ["batch", "length"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, batch) for name in ("ids", "mask")]
    outputs = [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [*batch, HIDDEN])]
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, [*tensors, *graph.constants])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="postsweep")


def graph_of(arrays: Arrays) -> bytes:
    """The graph over tensors as `classify.base` lays them out."""
    places = place(arrays)
    model = build_graph({name: (array.dtype, array.shape, *places[name]) for name, array in arrays})
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def main() -> None:
    """Writes both graphs and `base.json` (the digests of a prepared base) beside this file."""
    here = Path(__file__).parent
    base = parse(fetch(Path(tempfile.gettempdir())))
    arrays = weights(base)
    graphs = {PACKED_GRAPH: graph_of(arrays), PLAIN_GRAPH: graph_of(plain_weights(base.floats))}
    for name, data in graphs.items():
        (here / name).write_bytes(data)
    with tempfile.TemporaryDirectory() as folder:
        write_weights(arrays, Path(folder) / "weights.bin")
        build(base).save(str(Path(folder) / "tokenizer.json"), pretty=False)
        files = {name: (Path(folder) / name).read_bytes() for name in ("weights.bin", "tokenizer.json")}
    files[PACKED_GRAPH] = graphs[PACKED_GRAPH]
    described = {
        "name": "multilingual-e5-small, 4-bit",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        "shape": {"hidden": HIDDEN, "layers": LAYERS, "ffn": FFN, "rows": ROWS, "positions": POSITIONS, "block": BLOCK},
    }
    (here / "base.json").write_text(json.dumps(described, indent=2) + "\n")
    for name, data in graphs.items():
        sys.stdout.write(f"{here / name}: {len(data):,} bytes\n")


if __name__ == "__main__":
    main()
