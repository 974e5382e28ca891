"""What is counted of a run's scores: how many posts have one, why others have none, how many flags, how many nearly."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.archive import Manifest


def no_counts(labels: Iterable[str]) -> dict[str, Any]:
    """Counts to begin with."""
    return {"posts": 0, "scored": 0, "empty": 0, "unsupported": 0, "flags": dict.fromkeys(labels, 0)}


def count_scores(counts: dict[str, Any], scores: pa.Table, labels: Iterable[str]) -> None:
    """Adds a table of scores to counts."""
    counts["posts"] += scores.num_rows
    unscored = np.ones(scores.num_rows, dtype=bool)
    for label in labels:
        unscored &= scores.column(label).is_null().to_numpy()
    empty = unscored & (scores.column("windows").to_numpy() == 0) & scores.column("lang").is_null().to_numpy()
    counts["scored"] += int((~unscored).sum())
    counts["empty"] += int(empty.sum())
    counts["unsupported"] += int((unscored & ~empty).sum())
    flags = pc.list_flatten(scores.column("flags").combine_chunks())
    for found in pc.value_counts(flags).to_pylist():
        counts["flags"][found["values"]] += found["counts"]


def near_threshold(paths: Iterable[Path], labels: Sequence[Manifest], tolerance: float) -> dict[str, int]:
    """How many scores of each label lie so near its threshold that another batch could make or unmake the flag.

    A score that may move by `tolerance` does so when it is no further than that from its threshold, compared as the
    32-bit floats that scores are stored in. Where nothing moves, none does.
    """
    near = dict.fromkeys((label["name"] for label in labels), 0)
    if tolerance == 0:
        return near
    for batch in _batches(paths, list(near)):
        for label in labels:
            scores = batch.column(label["name"]).to_numpy(zero_copy_only=False).astype(np.float64)
            distance = np.abs(scores - float(np.float32(label["threshold"])))  # NaN where there is no score
            near[label["name"]] += int((distance <= tolerance).sum())
    return near


def _batches(paths: Iterable[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(columns=columns)
