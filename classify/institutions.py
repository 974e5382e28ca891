"""Accounts that claim to be an institution or a licensed professional, by the words that they call themselves with.

Pure: a display name and a bio in, a claim or none out. `institutions.toml` beside it holds the words, in Chinese and
English, and the definition of each type. `claims.py` adds the encoder's opinion; whether a platform bears a claim out
is left to whoever knows the platform.
"""

import hashlib
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

Sureness = Literal["strong", "weak"]
"""`strong`: words that hardly anybody else uses, and like other such accounts. `weak`: one of the two."""

_HAN = "\u2e80-\u9fff\U00020000-\U0003ffff"
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])(?:[^\w{_HAN}]|_)+(?=[{_HAN}])")
_INITIALS = re.compile(r"\b(?:[a-z]\.)+[a-z]?(?![a-z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_LONGEST = 2_000
"""Characters of a name or a bio that are looked at."""


@dataclass(frozen=True)
class Claim:
    """What an account claims to be: the type, what says so, and how sure that is."""

    type: str
    words: tuple[str, ...]
    sure: Sureness


@dataclass(frozen=True)
class _Type:
    definition: str
    names: re.Pattern[str]
    bios: re.Pattern[str]


@dataclass(frozen=True)
class _Gazetteer:
    types: dict[str, _Type]
    names: re.Pattern[str]
    bios: re.Pattern[str]
    undo: re.Pattern[str]
    undo_names: re.Pattern[str]
    organisations: re.Pattern[str]
    digest: str


def institution_types() -> dict[str, str]:
    """The definition of each type, by its name."""
    return {name: of.definition for name, of in _gazetteer().types.items()}


def gazetteer_digest() -> str:
    """SHA-256 of the words."""
    return _gazetteer().digest


def claim(name: str | None, bio: str | None) -> Claim | None:
    """What an account claims to be by its words alone; None for a private person, as far as they tell.

    A person's bare name claims nothing, and neither does a person who says where he works, or what he admires, studies,
    mocks or has left.
    """
    called, told = spelled(name), spelled(bio)
    words = _gazetteer()
    if not (words.names.search(called) or words.bios.search(told)) or _is_undone(called, told):
        return None  # the first is most people's, and decided by two searches
    kinds = words.types
    # An office is named last: "the traffic police of a city's bureau of public security" is the police.
    in_name = [(kind, hit) for kind, of in kinds.items() for hit in of.names.finditer(called)]
    in_bio = [(kind, hit) for kind, of in kinds.items() for hit in of.bios.finditer(told)]
    by_name = [(hit.end(), len(hit[0]), kind, hit[0]) for kind, hit in in_name]
    by_bio = [(-hit.start(), len(hit[0]), kind, hit[0]) for kind, hit in in_bio]
    found = max(by_name or by_bio, default=None)
    if found is None:
        return None
    *_, kind, said = found
    more = (word for *_, of, word in sorted(by_bio, reverse=True) if of == kind)
    return Claim(kind, tuple(dict.fromkeys((said, *more))), "weak")


def organisation_word(name: str | None, bio: str | None) -> str | None:
    """The first word of a name by which it may be an institution's or a professional's; None where there is none, or
    another word undoes it."""
    called = spelled(name)
    found = _gazetteer().organisations.search(called)
    return None if found is None or _is_undone(called, spelled(bio)) else found[0]


def _is_undone(called: str, told: str) -> bool:
    """Whether a name or a bio has words that make it a private person's, a fan's, a parody's or a company's."""
    words = _gazetteer()
    return bool(words.undo_names.search(called) or words.undo.search(called) or words.undo.search(told))


def spelled(text: str | None) -> str:
    """A name or bio as the patterns read it: one spelling of case and width, no marks within or between words."""
    plain = unicodedata.normalize("NFKC", (text or "")[:_LONGEST]).casefold()
    plain = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain.replace("&", " and "))
    plain = _BETWEEN_HAN.sub("", plain.replace("'", "").replace("’", ""))
    return _BETWEEN_WORDS.sub(" ", plain).strip()


@cache
def _gazetteer() -> _Gazetteer:
    data = resources.files("classify").joinpath("institutions.toml").read_bytes()
    told: dict[str, Any] = tomllib.loads(data.decode())
    parts = {"{place}": told["place"], "{surname}": told["surname"]}

    def compiled(patterns: list[str]) -> re.Pattern[str]:
        return re.compile("|".join(_whole(pattern, parts) for pattern in patterns))

    kinds = {
        name: _Type(of["definition"], compiled(of["names"]), compiled(of["bios"]))
        for name, of in told["types"].items()
    }
    names, bios = (compiled([each for of in told["types"].values() for each in of[key]]) for key in ("names", "bios"))
    undo, undo_names, organisations = (compiled(told[key]) for key in ("undo", "undo_names", "organisations"))
    return _Gazetteer(kinds, names, bios, undo, undo_names, organisations, hashlib.sha256(data).hexdigest())


def _whole(pattern: str, parts: dict[str, str]) -> str:
    """A pattern without Han characters matches whole words; one with them, anywhere."""
    for name, of in parts.items():
        pattern = pattern.replace(name, of)
    is_han = any("\u2e80" <= char <= "\u9fff" for char in pattern)
    return f"(?:{pattern})" if is_han else rf"(?<!\w)(?:{pattern})(?!\w)"
