"""Batches: long texts become windows, equal windows are encoded once, and a batch holds windows of about one length.

A batch is as large as a budget of tokens allows, padding counted: one long post costs what it weighs, and never pads
a whole batch of short ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """How a model reads: ids around every window, a window's tokens in all, the overlap of two, and padding."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    window: int
    overlap: int
    pad: int = 0


Window = tuple[int, ...]


def windows(ids: Sequence[int], shape: Shape) -> list[Window]:
    """Cuts a text's token ids into windows that overlap; together they cover every token. No ids: no windows."""
    room = shape.window - len(shape.before) - len(shape.after)
    if not ids:
        return []
    step = room - shape.overlap
    count = 1 + max(0, -(-(len(ids) - room) // step))
    return [(*shape.before, *ids[start : start + room], *shape.after) for start in range(0, count * step, step)]


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices of windows in batches, shortest first; `longest * count` is within the budget, or a batch is of one."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if batch and lengths[index] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
