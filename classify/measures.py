"""Measures of scores against what is known of the rows, each with a 95 % interval. Arrays alone: no model, no file.

Every measure takes a weight per row: ones give the figure, and how often a bootstrap sample drew each row gives one
draw of it, so that a figure and its interval come out of the same lines.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from classify.heads import is_flag

DRAWS = 1000
BINS = 15

_Z = 1.959963984540054
"""The standard normal quantile of a two-sided 95 % interval."""

_CELLS = 2**21
"""Weights of a chunk of draws: draws times rows."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Scores of one label `[rows]` (NaN: not scored), whether it applies, and the number of each row's cluster.

    Rows of a cluster are drawn together. A row without a score is never flagged, stands behind every other where rows
    are put in order, and claims nothing that calibration could be held to.
    """

    scores: Floats
    positive: Bools
    clusters: NDArray[np.intp]

    def at(self, chosen: Bools) -> "Rows":
        """Some of the rows."""
        return Rows(self.scores[chosen], self.positive[chosen], self.clusters[chosen])


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; None where it is not defined (precision without a flag)."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Share:
    """So many rows of so many, with the 95 % interval of E. B. Wilson (1927); rows are taken as independent."""

    hits: int
    rows: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Cut:
    """Figures at one threshold. `false_positives` is the share of negative rows that are flagged."""

    threshold: float
    flagged: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    macro_f1: Estimate
    false_positives: Estimate


@dataclass(frozen=True)
class Bin:
    """Rows whose scores lie from `low` to `high`: the mean score, and the share that the label applies to."""

    low: float
    high: float
    claimed: float | None
    seen: Share


@dataclass(frozen=True)
class Figures:
    """All figures of one label on some rows; `cuts` by name of the threshold."""

    rows: int
    positive: int
    unscored: int
    average_precision: Estimate
    calibration_error: Estimate
    cuts: Mapping[str, Cut]
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Difference:
    """The second model less the first on the same rows, and whether they are right on different rows.

    `p` is McNemar's exact test (Q. McNemar, 1947) of `first_only` against `second_only`, rows on which one alone is
    right; `adjusted` is `p` after all comparisons that were made with it (S. Holm, 1979).
    """

    rows: int
    macro_f1: Estimate
    average_precision: Estimate
    first_only: int
    second_only: int
    p: float
    adjusted: float


def share(hits: int, rows: int) -> Share:
    """A share with its interval; (0, 1) when there is no row."""
    if rows == 0:
        return Share(0, 0, None, 0.0, 1.0)
    value = hits / rows
    scale = 1 + _Z * _Z / rows
    middle = (value + _Z * _Z / (2 * rows)) / scale
    half = _Z / scale * math.sqrt(value * (1 - value) / rows + _Z * _Z / (4 * rows * rows))
    return Share(hits, rows, value, max(0.0, middle - half), min(1.0, middle + half))


def figures(rows: Rows, thresholds: Mapping[str, float], draws: int = DRAWS, seed: int = 0) -> Figures:
    """The figures of one label at each of some thresholds.

    Precision, recall and the share of false positives have Wilson's interval where no two of the rows that they are a
    share of are in one cluster; all else has the bootstrap's (percentiles of samples of clusters).
    """
    values, drawn = _measured(rows, thresholds, draws, seed)
    found = {key: _estimate(values[key], drawn[key]) for key in values}
    cuts = {}
    for name, threshold in thresholds.items():
        flagged = is_flag(rows.scores, threshold)
        told = {key: found[name, key] for key in ("precision", "recall", "f1", "macro_f1", "false_positives")}
        of = {"precision": flagged, "recall": rows.positive, "false_positives": ~rows.positive}
        hits = {"precision": rows.positive, "recall": flagged, "false_positives": flagged}
        for key, among in of.items():
            if len(np.unique(rows.clusters[among])) == among.sum():
                exact = share(int((hits[key] & among).sum()), int(among.sum()))
                told[key] = Estimate(exact.value, exact.low, exact.high) if exact.rows else Estimate(None)
        cuts[name] = Cut(float(threshold), int(flagged.sum()), **told)
    return Figures(
        len(rows.scores), int(rows.positive.sum()), int(np.isnan(rows.scores).sum()),
        found["", "average_precision"], found["", "calibration_error"], cuts, reliability(rows),
    )  # fmt: skip


def reliability(rows: Rows, bins: int = BINS) -> tuple[Bin, ...]:
    """What a reliability diagram draws: bins of equal width, the empty ones too."""
    known = rows.at(~np.isnan(rows.scores))
    places = _bin_of(known.scores, bins)
    found = []
    for place in range(bins):
        here = places == place
        claimed = float(known.scores[here].mean()) if here.any() else None
        seen = share(int(known.positive[here].sum()), int(here.sum()))
        found.append(Bin(place / bins, (place + 1) / bins, claimed, seen))
    return tuple(found)


def precision_recall(rows: Rows) -> tuple[Floats, Floats]:
    """Recall and precision at every distinct score, from the highest down."""
    order, ends = _ranked(rows.scores)
    hits = np.cumsum(rows.positive[order])[ends]
    return hits / max(1, rows.positive.sum()), hits / (ends + 1)


def differences(
    pairs: Sequence[tuple[Rows, Rows, float, float]], draws: int = DRAWS, seed: int = 0
) -> list[Difference]:
    """Compares two models on several groups of rows: the rows by either, and the threshold of either.

    Both are drawn alike, so that what they share drops out of the difference.
    """
    found = []
    for first, second, low, high in pairs:
        ours, ours_drawn = _measured(first, {"own": low}, draws, seed)
        theirs, theirs_drawn = _measured(second, {"own": high}, draws, seed)
        macro, area = (
            _estimate(theirs[key] - ours[key], theirs_drawn[key] - ours_drawn[key])
            for key in (("own", "macro_f1"), ("", "average_precision"))
        )
        right = [is_flag(each.scores, cut) == each.positive for each, cut in ((first, low), (second, high))]
        one, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        found.append(Difference(len(first.scores), macro, area, one, other, mcnemar(one, other), 1.0))
    adjusted = holm([each.p for each in found])
    return [replace(each, adjusted=after) for each, after in zip(found, adjusted, strict=True)]


def mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided exact p of McNemar's test: that of a fair coin for what only one of two got right."""
    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for their number, in their order (S. Holm, A simple sequentially rejective procedure, 1979)."""
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


_Named = dict[tuple[str, str], NDArray[np.float64]]
"""Values by threshold ("" where it has no part) and measure, one for each row of weights."""


def _measured(rows: Rows, thresholds: Mapping[str, float], draws: int, seed: int) -> tuple[_Named, _Named]:
    """Every measure once with all rows as they are, and once for each draw."""
    clusters = np.unique(rows.clusters, return_inverse=True)[1]
    numbered = Rows(rows.scores, rows.positive, clusters)
    count = int(clusters.max()) + 1 if len(clusters) else 0
    values = _weighted(numbered, thresholds, np.ones((1, count)))
    chunks = [_weighted(numbered, thresholds, weights) for weights in _drawn(count, len(clusters), draws, seed)]
    return values, {key: np.concatenate([chunk[key] for chunk in chunks]) for key in values}


def _drawn(clusters: int, rows: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each draw has each cluster, `[draws of a chunk, clusters]`."""
    random = np.random.default_rng(seed)
    step = max(1, _CELLS // max(1, rows))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = [np.bincount(random.integers(0, max(1, clusters), clusters), minlength=clusters) for _ in range(size)]
        yield np.array(drawn, np.float64).reshape(size, clusters)


def _weighted(rows: Rows, thresholds: Mapping[str, float], weights: NDArray[np.float64]) -> _Named:
    """Every measure under each row of weights `[draws, clusters]`."""
    found: _Named = {
        ("", "average_precision"): _average_precision(rows, weights),
        ("", "calibration_error"): _calibration_error(rows, weights),
    }
    for name, threshold in thresholds.items():
        flagged = is_flag(rows.scores, threshold)
        kinds = (flagged & rows.positive, flagged & ~rows.positive, ~flagged & rows.positive, ~flagged & ~rows.positive)
        hits, false, missed, calm = (weights @ _per_cluster(rows, kind.astype(float)) for kind in kinds)
        f1 = _ratio(2 * hits, 2 * hits + false + missed)
        other = _ratio(2 * calm, 2 * calm + false + missed)
        # With one class alone there is nothing to tell apart.
        both = (hits + missed > 0) & (false + calm > 0)
        found |= {
            (name, "precision"): _ratio(hits, hits + false),
            (name, "recall"): _ratio(hits, hits + missed),
            (name, "f1"): f1,
            (name, "macro_f1"): np.where(both, (f1 + other) / 2, np.nan),
            (name, "false_positives"): _ratio(false, false + calm),
        }
    return found


def _average_precision(rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area under the precision-recall curve as a sum over recall (M. Zhu, 2004); ties count as one step."""
    if not len(rows.scores):
        return np.full(len(weights), np.nan)
    order, ends = _ranked(rows.scores)
    each = weights[:, rows.clusters[order]]
    seen = np.cumsum(each, axis=1)[:, ends]
    hits = np.cumsum(each * rows.positive[order], axis=1)[:, ends]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return _ratio((np.diff(hits, prepend=0, axis=1) * precision).sum(axis=1), hits[:, -1])


def _ranked(scores: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order from the highest score down, rows without one last, and where each distinct score ends in it."""
    known = np.nan_to_num(scores, nan=-1.0)
    order = np.argsort(-known, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(known[order])), len(scores) - 1)


def _calibration_error(rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean distance between claimed and seen share of positives over bins of equal width, weighted by size.

    Source: C. Guo et al., On calibration of modern neural networks, ICML 2017, equation 3, for a binary label.
    """
    known = ~np.isnan(rows.scores)
    distance = np.zeros((weights.shape[1], BINS))
    over = np.where(known, rows.scores.astype(np.float64) - rows.positive, 0.0)
    np.add.at(distance, (rows.clusters, _bin_of(np.nan_to_num(rows.scores), BINS)), over)
    return _ratio(np.abs(weights @ distance).sum(axis=1), weights @ _per_cluster(rows, known.astype(float)))


def _bin_of(scores: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((scores * bins).astype(np.intp), bins - 1)


def _per_cluster(rows: Rows, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(rows.clusters, weights=values).astype(np.float64)


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return found


def _estimate(value: NDArray[np.float64], drawn: NDArray[np.float64]) -> Estimate:
    """A figure with the percentiles of those draws in which it is defined."""
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value[0]):
        return Estimate(None)
    if not len(known):
        return Estimate(float(value[0]))
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(float(value[0]), float(low), float(high))
