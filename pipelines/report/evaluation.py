"""An evaluation as one HTML page, of the report's kind: without scripts, offline, everything escaped."""

from pathlib import Path

import numpy as np
from markupsafe import Markup

from classify.evaluate import CHOSEN, HALF, STORED, Scored, Slice, rows_of
from classify.measures import Estimate, Share, precision_recall
from pipelines.evaluate import Evaluation
from pipelines.report import plots
from pipelines.report.build import environment, write_page

_MOST_POINTS = 400
"""Points of a precision-recall curve that are drawn."""


def build_evaluation(found: Evaluation, out: Path) -> Path:
    """Writes the page to `out`, whole or not at all, and returns `out`. Errors: ArchiveError (it cannot be written)."""
    made = environment()
    made.filters |= {"estimate": _estimate, "of": _of, "signed": _signed}
    labels = [label.name for label in found.scored.labels]
    page = made.get_template("evaluation.html").render(
        found=found,
        judgement=found.judgement,
        labels=labels,
        names={"stored": STORED, "half": HALF, "chosen": CHOSEN},
        by_label={label: [each for each in found.judgement.slices if each.label == label] for label in labels},
        drawn={label: _drawings(found, label) for label in labels},
    )
    return write_page(out, page)


def _drawings(found: Evaluation, label: str) -> list[Markup]:
    slices = [each for each in found.judgement.slices if each.label == label and each.by != "file"]
    both = [each for each in slices if 0 < each.figures.positive < each.figures.rows]
    drawn = []
    if slices:
        bins = [[each for each in part.figures.bins if each.claimed is not None] for part in slices]
        lines = [
            (part.name, [each.claimed or 0.0 for each in filled], [each.seen.value or 0.0 for each in filled])
            for part, filled in zip(slices, bins, strict=True)
        ]
        drawn.append(plots.reliability(label, lines))
    if both:
        drawn.append(
            plots.precision_recall(label, [_curve(found.scored, each) for each in both], [_dot(e) for e in both])
        )
    return [Markup(each) for each in drawn]  # noqa: S704 - numbers, languages and labels, and those escaped


def _curve(scored: Scored, of: Slice) -> plots.Line:
    place = [label.name for label in scored.labels].index(of.label)
    here = scored.marks[:, place] >= 0
    if of.by == "language":
        here &= np.array([row.lang == of.name for row in scored.rows])
    recall, precision = precision_recall(rows_of(scored, place).at(here))
    shown = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
    return of.name, recall[shown].tolist(), precision[shown].tolist()


def _dot(of: Slice) -> tuple[float, float] | None:
    cut = of.figures.cuts[STORED]
    return None if cut.recall.value is None or cut.precision.value is None else (cut.recall.value, cut.precision.value)


def _estimate(of: Estimate | Share) -> str:
    if of.value is None:
        return "-"
    return f"{of.value:.3f}" + ("" if of.low is None else f" ({of.low:.2f} to {of.high:.2f})")


def _signed(of: Estimate) -> str:
    if of.value is None:
        return "-"
    return f"{of.value:+.3f}" + ("" if of.low is None else f" ({of.low:+.3f} to {of.high:+.3f})")


def _of(each: Share) -> str:
    return f"{each.hits:,} of {each.rows:,}" if each.rows else "-"
