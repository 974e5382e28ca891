"""The numbers of a report, computed by DuckDB over the sealed Parquet files that the manifests name.

How they look is left to `plots.py` and `page.html`.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any

import duckdb

from pipelines.errors import ArchiveError
from pipelines.report.intervals import Z, wilson
from pipelines.report.survival import Grouping, Survival, compute_survival

Row = tuple[Any, ...]
Ask = Callable[[str], list[Row]]

BINS = 20
"""Bars of a score histogram."""
MEMORY_LIMIT = "384MB"
"""What DuckDB may hold; the rest goes to a folder for temporary files."""
_PER_AUTHOR = 2
"""Examples of one author under a label at most, so that a page shows a harm and not a person."""


@dataclass(frozen=True)
class Share:
    """Flagged among scored posts of a label, overall (`name` is the label's) or of one platform or day (UTC)."""

    name: str
    scored: int
    flagged: int
    authors: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1; 0 when nothing was scored."""
        return self.flagged / self.scored if self.scored else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson(self.flagged, self.scored)


@dataclass(frozen=True)
class Example:
    """One post to review. `why` says how it was picked, `scores` holds every label's, None where there is none."""

    uid: str
    why: str
    platform: str
    created_at: str | None
    lang: str | None
    texts: tuple[str, ...]
    flags: list[str]
    scores: dict[str, float | None]
    url: str | None


@dataclass(frozen=True)
class LabelFigures:
    """What was flagged under one label.

    `expected` is the sum of the flagged posts' probabilities: the true positives that a calibrated model expects;
    `spread` is half the width of the 95 % range of their number (normal approximation, posts taken as independent).
    """

    name: str
    definition: str
    threshold: float
    total: Share
    expected: float
    spread: float
    histogram: list[int]
    platforms: list[Share]
    days: list[Share]
    examples: list[Example]


@dataclass(frozen=True)
class Figures:
    """All numbers of a report; rows are sorted as they are shown and end with a number of posts (or records).

    `hours`: hour as ISO text, platform; `platforms`: platform; `languages`: platform, language that the platform gave;
    `detected`: language that the run detected; `rejects`: source, reason, place. `undated`: posts without a time.
    """

    posts: int
    undated: int
    hours: list[Row]
    platforms: list[Row]
    languages: list[Row]
    detected: list[Row]
    rejects: list[Row]
    labels: list[LabelFigures] = field(default_factory=list)
    survival: Survival | None = None

    @property
    def groupings(self) -> list[Grouping]:
        """The posts of rechecks by platform, language and label; none without a round."""
        return [] if self.survival is None else self.survival.groupings


def compute(  # noqa: PLR0917 - the manifests, then the options
    archive: Path,
    sweep: dict[str, Any],
    run: dict[str, Any] | None,
    links: bool,
    examples: int,
    rounds: Sequence[dict[str, Any]] = (),
) -> Figures:
    """The figures of a sweep and, where there are some, of a run over it and of its rounds of rechecks.

    `links` reads the examples' addresses too; `examples` is how many of the highest scores each label shows. Errors:
    ArchiveError when a file that a manifest names cannot be read.
    """
    try:
        with _connected(archive, sweep, run, links) as ask:
            labels = None if run is None else [label["name"] for label in run["labels"]]
            survival = compute_survival(ask, _view, archive, rounds, labels)
            return replace(_figures(ask, sweep, run, links, examples), survival=survival)
    except duckdb.Error as error:
        raise ArchiveError(
            f"{archive}: a file of sweep {sweep['sweep']} cannot be read ({type(error).__name__}); "
            "`postsweep verify` says which"
        ) from None


def _figures(ask: Ask, sweep: dict[str, Any], run: dict[str, Any] | None, links: bool, examples: int) -> Figures:
    ((undated,),) = ask("select count(*) from posts where created_at is null")
    labels = [] if run is None else run["labels"]
    return Figures(
        posts=sweep["counts"]["posts"],
        undated=undated,
        hours=ask(
            "select strftime(date_trunc('hour', created_at), '%Y-%m-%dT%H:00Z'), platform, count(*) from posts "
            "where created_at is not null group by 1, 2 order by 1, 2"
        ),
        platforms=ask("select platform, count(*) from posts group by 1 order by 2 desc, 1"),
        languages=ask(
            "select platform, coalesce(lang, 'not given'), count(*) from posts group by 1, 2 order by 1, 3 desc, 2"
        ),
        detected=[]
        if run is None
        else ask("select coalesce(lang, 'none detected'), count(*) from judged group by 1 order by 2 desc, 1"),
        rejects=ask("select source, reason, place, count(*) from rejects group by all order by 4 desc, 1, 2, 3"),
        labels=[
            _label(ask, label, place, [each["name"] for each in labels], links, examples)
            for place, label in enumerate(labels)
        ],
    )


def _label(  # noqa: PLR0917 - the label among its fellows
    ask: Ask, label: dict[str, Any], place: int, names: list[str], links: bool, examples: int
) -> LabelFigures:
    score, hit = f"s{place}", f"list_contains(flags, {_text(label['name'])})"
    ((expected, variance),) = ask(
        f"select coalesce(sum({score}), 0), coalesce(sum({score} * (1 - {score})), 0) from judged where {hit}"
    )
    bars: dict[int, int] = dict(
        ask(
            f"select least(floor({score} * {BINS})::int, {BINS - 1}), count(*) from judged "
            f"where {score} is not null group by 1"
        )
    )
    counts = f"count({score}), count(*) filter ({hit}), count(distinct author) filter ({hit}) from judged"
    ((*total,),) = ask(f"select {counts}")
    day = "coalesce(strftime(created_at, '%Y-%m-%d'), 'no date')"
    return LabelFigures(
        name=label["name"],
        definition=label["definition"],
        threshold=label["threshold"],
        total=Share(label["name"], *total),
        expected=expected,
        spread=Z * math.sqrt(variance),
        histogram=[bars.get(bar, 0) for bar in range(BINS)],
        platforms=[Share(*row) for row in ask(f"select platform, {counts} group by 1 order by 1")],
        days=[Share(*row) for row in ask(f"select {day}, {counts} group by 1 order by 1")],
        examples=_examples(ask, _picked(ask, score, hit, label["threshold"], examples), names, links),
    )


def _picked(ask: Ask, score: str, hit: str, threshold: float, count: int) -> dict[str, str]:
    """The uids to review and why, never drawn by chance: the highest flagged, then half as many by the threshold.

    Of equal texts one is picked, of an author `_PER_AUTHOR` at most over both.
    """
    ask("create or replace temp table picked (uid varchar, author varchar, digest blob)")
    found: dict[str, str] = {}
    for why, which, order, limit in (
        ("highest", hit, f"{score} desc", count),
        ("near the threshold", f"{score} is not null", f"abs({score} - {threshold!r})", -(-count // 2)),
    ):
        rows = ask(f"""
            with of_text as (
                select *, row_number() over (partition by coalesce(digest, uid::blob) order by uid) as copy
                from judged where {which} and uid not in (select uid from picked)
                and (digest is null or digest not in (select digest from picked where digest is not null))
            ), of_author as (
                select *, row_number() over (partition by coalesce(author, uid) order by {order}, uid) as nth
                from of_text where copy = 1
            )
            select uid from of_author left join
            (select author, count(*) as shown from picked where author is not null group by author) using (author)
            where nth + coalesce(shown, 0) <= {_PER_AUTHOR} order by {order}, uid limit {limit}
        """)
        found |= {uid: why for (uid,) in rows}
        ask(f"insert into picked select uid, author, digest from judged where uid in {_texts([*found])}")
    return found


def _examples(ask: Ask, picked: dict[str, str], names: list[str], links: bool) -> list[Example]:
    """The picked posts as a page shows them, in the order that they were picked in."""
    if not picked:
        return []
    scores = "".join(f", s{place}" for place in range(len(names)))
    rows = ask(f"""
        select posts.uid, posts.platform, strftime(posts.created_at, '%Y-%m-%d %H:%M'), judged.lang, flags,
        {"url" if links else "null"}, title, warning, text{scores}
        from posts join judged using (uid) {"left join identities using (uid)" if links else ""}
        where uid in {_texts([*picked])}
    """)
    found = {}
    for uid, platform, created_at, lang, flags, url, *rest in rows:
        found[uid] = Example(
            uid=uid,
            why=picked[uid],
            platform=platform,
            created_at=created_at,
            lang=lang,
            texts=tuple(text for text in rest[:3] if text),
            flags=flags,
            scores=dict(zip(names, rest[3:], strict=True)),
            url=url,
        )
    return [found[uid] for uid in picked]


@contextmanager
def _connected(archive: Path, sweep: dict[str, Any], run: dict[str, Any] | None, links: bool) -> Iterator[Ask]:
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:

        def ask(query: str) -> list[Row]:
            return connection.execute(query).fetchall()

        for setting in ("TimeZone = 'UTC'", f"memory_limit = '{MEMORY_LIMIT}'", "threads = 2"):
            ask(f"set {setting}")
        ask(f"set temp_directory = {_text(scratch)}")
        for table in ("posts", "rejects", *(["identities"] if links else [])):
            _view(ask, archive, table, sweep["parts"][table])
        if run is not None:
            _judged(ask, archive, run)
        yield ask


def _judged(ask: Ask, archive: Path, run: dict[str, Any]) -> None:
    """Posts and scores side by side without the texts; label n's score is the column `s<n>`, whatever its name."""
    names = [label["name"] for label in run["labels"]]
    columns = {"uid": "varchar", "lang": "varchar", "flags": "varchar[]", **dict.fromkeys(names, "float")}
    _view(ask, archive, "scores", run["parts"], columns)
    scores = "".join(f", scores.{_name(name)}::double as s{place}" for place, name in enumerate(names))
    ask(
        "create temp table judged as select uid, posts.platform, author, created_at, input_digest as digest, "
        f"scores.lang, flags{scores} from posts join scores using (uid)"
    )


_COLUMNS = {
    "posts": {
        **dict.fromkeys(("uid", "platform", "author", "lang", "title", "warning", "text"), "varchar"),
        "created_at": "timestamptz",
        "input_digest": "blob",
    },
    "rejects": dict.fromkeys(("source", "reason", "place"), "varchar"),
    "identities": dict.fromkeys(("uid", "url"), "varchar"),
}
"""What a report reads of each table; what a table without a file is made of."""


def _view(
    ask: Ask, archive: Path, table: str, parts: list[dict[str, Any]], columns: dict[str, str] | None = None
) -> None:
    if not parts:
        empty = ", ".join(f"null::{kind} as {_name(name)}" for name, kind in (columns or _COLUMNS[table]).items())
        ask(f"create view {table} as select {empty} where false")
        return
    # Which platform a part is of comes from the manifest: a folder above the archive may be named like a partition.
    paths = [str(archive / part["path"]) for part in parts]
    of_part = ", ".join(f"({_text(path)}, {_text(part['platform'])})" for path, part in zip(paths, parts, strict=True))
    ask(f"create temp table {table}_parts as select * from (values {of_part}) as part (filename, platform)")
    ask(
        f"create view {table} as select * exclude (filename) "
        f"from read_parquet({_list([escape(path) for path in paths])}, hive_partitioning = false, filename = true) "
        f"join {table}_parts using (filename)"
    )


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _list(values: list[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _texts(values: list[str]) -> str:
    return "(" + ", ".join(map(_text, values)) + ")" if values else "(null)"
