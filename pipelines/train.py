"""What `postsweep train` does: checks what is asked, trains, and measures the model on the texts kept from it.

Training itself is `classify.train`; here are a user's files and a recipe joined, and the outcome is told.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classify.calibration import average_precision, f1_scores
from classify.datasets import PARTS, Example
from classify.errors import ModelError
from classify.fitting import marks_of
from classify.heads import is_flag
from classify.labelled import Columns, Labelled, read_labelled
from classify.model import load, prepare
from classify.recipe import AdapterPart, LexicalPart, Recipe, SplitPart, read_recipe
from classify.scoring import score_texts
from classify.train import Job, check_able, check_out, gather, start, train
from classify.user_texts import user_texts
from pipelines.errors import ConfigError
from pipelines.progress import Progress

DEVICES, DTYPES = ("cpu", "cuda"), ("float32", "bfloat16")
FEW = 50
"""Positive texts of a part below which it is said that what comes of them is rough."""

_DRAWS = 500
_LOOKS = 4
"""How often an epoch of a user's own texts is looked at, about."""


@dataclass(frozen=True)
class TrainRequest:
    """What is asked: a user's files, a recipe with the folder of its sets, or both; None: as the recipe says."""

    files: tuple[Path, ...]
    out: Path
    recipe: Path | None = None
    data: Path | None = None
    work: Path | None = None
    heads_only: bool = False
    columns: Columns = field(default_factory=Columns)
    definitions: Mapping[str, str] | None = None
    seed: int | None = None
    epochs: int | None = None
    calibrate: float | None = None
    test: float | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    drop_duplicates: bool = False


@dataclass(frozen=True)
class Figure:
    """What the test part says of a label, each with the ends of its 95 % interval; None where it says nothing."""

    rows: int
    positive: int
    macro_f1: tuple[float, float, float] | None
    average_precision: tuple[float, float, float] | None


@dataclass(frozen=True)
class Trained:
    """The outcome: how many texts of a part say yes and no of a label, what was left out, thresholds and figures."""

    out: Path
    texts: Mapping[str, int]
    said: Mapping[tuple[str, str], tuple[int, int]]
    """Positive and negative texts by part and label; of near-duplicates one counts."""
    left_out: tuple[str, ...]
    thresholds: Mapping[str, float]
    figures: Mapping[str, Figure]
    unread: int
    """Texts of the test part that the model takes for another language, and gives no score."""


def train_model(request: TrainRequest, progress: Progress) -> Trained:
    """Trains as asked, and measures the model. Errors: ConfigError before anything is written; ModelError."""
    work = request.work or request.out.with_name(f"{request.out.name}.work")
    with _as_usage(), progress.stage("read") as stage:
        _check(request)
        recipe, found = _recipe(request)
        job = Job(recipe, work, lambda text: None, request.device, request.dtype, request.threads)
        check_able(job)
        own = user_texts(found, recipe.split, request.drop_duplicates) if found else None
        beside = (request.recipe or Path()).parent
        examples = gather(recipe, beside, request.data or Path(), own.examples if own else ())
        recipe = recipe if request.recipe else _often_looked_at(recipe, examples)
        stage.note(f"{len(examples):,} texts")
    with progress.stage("prepare encoder"):
        start(job)
    with _as_usage(), progress.stage("train") as stage:
        heads = train(replace(job, recipe=recipe, say=stage.note), examples, request.out)
    if request.work is None:
        shutil.rmtree(work)
    with progress.stage("measure"):
        figures, unread = _measured(request.out, [each for each in examples if each.part == "test"])
    labels = tuple(recipe.labels)
    return Trained(
        request.out,
        Counter(each.part for each in examples),
        _said(examples, labels),
        own.told if own else (),
        {label.name: label.threshold for label in heads.labels},
        figures,
        unread,
    )


def told(trained: Trained) -> Iterator[str]:
    """The outcome, line by line."""
    yield from trained.left_out
    labels = list(trained.thresholds)
    width = max(9, *(len(label) for label in labels))
    yield f"{'texts':<{width}}  " + "  ".join(f"{part:>16}" for part in PARTS)
    yield f"{'':<{width}}  " + "  ".join(f"{trained.texts.get(part, 0):>16,}" for part in PARTS)
    for label in labels:
        cells = ("{:,} yes, {:,} no".format(*trained.said[part, label]) for part in PARTS)
        yield f"{label:<{width}}  " + "  ".join(f"{cell:>16}" for cell in cells)
    yield f"{'label':<{width}}  flag from  test rows  {'macro-F1 (95 %)':>19}  {'AP (95 %)':>19}"
    for label, figure in trained.figures.items():
        numbers = f"{trained.thresholds[label]:>9g}  {figure.rows:>9,}"
        measures = f"{_interval(figure.macro_f1):>19}  {_interval(figure.average_precision):>19}"
        yield f"{label:<{width}}  {numbers}  {measures}"
    for label in labels:
        kept, test = (trained.said[part, label] for part in ("calibrate", "test"))
        if min(kept[0], test[0]) < FEW:
            yield (
                f"{label}: calibrated on {sum(kept):,} texts ({kept[0]:,} yes), measured on {sum(test):,} ({test[0]:,} "
                "yes): scores, threshold and figures of so few are rough"
            )
    if trained.unread:
        yield f"{trained.unread:,} texts of the test part are taken for another language, and get no score"
    yield f"model: {trained.out}"
    yield f'use it: model = "{trained.out}" under [classify] in the sweep file, or --model {trained.out}'


def _interval(figure: tuple[float, float, float] | None) -> str:
    return "-" if figure is None else "{:.3f} ({:.2f}-{:.2f})".format(*figure)


@contextmanager
def _as_usage() -> Iterator[None]:
    """What training refuses is what the user gave."""
    try:
        yield
    except ModelError as error:
        raise ConfigError(str(error)) from None


def _check(request: TrainRequest) -> None:
    if not request.files and request.recipe is None:
        raise ConfigError("nothing to learn from; name files of labelled texts, or a recipe with --recipe and --data")
    if (request.recipe is None) != (request.data is None):
        raise ConfigError("--recipe and --data go together: the recipe, and the folder of the sets that it names")
    for option, value, known in (("--device", request.device, DEVICES), ("--dtype", request.dtype, DTYPES)):
        if value not in known:
            raise ConfigError(f"{option} {value}: use {' or '.join(known)}")
    check_out(request.out)
    if request.work is not None and request.work.resolve() == request.out.resolve():
        raise ConfigError(f"--work {request.work}: is the folder of --out; name another")


def _recipe(request: TrainRequest) -> tuple[Recipe, Labelled | None]:
    """The recipe with what the command line says otherwise, and the user's rows where there are some."""
    if request.recipe is not None:
        recipe = read_recipe(request.recipe)
        found = read_labelled(request.files, request.columns, list(recipe.labels)) if request.files else None
    else:
        found = read_labelled(request.files, request.columns)
        files = ", ".join(path.name for path in request.files)
        labels = {label: f"What {files} marks as {label}." for label in found.labels}
        own = AdapterPart(layers=8, rank=16, epochs=6, rate=4e-4, tokens=512)
        recipe = Recipe(
            base="default", labels=labels, split=SplitPart(calibrate=0.2, test=0.2), adapter=own,
            lexical=LexicalPart(buckets=2**16),
        )  # fmt: skip
    definitions = request.definitions or {}
    for label in definitions:
        if label not in recipe.labels:
            raise ConfigError(f"--definition {label}=...: no label of that name; there are {', '.join(recipe.labels)}")
    changes: dict[str, object] = {"labels": {**recipe.labels, **definitions}}
    if request.seed is not None:
        changes["seed"] = request.seed
    if request.heads_only:
        changes["adapter"] = None
    elif request.epochs is not None and recipe.adapter is not None:
        changes["adapter"] = recipe.adapter.model_copy(update={"epochs": request.epochs})
    calibrate = recipe.split.calibrate if request.calibrate is None else request.calibrate
    test = recipe.split.test if request.test is None else request.test
    if calibrate <= 0 or test < 0 or calibrate + test >= 1:
        raise ConfigError(
            f"--calibrate {calibrate:g} --test {test:g}: shares of all texts, the first more than 0, both less than 1"
        )
    changes["split"] = SplitPart(calibrate=calibrate, test=test)
    return recipe.model_copy(update=changes), found


def _often_looked_at(recipe: Recipe, examples: Sequence[Example]) -> Recipe:
    """A recipe for a user's own texts, whose steps between two looks go by how many there are."""
    if recipe.adapter is None:
        return recipe
    taught = sum(each.part == "train" for each in examples)
    steps = max(5, taught // 10 // _LOOKS)  # about ten posts fit into a batch
    return recipe.model_copy(update={"adapter": recipe.adapter.model_copy(update={"check": steps})})


def _said(examples: Sequence[Example], labels: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    marks = marks_of(examples, labels)
    parts = np.array([each.part for each in examples])
    return {
        (part, label): (int((marks[parts == part, at] == 1).sum()), int((marks[parts == part, at] == 0).sum()))
        for part in PARTS
        for at, label in enumerate(labels)
    }


def _measured(out: Path, examples: Sequence[Example]) -> tuple[dict[str, Figure], int]:
    """Figures by label of the model in a folder, as a sweep would score the texts; and how many get no score."""
    model = load(prepare(str(out)))
    names = [label.name for label in model.labels]
    table = score_texts(model, [each.text for each in examples])
    marks = marks_of(examples, names) if examples else np.zeros((0, len(names)), np.int8)
    figures = {}
    for at, label in enumerate(model.labels):
        scores = table.column(label.name).to_numpy()
        said = (marks[:, at] >= 0) & ~np.isnan(scores)
        figures[label.name] = _figure(scores[said], marks[said, at] == 1, label.threshold)
    return figures, int((table.column("windows").to_numpy() == 0).sum())


def _figure(scores: NDArray[np.float32], positive: NDArray[np.bool_], threshold: float) -> Figure:
    rows, yes = len(scores), int(positive.sum())
    if not 0 < yes < rows:
        return Figure(rows, yes, None, None)
    flags = is_flag(scores, threshold)
    random = np.random.default_rng(0)
    draws = [at for at in (random.integers(0, rows, rows) for _ in range(_DRAWS)) if positive[at].any()]
    f1 = np.percentile([f1_scores(flags[at], positive[at])[2] for at in draws], [2.5, 97.5])
    ap = np.percentile([average_precision(scores[at], positive[at]) for at in draws], [2.5, 97.5])
    return Figure(
        rows,
        yes,
        (f1_scores(flags, positive)[2], float(f1[0]), float(f1[1])),
        (average_precision(scores, positive), float(ap[0]), float(ap[1])),
    )
