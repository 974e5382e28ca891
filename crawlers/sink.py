"""The protocol between a spider and whatever keeps its pages.

A spider reads a source page by page and hands whole pages over; it never touches storage. It asks once where to go
on, so a source that was read halfway continues after its last kept page.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from crawlers.post import Post
from crawlers.source import Source


@dataclass(frozen=True)
class Reject:
    """A record that could not be parsed: where it stood in the page (0-based), and why, without any of its content."""

    position: int | None
    place: str
    reason: str


@dataclass(frozen=True)
class Page:
    """One whole page of a source.

    `number` counts from 0. `cursor` is the opaque position that this page was read from (None: the beginning),
    `next_cursor` where reading goes on (None: nothing follows). A cursor may hold native ids: sinks treat it as
    secret. `outside` counts posts that were read and lie outside the window.
    """

    number: int
    cursor: str | None
    next_cursor: str | None
    posts: list[Post]
    rejects: list[Reject]
    fetched_at: datetime
    outside: int = 0


@dataclass(frozen=True)
class Gap:
    """A part of the window that could not be read, half open, and why (one line, no personal data, no secret)."""

    since: datetime
    until: datetime
    reason: str

    def holds(self, other: "Gap") -> bool:
        """Whether another gap lies within this one."""
        return self.since <= other.since and other.until <= self.until


@dataclass(frozen=True)
class Position:
    """Where to go on: the number of the next page and its cursor. `begun`: when the source's first page was asked for,
    where that is known."""

    page: int = 0
    cursor: str | None = None
    begun: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Memory:
    """What a later conditional GET needs (RFC 9110 section 13): validators, and the body that they stand for with its
    type, which may name the encoding."""

    body: bytes
    etag: str | None = None
    last_modified: str | None = None
    content_type: str = ""


@dataclass
class Traffic:
    """What reading a source cost; spiders count, sinks may report."""

    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    waited_seconds: float = 0.0
    bytes: int = 0
    not_modified: int = 0


class Sink(Protocol):
    """Keeps the pages of one source. A page that `page` was called with may be lost until `finish` returns; a restarted
    source then reads it again."""

    def position(self) -> Position | None:
        """Where to go on, or None when the source is complete already."""

    def page(self, page: Page) -> None:
        """Takes one whole page; pages come in order of their numbers."""

    def finish(self, gaps: list[Gap], traffic: Traffic) -> None:
        """Ends the source: complete when `gaps` is empty, else with those gaps. Everything is kept on return."""

    def memory(self) -> Memory | None:
        """What was remembered of this source by an earlier sweep, for a conditional GET."""

    def remember(self, memory: Memory) -> None:
        """Keeps validators and body for later sweeps."""


OpenSink = Callable[[Source], Sink]


@dataclass
class SinkRecorder:
    """A sink in memory: for notebooks and tests of spiders."""

    start: Position | None = field(default_factory=Position)
    remembered: Memory | None = None
    pages: list[Page] = field(default_factory=list)
    gaps: list[Gap] | None = None
    traffic: Traffic | None = None

    def position(self) -> Position | None:
        """See `Sink`."""
        return self.start

    def page(self, page: Page) -> None:
        """See `Sink`."""
        self.pages.append(page)

    def finish(self, gaps: list[Gap], traffic: Traffic) -> None:
        """See `Sink`."""
        self.gaps, self.traffic = gaps, traffic

    def memory(self) -> Memory | None:
        """See `Sink`."""
        return self.remembered

    def remember(self, memory: Memory) -> None:
        """See `Sink`."""
        self.remembered = memory

    @property
    def posts(self) -> list[Post]:
        """All posts of all pages, in order."""
        return [post for page in self.pages for post in page.posts]
