"""Judges a model on labelled texts: scores them as a sweep would, and measures what comes of it.

Scoring is apart from judging, which is arithmetic alone. What the measures are is left to `measures`; how files are
read to `labelled`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.calibration import STEPS, choose_threshold, f1_scores
from classify.errors import ModelError
from classify.heads import is_flag
from classify.labelled import Columns, Row, read_labelled
from classify.labels import Label
from classify.measures import DRAWS, Difference, Figures, Rows, Share, differences, figures, share
from classify.model import Model
from classify.recipe import ThresholdPart
from classify.scoring import score_texts

ALL = "all"
STORED, HALF, CHOSEN = "stored", "0.5", "chosen"
"""Names of thresholds: the model's own, one half, and what a development split gives."""

_CHUNK = 256


@dataclass(frozen=True)
class Scored:
    """Labelled rows and what a model says of them: scores float32 `[rows, labels]`, NaN where it gives none."""

    model: Mapping[str, Any]
    """The model's entry in a manifest."""
    labels: tuple[Label, ...]
    rows: tuple[Row, ...]
    scores: NDArray[np.float32]
    detected: tuple[str | None, ...]
    """The language that each text is taken for."""

    @cached_property
    def flags(self) -> NDArray[np.bool_]:
        """Whether a row is flagged with a label, `[rows, labels]`."""
        return is_flag(self.scores, np.array([label.threshold for label in self.labels]))

    @cached_property
    def marks(self) -> NDArray[np.int8]:
        """What is known of a row and a label, `[rows, labels]`: 1, 0, or -1 for nothing."""
        names = [label.name for label in self.labels]
        said = [[row.marks.get(name, -1) for name in names] for row in self.rows]
        return np.array(said, np.int8).reshape(len(self.rows), len(names))

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """The number of each row's cluster: a harmful row is with the harmless one that it resembles."""
        keys = [(row.file, row.cluster or row.pair or row.id or f"row {row.number}") for row in self.rows]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], np.intp)


@dataclass(frozen=True)
class Slice:
    """The figures of a label on the rows of one language, one file, or all."""

    label: str
    by: str
    """`language`, `file` or `all`."""
    name: str
    figures: Figures


@dataclass(frozen=True)
class Group:
    """Rows of one kind in one file, as people meet flags.

    Of the harmless rows (no label applies, as far as the file says) the share that is flagged at all, and with each
    label; of the harmful ones the share that is flagged with at least one of its labels, and of each label's rows the
    share that is flagged with it. What else a harmful row is flagged with is no error here: other labels may apply.
    """

    file: str
    group: str
    flagged: Share
    flagged_by_label: Mapping[str, Share]
    found: Share
    found_by_label: Mapping[str, Share]


@dataclass(frozen=True)
class Judgement:
    """What a model is worth on labelled texts."""

    model: Mapping[str, Any]
    rows: int
    unscored: int
    slices: tuple[Slice, ...]
    files: tuple[Group, ...]
    groups: tuple[Group, ...]
    pairs: Mapping[str, Share]
    """By language and label (`zh rumor`), and for all: pairs whose harmful row has the higher score of its label."""
    told: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """The difference of two models for a label, in one language or all."""

    label: str
    name: str
    difference: Difference


@dataclass(frozen=True)
class Chosen:
    """A threshold that a development split gives for a target, and what is to be said of it."""

    label: str
    threshold: float
    told: str | None = None


def score_rows(model: Model, rows: Sequence[Row], advance: Callable[[int], None] = lambda count: None) -> Scored:
    """Scores labelled rows as a sweep would: the language is detected, whatever the file says. Errors: ModelError."""
    scores = np.full((len(rows), len(model.labels)), np.nan, np.float32)
    detected: list[str | None] = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        table = score_texts(model, [row.text for row in chunk])
        for place, label in enumerate(model.labels):
            scores[start : start + len(chunk), place] = table.column(label.name).to_numpy()
        detected += table.column("lang").to_pylist()
        advance(len(chunk))
    return Scored(model.entry, model.labels, tuple(rows), scores, tuple(detected))


def score_suite(model: Model, path: Path) -> Scored:
    """Scores a suite, whose rows list the labels that they were written for. Errors: ModelError."""
    labels = [label.name for label in model.labels]
    return score_rows(model, read_labelled([path], Columns(partial=True), labels).rows)


def judge(scored: Scored, chosen: Mapping[str, float] | None = None, draws: int = DRAWS) -> Judgement:
    """All figures of a model on labelled rows, at its own thresholds, at 0.5, and at `chosen` ones where given."""
    unscored = np.asarray(np.isnan(scored.scores).all(axis=1))
    return Judgement(
        scored.model,
        len(scored.rows),
        int(unscored.sum()),
        tuple(_slices(scored, chosen or {}, draws)),
        tuple(_grouped(scored, lambda row: (row.file, ALL))),
        tuple(_grouped(scored, lambda row: (row.file, row.group) if row.group is not None else None)),
        _pairs(scored),
        tuple(_unscored(scored, unscored)),
    )


def compare(first: Scored, second: Scored, draws: int = DRAWS) -> list[Compared]:
    """What the second model is better or worse at, on the rows that both were given, for the labels that both have.

    Errors: ModelError when they have no label in common.
    """
    if [(row.file, row.number) for row in first.rows] != [(row.file, row.number) for row in second.rows]:
        raise ValueError("two models can be compared on the same rows only")
    places = {label.name: place for place, label in enumerate(second.labels)}
    shared = [(at, places[label.name], label.name) for at, label in enumerate(first.labels) if label.name in places]
    if not shared:
        has = ", ".join(label.name for label in second.labels)
        raise ModelError(f"the models have no label in common; the second has {has}")
    named, pairs = [], []
    for one, other, label in shared:
        cuts = first.labels[one].threshold, second.labels[other].threshold
        for name, rows in _by_language(first):
            said = rows & (first.marks[:, one] >= 0)
            if said.any():
                named.append((label, name))
                pairs.append((rows_of(first, one).at(said), rows_of(second, other).at(said), *cuts))
    return [Compared(*name, each) for name, each in zip(named, differences(pairs, draws), strict=True)]


def choose_thresholds(dev: Scored, target: ThresholdPart) -> list[Chosen]:
    """The threshold of each label for a target, chosen on a development split; languages weigh alike.

    A label that the split says nothing of is left out, and one that it has not both classes of keeps its own. Where no
    threshold reaches the target, that is said.
    """
    marks, found = dev.marks, []
    for place, label in enumerate(dev.labels):
        said = [rows & (marks[:, place] >= 0) for _, rows in _by_language(dev, whole=False)]
        groups = [(np.nan_to_num(dev.scores[at, place]), marks[at, place] == 1) for at in said if at.any()]
        truth = np.concatenate([truth for _, truth in groups]) if groups else np.zeros(0, bool)
        if not len(truth):
            continue
        if not 0 < truth.sum() < len(truth):
            told = f"{label.name}: the development split has not both kinds of rows; {label.threshold:g} stays"
            found.append(Chosen(label.name, label.threshold, told))
            continue
        cut = choose_threshold(groups, (), target.target, target.value)
        found.append(Chosen(label.name, cut, _missed(label.name, cut, groups, target)))
    return found


def rows_of(scored: Scored, place: int) -> Rows:
    """All rows as one label's; those that nothing is known of are to be left out by who asks."""
    return Rows(scored.scores[:, place], scored.marks[:, place] == 1, scored.clusters)


def _by_language(scored: Scored, whole: bool = True) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    langs = np.array([row.lang for row in scored.rows], np.str_)
    if whole:
        yield ALL, np.ones(len(langs), bool)
    names = sorted(set(langs.tolist()))
    if len(names) > 1 or not whole:
        yield from ((name, langs == name) for name in names)


def _slices(scored: Scored, chosen: Mapping[str, float], draws: int) -> Iterable[Slice]:
    marks, files = scored.marks, np.array([row.file for row in scored.rows], np.str_)
    names = list(dict.fromkeys(files.tolist()))
    for place, label in enumerate(scored.labels):
        cuts = {STORED: label.threshold, HALF: 0.5} | ({CHOSEN: chosen[label.name]} if label.name in chosen else {})
        parts = [(ALL if name == ALL else "language", name, here) for name, here in _by_language(scored)]
        known = [here for _, _, here in parts]
        # A file of one language, and of all that there is in it, is told already.
        parts += [
            ("file", name, here)
            for name in names
            for here in (files == name,)
            if not any(np.array_equal(here, other) for other in known)
        ]
        for by, name, here in parts:
            said = here & (marks[:, place] >= 0)
            if said.any():
                yield Slice(label.name, by, name, figures(rows_of(scored, place).at(said), cuts, draws))


def _grouped(scored: Scored, key: Callable[[Row], tuple[str, str] | None]) -> Iterable[Group]:
    keys = [key(row) for row in scored.rows]
    marks, flags = scored.marks, scored.flags
    for each in dict.fromkeys(keys):
        if each is None:
            continue
        here = np.array([other == each for other in keys])
        calm = here & ~(marks == 1).any(axis=1) & (marks == 0).any(axis=1)
        harmful = here & (marks == 1).any(axis=1)
        wrong, right = flags & (marks == 0), flags & (marks == 1)
        yield Group(
            *each,
            _share(wrong.any(axis=1), calm),
            {label.name: _share(wrong[:, at], calm & (marks[:, at] == 0)) for at, label in enumerate(scored.labels)},
            _share(right.any(axis=1), harmful),
            {label.name: _share(right[:, at], here & (marks[:, at] == 1)) for at, label in enumerate(scored.labels)},
        )


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Share:
    return share(int((hits & among).sum()), int(among.sum()))


def _pairs(scored: Scored) -> dict[str, Share]:
    places = {(row.file, row.id): at for at, row in enumerate(scored.rows) if row.id is not None}
    scores = np.nan_to_num(scored.scores)
    won: dict[str, list[bool]] = {}
    for at, row in enumerate(scored.rows):
        mate = places.get((row.file, row.pair)) if row.pair is not None else None
        for place, label in enumerate(scored.labels) if mate is not None else ():
            if row.marks.get(label.name) == 1:
                higher = bool(scores[at, place] > scores[mate, place])
                for name in (ALL, f"{row.lang} {label.name}"):
                    won.setdefault(name, []).append(higher)
    return {name: share(sum(each), len(each)) for name, each in won.items()}


def _unscored(scored: Scored, unscored: NDArray[np.bool_]) -> Iterable[str]:
    """What is to be said of rows without a score."""
    taken: dict[str, Counter[str]] = {}
    for at in np.flatnonzero(unscored):
        taken.setdefault(scored.rows[at].lang, Counter())[scored.detected[at] or "none"] += 1
    for lang, others in sorted(taken.items()):
        rows = "1 row" if others.total() == 1 else f"{others.total():,} rows"
        languages = ", ".join(f"{other} {count:,}" for other, count in others.most_common())
        yield f"{rows} in {lang} not scored, for the language it is taken for ({languages}): counted as not flagged"


def _missed(
    label: str, cut: float, groups: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], target: ThresholdPart
) -> str | None:
    """What is to be said when the highest threshold was taken since none reaches the target."""
    if target.value is None or cut < STEPS[-1]:
        return None
    if target.target == "review":
        reached = np.mean([(scores >= cut).mean() for scores, _ in groups]) <= target.value
    else:
        reached = np.mean([f1_scores(scores >= cut, truth)[0] for scores, truth in groups]) >= target.value
    if reached:
        return None
    return f"{label}: no threshold up to {cut:g} gives {target.target} {target.value:g} on the development split"
