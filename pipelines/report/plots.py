"""Plots as SVG that sits in the page: its text stays text, and its colours follow the page's light or dark theme."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipelines.report.figures import BINS, LabelFigures, Row
from pipelines.report.survival import Curve, Grouping

# Stand-ins that no theme has; after drawing, each becomes a variable of the page's style sheet.
_SERIES = ["#101112", "#131415", "#161718", "#191a1b", "#1c1d1e", "#1f2021"]
_INK, _LINE, _BAR = "#010203", "#040506", "#070809"
_THEME = {_INK: "var(--ink)", _LINE: "var(--line)", _BAR: "var(--bar)"}
_THEME |= {color: f"var(--s{place})" for place, color in enumerate(_SERIES)}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "postsweep",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_INCHES = 5.0
"""A drawing's width: 360 units, so that its letters have their size on the narrowest screen."""
_MOST_HOURS = 2000
_PANELS_ACROSS = 3

_Steps = tuple[list[float], list[float], list[float], list[float]]
"""Times, and percents: the band's low end, the curve, the band's high end."""


def hours(rows: Sequence[Row]) -> str | None:
    """Posts per hour, stacked by platform, from `(hour, platform, posts)`; None when there is nothing to draw."""
    if not rows:
        return None
    stamps = _every_hour([row[0] for row in rows])
    platforms = sorted({row[1] for row in rows})
    counts = {(stamp, platform): count for stamp, platform, count in rows}
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2.8)
        base = [0] * len(stamps)
        for place, platform in enumerate(platforms):
            values = [counts.get((stamp, platform), 0) for stamp in stamps]
            color = _SERIES[place % len(_SERIES)]
            axes.bar(range(len(stamps)), values, 0.85, bottom=base, color=color, label=platform)
            base = [low + value for low, value in zip(base, values, strict=True)]
        step = max(1, -(-len(stamps) // 5))
        shown = range(0, len(stamps), step)
        axes.set_xticks(list(shown), [_hour(stamps[place]) for place in shown])
        axes.set_xlim(-0.6, max(len(stamps), 6) - 0.4)
        axes.set_ylabel("posts")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10, handlelength=1)
        most = max(base)
        said = f"{sum(base):,} posts of {', '.join(platforms)}, at most {most:,} in the hour {stamps[base.index(most)]}"
        return _svg(figure, "Posts per hour (UTC), by platform", said)


def _every_hour(stamps: list[str]) -> list[str]:
    """All hours from the first to the last, the quiet ones too; only those with posts when that would be too many."""
    first, last = (datetime.fromisoformat(stamp) for stamp in (min(stamps), max(stamps)))
    count = int((last - first) / timedelta(hours=1)) + 1
    if count > _MOST_HOURS:
        return sorted(set(stamps))
    return [(first + timedelta(hours=place)).strftime("%Y-%m-%dT%H:00Z") for place in range(count)]


def _hour(stamp: str) -> str:
    return f"{stamp[5:10]}\n{stamp[11:16]}"


def languages(rows: Sequence[Row]) -> str | None:
    """Detected languages, the largest eight, from `(language, posts)`; None when there is nothing to draw."""
    if not rows:
        return None
    rest = sum(row[1] for row in rows[8:])
    shown = [(str(name), count) for name, count in rows[:8]] + ([("others", rest)] if rest else [])
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.7 + 0.3 * len(shown))
        axes.barh(range(len(shown)), [count for _, count in shown], 0.7, color=_BAR)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown])
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel("posts")
        return _svg(figure, "Posts by detected language", ", ".join(f"{name} {count:,}" for name, count in shown))


def shares(labels: Sequence[LabelFigures]) -> str | None:
    """The flagged share of each label with its 95 % interval; None when nothing was scored."""
    if not any(label.total.scored for label in labels):
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.7 + 0.36 * len(labels))
        for place, label in enumerate(labels):
            axes.plot([100 * end for end in label.total.interval], [place, place], color=_BAR, linewidth=2.5)
            axes.plot([100 * label.total.value], [place], "o", color=_BAR, markersize=7)
        axes.set_yticks(range(len(labels)), [label.name for label in labels])
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("% of scored posts")
        said = ", ".join(f"{label.name} {100 * label.total.value:.1f} %" for label in labels)
        return _svg(figure, "Flagged share of each label with its 95 % interval", said)


def histogram(label: LabelFigures) -> str | None:
    """The distribution of one label's scores on a logarithmic scale, with the threshold; None when there are none."""
    if not label.total.scored:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2.2)
        places = [(place + 0.5) / BINS for place in range(BINS)]
        axes.bar(places, label.histogram, 0.9 / BINS, color=_BAR)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        ticks = [0, *(10**power for power in range(12) if 10**power <= max(label.histogram))]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(label.threshold, color=_INK, linewidth=1.5, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"score (dashed: threshold {label.threshold:.2f})")
        axes.set_ylabel("posts (log)")
        said = f"{label.total.scored:,} scored posts, {label.total.flagged:,} of them flagged"
        return _svg(figure, f"Scores of {label.name}", f"{said} at a threshold of {label.threshold:.2f}")


def survival(grouping: Grouping) -> str | None:
    """The curves of posts that stay, a panel for each group with its band and the other groups' curves behind it: bands
    over each other could not be told apart. None when there is nothing to draw."""
    curves = grouping.curves
    if not curves:
        return None
    longest = max(curve.hours[-1] for curve in curves)
    unit, word = (24.0, "days") if longest > 72 else (1.0, "hours")
    lowest = 100 * min(min(curve.low) for curve in curves)
    down = -(-len(curves) // _PANELS_ACROSS)
    across = -(-len(curves) // down)
    with mpl.rc_context(_STYLE):
        figure = _figure(3.0 if down == 1 else 1.9 * down)
        panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
        for place, curve in enumerate(curves):
            axes = panels[place]
            others = [each for each in curves if each is not curve]
            _panel(axes, _SERIES[place], *(_steps(each, longest, unit) for each in (curve, *others)))
            axes.set_title(_cut(curve.name, 42 // across), fontsize=11, color=_SERIES[place], loc="left")
            axes.tick_params(labelbottom=place + across >= len(curves))
        for axes in panels[len(curves) :]:
            axes.set_visible(False)
        first = panels[0]
        first.set_ylim(max(0.0, lowest - 3), 100.5)
        first.set_xlim(0, max(1.1 * longest / unit, 1e-3))
        first.xaxis.set_major_locator(MaxNLocator(6 // across + 1, steps=[1, 2, 5, 10]))
        first.yaxis.set_major_locator(MaxNLocator(5))
        first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        figure.supxlabel(f"{word} since the sweep saw the post", fontsize=11)
        figure.supylabel("still there", fontsize=11)
        said = ", ".join(f"{curve.name} {100 * curve.share[-1]:.1f} % at the last visit" for curve in curves)
        return _svg(figure, f"Posts still there, by {grouping.name}", said)


Line = tuple[str, Sequence[float], Sequence[float]]
"""A name, and the points of its line: along, and up."""


def reliability(label: str, lines: Sequence[Line]) -> str:
    """A reliability diagram: the mean score of each bin, and the share of its rows that the label applies to."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(3.2)
        axes.plot([0, 1], [0, 1], color=_LINE, linewidth=1.0)
        for place, (name, claimed, seen) in enumerate(lines):
            axes.plot(claimed, seen, "o-", color=_SERIES[place % len(_SERIES)], linewidth=1.5, markersize=5, label=name)
        _square(figure, axes, "mean score of a bin", f"share that is {label}")
        said = ", ".join(f"{name}: {len(claimed)} bins with rows" for name, claimed, _ in lines)
        return _svg(figure, f"Reliability of {label}", said)


def precision_recall(label: str, lines: Sequence[Line], stored: Sequence[tuple[float, float] | None]) -> str:
    """Precision over recall; the dot of a line is where the model's threshold puts it."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(3.2)
        for place, ((name, recall, precision), dot) in enumerate(zip(lines, stored, strict=True)):
            color = _SERIES[place % len(_SERIES)]
            axes.step(recall, precision, where="pre", color=color, linewidth=1.5, label=name)
            if dot is not None:
                axes.plot([dot[0]], [dot[1]], "o", color=color, markersize=7)
        _square(figure, axes, "recall", "precision")
        dots = [(line[0], dot) for line, dot in zip(lines, stored, strict=True) if dot]
        said = ", ".join(f"{name}: precision {up:.2f} at recall {along:.2f}" for name, (along, up) in dots)
        return _svg(figure, f"Precision and recall of {label}", said)


def _square(figure: Figure, axes: Axes, along: str, up: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(along)
    axes.set_ylabel(up)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10, handlelength=1)


def _panel(axes: Axes, color: str, own: _Steps, *others: _Steps) -> None:
    for hours, _, share, _ in others:
        axes.step(hours, share, where="post", color=_LINE, linewidth=1.0)
    hours, low, share, high = own
    axes.fill_between(hours, low, high, step="post", color=color, alpha=0.22, linewidth=0)
    axes.step(hours, share, where="post", color=color, linewidth=1.8)


def _steps(curve: Curve, longest: float, unit: float) -> _Steps:
    """A curve as it is drawn; beyond the last round, so that what it found and how sure it is can be seen."""
    low, share, high = (_percent([*of, of[-1]]) for of in (curve.low, curve.share, curve.high))
    return [hour / unit for hour in (*curve.hours, 1.1 * longest)], low, share, high


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = _figure(height)
    return figure, figure.add_subplot()


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_INCHES, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure, title: str, said: str) -> str:
    """The drawing as an element for the page, scaled to its width, named and described for those who cannot see it."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    opening = re.search(r"<svg[^>]*>", drawn)
    box = re.search(r'viewBox="[^"]*"', drawn)
    if opening is None or box is None:
        raise ValueError("matplotlib drew no SVG with a viewBox")
    drawn = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawn[opening.end() :], flags=re.S)
    for color, variable in _THEME.items():
        drawn = drawn.replace(color, variable)
    # Ids are unique within a drawing only; the page holds many.
    prefix = re.sub(r"\W", "", title)
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", drawn)
    named = f"<title>{escape(title)}</title><desc>{escape(said)}</desc>"
    return f'<svg {box[0]} class="plot" role="img" aria-label="{escape(title)}">{named}{drawn}'
