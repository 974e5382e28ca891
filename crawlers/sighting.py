"""Sightings: what a later visit to the posts of a sweep finds, and the face of the checkers that find it.

A checker asks one platform in the cheapest way that it offers and knows nothing of rounds, storage or second visits:
those are the business of `run.py` and of whoever keeps the sightings.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from crawlers.post import Post
from crawlers.source import Source

if TYPE_CHECKING:  # readers of sightings need no crawler
    from crawlers.fetching import Fetcher
    from crawlers.settings import CrawlSettings

State = Literal["alive", "edited", "removed_by_author", "removed_by_platform", "account_gone", "restricted", "unknown"]
"""`restricted`: still there, and not for everybody (an age gate, a country, followers). `unknown`: not to be said, be
it that the host was not to be read or that it does not tell why the post is gone (`GONE`)."""

STATES: tuple[State, ...] = (
    "alive", "edited", "removed_by_author", "removed_by_platform", "account_gone", "restricted", "unknown",
)  # fmt: skip

REMOVALS: frozenset[State] = frozenset({"removed_by_author", "removed_by_platform", "account_gone"})
"""The states that count only once a second visit agrees."""

GONE = "gone, cause not told"
"""The phrase of a post that its host says is not there, without a word on who took it away."""


ALBUM = "part of an album"
SERVICE = "a message of service, no post"
"""The phrases of an id that a sweep has no post of, and that is none."""


@dataclass(frozen=True)
class Evidence:
    """What a finding rests on: the status of an answer, the platform's code for it (one of a list that the checker
    knows), and the phrase of ours that matched. Never a word that a server was free to choose."""

    status: int | None = None
    code: str | None = None
    phrase: str | None = None


@dataclass(frozen=True)
class Known:
    """A post of a sealed sweep, with what leads back to it. Never logged and never told in an error."""

    uid: str
    platform: str
    global_id: str | None = field(repr=False)
    authority: str | None = field(repr=False)
    native_id: str | None = field(repr=False)
    url: str | None = field(repr=False)
    author_id: str | None = field(repr=False)
    author_handle: str | None = field(repr=False)
    kind: str
    input_digest: bytes | None


@dataclass(frozen=True)
class Sighting:
    """What was found of one post. `post` is the post as it is now, where the answer holds it: its text tells `alive`
    from `edited`, so a checker says `alive` and leaves that to whoever compares (`seen`)."""

    uid: str
    state: State
    evidence: Evidence
    post: Post | None = field(default=None, repr=False)

    @property
    def gone(self) -> bool:
        """Whether the post is not there any more, be the cause told or not."""
        return self.state in REMOVALS or (self.state == "unknown" and self.evidence.phrase == GONE)


def alive(known: Known, post: Post | None, status: int = 200) -> Sighting:
    """A post that is still there."""
    return Sighting(known.uid, "alive", Evidence(status), post)


def gone(known: Known, status: int | None = None, code: str | None = None) -> Sighting:
    """A post that is not there any more, where the platform does not tell who took it away."""
    return Sighting(known.uid, "unknown", Evidence(status, code, GONE))


def unknown(known: Known, reason: str, status: int | None = None) -> Sighting:
    """A post of which nothing can be said; `reason` is a phrase of ours."""
    return Sighting(known.uid, "unknown", Evidence(status, None, reason))


@dataclass(frozen=True)
class Visit:
    """All that a checker needs: the source whose host is asked, at most `BATCH` posts of it, and the way there."""

    source: Source
    posts: Sequence[Known]
    fetcher: "Fetcher"
    settings: "CrawlSettings"
    elsewhere: Callable[[str], "Fetcher"]
    """The way to another host's base address, where a platform tells causes on hosts of its own; raises
    SourceGapError where that host may not be asked now."""


Checker = Callable[[Visit], AsyncIterator[Sighting]]
"""Yields one sighting for each post of a visit, in any order; one that is left out is `unknown`.

What the checker does not recognise (a block page, a gate, 403, 429, 5xx, a shape that is not the platform's) is
`unknown` or a SourceGapError, never a removal. After a SourceGapError the rest of the batch and of the host is unknown,
with its reason.
"""


@dataclass(frozen=True)
class Batch:
    """Posts that are visited together, none before a moment."""

    posts: Sequence[Known]
    not_before: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """A sighting as it is kept: `alive` and `edited` told apart, and when it was."""

    sighting: Sighting
    state: State
    input_digest: bytes | None
    visited_at: datetime
