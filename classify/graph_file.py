"""ONNX graphs as files: where they take tensors from and what they compute, without the onnx package or an engine."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from classify.errors import ModelError


@dataclass(frozen=True)
class Graph:
    """What a graph's file names."""

    external: frozenset[str]
    """Files that it takes tensors from, by their path from its own folder."""
    operators: frozenset[str]
    """What it computes with: the operators' names, those of another domain than ONNX's own after it and a dot."""

    @property
    def exact(self) -> bool:
        """Whether a row keeps its bits whatever else is in the batch.

        Measured for ONNX's own operators in float32 (tests hold it). A scale that is taken from the whole batch and
        chance are not of that kind, and the fused operators of other domains were not measured.
        """
        return not any(
            "." in name or name.startswith(("DynamicQuantize", "Random", "Bernoulli", "Multinomial"))
            for name in self.operators
        )


def read_graph(path: Path) -> Graph:
    """Reads what a graph's file names. Errors: ModelError when it is no graph.

    The protobuf is walked by hand, down to the fields that hold tensors and operators, and no tensor is read.
    """
    external, operators = set[str](), set[str]()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for kind, name in _walk(data, 0, len(data), "model"):
                (external if kind == "entry" else operators).add(name)
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"{path}: not an ONNX graph ({error}); export it again") from None
    return Graph(frozenset(external), frozenset(operators))


# The fields of onnx.proto3 that lead to a tensor or a node, by message and field number; 13 of a tensor is
# `external_data`.
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
_OPERATOR, _DOMAIN = 4, 7
"""The fields of a node that say what it computes."""


def _walk(data: mmap.mmap, start: int, end: int, message: str) -> Iterator[tuple[str, str]]:
    node: dict[int, str] = {}
    for number, at, stop in _fields(data, start, end):
        inner = _INSIDE[message].get(number)
        if message == "node" and number in (_OPERATOR, _DOMAIN):
            node[number] = data[at:stop].decode()
        elif inner == "entry":
            pair = {key: data[begin:finish].decode() for key, begin, finish in _fields(data, at, stop)}
            if pair.get(1) == "location":
                yield "entry", pair.get(2, "")
        elif inner is not None:
            yield from _walk(data, at, stop, inner)
    if message == "node":
        domain = node.get(_DOMAIN, "")
        name = node.get(_OPERATOR, "")
        yield "operator", name if domain in ("", "ai.onnx") else f"{domain}.{name}"


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
