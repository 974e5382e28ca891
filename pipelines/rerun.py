"""Rerunning: a finished run is repeated from its manifest, and what came out is held against what stands.

The same models score the same posts parts again, into `incoming/run=rerun-<run>`, which goes when they are compared: a
rerun leaves nothing in the archive. What is said of it is counted, and all that differs between then and now is named.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from classify.errors import ModelError
from classify.prepared import find
from classify.spec import EMBEDDED, ModelSpec, hub_id
from cluster.open import ClusterSpec
from pipelines.archive import (
    Manifest,
    incoming_run,
    redacted_since,
    refuse_changed,
    reopen_archive,
    run_manifest,
    run_manifests,
)
from pipelines.causes import Cause, causes
from pipelines.classify import Plan, RunRequest, make_manifest, plan_run, score_parts, sealed
from pipelines.digests import file_sha256
from pipelines.errors import ArchiveError
from pipelines.keys import key_for
from pipelines.lease import held
from pipelines.progress import Progress
from pipelines.store import Store

MOST_FLIPS = 1000
"""Flags that changed which are named one by one; all are counted."""
_SHOWN = 20

Verdict = Literal["exact", "within tolerance", "not comparable", "different"]
"""`not comparable`: something else scored than then, and `causes` says what. `different`: scores moved by more than the
run's tolerance, and nothing that is written down explains it."""


@dataclass(frozen=True)
class Flip:
    """One flag that a rerun gave or took, with the score before and after."""

    uid: str
    label: str
    threshold: float
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Outcome:
    """What a rerun found.

    Of `scores` compared, `moved` have other bits, by `largest` at most. `reread` counts posts whose language or number
    of windows is another, or that only one of both scored under some label. `flips` counts the flags that changed, of
    which `flipped` names the first. `causes` is all that differs between the two manifests.
    """

    run: str
    verdict: Verdict
    posts: int
    scores: int
    moved: int
    largest: float
    tolerance: float
    reread: int
    flips: int
    flipped: list[Flip]
    causes: list[Cause]


def rerun(  # noqa: PLR0917 - the command's own options
    archive: Path,
    run: str,
    models: dict[str, str],
    cluster: ClusterSpec,
    progress: Progress,
    device: str | None = None,
) -> Outcome:
    """Repeats a run. `models` says where a model is today, by its name in the run; others are looked for by digest.
    `device` is another than the run's; where it is a GPU and the cluster a local one, a `cuda` cluster is opened.

    Errors: ArchiveError for a run that is not there; ModelError for a model that is not found or cannot run here;
    LeaseHeldError, KeyMismatchError, ClusterError.
    """
    store = reopen_archive(archive, f"run-rerun-{run}", key_for(archive).fingerprint)
    before = finished(store, run)
    specs = asked(before, models)
    if device is not None:
        specs = tuple(replace(spec, device=device) for spec in specs)
    plan = plan_run(sealed(store, before["sweep"]), specs, progress)
    _check_columns(before, plan)
    request = RunRequest(archive, before["sweep"], specs, cluster, before["token_budget"]).where_gpus_are()
    folder = incoming_run(f"rerun-{run}")
    with held(store, f"run-rerun-{run}") as lease:
        refuse_changed(store, plan.sweep)
        _check_scores(store, before)
        store.clear_scratch()
        score_parts(store, lease, plan, folder, request, progress)
        after = make_manifest(store, plan, folder, request.token_budget)
        redacted = redacted_since(plan.sweep, before)
        outcome = compared(store, {**before, "redacted": redacted}, {**after, "redacted": []})
        store.remove(folder)
    return outcome


def finished(store: Store, run: str) -> Manifest:
    """The manifest of a finished run. Errors: ArchiveError that names those there are."""
    manifest = run_manifest(store, run)
    if manifest is None:
        known = ", ".join(each["run"] for each in run_manifests(store)) or "none"
        raise ArchiveError(f"{store.root}: no finished run {run}; there are: {known}")
    return manifest


def asked(run: Manifest, models: dict[str, str]) -> tuple[ModelSpec, ...]:
    """What was asked for when a run was made, with the places of its models on this machine.

    Errors: ModelError for a name that is none of the run's, or a model that is not found.
    """
    names = [model["name"] for model in run["models"]]
    if unknown := next((name for name in models if name not in names), None):
        raise ModelError(f"run {run['run']}: has no model {unknown}; it has {', '.join(names)}")
    return tuple(
        ModelSpec(
            model=models.get(model["name"]) or _found(run, model),
            name=model["name"],
            labels=None if request["labels"] is None else tuple((of, name) for of, name in request["labels"]),
            thresholds=tuple((name, value) for name, value in request["thresholds"]),
            definitions=tuple((name, value) for name, value in request["definitions"]),
            engine=model["engine"],
            device=model["device"],
            dtype=model["dtype"],
        )
        for model, request in zip(run["models"], run["asked"], strict=True)
    )


def _found(run: Manifest, model: Manifest) -> str:
    if model["model"] in EMBEDDED or hub_id(model["model"]):
        return str(model["model"])
    place = find(model["digest"])
    if place is None:
        which = f"its model {model['name']} (digest {model['digest'][:12]})"
        raise ModelError(
            f"run {run['run']}: {which} is not known on this machine; say where it is: --model {model['name']}=FOLDER"
        )
    return place


def _check_scores(store: Store, run: Manifest) -> None:
    """Before anything is scored: what it is to be compared with is what was committed. Errors: ArchiveError."""
    for part in run["parts"]:
        path = store.path(part["path"])
        if not path.is_file() or file_sha256(path) != part["sha256"]:
            what = "not as it was committed (SHA-256 differs)" if path.is_file() else "gone"
            raise ArchiveError(f"{path}: {what}; restore it")


def _check_columns(before: Manifest, plan: Plan) -> None:
    had = [label["name"] for label in before["labels"]]
    has = [label["name"] for model in plan.described for label in model["labels"]]
    if had != has:
        raise ArchiveError(
            f"run {before['run']}: it scored {', '.join(had)}, these models score {', '.join(has)}: not comparable; "
            "name the models that it was made with"
        )


def compared(store: Store, before: Manifest, after: Manifest) -> Outcome:
    """Holds the score files of two manifests against each other, part by part and row by row."""
    labels = _thresholds(before)
    scores = moved = reread = flips = 0
    largest = 0.0
    flipped: list[Flip] = []
    for old, new in _batches(store, before, after):
        other = np.zeros(old.num_rows, bool)
        for name in ("lang", "windows"):
            other |= np.array(old.column(name).to_pylist(), object) != np.array(new.column(name).to_pylist(), object)
        for name, threshold in labels.items():
            was, now = (each.column(name).to_numpy(zero_copy_only=False) for each in (old, new))
            other |= np.isnan(was) != np.isnan(now)
            both = ~(np.isnan(was) | np.isnan(now))
            scores += int(both.sum())
            distance = np.abs(was[both].astype(np.float64) - now[both])
            moved += int((distance > 0).sum())
            largest = max(largest, float(distance.max(initial=0)))
            changed = np.flatnonzero(_has(old, name) != _has(new, name))
            flips += len(changed)
            flipped += [
                Flip(old.column("uid")[row].as_py(), name, threshold, _score(was[row]), _score(now[row]))
                for row in changed[: MOST_FLIPS - len(flipped)].tolist()
            ]
        reread += int(other.sum())
    found = causes(before, after)
    tolerance = max(before["tolerance"], after["tolerance"])
    verdict: Verdict
    if not (moved or reread or flips):
        verdict = "exact"
    elif largest <= tolerance and not reread and _thresholds(before) == _thresholds(after):
        verdict = "within tolerance"
    else:
        verdict = "not comparable" if found else "different"
    run, posts = before["run"], before["counts"]["posts"]
    return Outcome(run, verdict, posts, scores, moved, largest, tolerance, reread, flips, flipped, found)


def _thresholds(run: Manifest) -> dict[str, float]:
    return {label["name"]: float(label["threshold"]) for label in run["labels"]}


def _batches(store: Store, before: Manifest, after: Manifest) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The rows of both, side by side: a scores part has the rows and the order of its posts part."""
    theirs = {part["posts_path"]: part["path"] for part in after["parts"]}
    for part in before["parts"]:
        with (
            pq.ParquetFile(store.path(part["path"])) as old,
            pq.ParquetFile(store.path(theirs[part["posts_path"]])) as new,
        ):
            yield from _in_step(old.iter_batches(), new.iter_batches())


def _in_step(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Batches of the same rows, however each side is cut; both have the same rows in all."""
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        rows = min(one.num_rows, other.num_rows)
        yield one.slice(0, rows), other.slice(0, rows)
        one = one.slice(rows) if rows < one.num_rows else next(left, None)
        other = other.slice(rows) if rows < other.num_rows else next(right, None)


def _has(scores: pa.RecordBatch, label: str) -> NDArray[np.bool_]:
    return np.array([label in flags for flags in scores.column("flags").to_pylist()], bool)


def _score(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def told(outcome: Outcome) -> Iterator[str]:
    """An outcome, line by line."""
    yield f"{outcome.run}: {outcome.verdict}"
    yield f"  {outcome.scores:,} scores of {outcome.posts:,} posts, {outcome.reread:,} posts read otherwise"
    yield f"  {outcome.moved:,} scores moved, by {outcome.largest:.2g} at most (tolerance {outcome.tolerance:.2g})"
    yield f"  {outcome.flips:,} flags changed"
    for flip in outcome.flipped[:_SHOWN]:
        moved = f"{_shown(flip.before)} -> {_shown(flip.after)}"
        yield f"    {flip.uid} {flip.label}: {moved}, threshold {flip.threshold:g}"
    if outcome.flips > _SHOWN:
        yield f"    and {outcome.flips - _SHOWN:,} more (--json names up to {MOST_FLIPS:,})"
    for cause in outcome.causes:
        yield f"  differs: {cause.text}"


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.6f}"
