"""Classifying a sealed sweep: one Dask task per posts part writes one scores part of the same rows and order.

A finished scores part is its own checkpoint, under `incoming/run=<id>`; it says which posts part and which models it
stands for, so work that was done is not done again. When all parts stand, the folder moves to `scores/run=<id>` by one
rename and the run's manifest is created. What a worker does with a part is left to `score_part.py`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from classify.errors import ModelError
from classify.model import ModelRef, ModelSpec, check_together, describe_model, prepare
from classify.prepared import note
from cluster.errors import ClusterError
from cluster.open import ClusterSpec, open_cluster
from cluster.tasks import run_tasks
from cluster.workers import GPU
from pipelines.archive import (
    FORMAT,
    Manifest,
    first_digest,
    incoming_run,
    moment,
    redacted_since,
    refuse_changed,
    reopen_archive,
    run_manifest,
    run_manifest_name,
    run_manifests,
    software,
    sweep_manifest,
    write_manifest,
)
from pipelines.config import SweepConfig, wrong_device
from pipelines.digests import Digest, file_sha256, part_rows
from pipelines.errors import ArchiveError, ConfigError, Exit
from pipelines.keys import key_for
from pipelines.lease import Lease, held
from pipelines.progress import Progress
from pipelines.score_counts import near_threshold
from pipelines.score_part import DAMAGED, PartJob, is_done, noted_of, score_part
from pipelines.store import Store

Row = dict[str, Any]


@dataclass(frozen=True)
class RunRequest:
    """One pass that is asked for: a sealed sweep of an archive, the models, and where their tasks run.

    Errors: ConfigError for a device that no worker of the cluster has.
    """

    archive: Path
    sweep: str
    models: tuple[ModelSpec, ...]
    cluster: ClusterSpec
    token_budget: int
    anew: bool = False
    """Whether all posts are scored, also where an earlier run holds the scores."""

    def __post_init__(self) -> None:
        for spec in self.models:
            if (wrong := wrong_device(self.cluster.kind, spec.device)) is not None:
                raise ConfigError(wrong)

    def where_gpus_are(self) -> "RunRequest":
        """The same on a `cuda` cluster, where models compute on a GPU and the cluster is a `local` one, which has
        none."""
        devices = {spec.device for spec in self.models}
        if self.cluster.kind == "local" and "cuda" in devices <= {"cpu", "cuda"}:
            return replace(self, cluster=ClusterSpec("cuda"))
        return self

    @classmethod
    def of(cls, config: SweepConfig) -> "RunRequest":
        """What a sweep file asks for."""
        cluster = ClusterSpec(config.cluster.kind, config.cluster.workers, config.cluster.address)
        models = tuple(part.spec for part in config.classify.each)
        return cls(config.archive, config.id, models, cluster, config.classify.token_budget)


@dataclass(frozen=True)
class Plan:
    """A run before its first task: the models, prepared and described, and the name that follows from all of it."""

    sweep: Manifest
    refs: tuple[ModelRef, ...]
    described: tuple[dict[str, Any], ...]

    @property
    def run(self) -> str:
        """Named by what decides scores and flags: the sweep's content and the models' descriptions. After an erasure it
        is the same run, without the scores of who is gone."""
        decided = orjson.dumps([first_digest(self.sweep), self.described], option=orjson.OPT_SORT_KEYS)
        called = "-".join(ref.name for ref in self.refs)[:80]
        return f"{self.sweep['sweep']}-{called}-{hashlib.blake2b(decided, digest_size=4).hexdigest()}"

    def made_by(self, token_budget: int) -> Row:
        """All that the bits of the scores can depend on beside posts and machines."""
        return _made_by(self.described, software(), token_budget)

    def earlier(self, store: Store, token_budget: int) -> Manifest | None:
        """A finished run that holds the scores that this one would give, whatever it flagged by."""
        wanted = self.made_by(token_budget)
        for run in run_manifests(store, self.sweep["sweep"]):
            same = run["generation"] == self.sweep["generation"] and run["environments"] is not None
            same = same and not redacted_since(self.sweep, run)  # it has scores of posts that have no text any more
            if same and _made_by(run["models"], run["software"], run["token_budget"]) == wanted:
                return run
        return None


def _made_by(models: Iterable[Row], code: Row, token_budget: int) -> Row:
    """The models, as computed, with what is kept of each, the code, and, where a score moves with its batch, the budget
    of one: what a threshold or a name does not change."""
    keys = ("digest", "engine", "device", "dtype", "exactness")
    computed = [
        {**{key: model[key] for key in keys}, "of": [label["of"] for label in model["labels"]]} for model in models
    ]
    exact = all(model["exactness"] == "exact" for model in computed)
    return {
        "models": computed,
        "postsweep": code["postsweep"],
        "commit": code["commit"],
        "token_budget": None if exact else token_budget,
    }


def plan_run(sweep: Manifest, specs: Iterable[ModelSpec], progress: Progress) -> Plan:
    """Prepares the models; only this may use the network. Errors: ModelError, also for models of one column's name."""
    with progress.stage("prepare model"):
        refs = tuple(prepare(spec) for spec in specs)
        for ref in refs:
            note(ref)
        described = tuple(describe_model(ref) for ref in refs)
        check_together(described)
    return Plan(sweep, refs, described)


def classify_sweep(request: RunRequest, progress: Progress) -> tuple[str, Exit]:
    """Scores every post of a sealed sweep; a call after a kill goes on, a call after the end changes nothing.

    Returns the run's id. Errors: ArchiveError when the sweep is not sealed, LeaseHeldError, KeyMismatchError,
    ClusterError, ModelError.
    """
    store = reopen_archive(request.archive, f"sweep-{request.sweep}", key_for(request.archive).fingerprint)
    sweep = sealed(store, request.sweep)
    plan = plan_run(sweep, request.models, progress)
    run = plan.run
    if run_manifest(store, run) is not None:
        return run, Exit.DONE
    store = Store(store.root, f"run-{run}")
    with held(store, f"run-{run}") as lease:
        refuse_changed(store, sweep)
        store.clear_scratch()
        final = f"scores/run={run}"
        if not store.exists(final):
            earlier = None if request.anew else plan.earlier(store, request.token_budget)
            score_parts(store, lease, plan, incoming_run(run), request, progress, earlier)
            lease.check(store)
            store.move_folder(incoming_run(run), final)
        write_manifest(store, run_manifest_name(run), make_manifest(store, plan, final, request.token_budget))
    return run, Exit.DONE


def sealed(store: Store, sweep: str) -> Manifest:
    """The manifest of a sealed sweep. Errors: ArchiveError when it is not."""
    manifest = sweep_manifest(store, sweep)
    if manifest is None:
        raise ArchiveError(f"{store.root}: sweep {sweep} is not sealed; run `postsweep crawl` first")
    return manifest


def score_parts(  # noqa: PLR0917 - the run's own state, passed on once
    store: Store,
    lease: Lease,
    plan: Plan,
    folder: str,
    request: RunRequest,
    progress: Progress,
    earlier: Manifest | None = None,
) -> None:
    """Scores all parts of the plan's sweep into a folder; those that stand there already are left.

    `earlier` is a run that holds these scores. Errors: ModelError, ClusterError, ArchiveError.
    """
    taken = {} if earlier is None else {each["posts_path"]: (each["path"], each["sha256"]) for each in earlier["parts"]}
    parts = plan.sweep["parts"]["posts"]
    made_by = orjson.dumps(plan.made_by(request.token_budget), option=orjson.OPT_SORT_KEYS).decode()
    jobs = [
        PartJob(
            archive=str(store.root),
            run=plan.run,
            lease_name=lease.name,
            lease_token=lease.token,
            posts_path=part["path"],
            posts_digest=part["digest"],
            posts_sha256=part["sha256"],
            scores_path=_scores_path(folder, part),
            models=plan.refs,
            token_budget=request.token_budget,
            made_by=made_by,
            earlier=taken.get(part["path"]),
        )
        for part in parts
    ]
    rows = {part["path"]: part["rows"] for part in parts}
    undone = [job for job in jobs if not is_done(store, job)]
    needs = GPU if earlier is None and any(spec.device.startswith("cuda") for spec in request.models) else None
    with progress.stage("classify", total=sum(rows.values())) as stage:
        stage.advance(sum(rows.values()) - sum(rows[job.posts_path] for job in undone))
        if not undone:
            store.path(folder).mkdir(parents=True, exist_ok=True)
            return
        flags_alone = earlier is not None and request.cluster.kind == "cuda"  # they need no GPU
        with open_cluster(ClusterSpec() if flags_alone else request.cluster) as client:
            for _ in run_tasks(
                client,
                score_part,
                undone,
                fatal=(ModelError, ArchiveError, ClusterError),
                resources=needs,
                on_event=lambda event: stage.advance(event["rows"]),
            ):
                pass


def _scores_path(folder: str, part: Manifest) -> str:
    return f"{folder}/{part['path'].removeprefix('posts/')}"


def make_manifest(store: Store, plan: Plan, folder: str, token_budget: int) -> Manifest:
    """The run's manifest, made from the score files in a folder alone, so that it comes out the same after a kill.

    Errors: ArchiveError when one of them is damaged.
    """
    labels = [{**label, "model": model["name"]} for model in plan.described for label in model["labels"]]
    names = [label["name"] for label in labels]
    counts: dict[str, Any] = {"posts": 0, "scored": 0, "empty": 0, "unsupported": 0, "flags": dict.fromkeys(names, 0)}
    parts = []
    tolerance, measured = 0.0, 0
    environments: Counter[bytes] = Counter()
    whole = Digest()
    for part in plan.sweep["parts"]["posts"]:
        name = _scores_path(folder, part)
        path = store.path(name)
        digest = Digest(whole)
        try:
            noted = noted_of(path)
            for row in part_rows(path):
                digest.add(row)
        except DAMAGED:
            raise ArchiveError(f"{path}: damaged; remove {store.path(folder)} and classify again") from None
        for key in ("posts", "scored", "empty", "unsupported"):
            counts[key] += noted["counts"][key]
        for label, count in noted["counts"]["flags"].items():
            counts["flags"][label] += count
        tolerance = max(tolerance, noted["tolerance"])
        measured += noted["tolerance_texts"]
        environments[orjson.dumps(noted["environment"], option=orjson.OPT_SORT_KEYS)] += 1
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
    exact = all(model["exactness"] == "exact" for model in plan.described)
    return {
        "format": FORMAT,
        "run": plan.run,
        "sweep": plan.sweep["sweep"],
        "generation": plan.sweep["generation"],
        "finished_at": moment(datetime.now(UTC)),
        "models": list(plan.described),
        "asked": [
            {"labels": ref.spec.labels, "thresholds": ref.spec.thresholds, "definitions": ref.spec.definitions}
            for ref in plan.refs
        ],
        "labels": labels,
        "exactness": "exact" if exact else "tolerance",
        "tolerance": tolerance,
        "tolerance_texts": measured,
        "near_threshold": near_threshold([store.path(part["path"]) for part in parts], labels, tolerance),
        "environments": [{**orjson.loads(key), "parts": environments[key]} for key in sorted(environments)],
        "token_budget": token_budget,
        "counts": counts,
        "parts": parts,
        "digest": whole.hex,
        "pseudonym_key": plan.sweep["pseudonym_key"],
        "software": software(),
    }
