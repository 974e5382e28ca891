"""What `postsweep evaluate` does: reads labelled files, scores them by one model or two, judges, and writes what came.

Judging is `classify.evaluate`; how the outcome is told is left to `evaluate_text` and to the report's page.
"""

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from classify.datasets import text_group
from classify.errors import ModelError
from classify.evaluate import Chosen, Compared, Judgement, Scored, choose_thresholds, compare, judge, score_rows
from classify.files import sha256
from classify.labelled import Columns, Labelled, Row, read_labelled
from classify.model import Model, load, prepare
from classify.recipe import ThresholdPart
from classify.spec import ModelSpec
from classify.suites import suite
from pipelines.errors import ConfigError, PostsweepError
from pipelines.progress import Progress


@dataclass(frozen=True)
class EvaluateRequest:
    """What is asked: files, suites by name, or both; `target` is what thresholds are chosen for on the files `dev`."""

    model: ModelSpec
    files: tuple[Path, ...] = ()
    suites: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    against: ModelSpec | None = None
    dev: tuple[Path, ...] = ()
    target: ThresholdPart | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The outcome; `against` and `compared` of a second model, `chosen` of a development split."""

    scored: Scored
    judgement: Judgement
    files: dict[str, str]
    """SHA-256 of each file that was read, by its name."""
    told: tuple[str, ...]
    against: Scored | None = None
    other: Judgement | None = None
    compared: tuple[Compared, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    target: ThresholdPart | None = None


def evaluate_model(request: EvaluateRequest, progress: Progress) -> Evaluation:
    """Evaluates as asked, and writes `evaluation.json`, `evaluation.html` and `scores.parquet` below `out`.

    Errors: ConfigError for what is asked or read, ModelError for a model that cannot be had.
    """
    _check(request)
    model = _opened(request.model, progress)
    names = [label.name for label in model.labels]
    try:
        with progress.stage("read"):
            paths = [*request.files, *(path for name in request.suites for path in suite(name))]
            read = _read(request, names)
            dev = read_labelled(request.dev, request.columns, names, settled=False) if request.dev else None
            digests = {path.name: sha256(path) for path in paths}
    except (ModelError, OSError) as error:
        raise ConfigError(str(error)) from None
    if not read.rows or (dev is not None and not dev.rows):
        why = "; ".join((dev if read.rows and dev else read).told)
        raise ConfigError(f"no row is left {'to judge by' if not read.rows else 'of the development split'} ({why})")
    told = list(read.told)
    scored = _scored(model, read.rows, progress)
    chosen: list[Chosen] = []
    if dev is not None and request.target is not None:
        told += [f"development split: {each}" for each in dev.told]
        told += _leaks(read.rows, dev.rows)
        chosen = choose_thresholds(_scored(model, dev.rows, progress), request.target)
        told += [each.told for each in chosen if each.told is not None]
    against, other, compared = None, None, []
    if request.against is not None:
        against = _scored(_opened(request.against, progress), read.rows, progress)
        compared = compare(scored, against)
        other = judge(against)
    with progress.stage("judge"):
        judgement = judge(scored, {each.label: each.threshold for each in chosen})
    found = Evaluation(
        scored, judgement, digests, (*told, *judgement.told), against, other, tuple(compared), tuple(chosen),
        request.target,
    )  # fmt: skip
    if request.out is not None:
        _write(found, request.out)
    return found


def asked_target(given: str) -> ThresholdPart:
    """`macro_f1`, `precision=0.9` or `review=0.01`. Errors: ConfigError."""
    name, _, value = given.partition("=")
    try:
        return ThresholdPart(target=name, value=float(value) if value else None)  # type: ignore[arg-type]
    except (ValidationError, ValueError):
        raise ConfigError(
            f"--target {given}: write macro_f1, precision=SHARE (how many flags are to be right) or review=SHARE (of "
            "all posts, how many can be looked at), a share between 0 and 1"
        ) from None


def as_json(found: Evaluation) -> dict[str, Any]:
    """The outcome as JSON holds it: what `evaluation.json` says."""
    return {
        "files": found.files,
        "told": list(found.told),
        "judgement": asdict(found.judgement),
        "against": None if found.other is None else asdict(found.other),
        "compared": [asdict(each) for each in found.compared],
        "target": None if found.target is None else found.target.model_dump(include={"target", "value"}),
        "chosen": [asdict(each) for each in found.chosen],
    }


def _check(request: EvaluateRequest) -> None:
    if not request.files and not request.suites:
        raise ConfigError("nothing to judge by; name files of labelled texts, or a suite with --suite fairness")
    if bool(request.dev) != (request.target is not None):
        raise ConfigError(
            "--dev and --target go together: thresholds are chosen for a target on a development split, and never on "
            "the rows that they are judged by"
        )
    names = [path.name for path in request.files]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: two files of that name; tables go by the name, so rename one")
    if request.out is not None and request.out.exists() and not request.out.is_dir():
        raise ConfigError(f"--out {request.out}: a file; name a folder")


def _read(request: EvaluateRequest, labels: Sequence[str]) -> Labelled:
    found = [read_labelled(request.files, request.columns, labels, settled=False)] if request.files else []
    for name in request.suites:
        whole = read_labelled(suite(name), Columns(partial=True))
        rows = [
            replace(row, marks=marks)
            for row in whole.rows
            if (marks := {label: mark for label, mark in row.marks.items() if label in labels})
        ]
        if not rows:
            raise ConfigError(
                f"--suite {name}: is of {', '.join(whole.labels)}, and the model of {', '.join(labels)}: none in common"
            )
        found.append(Labelled(tuple(labels), tuple(rows), whole.told))
    return Labelled(
        tuple(labels),
        tuple(row for each in found for row in each.rows),
        tuple(line for each in found for line in each.told),
    )


def _leaks(rows: Sequence[Row], dev: Sequence[Row]) -> list[str]:
    """What is to be said of texts that thresholds were chosen on and are judged by."""
    known = {text_group(row.text) for row in dev}
    count = sum(text_group(row.text) in known for row in rows)
    if not count:
        return []
    rows_ = "1 row stands" if count == 1 else f"{count:,} rows stand"
    return [f"{rows_} in the development split too: figures at the chosen thresholds are too good"]


def _opened(spec: ModelSpec, progress: Progress) -> Model:
    with progress.stage("prepare model"):
        return load(prepare(spec), threads=os.cpu_count() or 1)


def _scored(model: Model, rows: Sequence[Row], progress: Progress) -> Scored:
    with progress.stage("score", total=len(rows)) as stage:
        return score_rows(model, rows, stage.advance)


def _write(found: Evaluation, out: Path) -> None:
    from pipelines.report.evaluation import build_evaluation

    try:
        out.mkdir(parents=True, exist_ok=True)
        _whole(out / "evaluation.json", lambda path: path.write_text(json.dumps(as_json(found), indent=1) + "\n"))
        for name, scored in (("scores.parquet", found.scored), ("scores-against.parquet", found.against)):
            if scored is not None:
                _whole(out / name, lambda path, scored=scored: pq.write_table(_table(scored), path))
    except OSError as error:
        raise PostsweepError(f"{out}: cannot be written ({error.strerror}); name another folder") from None
    build_evaluation(found, out / "evaluation.html")


def _whole(path: Path, write: Any) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _table(scored: Scored) -> pa.Table:
    """The scores, with where each row stands in its file and no text of it."""
    rows = scored.rows
    said = {
        "file": [row.file for row in rows],
        "row": pa.array([row.number for row in rows], pa.int64()),
        "id": pa.array([row.id for row in rows], pa.string()),
        "group": pa.array([row.group for row in rows], pa.string()),
        "lang": [row.lang for row in rows],
        "detected": pa.array(scored.detected, pa.string()),
    }
    scores = {
        f"score_{label.name}": pa.array(scored.scores[:, at], pa.float32(), from_pandas=True)
        for at, label in enumerate(scored.labels)
    }
    lists = {
        "labels": [[label.name for label in scored.labels if row.marks.get(label.name) == 1] for row in rows],
        "flags": [[label.name for label, hit in zip(scored.labels, each, strict=True) if hit] for each in scored.flags],
    }
    return pa.table(said | scores | {key: pa.array(value, pa.list_(pa.string())) for key, value in lists.items()})
