"""Classifying a sealed sweep: one Dask task per posts part writes one scores part of the same rows and order.

A finished scores part is its own checkpoint, under `incoming/run=<id>`; it says which posts part and which model it
stands for, so work that was done is not done again. When all parts stand, the folder moves to `scores/run=<id>` by one
rename and the run's manifest is created.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from classify.model import Model, ModelRef, load, prepare
from classify.scoring import score_texts
from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import report, run_tasks
from crawlers.post import model_input
from pipelines.archive import (
    FORMAT,
    Manifest,
    incoming_run,
    moment,
    open_archive,
    run_manifest,
    run_manifest_name,
    software,
    sweep_manifest,
    write_manifest,
)
from pipelines.config import SweepConfig
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.errors import ArchiveError, Exit
from pipelines.keys import load_key
from pipelines.lease import Lease, held
from pipelines.progress import Progress
from pipelines.startup import check_roots
from pipelines.store import Store

CHUNK_ROWS = 1024
"""Posts that are in memory at once; batches are composed within a chunk."""

Row = dict[str, Any]

_META = b"postsweep"
_READ = ["uid", "title", "warning", "text", "input_digest"]


@dataclass(frozen=True)
class PartJob:
    """One posts part to score; small enough to travel, and without a secret."""

    archive: str
    run: str
    lease_name: str
    lease_token: int
    posts_path: str
    posts_digest: str
    scores_path: str
    platform: str
    model: ModelRef
    token_budget: int


def run_id(sweep: Manifest, model: Model) -> str:
    """Names a run by what decides its scores: the sweep's content and the model's digests, labels and thresholds."""
    decided = orjson.dumps([sweep["digest"], model.manifest()], option=orjson.OPT_SORT_KEYS)
    return f"{sweep['sweep']}-{model.manifest()['name']}-{hashlib.blake2b(decided, digest_size=4).hexdigest()}"


def classify_sweep(config: SweepConfig, progress: Progress, run: str | None = None) -> tuple[str, Exit]:
    """Scores every post of a sealed sweep; a call after a kill goes on, a call after the end changes nothing.

    Returns the run's id. `run` names it otherwise than by its content. Errors: ArchiveError when the sweep is not
    sealed, LeaseHeldError, KeyMismatchError, ClusterError, ModelError.
    """
    names = load_key()
    store = open_archive(config.archive, f"sweep-{config.id}", names.fingerprint)
    sweep = sweep_manifest(store, config.id)
    if sweep is None:
        raise ArchiveError(f"{config.archive}: sweep {config.id} is not sealed; run `postsweep crawl` first")
    with progress.stage("prepare model"):
        ref = prepare(config.classify.model)
        model = load(ref)
    run = run or run_id(sweep, model)
    if run_manifest(store, run) is not None:
        return run, Exit.DONE
    store = Store(store.root, f"run-{run}")
    with held(store, f"run-{run}") as lease:
        store.clear_scratch()
        final = f"scores/run={run}"
        if not store.exists(final):
            _score_parts(store, lease, config, sweep, run, ref, progress)
            lease.check(store)
            store.move_folder(incoming_run(run), final)
        manifest = _manifest(store, sweep, run, model, config)
        write_manifest(store, run_manifest_name(run), manifest)
    return run, Exit.DONE


def _score_parts(  # noqa: PLR0917 - the run's own state, passed on once
    store: Store, lease: Lease, config: SweepConfig, sweep: Manifest, run: str, ref: ModelRef, progress: Progress
) -> None:
    jobs = [
        PartJob(
            archive=str(store.root),
            run=run,
            lease_name=lease.name,
            lease_token=lease.token,
            posts_path=part["path"],
            posts_digest=part["digest"],
            scores_path=f"{incoming_run(run)}/{part['path'].removeprefix('posts/')}",
            platform=part["platform"],
            model=ref,
            token_budget=config.classify.token_budget,
        )
        for part in sweep["parts"]["posts"]
    ]
    rows = {part["path"]: part["rows"] for part in sweep["parts"]["posts"]}
    undone = [job for job in jobs if not _is_done(store, job)]
    with progress.stage("classify", total=sum(rows.values())) as stage:
        stage.advance(sum(rows[job.posts_path] for job in jobs) - sum(rows[job.posts_path] for job in undone))
        if not undone:
            store.path(incoming_run(run)).mkdir(parents=True, exist_ok=True)
            return
        spec = ClusterSpec(kind=config.cluster.kind, workers=config.cluster.workers, address=config.cluster.address)
        with open_cluster(spec) as client:
            for _ in run_tasks(client, score_part, undone, on_event=lambda event: stage.advance(event["rows"])):
                pass


def _is_done(store: Store, job: PartJob) -> bool:
    path = store.path(job.scores_path)
    if not path.exists():
        return False
    noted = orjson.loads(pq.read_metadata(path).metadata[_META])
    return bool(noted["posts_digest"] == job.posts_digest and noted["model"] == job.model.digest)


@lru_cache(maxsize=1)
def _model(ref: ModelRef) -> Model:
    """The worker's model, loaded once; another model takes its place."""
    return load(ref)


def score_part(job: PartJob) -> None:
    """The Dask task: scores one part and leaves it as a checkpoint."""
    check_roots()
    model = _model(job.model)
    store = Store(Path(job.archive), f"run-{job.run}")
    label_names = [label.name for label in model.labels]
    counts = {"posts": 0, "scored": 0, "empty": 0, "unsupported": 0, "flags": dict.fromkeys(label_names, 0)}
    posts = store.path(job.posts_path)
    repeated = _repeated(posts)
    schema = _schema(label_names)
    with store.writing(job.scores_path) as path:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for table in _chunks(posts):
                scores = _score(table, model, repeated, schema, job.token_budget)
                _count(counts, scores, label_names)
                writer.write_table(scores)
                report({"rows": table.num_rows})
            noted = {"posts_digest": job.posts_digest, "model": job.model.digest, "counts": counts}
            writer.add_key_value_metadata({_META.decode(): orjson.dumps(noted).decode()})
        Lease(job.lease_name, job.lease_token).check(store)


def _schema(labels: list[str]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("uid", pa.string(), nullable=False),
            pa.field("lang", pa.string()),
            pa.field("windows", pa.int32(), nullable=False),
            *(pa.field(label, pa.float32()) for label in labels),
            pa.field("flags", pa.list_(pa.string()), nullable=False),
        ]
    )


def _chunks(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK_ROWS, columns=_READ):
            yield pa.Table.from_batches([batch])


def _repeated(path: Path) -> dict[bytes, Row | None]:
    """The texts that a part holds more than once, by their digests, without scores yet: the only ones worth keeping."""
    digests = pq.read_table(path, columns=["input_digest"], partitioning=None).column("input_digest")
    counted = pc.value_counts(digests.drop_null())
    return dict.fromkeys(counted.filter(pc.greater(counted.field("counts"), 1)).field("values").to_pylist())


def _score(
    posts: pa.Table, model: Model, repeated: dict[bytes, Row | None], schema: pa.Schema, token_budget: int
) -> pa.Table:
    """Scores a chunk of posts; texts in `repeated` that have scores take those, the others leave theirs there."""
    digests = posts.column("input_digest").to_pylist()
    fields = zip(*(posts.column(name).to_pylist() for name in ("title", "warning", "text")), strict=True)
    inputs = [model_input(*each) for each in fields]
    unknown = [row for row, digest in enumerate(digests) if repeated.get(digest) is None]
    scored = score_texts(model, [inputs[row] for row in unknown], token_budget).to_pylist()
    here = dict(zip(unknown, scored, strict=True))
    repeated.update({digests[row]: result for row, result in here.items() if digests[row] in repeated})
    uids = posts.column("uid").to_pylist()
    rows = [{"uid": uid, **(here.get(row) or repeated[digests[row]] or {})} for row, uid in enumerate(uids)]
    return pa.Table.from_pylist(rows, schema=schema)


def _count(counts: dict[str, Any], scores: pa.Table, labels: list[str]) -> None:
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


def _manifest(store: Store, sweep: Manifest, run: str, model: Model, config: SweepConfig) -> Manifest:
    """The run's manifest, made from the score files alone, so that it comes out the same after a kill."""
    counts: dict[str, Any] = {"posts": 0, "scored": 0, "empty": 0, "unsupported": 0, "flags": {}}
    parts = []
    whole = Digest()
    for part in sweep["parts"]["posts"]:
        name = f"scores/run={run}/{part['path'].removeprefix('posts/')}"
        path = store.path(name)
        noted = orjson.loads(pq.read_metadata(path).metadata[_META])
        digest = Digest(whole)
        for row in part_rows(path):
            digest.add(row)
        for key in ("posts", "scored", "empty", "unsupported"):
            counts[key] += noted["counts"][key]
        for label, count in noted["counts"]["flags"].items():
            counts["flags"][label] = counts["flags"].get(label, 0) + count
        parts.append(
            {
                "path": name,
                "posts_path": part["path"],
                "posts_digest": part["digest"],
                "platform": part["platform"],
                "rows": digest.rows,
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
                "digest": digest.hex,
            }
        )
    described = {**model.manifest(), "model": model.ref.name}
    described["labels"] = [{**label, "of": label["name"]} for label in described["labels"]]
    return {
        "format": FORMAT,
        "run": run,
        "sweep": sweep["sweep"],
        "generation": sweep["generation"],
        "finished_at": moment(datetime.now(UTC)),
        "models": [described],
        "labels": [{**label, "model": described["name"]} for label in described["labels"]],
        "exactness": described["exactness"],
        "tolerance": 0.0,
        "near_threshold": None,
        "environments": None,
        "token_budget": config.classify.token_budget,
        "counts": counts,
        "parts": parts,
        "digest": whole.hex,
        "pseudonym_key": sweep["pseudonym_key"],
        "software": software(),
    }
