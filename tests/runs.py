"""Makes sealed sweeps of any id, and finished runs whose scores follow a rule: for tests of what reads archives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawlers.sink import Gap, Page, Traffic
from crawlers.source import Source
from pipelines.archive import FORMAT, Manifest, run_manifest_name, write_manifest
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.lease import held
from pipelines.seal import seal
from pipelines.shards import ShardSink, SinkSettings
from tests.sweeps import NAMES, open_store, seal_settings

Rule = Callable[[str], float | None]
Window = tuple[str, str]

DAY = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def sweep_of(
    root: Path, sweep: str, pages: Mapping[Source, list[Page]], window: Window = DAY, gaps: list[Gap] | None = None
) -> Manifest:
    """Reads pages into a sweep of an archive and seals it; each source has the gaps."""
    store = open_store(root)
    said = replace(seal_settings(4, pages), sweep=sweep, window=dict(zip(("since", "until"), window, strict=True)))
    with held(store, f"sweep-{sweep}") as lease:
        for source, read in pages.items():
            sink = ShardSink(SinkSettings(store=store, sweep=sweep, lease=lease, names=NAMES), source)
            for each in read:
                sink.page(each)
            sink.finish(gaps or [], Traffic(requests=len(read)))
        return seal(store, lease, said)


def run_of(
    root: Path, sweep: Manifest, run: str, rules: Mapping[str, Rule], threshold: float = 0.5, **changes: Any
) -> Manifest:
    """A finished run over a sweep: a rule makes of a post's text its score for a label, or none. `changes` stand over
    what its manifest says.
    """
    counts: dict[str, Any] = {"posts": 0, "scored": 0, "empty": 0, "unsupported": 0, "flags": dict.fromkeys(rules, 0)}
    parts, whole = [], Digest()
    for part in sweep["parts"]["posts"]:
        name = f"scores/run={run}/{part['path'].removeprefix('posts/')}"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        posts = pq.ParquetFile(root / part["path"]).read(["uid", "text"])
        pq.write_table(_scored(posts, rules, threshold, counts), path)
        digest = Digest(whole)
        for row in part_rows(path):
            digest.add(row)
        told = {"path": name, "posts_path": part["path"], "posts_digest": part["digest"], "platform": part["platform"]}
        told |= {"rows": digest.rows, "bytes": path.stat().st_size, "sha256": file_sha256(path), "digest": digest.hex}
        parts.append(told)
    labels = [
        {"name": label, "definition": f"what {label} means", "threshold": threshold, "of": label} for label in rules
    ]
    model = {"name": "default", "model": "default", "digest": "6e0f" * 16, "files": {"heads.json": "12ab" * 16}}
    model |= {"labels": labels, "languages": ["en", "zh"], "window": 256, "overlap": 32, "engine": "onnxruntime"}
    model |= {"device": "cpu", "dtype": "float32", "exactness": "exact"}
    manifest = {
        "format": FORMAT,
        "run": run,
        "sweep": sweep["sweep"],
        "generation": sweep["generation"],
        "finished_at": "2026-01-03T00:00:00Z",
        "models": [model],
        "labels": [{**label, "model": "default"} for label in labels],
        "exactness": "exact",
        "tolerance": 0.0,
        "near_threshold": None,
        "environments": None,
        "token_budget": 4096,
        "counts": counts,
        "parts": parts,
        "digest": whole.hex,
        "pseudonym_key": sweep["pseudonym_key"],
        "software": sweep["software"],
        **changes,
    }
    write_manifest(open_store(root), run_manifest_name(run), manifest)
    return manifest


def _scored(posts: pa.Table, rules: Mapping[str, Rule], threshold: float, counts: dict[str, Any]) -> pa.Table:
    rows = []
    for post in posts.to_pylist():
        scores = {label: rule(post["text"]) for label, rule in rules.items()}
        flags = [label for label, score in scores.items() if score is not None and score >= threshold]
        known = any(score is not None for score in scores.values())
        rows.append({"uid": post["uid"], "lang": "en", "windows": int(known), "flags": flags, **scores})
        counts["posts"] += 1
        counts["scored" if known else "unsupported"] += 1
        for label in flags:
            counts["flags"][label] += 1
    fields = [("uid", pa.string()), ("lang", pa.string()), ("windows", pa.int32())]
    fields += [*((label, pa.float32()) for label in rules), ("flags", pa.list_(pa.string()))]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))
