"""A comparison as plain text for a terminal. Pure: what a stranger wrote is made harmless here."""

from collections.abc import Iterator

from pipelines.compare import Flip, LabelChange, RunsCompared, SweepsCompared
from pipelines.paired import Pairs
from pipelines.report.figures import Share
from pipelines.terminal import plain, shortened

_UID = 12
_TEXT = 60


def lines(found: RunsCompared | SweepsCompared) -> Iterator[str]:
    """The lines of a comparison, the causes first."""
    yield from _runs(found) if isinstance(found, RunsCompared) else _sweeps(found)


def _runs(found: RunsCompared) -> Iterator[str]:
    scored = found.scored
    yield f"first:  run {found.first}"
    yield f"second: run {found.second}"
    yield (
        f"sweep {found.sweep}: {scored['both']:,} posts scored by both, {scored['first']:,} by the first only, "
        f"{scored['second']:,} by the second only, {scored['neither']:,} by neither"
    )
    yield ""
    yield "What differs between the runs, as their manifests say:"
    yield from (f"  {plain(cause.text)}" for cause in found.causes)
    if not found.causes:
        yield "  nothing that is recorded"
    for label in found.labels:
        yield ""
        yield from _label(label)
    for which, shares in (("first", found.only_first), ("second", found.only_second)):
        yield from (_alone(which, share) for share in shares)
    if found.labels:
        yield ""
        yield "Intervals: 95 %, of the difference between shares of the same posts (Newcombe 1998, method 10)."


def _label(label: LabelChange) -> Iterator[str]:
    total = label.total
    yield plain(label.name)
    if not total.total or label.shift is None:
        yield "  no post was scored by both"
        return
    yield f"  {'flagged':<12}{'posts':>12}{'first':>10}{'second':>10}{'difference':>15}  95 % interval"
    yield from (_share(each, name) for each, name in _named(label))
    kappa = "not defined" if total.kappa is None else f"{total.kappa:.3f}"
    yield f"  same flag for {100 * (total.agreement or 0):.2f} % of posts, Cohen's kappa {kappa}"
    shift = label.shift
    yield f"  other scores: {shift.changed:,} of {total.total:,}{', by' if shift.changed else ''}"
    if shift.changed:
        yield f"    mean {shift.mean:+.4f}, largest {shift.largest:+.4f} ({shift.largest_uid[:_UID]}), quantiles"
        yield "    " + ", ".join(f"{100 * at:g} %: {value:+.4f}" for at, value in shift.quantiles.items())
    yield from _flips("newly flagged", total.second, label.gained)
    yield from _flips("no longer flagged", total.first, label.lost)


def _named(label: LabelChange) -> list[tuple[Pairs, str]]:
    return [(label.total, "all"), *((each, each.name) for each in label.platforms)]


def _share(pairs: Pairs, name: str) -> str:
    (first, second), (low, high) = pairs.shares, pairs.interval
    shares = f"{_percent(first):>10}{_percent(second):>10}{_points(pairs.difference):>15}"
    return f"  {plain(name):<12}{pairs.total:>12,}{shares}  {100 * low:+.2f} to {100 * high:+.2f}"


def _flips(what: str, count: int, examples: list[Flip]) -> Iterator[str]:
    yield f"  {what}: {count:,}{', such as' if examples else ''}"
    for flip in examples:
        text = plain(shortened(" ".join(flip.text.split()), _TEXT))
        yield f"    {flip.uid[:_UID]}  {plain(flip.platform)}  {flip.old:.3f} -> {flip.new:.3f}  {text}"


def _alone(which: str, share: Share) -> str:
    low, high = share.interval
    told = (
        f"{share.flagged:,} of {share.scored:,} flagged, {_percent(share.value)} ({_percent(low)} to {_percent(high)})"
    )
    return f"\n{plain(share.name)}: a label of the {which} run only; {told}"


def _sweeps(found: SweepsCompared) -> Iterator[str]:
    for name, sweep, window in (
        ("first: ", found.first, found.windows[0]),
        ("second:", found.second, found.windows[1]),
    ):
        yield f"{name} sweep {sweep}, {window[0]} to {window[1]} (until excluded)"
    yield ""
    yield f"{'same':>10}{'edited':>10}{'new':>10}{'gone':>10}  platform, source"
    for each in found.sources:
        counts = "".join(f"{count:>10,}" for count in (each.same, each.edited, each.new, each.gone))
        yield f"{counts}  {plain(each.platform)}, {plain(each.source)}"
    for which, names in (("first", found.only_first), ("second", found.only_second)):
        yield from (f"only the {which} reads {plain(name)}" for name in names)
    yield ""
    for caution in found.cautions:
        yield f"caution: {plain(caution)}"
    yield "A post that is gone was not seen again; only a recheck says whether it was removed."
    for fate, uids in found.examples.items():
        if uids:
            yield f"{fate}, such as {', '.join(uid[:_UID] for uid in uids)}"
    if found.causes:
        yield "What else differs, as the manifests say:"
        yield from (f"  {plain(cause.text)}" for cause in found.causes)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"
