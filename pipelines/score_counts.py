"""What is counted of a run's scores: how many posts have one, why others have none, and how many flags there are."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive import Manifest


def count_scores(scores: Iterable[pa.Table], run: Manifest) -> dict[str, Any]:
    """The `counts` of a run's manifest and its `near_threshold`, out of tables of scores of that run."""
    labels = run["labels"]
    counts: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    near: Counter[str] = Counter()
    for table in scores:
        scored = np.zeros(table.num_rows, dtype=bool)
        for label in labels:
            column = table.column(label["name"])
            scored |= column.is_valid().to_numpy()
            apart = pc.abs(pc.subtract(column, pa.scalar(label["threshold"], column.type)))
            near[label["name"]] += pc.sum(pc.less_equal(apart, run["tolerance"])).as_py() or 0
        empty = ~scored & (table.column("windows").to_numpy() == 0) & table.column("lang").is_null().to_numpy()
        counts["posts"] += table.num_rows
        counts["scored"] += int(scored.sum())
        counts["empty"] += int(empty.sum())
        counts["unsupported"] += int((~scored & ~empty).sum())
        for found in pc.value_counts(pc.list_flatten(table.column("flags").combine_chunks())).to_pylist():
            flags[found["values"]] += found["counts"]
    return {
        "counts": {
            **{key: counts[key] for key in ("posts", "scored", "empty", "unsupported")},
            "flags": {label["name"]: flags[label["name"]] for label in labels},
        },
        "near_threshold": {label["name"]: near[label["name"]] for label in labels},
    }
