"""Plots as SVG that sits in the page: its text stays text, and its colours follow the page's light or dark theme."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.report.figures import BINS, LabelFigures, Row

# Stand-ins that no theme has; after drawing, each becomes a variable of the page's style sheet.
_THEME = {"#010203": "var(--ink)", "#040506": "var(--line)"}
_SERIES = ["#101112", "#131415", "#161718", "#191a1b", "#1c1d1e", "#1f2021"]
_THEME |= {color: f"var(--s{place})" for place, color in enumerate(_SERIES)}
_INK, _LINE = "#010203", "#040506"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "postsweep",
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def hours(rows: Sequence[Row]) -> str | None:
    """Posts per hour, stacked by platform; None when there is nothing to draw."""
    if not rows:
        return None
    stamps = _every_hour([row[0] for row in rows])
    platforms = sorted({row[1] for row in rows})
    counts = {(stamp, platform): count for stamp, platform, count in rows}
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(3.0)
        base = [0] * len(stamps)
        for place, platform in enumerate(platforms):
            values = [counts.get((stamp, platform), 0) for stamp in stamps]
            color = _SERIES[place % len(_SERIES)]
            axes.bar(range(len(stamps)), values, 0.85, bottom=base, color=color, label=platform)
            base = [low + value for low, value in zip(base, values, strict=True)]
        step = max(1, -(-len(stamps) // 6))
        shown = range(0, len(stamps), step)
        axes.set_xticks(list(shown), [_hour(stamps[place]) for place in shown])
        axes.set_ylabel("posts")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return _svg(figure, "Posts per hour (UTC), by platform")


def _every_hour(stamps: list[str]) -> list[str]:
    """All hours from the first to the last, at most a few thousand; the quiet ones are a finding too."""
    first, last = (datetime.fromisoformat(stamp) for stamp in (min(stamps), max(stamps)))
    count = int((last - first) / timedelta(hours=1)) + 1
    if count > 2000:
        return sorted(set(stamps))
    return [(first + timedelta(hours=place)).strftime("%Y-%m-%dT%H:00Z") for place in range(count)]


def _hour(stamp: str) -> str:
    return f"{stamp[5:10]}\n{stamp[11:16]}"


def languages(rows: Sequence[Row]) -> str | None:
    """Detected languages, the largest eight."""
    if not rows:
        return None
    top = list(rows[:8])
    rest = sum(row[1] for row in rows[8:])
    names = [str(row[0]) for row in top] + (["others"] if rest else [])
    values = [row[1] for row in top] + ([rest] if rest else [])
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.6 + 0.34 * len(names))
        axes.barh(range(len(names)), values, 0.7, color=_SERIES[0])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel("posts")
        return _svg(figure, "Posts by detected language")


def shares(labels: Sequence[LabelFigures]) -> str | None:
    """The flagged share of each label with its 95 % interval."""
    if not labels or not any(label.scored for label in labels):
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.7 + 0.4 * len(labels))
        for place, label in enumerate(labels):
            axes.plot([100 * label.low, 100 * label.high], [place, place], color=_LINE, linewidth=4)
            axes.plot([100 * label.share], [place], "o", color=_SERIES[0], markersize=7)
        axes.set_yticks(range(len(labels)), [label.name for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("% of scored posts")
        return _svg(figure, "Flagged share of each label with its 95 % interval")


def histogram(label: LabelFigures) -> str | None:
    """The distribution of one label's scores on a logarithmic scale, with the threshold."""
    if not label.scored:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2.3)
        places = [(place + 0.5) / BINS for place in range(BINS)]
        axes.bar(places, label.histogram, 0.9 / BINS, color=_SERIES[0])
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        ticks = [0, *(10**power for power in range(8) if 10**power <= max(label.histogram))]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(label.threshold, color=_SERIES[1], linewidth=2, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"score (dashed: threshold {label.threshold:.2f})")
        axes.set_ylabel("posts")
        return _svg(figure, f"Scores of {label.name}")


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, title: str) -> str:
    """The drawing as an element for the page, scaled to its width, named for those who cannot see it."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    for color, variable in _THEME.items():
        drawn = drawn.replace(color, variable)
    # Ids are unique within a drawing only; the page holds many.
    prefix = re.sub(r"\W", "", title)
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", drawn)
    opening = re.match(r"<svg[^>]*>", drawn)
    box = re.search(r'viewBox="[^"]*"', drawn)
    if opening is None or box is None:
        raise ValueError("matplotlib drew no SVG with a viewBox")
    head = (
        f'<svg {box[0]} class="plot" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return f"{head}<title>{title}</title>{drawn[opening.end() :]}"
