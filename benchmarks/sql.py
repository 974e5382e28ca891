"""Queries over 2,000,000 posts and their scores: `python -m benchmarks.sql [rows]`.

Makes an archive of made-up rows, then answers each query through the archive's SQL and through plain DuckDB over
`read_parquet`, in one process, and prints the medians of five with their ratio, and the peak memory.
"""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.post import POST_SCHEMA
from pipelines.archive import FORMAT, open_archive, run_manifest_name, sweep_manifest_name, write_manifest
from pipelines.seal import ROW_GROUP
from pipelines.sql import open_sql

PART = 100_000
LABELS = ("rumor", "hate", "abuse", "scam", "clickbait")
WORDS = ["rain", "came", "late", "and", "the", "river", "rose", "over", "bridge", "by", "market", "while", "people"]
QUERIES = (
    "select count(*) from posts",
    "select platform, lang, count(*) from posts group by all order by all",
    "select count(*) from scores where list_contains(flags, 'rumor')",
    "select platform, avg(rumor), quantile_cont(rumor, 0.9) from scores group by platform order by 1",
    "select count(*) from posts where text like '%bridge by%'",
    "select posts.platform, count(*) from posts join scores using (uid) where rumor > 0.9 group by 1 order by 1",
)


def posts(random: np.random.Generator, rows: int) -> pa.Table:
    """A part of made-up posts."""
    texts = [" ".join(random.choice(WORDS, 25)) for _ in range(2000)]
    times = pa.array(1_767_268_800_000_000 + random.integers(0, 86_400_000_000, rows), pa.int64())
    made: dict[str, Any] = {
        "uid": sorted(random.bytes(16).hex() for _ in range(rows)),
        "author": [f"{author:032x}" for author in random.integers(0, 50_000, rows)],
        "text": random.choice(texts, rows),
        "lang": random.choice(["en", "zh", "es", "ar"], rows),
        "input_digest": [random.bytes(16) for _ in range(rows)],
        "created_at": times.cast(POST_SCHEMA.field("created_at").type),
        "fetched_at": times.cast(POST_SCHEMA.field("fetched_at").type),
    }
    for field in POST_SCHEMA:
        if field.name not in made:
            value = {pa.string(): "a.example", pa.int32(): 0}.get(field.type, [])
            made[field.name] = pa.array([None if field.nullable else value] * rows, field.type)
    return pa.table({field.name: made[field.name] for field in POST_SCHEMA}, POST_SCHEMA)


def scores(random: np.random.Generator, uids: pa.ChunkedArray) -> pa.Table:
    """Scores of a part, drawn by chance."""
    rows = len(uids)
    drawn = {label: random.random(rows, np.float32) for label in LABELS}
    flags = [["rumor"] if score >= 0.9 else [] for score in drawn["rumor"]]
    return pa.table(
        {
            "uid": uids,
            "lang": random.choice(["en", "zh", "es", "ar"], rows),
            "windows": np.ones(rows, np.int32),
            **drawn,
            "flags": pa.array(flags, pa.list_(pa.string())),
        }
    )


def write(path: Path, table: pa.Table) -> None:
    """Writes a part as sealing does: row groups of its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")


def make(root: Path, rows: int) -> None:
    """An archive with a sweep and a run of so many rows."""
    store = open_archive(root, "sweep-large", "0" * 16)
    random = np.random.default_rng(3)
    parts: dict[str, list[dict[str, Any]]] = {"posts": [], "scores": []}
    for start in range(0, rows, PART):
        platform, number = ("mastodon", "bluesky")[start // PART % 2], start // PART // 2
        made = posts(random, min(PART, rows - start))
        for table, folder, each in (
            ("posts", "posts/sweep=large", made),
            ("scores", "scores/run=first/sweep=large", scores(random, made.column("uid"))),
        ):
            name = f"{folder}/platform={platform}/part-{number:05d}.parquet"
            write(root / name, each)
            parts[table].append({"path": name, "platform": platform, "rows": each.num_rows})
    sweep = {
        "format": FORMAT, "sweep": "large", "generation": 0, "sealed_at": "2026-01-02T01:00:00Z", "sources": [],
        "window": {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "digest": "0" * 64,
        "counts": {"posts": rows, "rejects": 0, "duplicates": 0},
        "parts": {"posts": parts["posts"], "rejects": [], "identities": [], "accounts": []},
    }  # fmt: skip
    write_manifest(store, sweep_manifest_name("large"), sweep)
    labels = [
        {"name": label, "definition": label, "threshold": 0.9, "model": "default", "of": label} for label in LABELS
    ]
    run = {
        "format": FORMAT, "run": "first", "sweep": "large", "generation": 0, "finished_at": "2026-01-02T02:00:00Z",
        "labels": labels, "exactness": "exact", "digest": "0" * 64, "parts": parts["scores"],
        "counts": {"posts": rows, "scored": rows, "empty": 0, "unsupported": 0, "flags": {}},
    }  # fmt: skip
    write_manifest(store, run_manifest_name("first"), run)


def median(ask: Callable[[], object]) -> float:
    """The median seconds of five."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def main() -> None:
    """Makes the archive, then measures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as plain:
        root = Path(folder) / "archive"
        make(root, rows)
        for table in ("posts", "scores"):
            plain.execute(f"create view {table} as from read_parquet('{root}/{table}/**/*.parquet')")
        begun = time.perf_counter()
        with open_sql(root) as session:
            print(f"{rows:,} posts; opened in {time.perf_counter() - begun:.2f} s")
            for query in QUERIES:
                ours = session.ask(query)
                if ours.table().to_pylist() != plain.sql(query).to_arrow_table().to_pylist():
                    raise SystemExit(f"answers differ: {query}")
                here, there = median(ours.table), median(lambda query=query: plain.sql(query).to_arrow_table())
                print(f"{here:.2f} s, {here / there:.2f} of plain DuckDB: {query}", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
