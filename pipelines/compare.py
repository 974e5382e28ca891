"""What differs between two runs over one sweep, or between two sweeps of the same sources, and what can have caused it.

Computed out of core over an archive's SQL. How it is shown is left to `compare_text.py` and `report/comparison.py`.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipelines.archive import Manifest, read_archive, redacted_since, run_ids, run_manifest, sweep_ids, sweep_manifest
from pipelines.causes import Cause, causes
from pipelines.erasure.clearing import ERASED_SOURCE
from pipelines.errors import ConfigError
from pipelines.paired import Pairs
from pipelines.report.figures import Share
from pipelines.sql import Session, open_sql
from pipelines.store import Store

EXAMPLES = 5
"""Examples of each direction that a flag can flip in, and of each kind of change between sweeps."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
STEPS = 10_000
"""Shifts are counted in steps of one over this, so that their quantiles need no more memory than the steps."""
_PER_AUTHOR = 2
"""Examples of one author in one direction at most, so that they show a change and not a person."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Flip:
    """One post whose flag differs. It is named by its keyed hash; `old` and `new` are its scores."""

    uid: str
    platform: str
    old: float
    new: float
    text: str


@dataclass(frozen=True)
class Shift:
    """How the second run's scores lie beside the first's: the mean of the differences, quantiles of them (to four
    digits), the largest one and its post, and how many posts have another score at all.
    """

    mean: float
    quantiles: dict[float, float]
    largest: float
    largest_uid: str
    changed: int


@dataclass(frozen=True)
class LabelChange:
    """A label that both runs have. `platforms` are those of posts that both scored; `shift` is None without one."""

    name: str
    thresholds: tuple[float, float]
    total: Pairs
    platforms: list[Pairs]
    shift: Shift | None
    gained: list[Flip]
    lost: list[Flip]


@dataclass(frozen=True)
class RunsCompared:
    """Two runs over one sweep. `scored` counts its posts by who scored them (`both`, `first`, `second`, `neither`);
    labels that only one run has come with the share that it flagged.
    """

    first: str
    second: str
    sweep: str
    scored: dict[str, int]
    labels: list[LabelChange]
    only_first: list[Share]
    only_second: list[Share]
    causes: list[Cause]


@dataclass(frozen=True)
class SourceChange:
    """The posts of two sweeps that one source showed, by what became of them from the first to the second.

    `edited`: the same post with another text or time of its last edit. Of the `new` and the `gone`, `new_outside` and
    `gone_outside` have a time that lies outside the other sweep's window, and `new_in_gap` and `gone_in_gap` one in a
    gap of its.
    """

    platform: str
    source: str
    same: int
    edited: int
    new: int
    gone: int
    new_outside: int
    gone_outside: int
    new_in_gap: int
    gone_in_gap: int


@dataclass(frozen=True)
class SweepsCompared:
    """Two sweeps of the same sources. `examples` are uids of some posts of each kind; `cautions` say in a line each
    what keeps a difference from being one of the world; `only_first` and `only_second` are sources that one has alone.
    """

    first: str
    second: str
    windows: tuple[tuple[str, str], tuple[str, str]]
    sources: list[SourceChange]
    examples: dict[str, list[str]]
    only_first: list[str]
    only_second: list[str]
    cautions: list[str]
    causes: list[Cause]


def compare(root: Path, first: str, second: str) -> RunsCompared | SweepsCompared:
    """Compares two runs of one sweep, or two sweeps, by their ids.

    Errors: ConfigError (an unknown id, a run and a sweep, runs of two sweeps, sweeps without a common source),
    ArchiveError (no archive, a file that cannot be read).
    """
    store = read_archive(root)
    if first == second:
        raise ConfigError(f"{first}: named twice; name two runs of one sweep, or two sweeps")
    runs = run_manifest(store, first), run_manifest(store, second)
    if runs[0] is not None and runs[1] is not None:
        return _compare_runs(root, runs[0], runs[1])
    sweeps = sweep_manifest(store, first), sweep_manifest(store, second)
    if sweeps[0] is not None and sweeps[1] is not None:
        return _compare_sweeps(root, sweeps[0], sweeps[1])
    raise ConfigError(_unknown(store, first, second))


def as_json(found: RunsCompared | SweepsCompared) -> Row:
    """All of a comparison in values that JSON holds; figures that follow from counts are written out too."""
    told = asdict(found)
    if isinstance(found, RunsCompared):
        for label, row in zip(found.labels, told["labels"], strict=True):
            row["total"] = _pairs_row(label.total)
            row["platforms"] = [_pairs_row(each) for each in label.platforms]
            if label.shift is not None:
                row["shift"]["quantiles"] = {str(at): value for at, value in label.shift.quantiles.items()}
        for side, rows in ((found.only_first, told["only_first"]), (found.only_second, told["only_second"])):
            for share, row in zip(side, rows, strict=True):
                row |= {"share": share.value, "interval": share.interval}
    return {"compared": "runs" if isinstance(found, RunsCompared) else "sweeps", **told}


def _pairs_row(pairs: Pairs) -> Row:
    derived = {key: getattr(pairs, key) for key in ("agreement", "kappa", "shares", "difference", "interval")}
    return {**asdict(pairs), **derived}


def _unknown(store: Store, first: str, second: str) -> str:
    runs, sweeps = run_ids(store), sweep_ids(store)
    for asked in (first, second):
        if asked not in runs and asked not in sweeps:
            known = f"runs: {', '.join(runs) or 'none'}; sweeps: {', '.join(sweeps) or 'none'}"
            return f"{store.root}: no finished run and no sealed sweep {asked}; there are {known}"
    return f"{first} and {second}: a run and a sweep; name two runs of one sweep, or two sweeps"


def _compare_runs(root: Path, old: Manifest, new: Manifest) -> RunsCompared:
    if old["sweep"] != new["sweep"]:
        raise ConfigError(
            f"run {old['run']} is of sweep {old['sweep']} and run {new['run']} of sweep {new['sweep']}, so that their "
            f"posts differ too; compare two runs of one sweep, or the sweeps: "
            f"`postsweep compare {old['sweep']} {new['sweep']}`"
        )
    before, after = ({label["name"]: label for label in run["labels"]} for run in (old, new))
    shared = [name for name in before if name in after]
    sweep = sweep_manifest(read_archive(root), old["sweep"]) or {}
    told = ({**run, "redacted": redacted_since(sweep, run)} for run in (old, new))
    with open_sql(root, only=[old["sweep"]]) as opened:
        session = opened.keep("pairs", _pairs_query(old, new, shared))
        counted = ", ".join(f"count(*) filter ({test}) as {name}" for name, test in _WHO.items())
        return RunsCompared(
            first=old["run"],
            second=new["run"],
            sweep=old["sweep"],
            scored=_one(session, f"select {counted} from pairs"),
            labels=[
                _label(session, place, name, (before[name]["threshold"], after[name]["threshold"]))
                for place, name in enumerate(shared)
            ],
            only_first=[_alone(session, old, name) for name in before if name not in after],
            only_second=[_alone(session, new, name) for name in after if name not in before],
            causes=causes(*told),
        )


_WHO = {
    "both": "first_scored and second_scored",
    "first": "first_scored and not second_scored",
    "second": "second_scored and not first_scored",
    "neither": "not first_scored and not second_scored",
}


def _pairs_query(old: Manifest, new: Manifest, shared: list[str]) -> str:
    """A row per post: whether each run scored it, and for shared label n the scores `a<n>`, `b<n>` and flags `fa<n>`,
    `fb<n>`, whatever the label's name."""
    sides = {"a": old, "b": new}
    texts = {}
    for side, run in sides.items():
        columns = [_column(label["name"]) for label in run["labels"]]
        scored = f"coalesce({', '.join(columns)}) is not null" if columns else "false"
        own = "".join(
            f", {_column(name)}::double as {side}{place}, list_contains(flags, {_text(name)}) as f{side}{place}"
            for place, name in enumerate(shared)
        )
        texts[side] = f"(select uid, platform, {scored} as scored{own} from scores where run = {_text(run['run'])})"
    both = "".join(f", a{n}, b{n}, fa{n}, fb{n}" for n in range(len(shared)))
    return (
        "select uid, coalesce(a.platform, b.platform) as platform, author, input_digest as digest, "
        f"coalesce(a.scored, false) as first_scored, coalesce(b.scored, false) as second_scored{both} "
        f"from {texts['a']} a full join {texts['b']} b using (uid) "
        f"left join (select uid, author, input_digest from posts where sweep = {_text(old['sweep'])}) using (uid)"
    )


def _label(session: Session, place: int, name: str, thresholds: tuple[float, float]) -> LabelChange:
    a, b, fa, fb = f"a{place}", f"b{place}", f"fa{place}", f"fb{place}"
    scored = f"{a} is not null and {b} is not null"
    rows = _rows(
        session,
        f"select platform, count(*) filter ({fa} and {fb}) as both, count(*) filter ({fa} and not {fb}) as first, "
        f"count(*) filter ({fb} and not {fa}) as second, count(*) filter (not {fa} and not {fb}) as neither "
        f"from pairs where {scored} group by platform order by platform",
    )
    platforms = [Pairs(**{"name": row.pop("platform"), **row}) for row in rows]
    counts = {key: sum(getattr(each, key) for each in platforms) for key in ("both", "first", "second", "neither")}
    total = Pairs(name, **counts)
    return LabelChange(
        name=name,
        thresholds=thresholds,
        total=total,
        platforms=platforms,
        shift=_shift(session, f"{b} - {a}", scored, total.total) if total.total else None,
        gained=_flips(session, a, b, f"{scored} and {fb} and not {fa}"),
        lost=_flips(session, a, b, f"{scored} and {fa} and not {fb}"),
    )


def _shift(session: Session, change: str, scored: str, total: int) -> Shift:
    steps = _rows(
        session,
        f"select round(({change}) * {STEPS})::int as step, count(*) as posts from pairs where {scored} "
        "group by step order by step",
    )
    reached = list(accumulate(row["posts"] for row in steps))
    quantiles = {}
    for at in QUANTILES:
        place = next(place for place, count in enumerate(reached) if count >= at * total)
        quantiles[at] = steps[place]["step"] / STEPS
    mean = _one(
        session,
        f"select avg({change}) as mean, count(*) filter ({change} <> 0) as changed from pairs where {scored}",
    )
    largest = _one(
        session,
        f"select uid, {change} as change from pairs where {scored} order by abs({change}) desc, uid limit 1",
    )
    return Shift(round(mean["mean"], 6), quantiles, round(largest["change"], 6), largest["uid"], mean["changed"])


def _flips(session: Session, a: str, b: str, which: str) -> list[Flip]:
    """The posts whose scores moved most among those that flipped; of equal texts one, of an author `_PER_AUTHOR`."""
    order = f"abs({b} - {a}) desc, uid"
    picked = _rows(
        session,
        f"""
        with of_text as (
            select *, row_number() over (partition by coalesce(digest, uid::blob) order by {order}) as copy
            from pairs where {which}
        ), of_author as (
            select *, row_number() over (partition by coalesce(author, uid) order by {order}) as nth
            from of_text where copy = 1
        )
        select uid, platform, {a} as old, {b} as new from of_author where nth <= {_PER_AUTHOR}
        order by {order} limit {EXAMPLES}
        """,
    )
    if not picked:
        return []
    uids = ", ".join(_text(row["uid"]) for row in picked)
    rows = _rows(session, f"select uid, title, warning, text from posts where uid in ({uids})")
    texts = {row["uid"]: "\n".join(filter(None, (row["title"], row["warning"], row["text"]))) for row in rows}
    return [
        Flip(row["uid"], row["platform"], round(row["old"], 6), round(row["new"], 6), texts.get(row["uid"], ""))
        for row in picked
    ]


def _alone(session: Session, run: Manifest, name: str) -> Share:
    """The share that a run flagged under a label that the other does not have."""
    hit = f"list_contains(flags, {_text(name)})"
    row = _one(
        session,
        f"select count({_column(name)}) as scored, count(*) filter ({hit}) as flagged, "
        f"count(distinct author) filter ({hit}) as authors "
        f"from scores left join (select uid, author from posts) using (uid) where run = {_text(run['run'])}",
    )
    return Share(name, **row)


def _compare_sweeps(root: Path, old: Manifest, new: Manifest) -> SweepsCompared:
    names = [[source["source"] for source in sweep["sources"]] for sweep in (old, new)]
    shared = {name for name in set(names[0]) & set(names[1]) if not name.endswith(ERASED_SOURCE)}
    if not shared:
        raise ConfigError(
            f"sweeps {old['sweep']} and {new['sweep']}: no source is in both; compare sweeps that share one"
        )
    with open_sql(root, only=[old["sweep"], new["sweep"]]) as opened:
        session = opened.keep("fates", _fates_query(old, new))
        counts = "".join(
            f", count(*) filter (fate = '{fate}' and {test}) as {name}"
            for name, fate, test in (
                *((fate, fate, "true") for fate in ("same", "edited", "new", "gone")),
                *((f"{fate}_outside", fate, "outside") for fate in ("new", "gone")),
                *((f"{fate}_in_gap", fate, "in_gap") for fate in ("new", "gone")),
            )
        )
        found = _rows(session, f"select platform, source{counts} from fates group by all order by all")
        examples = {fate: [row["uid"] for row in _rows(session, _some(fate))] for fate in ("edited", "new", "gone")}
    sources = [SourceChange(**row) for row in found]
    return SweepsCompared(
        first=old["sweep"],
        second=new["sweep"],
        windows=(_window(old), _window(new)),
        sources=sources,
        examples=examples,
        only_first=[name for name in dict.fromkeys(names[0]) if name not in shared],
        only_second=[name for name in dict.fromkeys(names[1]) if name not in shared],
        cautions=_cautions(old, new, sources),
        causes=causes({"software": old["software"]}, {"software": new["software"]}),
    )


def _some(fate: str) -> str:
    """Uids in their own order, which says nothing of the posts; of an author `_PER_AUTHOR` at most."""
    return (
        "select uid from (select uid, row_number() over (partition by coalesce(author, uid) order by uid) as nth "
        f"from fates where fate = '{fate}') where nth <= {_PER_AUTHOR} order by uid limit {EXAMPLES}"
    )


def _fates_query(old: Manifest, new: Manifest) -> str:
    """A row per post of either sweep: what became of it, and whether its time is outside the other's window or in a
    gap that the other had in its source."""
    columns = "uid, platform, source, author, coalesce(server_time, created_at) as at, edited_at, input_digest"
    gone, fresh = "b.uid is null", "a.uid is null"
    # Not by `version`, which counts the edits that one sweep saw.
    edited = "a.input_digest is distinct from b.input_digest or a.edited_at is distinct from b.edited_at"
    return (
        "select coalesce(a.uid, b.uid) as uid, coalesce(b.platform, a.platform) as platform, "
        "coalesce(b.source, a.source) as source, coalesce(b.author, a.author) as author, "
        f"case when {gone} then 'gone' when {fresh} then 'new' when {edited} then 'edited' else 'same' end as fate, "
        f"case when {gone} then {_outside('a', new)} when {fresh} then {_outside('b', old)} else false end as outside, "
        f"case when {gone} then {_in_gap('a', new)} when {fresh} then {_in_gap('b', old)} else false end as in_gap "
        f"from (select {columns} from posts where sweep = {_text(old['sweep'])}) a "
        f"full join (select {columns} from posts where sweep = {_text(new['sweep'])}) b using (uid)"
    )


def _outside(side: str, sweep: Manifest) -> str:
    since, until = _window(sweep)
    within = f"{side}.at >= {_text(since)}::timestamptz and {side}.at < {_text(until)}::timestamptz"
    return f"coalesce(not ({within}), false)"


def _in_gap(side: str, sweep: Manifest) -> str:
    tests = [
        f"{side}.source = {_text(source['source'])} and {side}.at >= {_text(gap['since'])}::timestamptz "
        f"and {side}.at < {_text(gap['until'])}::timestamptz"
        for source in sweep["sources"]
        if not source["source"].endswith(ERASED_SOURCE)
        for gap in source["gaps"]
    ]
    return f"coalesce({' or '.join(f'({test})' for test in tests)}, false)" if tests else "false"


def _window(sweep: Manifest) -> tuple[str, str]:
    return sweep["window"]["since"], sweep["window"]["until"]


def _cautions(old: Manifest, new: Manifest, sources: list[SourceChange]) -> list[str]:
    found = []
    if _window(old) != _window(new):
        told = ", ".join(f"{sweep['sweep']} covers {' to '.join(_window(sweep))}" for sweep in (old, new))
        new_outside, gone_outside = sum(s.new_outside for s in sources), sum(s.gone_outside for s in sources)
        found.append(
            f"the windows differ: {told}; {new_outside:,} of the new and {gone_outside:,} of the gone posts lie "
            "outside the other's window"
        )
    named = {source["source"] for sweep in (old, new) for source in sweep["sources"]}
    found += [
        f"{name}: sources of erased accounts are all called so; its posts can be of several, and none is taken for "
        "another's"
        for name in sorted(named)
        if name.endswith(ERASED_SOURCE)
    ]
    for sweep, other, kind in ((old, new, "new"), (new, old, "gone")):
        for source in sweep["sources"]:
            counts = [getattr(each, f"{kind}_in_gap") for each in sources if each.source == source["source"]]
            for gap in source["gaps"]:
                since, until = map(datetime.fromisoformat, _window(other))
                if datetime.fromisoformat(gap["since"]) < until and datetime.fromisoformat(gap["until"]) > since:
                    found.append(
                        f"{sweep['sweep']} has a gap in {source['source']}, {gap['since']} to {gap['until']}, which "
                        f"{other['sweep']} covers; {sum(counts):,} posts counted as {kind} lie in a gap of this source"
                    )
    return found


def _rows(session: Session, query: str) -> list[Row]:
    found: list[Row] = session.ask(query).table().to_pylist()
    return found


def _one(session: Session, query: str) -> Row:
    return _rows(session, query)[0]


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
