"""A user's labelled texts: files of rows with labels, checked before anything is trained or judged on them.

Labels come in one of three ways: a column `labels` (a list, or names joined by commas), a column `label` (one name), or
a column per label with 1, 0 or nothing. Of the first two, a label that the file names and a row does not name does not
apply to it; of the third, an empty cell says nothing. `values` maps what a column says to labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from classify.columns import is_column
from classify.datasets import read_rows, text_group
from classify.errors import ModelError
from classify.language import detect_language

NONE = ("", "none", "null", "nan")
"""What says that no label applies, whatever its case."""

_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_MOST_CLASSES = 50


@dataclass(frozen=True)
class Columns:
    """How the files call their columns, and what the values of the column of labels stand for."""

    text: str = "text"
    label: str | None = None
    """The column of one name a row, or of several; None: `labels`, else `label`, else a column per label."""
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Labels by value of that column: `{"OFF": ["abuse"], "NOT": []}`. A value that is not there is an error."""
    group: str = "group"
    part: str = "part"
    cluster: str | None = None
    """The column whose rows of one value say the same thing, such as those of an event; None: each row by itself."""
    partial: bool = False
    """Whether a row's names are those that it was written for and deny no other; a row without one denies all."""


@dataclass(frozen=True)
class Row:
    """One labelled text, `number` in its file from 1 on. `group` names what a row belongs to in a suite or an event;
    `part` where its file says it; `pair` is the `id` of the row that it resembles, where the file pairs them.
    """

    text: str
    lang: str
    marks: Mapping[str, int]
    file: str
    group: str | None = None
    part: str | None = None
    number: int = 0
    id: str | None = None
    pair: str | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Labelled:
    """What was read: the labels in their order, the rows that can be used, and what was left out, in sentences."""

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    told: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path], columns: Columns, known: Sequence[str] | None = None, *, settled: bool = True
) -> Labelled:
    """Reads labelled files. With `known` (a model's labels) other labels are an error, and per-label columns are those.

    Rows without a letter outside of links, mentions and hashtags are left out and counted, as are texts that stand
    twice with the same labels; a text that stands twice with other labels is an error, or left out and counted too
    where texts need not be `settled`. Errors: ModelError, which names the file and the row.
    """
    found: list[Row] = []
    empty: dict[str, int] = {}
    for path in paths:
        rows = list(read_rows(path))
        if not rows:
            raise ModelError(f"{path}: no row; a file of labelled texts has one a line")
        if not any(columns.text in row for row in rows[:1]):
            raise ModelError(f"{path}: no column {columns.text!r} ({_listed(rows[0])}); name the column of texts")
        read = _reader(path, rows, columns, known)
        for number, row in enumerate(rows, 1):
            where = f"{path}, row {number}"
            text = str(row.get(columns.text) or "").strip()
            lang = _language(row.get("lang")) or detect_language(text)
            if text_group(text) is None or lang is None:
                empty[str(path)] = empty.get(str(path), 0) + 1
                continue
            asked = (columns.group, columns.part, "id", "pair", columns.cluster or "")
            group, part, *others = (None if row.get(name) in (None, "") else str(row[name]) for name in asked)
            found.append(Row(text, lang, read(row, where), path.name, group, part, number, *others))
    told = [f"{path}: {_rows(count)} without a text that has a letter left out" for path, count in empty.items()]
    if not found:
        raise ModelError(f"{paths[0]}: no row has a text with a letter in {columns.text!r}; name the column of texts")
    if not settled:
        found, unsettled = _agreeing(found)
        told += [f"{_rows(unsettled)} whose text stands twice, with other labels, left out"] if unsettled else []
    rows_, twice = _once(found)
    told += [f"{_rows(twice)} repeating a text with the same labels left out"] if twice else []
    names = sorted({label for row in rows_ for label in row.marks})
    for one, other in pairwise(sorted(names, key=str.casefold)):
        if one.casefold() == other.casefold():
            raise ModelError(f"labels {one!r} and {other!r} would be one column; write them alike, or map them to one")
    labels = tuple(known) if known else tuple(names)
    return Labelled(tuple(label for label in labels if label in names), tuple(rows_), tuple(told))


def _reader(path: Path, rows: Sequence[Mapping[str, Any]], columns: Columns, known: Sequence[str] | None) -> Any:
    """What gives a row's marks, by the columns that the file has."""
    first = rows[0]
    name = columns.label or next((each for each in ("labels", "label") if each in first), None)
    if name is not None:
        if name not in first:
            raise ModelError(f"{path}: no column {name!r} ({_listed(first)}); name the column of labels")
        return _by_name(path, rows, name, columns, known)
    others = (columns.text, columns.group, columns.part, "lang")
    each = [column for column in first if column not in others and _is_said(rows, column)]
    chosen = [column for column in each if known is None or column in known]
    if not chosen:
        called = f" ({', '.join(known)})" if known else ""
        raise ModelError(
            f"{path}: no labels ({_listed(first)}); give a column `label` of names, `labels` of lists, or a column of "
            f"1 and 0 per label{called}"
        )
    for column in chosen:
        _check_name(path, column)

    def read(row: Mapping[str, Any], where: str) -> dict[str, int]:
        return {column: int(_word(row.get(column)) in _YES) for column in chosen if _word(row.get(column))}

    return read


def _by_name(
    path: Path, rows: Sequence[Mapping[str, Any]], name: str, columns: Columns, known: Sequence[str] | None
) -> Any:
    def names(row: Mapping[str, Any], where: str) -> list[str]:
        value = row.get(name)
        parts = value if isinstance(value, list) else [value]
        found: list[str] = []
        for part in parts:
            text = "" if part is None else str(part).strip()
            if columns.values:
                if text not in columns.values:
                    raise ModelError(f"{where}: {name} is {text!r}, which is not among the values that were mapped")
                found += columns.values[text]
            elif text.casefold() not in NONE:
                found += [each.strip() for each in text.split(",") if each.strip()]
        return found

    every: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        for each in names(row, f"{path}, row {number}"):
            if each not in every:
                if known is not None and each not in known:
                    raise ModelError(
                        f"{path}, row {number}: {each!r} is no label of the model ({', '.join(known)}); map it, or "
                        "leave the rows out"
                    )
                _check_name(f"{path}, row {number}", each)
                every[each] = None
        if len(every) > _MOST_CLASSES:
            raise ModelError(
                f"{path}: more than {_MOST_CLASSES} labels in column {name!r}; is it the column of labels?"
            )
    if not every and known is None:
        raise ModelError(f"{path}: column {name!r} names no label in any row; there is nothing to tell apart")
    # A file that names none is of harmless texts: no label of the model applies to them.
    every = every or dict.fromkeys(known or ())
    for label in (label for value in columns.values.values() for label in value):
        every.setdefault(label)

    def read(row: Mapping[str, Any], where: str) -> dict[str, int]:
        said = names(row, where)
        if columns.partial and said:
            return dict.fromkeys(said, 1)
        return {label: int(label in said) for label in every}

    return read


def _agreeing(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows whose text no other row contradicts, and how many others there are."""
    said: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        for label, mark in row.marks.items():
            said.setdefault((_same(row), label), set()).add(mark)
    kept = [row for row in rows if all(len(said[_same(row), label]) == 1 for label in row.marks)]
    return kept, len(rows) - len(kept)


def _same(row: Row) -> str:
    return f"{row.part or ''} {text_group(row.text) or row.text}"


def _once(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Each text once; how many were left out. Errors: ModelError where a text contradicts itself."""
    kept: dict[str, Row] = {}
    twice = 0
    for row in rows:
        key = _same(row)
        before = kept.get(key)
        if before is None:
            kept[key] = row
            continue
        for label, mark in row.marks.items():
            if before.marks.get(label, mark) != mark:
                raise ModelError(
                    f"{row.file}: the text {row.text[:60]!r} stands there twice, once as {label} and once not; settle "
                    "which"
                )
        twice += 1
    return list(kept.values()), twice


def _language(said: Any) -> str | None:
    """What a column says: `zh-CN` and `EN` are read as `zh` and `en`, the codes that texts are told by."""
    return str(said).strip().casefold().replace("_", "-").partition("-")[0] or None if said else None


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _is_said(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    said = {_word(row.get(column)) for row in rows}
    return bool(said - {""}) and said <= {*_YES, *_NO, ""}


def _word(value: Any) -> str:
    word = "" if value is None else str(value).strip().casefold()
    return "" if word in NONE else word


def _check_name(where: Any, label: str) -> None:
    if not is_column(label):
        raise ModelError(f"{where}: {label!r} cannot be a label's name (letters, digits, _); map it to one that can")


def _listed(row: Mapping[str, Any]) -> str:
    return "it has " + ", ".join(map(str, list(row)[:8]))
