"""The codebook for people who mark posts by hand: what a label includes, where it ends, and examples.

Names and definitions are in `labels.py`, where models take them from. The rest is data, in `codebook.toml`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from classify.labels import CODEBOOK

CASES = ("in", "out", "borderline")
UNSURE = "unsure"
"""The mark of a coder who cannot tell from what there is to read."""


@dataclass(frozen=True)
class Example:
    """An invented post, or an account's name and description, as it stands to one label: one of `CASES`.

    `marks` are all labels that a coder gives it, or `UNSURE`.
    """

    case: str
    lang: str
    text: str
    marks: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Source:
    """A published definition, and what the codebook takes from it or does otherwise."""

    work: str
    takes: str


@dataclass(frozen=True)
class Guide:
    """All that is said of one label; `questions` are asked in their order."""

    name: str
    definition: str
    includes: tuple[str, ...]
    excludes: tuple[str, ...]
    questions: tuple[str, ...]
    rules: tuple[str, ...]
    undecided: tuple[str, ...]
    sources: tuple[Source, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Harmless:
    """A kind of post that no label is for, and the groups of the fairness suite that measure it."""

    what: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """What platforms' notices name, the labels that it may fall under, and the part of it that is none."""

    says: str
    marks: tuple[str, ...]
    rest: str


@dataclass(frozen=True)
class Announcement:
    """A published notice."""

    who: str
    what: str
    when: str


@dataclass(frozen=True)
class Codebook:
    """`labels` are of posts, in the order of `labels.CODEBOOK`; `accounts` are kinds of accounts, and never scored."""

    labels: tuple[Guide, ...]
    accounts: tuple[Guide, ...]
    never: tuple[Harmless, ...]
    notices: tuple[Notice, ...]
    announcements: tuple[Announcement, ...]


def read_codebook() -> Codebook:
    """The codebook that ships with the package."""
    with resources.files("classify").joinpath("codebook.toml").open("rb") as file:
        found = tomllib.load(file)
    return Codebook(
        labels=tuple(
            _guide(each.name, {"definition": each.definition, **found["labels"][each.name]}) for each in CODEBOOK
        ),
        accounts=tuple(_guide(name, entry) for name, entry in found["accounts"].items()),
        never=tuple(Harmless(**_frozen(each)) for each in found["never"]),
        notices=tuple(Notice(**_frozen(each)) for each in found["notices"]),
        announcements=tuple(Announcement(**each) for each in found["announcements"]),
    )


def _guide(name: str, entry: Mapping[str, Any]) -> Guide:
    parts = {
        "sources": [Source(**each) for each in entry["sources"]],
        "examples": [Example(**_frozen(each)) for each in entry["examples"]],
    }
    return Guide(name, **_frozen({**entry, **parts}))


def _frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with its lists as tuples, since the classes are frozen."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
