"""From the labels of a model to the columns of a run: which are kept, how they are called, from where they flag."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from classify.errors import ModelError
from classify.labels import Label
from classify.spec import ModelSpec

TAKEN = frozenset({"uid", "lang", "windows", "flags", "run", "sweep", "platform"})
"""Columns of a table of scores that are no labels: its own, and those that readers take from the paths of its files."""

_VALID = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Column:
    """One column of scores: its label under the run's name, and the model's own label at its place in the head."""

    label: Label
    of: str
    place: int


def is_column(name: str) -> bool:
    """Whether a label's name can be a column's; in SQL, case makes no other name."""
    return _VALID.fullmatch(name) is not None and name.casefold() not in TAKEN


def valid_names(own: Sequence[str]) -> list[str]:
    """A column's name for each label: other characters become `_`, and no two are equal, whatever their case."""
    names: list[str] = []
    used = set(TAKEN)
    for place, label in enumerate(own):
        name = re.sub(r"[^A-Za-z0-9_]+", "_", label)
        if not is_column(label):
            name = name.strip("_") or str(place)
        if not name[0].isalpha() or name.casefold() in TAKEN:
            name = f"label_{name}"
        name = next(each for each in _numbered(name) if each.casefold() not in used)
        used.add(name.casefold())
        names.append(name)
    return names


def _numbered(name: str) -> Iterable[str]:
    yield name
    for number in range(2, 10_000):
        yield f"{name}_{number}"


def choose(own: Sequence[Label], spec: ModelSpec) -> tuple[Column, ...]:
    """The columns of a model whose own labels are `own`, as its spec maps and changes them.

    Errors: ModelError for a label, column, threshold or definition that cannot be.
    """
    where = f"model {spec.model}"
    places = {label.name: place for place, label in enumerate(own)}
    pairs = spec.labels
    if pairs is None:
        pairs = tuple(zip(places, valid_names(list(places)), strict=True))
    elif not pairs:
        raise ModelError(f"{where}: its labels keep none; name at least one of {_listed(places)}")
    for label, column in pairs:
        if label not in places:
            raise ModelError(f"{where}: has no label {label!r}; it has {_listed(places)}")
        if not is_column(column):
            raise ModelError(
                f"{where}: {column!r} cannot be a column (letters, digits, _; not {', '.join(sorted(TAKEN))})"
            )
    names = [column for _, column in pairs]
    if len({name.casefold() for name in names}) != len(names):
        raise ModelError(f"{where}: two of its labels become one column ({', '.join(names)}); give each its own")
    thresholds = _by_column(spec.thresholds, names, f"{where}: thresholds")
    definitions = _by_column(spec.definitions, names, f"{where}: definitions")
    for column, threshold in thresholds.items():
        if not 0 <= threshold <= 1:
            raise ModelError(f"{where}: the threshold of {column} is {threshold}, not from 0 to 1")
    found = []
    for label, column in pairs:
        place = places[label]
        definition = definitions.get(column, own[place].definition)
        found.append(Column(Label(column, definition, thresholds.get(column, own[place].threshold)), label, place))
    return tuple(found)


def _by_column(pairs: Sequence[tuple[str, _Value]], names: Sequence[str], where: str) -> dict[str, _Value]:
    for column, _ in pairs:
        if column not in names:
            raise ModelError(f"{where} name {column!r}, which is no column of it; it has {_listed(names)}")
    return dict(pairs)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
