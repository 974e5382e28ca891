"""Slices of a window, for a search that shows only so many hits of what it found: which seconds are to be read next,
and which were read and are to be read again. Pure: a spider asks the server, and keeps the slices as its cursor.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil

from crawlers.source import Window

AIM = 600
"""Hits that a slice should hold: enough that few are asked for, and few enough that most fit at once."""
_FIRST_WIDTH = 3600
_GROWTH = 4
"""A slice is at most so many times as wide as the one before it."""
_MOST_KEPT = 100


@dataclass(frozen=True)
class Slice:
    """The seconds `[start, end)` since 1970."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How wide it is."""
        return self.end - self.start


@dataclass(frozen=True)
class Slices:
    """Where the reading of a window stands. `todo` is still to be read; `kept` was read, with a digest of what it held,
    and is to be confirmed, the first read first; of the seconds in `short` the server shows less than it has."""

    todo: tuple[Slice, ...]
    width: int = _FIRST_WIDTH
    kept: tuple[tuple[Slice, str], ...] = ()
    short: tuple[int, ...] = ()

    @classmethod
    def of(cls, window: Window) -> "Slices":
        """The whole seconds of a window, none of them read."""
        start, end = ceil(window.since.timestamp()), ceil(window.until.timestamp())
        return cls((Slice(start, end),) if start < end else ())

    @classmethod
    def parse(cls, told: str) -> "Slices":
        """What `str` told. Seconds that fell short are to be read again: a source is tried again after its gap."""
        width, todo, kept, short = (part.split() for part in told.split("|"))
        read = [each.partition("=") for each in kept]
        seconds = [Slice(second, second + 1) for second in map(int, short)]
        return cls(
            todo=(*seconds, *map(_slice, todo)),
            width=int(width[0]),
            kept=tuple((_slice(place), digest) for place, _, digest in read),
        )

    def __str__(self) -> str:
        """One line: `width|todo|kept=digest|short`, a slice as `start+seconds`."""
        kept = " ".join(f"{_told(each)}={digest}" for each, digest in self.kept)
        return f"{self.width}|{' '.join(map(_told, self.todo))}|{kept}|{' '.join(map(str, self.short))}"

    @property
    def next(self) -> Slice | None:
        """What to read now; None when a slice is to be confirmed first, or when nothing is left to read."""
        if not self.todo or len(self.kept) >= _MOST_KEPT:
            return None
        start, end = self.todo[0].start, self.todo[0].end
        return Slice(start, min(end, start + self.width))

    def read(self, done: Slice, hits: int, digest: str) -> "Slices":
        """After `next` was read whole; the digest names what it held."""
        fits = done.seconds * AIM // max(hits, 1)
        cut = done.seconds < self.width  # by the end of what is to be read, so it says little of what follows
        width = self.width if cut and fits >= done.seconds else min(_GROWTH * done.seconds, fits)
        return replace(self._without(done), width=max(1, width), kept=(*self.kept, (done, digest)))

    def narrowed(self, hits: int) -> "Slices":
        """After `next` turned out to hold more than can be read at once, or not to add up."""
        narrow = min(self.todo[0].seconds, self.width)
        return replace(self, width=max(1, min(narrow // 2, narrow * AIM // max(hits, 1))))

    def fallen_short(self, second: Slice) -> "Slices":
        """After `next`, a single second, was read as far as the server shows it."""
        return replace(self._without(second), short=(*self.short, second.start))

    def confirmed(self) -> "Slices":
        """After the first of `kept` was found to hold what was read of it."""
        return replace(self, kept=self.kept[1:])

    def changed(self) -> "Slices":
        """After the first of `kept` was found to hold anything else: it is read anew."""
        return replace(self, kept=self.kept[1:], todo=(self.kept[0][0], *self.todo))

    @property
    def unread(self) -> tuple[datetime, datetime]:
        """From the first to the last second that was not surely read whole."""
        open_slices = [*self.todo, *(Slice(second, second + 1) for second in self.short)]
        found = open_slices or [each for each, _ in self.kept]
        return _moment(min(each.start for each in found)), _moment(max(each.end for each in found))

    def _without(self, done: Slice) -> "Slices":
        first, rest = self.todo[0], self.todo[1:]
        left = (Slice(done.end, first.end),) if done.end < first.end else ()
        return replace(self, todo=(*left, *rest))


def _told(each: Slice) -> str:
    return f"{each.start}+{each.seconds}"


def _slice(told: str) -> Slice:
    start, _, seconds = told.partition("+")
    return Slice(int(start), int(start) + int(seconds))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
