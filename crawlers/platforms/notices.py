"""Notices: what a page says in place of a post that it does not show, known by phrases of its platform. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

from crawlers.sighting import State

Says = State | Literal["gate"]
"""What became of the post; `gate`: the page asks the reader for something, and says nothing of the post."""


@dataclass(frozen=True)
class Notice:
    """What a page says, and the phrase of ours that says so. In a phrase `…` stands for up to 12 characters."""

    says: Says
    phrase: str


@dataclass(frozen=True)
class Phrases:
    """The phrases of a platform, the most telling first."""

    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, *told: tuple[Says, str]) -> "Phrases":
        """By what they say: the phrases, separated by spaces."""
        return cls(tuple(Notice(says, phrase) for says, phrases in told for phrase in phrases.split()))

    def find(self, words: str) -> Notice | None:
        """The first notice whose phrase is among the words."""
        return next((notice for notice in self.notices if _matches(notice.phrase, words)), None)


def _matches(phrase: str, words: str) -> bool:
    return re.search(".{0,12}".join(map(re.escape, phrase.split("…"))), words) is not None
