"""What the spiders share: records become a page of posts, of rejects and of a count of posts outside the window, and a
trail of cursors is followed no further than it leads somewhere.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.optouts import OPTED_OUT, opted_out
from crawlers.post import ParseError, Post
from crawlers.settings import MOST_RECORDS, CrawlSettings
from crawlers.sink import Memory, Page, Position, Reject, Sink
from crawlers.source import Source, Window
from crawlers.text import well_formed


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

    async def get_changed(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, bool]:
        """Gets a document of which an earlier sweep may remember the validators (RFC 9110 section 13), and whether it
        came now: one that did not change is the remembered one, as if it had been sent. Errors: SourceGapError."""
        memory = self.sink.memory()
        asked = dict(headers or {})
        if memory is not None and memory.etag:
            asked["If-None-Match"] = memory.etag
        if memory is not None and memory.last_modified:
            asked["If-Modified-Since"] = memory.last_modified
        answer = await self.fetcher.get(path, query, asked)
        if answer.status != 304 or memory is None:
            return answer, True
        self.fetcher.traffic.not_modified += 1
        told = {**answer.headers, "content-type": memory.content_type}
        return replace(answer, status=200, body=memory.body, headers=told), False

    def remember(self, answer: Answer) -> None:
        """Keeps a document that came with validators for later sweeps. Errors: SinkFailedError."""
        etag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
        if not (etag or modified):
            return
        try:
            self.sink.remember(Memory(answer.body, etag, modified, answer.headers.get("content-type", "")))
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

    A post without a time is kept only where the source is no timeline (`keep_undated`); else it is a reject. So is a
    post of the window whose author opted out, whatever the source: it is counted, with its reason, and not kept.
    Errors: SourceGapError for more records than a page can have.
    """
    if len(items) > MOST_RECORDS:
        raise SourceGapError(f"a page of {len(items):,} records, more than the {MOST_RECORDS:,} that one may have")
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
        elif moment is not None and not window.holds(moment):
            outside += 1
        elif opted_out(item):
            rejects.append(Reject(position, "author", OPTED_OUT))
        else:
            kept.append(post)
    return Parsed(kept, rejects, outside, min(times, default=None), max(times, default=None))


def is_past(parsed: Parsed, reading: Reading) -> bool:
    """Whether a whole page lies before the window by more than the margin: pinned posts and late arrivals come out of
    order, so one old post ends nothing."""
    return parsed.newest is not None and parsed.newest < reading.window.since - reading.settings.margin


class Trail:
    """The cursors of a source, one after another. Notices a server that leads in circles (by Brent's algorithm, so in
    constant memory, after a few rounds at most), through empty pages without end, or to what cannot be sent back."""

    _MOST_EMPTY = 20
    _LONGEST = 4096

    def __init__(self, start: str | None) -> None:
        self._mark = start
        self._steps, self._until_next_mark = 0, 1
        self._empty = 0

    def follow(self, cursor: str, records: int) -> None:
        """Takes the next cursor, and how many records were on the page that gave it. Errors: SourceGapError."""
        if len(cursor) > self._LONGEST or well_formed(cursor) != cursor:
            raise SourceGapError("the server gives a cursor that cannot be sent back")
        self._empty = 0 if records else self._empty + 1
        if self._empty > self._MOST_EMPTY:
            raise SourceGapError(f"the server gives {self._empty} empty pages in a row and says that more follow")
        if cursor == self._mark:
            raise SourceGapError("the server gives the same cursor again: its paging goes in circles")
        self._steps += 1
        if self._steps == self._until_next_mark:
            self._mark, self._steps, self._until_next_mark = cursor, 0, 2 * self._until_next_mark
