"""What the spiders share: records become a page of posts, of rejects and of a count of posts outside the window."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crawlers.fetching import Fetcher
from crawlers.post import ParseError, Post
from crawlers.settings import CrawlSettings
from crawlers.sink import Memory, Page, Position, Reject, Sink
from crawlers.source import Source, Window


class SinkFailedError(Exception):
    """The sink failed, not the source; the cause says how."""


@dataclass(frozen=True)
class Reading:
    """All that a spider needs to read one source."""

    source: Source
    window: Window
    fetcher: Fetcher
    settings: CrawlSettings
    start: Position
    sink: Sink

    def memory(self) -> Memory | None:
        """What an earlier sweep remembered of this source."""
        return self.sink.memory()

    def remember(self, memory: Memory) -> None:
        """Keeps it for later sweeps. Errors: SinkFailedError."""
        try:
            self.sink.remember(memory)
        except Exception as error:
            raise SinkFailedError from error


Spider = Callable[[Reading], AsyncIterator[Page]]
Clock = Callable[[Post], datetime | None]


def created(post: Post) -> datetime | None:
    """The clock of a platform whose server sets the times."""
    return post.created_at


def earliest(post: Post) -> datetime | None:
    """The clock of a platform whose clients claim the times: no later than the server saw the post."""
    known = [moment for moment in (post.created_at, post.server_time) if moment is not None]
    return min(known, default=None)


@dataclass(frozen=True)
class Parsed:
    """A page's records, parsed. `oldest` and `newest` are the clock's times of all its posts, also of those outside
    the window; None without a post."""

    kept: list[Post]
    rejects: list[Reject]
    outside: int
    oldest: datetime | None
    newest: datetime | None


def parse_records(
    items: Sequence[object], parse: Callable[[Any], Post], window: Window, clock: Clock, *, keep_undated: bool = False
) -> Parsed:
    """Parses each record by itself: a broken one is a reject, whatever is wrong with it.

    A post without a time is kept only where the source is no timeline (`keep_undated`); else it is a reject.
    """
    kept: list[Post] = []
    rejects: list[Reject] = []
    times: list[datetime] = []
    outside = 0
    for position, item in enumerate(items):
        try:
            post = parse(item)
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
            continue
        except Exception as error:
            # A bug in a parser must not stop a source; what it did not foresee is told, without the record.
            rejects.append(Reject(position, "record", f"not foreseen by the parser: {type(error).__name__}"))
            continue
        moment = clock(post)
        if moment is not None:
            times.append(moment)
        if moment is None and not keep_undated:
            rejects.append(Reject(position, "created_at", "missing"))
        elif moment is None or window.holds(moment):
            kept.append(post)
        else:
            outside += 1
    return Parsed(kept, rejects, outside, min(times, default=None), max(times, default=None))


def is_past(parsed: Parsed, reading: Reading) -> bool:
    """Whether a whole page lies before the window by more than the margin: pinned posts and late arrivals come out of
    order, so one old post ends nothing."""
    return parsed.newest is not None and parsed.newest < reading.window.since - reading.settings.margin
