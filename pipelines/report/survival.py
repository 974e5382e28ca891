"""How long posts stay, and who takes them away: the numbers of a report out of rounds of rechecks.

The clock of a post begins when the sweep saw it, so all are there at its start: none enters late, and what was gone
before is in no sweep. Curves are Kaplan and Meier's (1958) with the rounds as their steps. Visits of one round lie at
other ages of each post; were ages the steps, the few posts with the longest would stand for all, and their removals
pull a curve far too low. A step is drawn at the median age at its round. A removal lies somewhere between the last
round that found the post and the first that did not, and counts at the latter: curves fall late.

Curves are of staying at all, whoever removes: a curve for one cause alone would take the other for a mere loss from
sight, and say too much. Causes are told as shares of all posts, side by side. Bands are Wilson's intervals of as many
posts as give Greenwood's variance (K. J. Rothman, 1978), which tell of few posts and of none gone too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.report.intervals import wilson

Row = tuple[Any, ...]
Ask = Callable[[str], list[Row]]

MOST = 6
"""Groups of a drawing: those with the most posts."""
_FEW = 5
"""Posts that a curve has at least."""
_THERE = "('alive', 'edited', 'restricted')"


@dataclass(frozen=True)
class Curve:
    """The share of posts still there after each round, by hours since the sweep saw them (the median of the posts that
    the round is of); `low` and `high` are its 95 % band."""

    name: str
    hours: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Fate:
    """What became of a group of posts: how many are known to be there or gone, and by whose hand those are gone that
    are. Posts of which no visit could say anything are `unknown`, and in no share."""

    name: str
    there: int
    author: int
    platform: int
    untold: int
    unknown: int

    @property
    def known(self) -> int:
        """The posts that shares are of."""
        return self.there + self.author + self.platform + self.untold


@dataclass(frozen=True)
class Grouping:
    """Posts by platform, language or label: what became of each group, and curves of the largest ones."""

    name: str
    fates: list[Fate]
    curves: list[Curve]


@dataclass(frozen=True)
class Survival:
    """Everything that a report says of rechecks. `states` are those of the last round."""

    rounds: list[dict[str, Any]]
    whole: Fate
    groupings: list[Grouping]


def compute_survival(
    ask: Ask, view: Callable[..., None], archive: Path, rounds: Sequence[dict[str, Any]], labels: Sequence[str] | None
) -> Survival | None:
    """The figures of all rounds of a sweep, None without a round. `ask` answers of `posts`, and of `judged` where a run
    has `labels`; `view` makes a table of parts."""
    if not any(told["parts"] for told in rounds):
        return None
    _sightings(ask, view, archive, rounds)
    # A post that came back after it was found gone is one that is there. Whoever is first said to have taken it away
    # did: an account that goes later takes nothing that was still to be seen.
    ask(f"""
        create temp table fates as
        with seen as (select uid, max(round) filter (state in {_THERE}) as there from sightings group by uid),
        lost as (
            select uid, min(round) as gone, arg_min(state, round) filter (state <> 'unknown') as cause
            from sightings join seen using (uid) where counted and round > coalesce(there, 0) group by uid
        )
        select uid, posts.platform, {"judged.lang" if labels is not None else "posts.lang"} as lang,
        {"judged.flags" if labels is not None else "[]::varchar[]"} as flags,
        case when gone is null then if(there is null, 'unknown', 'there') when cause is null then 'untold'
            when cause = 'removed_by_platform' then 'platform' else 'author' end as fate,
        coalesce(gone, there) as last
        from seen left join lost using (uid) join posts using (uid)
        {"left join judged using (uid)" if labels is not None else ""}
    """)
    groupings = [
        _grouping(ask, "platform", "select platform as name, uid, fate, last from fates"),
        _grouping(ask, "language", "select coalesce(lang, 'none') as name, uid, fate, last from fates"),
    ]
    if labels:
        flagged = "select unnest(flags) as name, uid, fate, last from fates"
        rest = "select 'no flag' as name, uid, fate, last from fates where coalesce(len(flags), 0) = 0"
        groupings.append(_grouping(ask, "label", f"{flagged} union all {rest}"))
    (whole,) = _fates(ask, "select 'all' as name, uid, fate, last from fates") or [Fate("all", 0, 0, 0, 0, 0)]
    return Survival(list(rounds), whole, groupings)


def _sightings(ask: Ask, view: Callable[..., None], archive: Path, rounds: Sequence[dict[str, Any]]) -> None:
    """Makes a table of all rounds, with each one's number."""
    parts = {int(told["round"]): told["parts"] for told in rounds if told["parts"]}
    for number, its in parts.items():
        view(ask, archive, f"sightings_{number}", its)
    every = " union all by name ".join(f"select *, {number} as round from sightings_{number}" for number in parts)
    ask(f"create view sightings as {every}")


def _grouping(ask: Ask, name: str, query: str) -> Grouping:
    fates = _fates(ask, query)
    largest = [fate.name for fate in fates if fate.known >= _FEW][:MOST]
    return Grouping(name, fates, [_curve(ask, each, query) for each in largest])


def _fates(ask: Ask, query: str) -> list[Fate]:
    kinds = ("there", "author", "platform", "untold", "unknown")
    counts = ", ".join(f"count(*) filter (fate = '{kind}')" for kind in kinds)
    rows = ask(f"select name, {counts} from ({query}) group by name order by count(*) desc, name")
    return [Fate(*row) for row in rows]


def _curve(ask: Ask, name: str, query: str) -> Curve:
    """Kaplan and Meier's curve of one group, round by round."""
    quoted = "'" + name.replace("'", "''") + "'"
    rows = ask(f"""
        select greatest(0, median(epoch(first_visited_at) - epoch(fetched_at)) / 3600), count(distinct uid),
        count(distinct uid) filter (fate <> 'there' and last = round)
        from ({query}) join sightings using (uid) join posts using (uid)
        where name = {quoted} and fate <> 'unknown' and round <= last group by round order by round
    """)
    hours, at_risk, gone = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    share = np.cumprod(1 - gone / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(gone / (at_risk * (at_risk - gone)))
        posts = np.where((share > 0) & (share < 1), (1 - share) / (share * greenwood), at_risk)
    bands = [wilson(float(part * count), float(count)) for part, count in zip(share, posts, strict=True)]
    low, high = zip(*bands, strict=True)
    columns = ([0.0, *np.maximum.accumulate(hours)], [1.0, *share], [1.0, *low], [1.0, *high])
    return Curve(name, *(tuple(float(value) for value in column) for column in columns))
