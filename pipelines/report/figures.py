"""The numbers of a report, computed by DuckDB over the sealed Parquet files that the manifests name."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

Row = tuple[Any, ...]
BINS = 20
"""Bars of a score histogram."""
_PER_AUTHOR = 2
"""Examples of one author at most, so that a page shows a harm and not a person."""


@dataclass(frozen=True)
class LabelFigures:
    """What was flagged under one label. `low` and `high` bound the flagged share at 95 % (Wilson 1927).

    `expected` is the sum of the flagged posts' probabilities: how many of them a calibrated model holds for right.
    """

    name: str
    definition: str
    threshold: float
    scored: int
    flagged: int
    authors: int
    expected: float
    spread: float
    low: float
    high: float
    histogram: list[int]
    platforms: list[Row]
    days: list[Row]
    examples: list[dict[str, Any]]

    @property
    def share(self) -> float:
        """Flagged among scored."""
        return self.flagged / self.scored if self.scored else 0.0


@dataclass(frozen=True)
class Figures:
    """All numbers of a report. Hours are `(hour as ISO text, platform, posts)`, rows are sorted as they are shown."""

    posts: int
    hours: list[Row]
    languages: list[Row]
    detected: list[Row]
    rejects: list[Row]
    labels: list[LabelFigures] = field(default_factory=list)


def wilson(hits: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson, 1927); (0, 1) when nothing was drawn."""
    if total == 0:
        return 0.0, 1.0
    share = hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def compute(archive: Path, sweep: dict[str, Any], run: dict[str, Any] | None, links: bool, examples: int) -> Figures:
    """The figures of a sweep and, where there is one, of a run over it."""
    with _connected(archive, sweep, run, links) as ask:
        return Figures(
            posts=sweep["counts"]["posts"],
            hours=ask(
                "select strftime(date_trunc('hour', created_at), '%Y-%m-%dT%H:00Z'), platform, count(*) from posts "
                "where created_at is not null group by 1, 2 order by 1, 2"
            ),
            languages=ask(
                "select platform, coalesce(lang, 'not given'), count(*) from posts group by 1, 2 order by 1, 3 desc, 2"
            ),
            detected=[]
            if run is None
            else ask("select coalesce(lang, 'no letters'), count(*) from scores group by 1 order by 2 desc, 1"),
            rejects=ask("select source, reason, place, count(*) from rejects group by all order by 4 desc, 1, 2, 3"),
            labels=[]
            if run is None
            else [_label(ask, label, run, links, examples) for label in run["model"]["labels"]],
        )


def _label(ask: Any, label: dict[str, Any], run: dict[str, Any], links: bool, examples: int) -> LabelFigures:
    name = label["name"].replace('"', "")
    hit = f"list_contains(flags, '{name}')"
    ((scored, flagged, authors, expected, variance),) = ask(
        f'select count("{name}"), count(*) filter ({hit}), count(distinct author) filter ({hit}), '
        f'coalesce(sum("{name}") filter ({hit}), 0), coalesce(sum("{name}" * (1 - "{name}")) filter ({hit}), 0) '
        "from joined"
    )
    low, high = wilson(flagged, scored)
    bars = dict(
        ask(
            f'select least(floor("{name}" * {BINS})::int, {BINS - 1}), count(*) from joined '
            f'where "{name}" is not null group by 1'
        )
    )
    return LabelFigures(
        name=label["name"],
        definition=label["definition"],
        threshold=label["threshold"],
        scored=scored,
        flagged=flagged,
        authors=authors,
        expected=expected,
        spread=1.959963984540054 * math.sqrt(variance),
        low=low,
        high=high,
        histogram=[bars.get(place, 0) for place in range(BINS)],
        platforms=ask(
            f'select platform, count("{name}"), count(*) filter ({hit}), count(distinct author) filter ({hit}) '
            "from joined group by 1 order by 1"
        ),
        days=ask(
            f"select strftime(created_at, '%Y-%m-%d'), count(\"{name}\"), count(*) filter ({hit}) from joined "
            "where created_at is not null group by 1 order by 1"
        ),
        examples=_examples(ask, name, label["threshold"], run, links, examples),
    )


def _examples(  # noqa: PLR0917 - the question, spelled out
    ask: Any, name: str, threshold: float, run: dict[str, Any], links: bool, count: int
) -> list[dict[str, Any]]:
    """The highest scores and those next to the threshold, distinct texts, few of one author; never drawn by chance."""
    names = [each["name"] for each in run["model"]["labels"]]
    columns = ["uid", "platform", "created_at", "lang", "title", "warning", "text", "flags"]
    scores = [f'"{each}"' for each in names]
    url = "url" if links else "null"
    # As a plain timestamp: Python gets one with a zone from DuckDB only through one more package.
    shown = ["created_at::timestamp" if column == "created_at" else column for column in columns]
    picked = ", ".join([*shown, *scores, f"{url} as url"])
    query = f"""
        with distinct_texts as (
            select *, row_number() over (partition by coalesce(input_digest::varchar, uid) order by uid) as copy
            from joined where "{name}" is not null
        ), by_author as (
            select *, row_number() over (partition by coalesce(author, uid) order by {{order}}, uid) as nth
            from distinct_texts where copy = 1
        )
        select {picked} from by_author where nth <= {_PER_AUTHOR} order by {{order}}, uid limit {count}
    """
    top = ask(query.format(order=f'"{name}" desc'))
    near = ask(query.format(order=f'abs("{name}" - {threshold!r})'))
    found: dict[str, dict[str, Any]] = {}
    for why, rows in (("highest", top), ("near the threshold", near)):
        for row in rows:
            values = dict(zip([*columns, *names, "url"], row, strict=True))
            if why == "near the threshold" or name in values["flags"]:
                scores_of = {each: values[each] for each in names}
                found.setdefault(values["uid"], {**values, "why": why, "scores": scores_of})
    return list(found.values())


@contextmanager
def _connected(archive: Path, sweep: dict[str, Any], run: dict[str, Any] | None, links: bool) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as scratch:
        connection = duckdb.connect()

        def ask(query: str) -> list[Row]:
            return connection.execute(query).fetchall()

        for setting in ("TimeZone = 'UTC'", "memory_limit = '384MB'", "threads = 2"):
            ask(f"set {setting}")
        ask(f"set temp_directory = {_text(scratch)}")
        for table in ("posts", "rejects", *(["identities"] if links else [])):
            _view(ask, archive, table, sweep["parts"][table])
        if run is not None:
            _view(ask, archive, "scores", run["parts"])
            joined = "select posts.* exclude (lang), scores.* exclude (uid, platform, sweep, run) "
            joined += ", identities.url " if links else ""
            joined += "from posts join scores using (uid) "
            joined += "left join identities using (uid)" if links else ""
            ask(f"create view joined as {joined}")
        yield ask
        connection.close()


def _view(ask: Any, archive: Path, table: str, parts: list[dict[str, Any]]) -> None:
    if not parts:
        empty = {"rejects": "null::varchar as source, null::varchar as reason, null::varchar as place"}
        empty |= {"posts": "null::timestamptz as created_at, null::varchar as platform, null::varchar as lang"}
        columns = empty.get(table, "null::varchar as uid, null::varchar as url")
        ask(f"create view {table} as select {columns} where false")
        return
    files = ", ".join(_text(str(archive / part["path"])) for part in parts)
    # Ids are names, whatever they look like: nothing in a path may be read as a number or a date.
    ask(
        f"create view {table} as select * from read_parquet([{files}], hive_partitioning = true, "
        "hive_types_autocast = false)"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
