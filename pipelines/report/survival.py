"""How long posts stay, and who takes them away: the numbers of a report out of rounds of rechecks.

The clock of a post begins when the sweep saw it. What was gone before that is in no sweep. A removal happened somewhere
between the last visit that found the post and the first that did not, and counts at the latter: curves fall late, by
the time between two visits at most. Curves are Kaplan and Meier's (1958), with Greenwood's 95 % bands on the log-log
scale (scipy). They are of staying at all, whoever removes: a curve for one cause alone would take the other for a mere
loss from sight, and say too much. Causes are told as shares of all posts, side by side.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

Row = tuple[Any, ...]
Ask = Callable[[str], list[Row]]

MOST = 6
"""Groups of a drawing: those with the most posts."""
_FEW = 5
"""Posts that a curve has at least."""
_THERE = "('alive', 'edited', 'restricted')"


@dataclass(frozen=True)
class Curve:
    """The share of posts still there, by hours since the sweep saw them; `low` and `high` are its 95 % band."""

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
    parts = [part for told in rounds for part in told["parts"]]
    if not parts:
        return None
    view(ask, archive, "sightings", parts)
    # A post that came back after it was found gone is one that is there.
    ask(f"""
        create temp table fates as
        with visits as (
            select uid, max(visited_at) filter (state in {_THERE}) as there,
            min(first_visited_at) filter (counted) as gone, max(visited_at) filter (counted) as gone_last,
            arg_max(state, visited_at) filter (counted) as cause
            from sightings group by uid
        )
        select uid, posts.platform, {"judged.lang" if labels is not None else "posts.lang"} as lang,
        {"judged.flags" if labels is not None else "[]::varchar[]"} as flags,
        case when gone is not null and (there is null or there < gone_last) then
            case cause when 'removed_by_platform' then 'platform' when 'unknown' then 'untold' else 'author' end
            when there is not null then 'there' else 'unknown' end as fate,
        greatest(0, epoch(case when gone is not null and (there is null or there < gone_last) then gone else there end)
            - epoch(posts.fetched_at)) / 3600 as hours
        from visits join posts using (uid) {"left join judged using (uid)" if labels is not None else ""}
    """)
    groupings = [
        _grouping(ask, "platform", "select platform as name, fate, hours from fates"),
        _grouping(ask, "language", "select coalesce(lang, 'none') as name, fate, hours from fates"),
    ]
    if labels:
        flagged = "select unnest(flags) as name, fate, hours from fates"
        rest = "select 'no flag' as name, fate, hours from fates where coalesce(len(flags), 0) = 0"
        groupings.append(_grouping(ask, "label", f"{flagged} union all {rest}"))
    (whole,) = _fates(ask, "select 'all' as name, fate, hours from fates") or [Fate("all", 0, 0, 0, 0, 0)]
    return Survival(list(rounds), whole, groupings)


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
    """Kaplan and Meier's curve of one group, by hours that are rounded to minutes."""
    quoted = "'" + name.replace("'", "''") + "'"
    rows = ask(
        f"select round(hours * 60) / 60 as hour, fate = 'there' as there, count(*) from ({query}) "
        f"where name = {quoted} and fate <> 'unknown' group by all order by 1, 2"
    )
    stayed = _repeated([(hour, count) for hour, there, count in rows if there])
    gone = _repeated([(hour, count) for hour, there, count in rows if not there])
    found = ecdf(CensoredData(uncensored=gone, right=stayed)).sf
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nothing is gone, or everything, there is no band
        band: Any = found.confidence_interval(method="log-log")
    share = found.probabilities
    low = np.where(np.isnan(band.low.probabilities), share, band.low.probabilities)
    high = np.where(np.isnan(band.high.probabilities), share, band.high.probabilities)
    columns = ([0.0, *found.quantiles], [1.0, *share], [1.0, *low], [1.0, *high])
    return Curve(name, *(tuple(float(value) for value in column) for column in columns))


def _repeated(rows: list[tuple[float, int]]) -> NDArray[np.float64]:
    return np.repeat([hour for hour, _ in rows] or [0.0], [count for _, count in rows] or [0])
