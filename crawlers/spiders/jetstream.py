"""Bluesky's Jetstream (github.com/bluesky-social/jetstream): every post of the network as it is written, from the
oldest that the server still holds, over a WebSocket. Events come at least once; a post is one row all the same.

A window that is not over is waited for. Times are the server's (`time_us`), and so are its cursors.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlers.fetching import SourceGapError
from crawlers.platforms.bluesky import POST, parse_commit, written_at
from crawlers.post import ParseError, Post
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, earliest, parse_records
from crawlers.streaming import MOST_BYTES, LostError, Socket

RECORDS = 1_000
"""Events of a page."""
SLACK = 5_000_000
"""Microseconds by which events come out of order; a connection begins that much before the last event it knows."""
HOLE = 60_000_000
"""Microseconds without any event, after a cursor, that are taken for events that the server does not hold any more."""
_MOST_IDLE = 10_000
"""Messages in a row that take the stream no further in time: more than a connection replays of the last seconds."""
_SECONDS = 30.0
"""How long a page is waited for, once it has an event."""
_BEGINS_LATER = "the server does not hold events of so long ago any more, or lost some"


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the stream from the window's beginning to its end. Errors: SourceGapError."""
    socket = Socket(reading.fetcher)
    try:
        async for page in _follow(reading, socket):
            yield page
    finally:
        await socket.close()


@dataclass(frozen=True)
class _Place:
    """The latest event known, and the span of what the server did not hold, all in microseconds since 1970; 0: none."""

    latest: int
    hole_since: int = 0
    hole_until: int = 0

    @classmethod
    def of(cls, kept: str) -> "_Place":
        return cls(*map(int, kept.split(" ")))

    def __str__(self) -> str:
        return f"{self.latest} {self.hole_since} {self.hole_until}"

    def reached(self, moment: int, *, first: bool) -> "_Place":
        """After an event; `first`: of a connection, which began a little before `latest`."""
        if first and moment > self.latest + HOLE:
            return _Place(moment, self.hole_since or self.latest, moment)
        return replace(self, latest=max(self.latest, moment))


async def _follow(reading: Reading, socket: Socket) -> AsyncIterator[Page]:
    since, until = _micros(reading.window.since), _micros(reading.window.until)
    number, cursor = reading.start.page, reading.start.cursor
    place = _Place(since) if cursor is None else _Place.of(cursor)
    host = reading.source.authority
    if (early := (reading.window.since - datetime.now(UTC)).total_seconds()) > 0:
        await reading.fetcher.sleep(early)
    stream = _Stream(reading, socket, place, until)
    while True:
        try:
            events = await stream.page()
        except SourceGapError as error:
            # What comes out of order may still have been due.
            missing = (stream.place.hole_since or place.latest) - SLACK
            raise SourceGapError(str(error), (_moment(max(missing, since)), reading.window.until)) from None
        place, fetched_at = stream.place, datetime.now(UTC)
        kept = None if stream.over else str(place)

        def parse(event: Any, fetched_at: datetime = fetched_at) -> Post:
            return parse_commit(event, host, fetched_at)

        parsed = parse_records(events, parse, reading.window, earliest)
        yield Page(number, cursor, kept, parsed.kept, parsed.rejects, fetched_at, parsed.outside)
        if kept is None:
            break
        number, cursor = number + 1, kept
    if (missing := max(place.hole_since - SLACK, since)) < min(place.hole_until, until):
        span = (_moment(missing), _moment(min(place.hole_until, until)))
        raise SourceGapError(_BEGINS_LATER, span)


class _Stream:
    """The events of the window, over as many connections as it takes."""

    def __init__(self, reading: Reading, socket: Socket, place: _Place, until: int) -> None:
        self._reading, self._socket, self._until = reading, socket, until
        self._first = True
        self._idle = 0
        self.place = place
        self.over = False

    async def page(self) -> list[Any]:
        """The next events that are of interest; `place` is then after them. Errors: SourceGapError."""
        events: list[Any] = []
        begun = datetime.now(UTC)
        while len(events) < RECORDS and not self.over:
            if events and (datetime.now(UTC) - begun).total_seconds() > _SECONDS:
                break
            try:
                if not self._socket.connected:
                    await self._socket.connect(self._path())
                    self._first, self._idle = True, 0
                event = await self._socket.receive(self._reading.settings.timeout_seconds)
            except LostError as lost:
                await self._socket.close()
                self._socket.lost(lost)
                continue
            if event is None:
                # Silence after the window ended is the end of what there is; before that, there is nothing to read yet.
                if events:
                    break
                self.over = datetime.now(UTC) > _moment(self._until + SLACK)
                if self.over and self.place.latest + HOLE < self._until:
                    raise SourceGapError("the stream fell silent before the window's end")
                continue
            latest = self.place.latest
            if self._takes(event):
                events.append(event)
            self._idle = 0 if self.place.latest > latest else self._idle + 1
            if self._idle >= _MOST_IDLE:
                raise SourceGapError(f"the server sends {_MOST_IDLE:,} messages in a row without getting on in time")
        return events

    def _path(self) -> str:
        begins = self.place.latest - SLACK
        return f"/subscribe?wantedCollections={POST}&maxMessageSizeBytes={MOST_BYTES}&cursor={begins}"

    def _takes(self, event: Any) -> bool:
        """Whether an event of the stream is one of the window's posts; any event says how far the stream is."""
        moment = event.get("time_us") if isinstance(event, dict) else None
        if type(moment) is not int or not 0 < moment < 1 << 52:
            return False
        if moment > _micros(datetime.now(UTC)) + HOLE:
            return False  # a clock that is wrong must not end the window before it is over
        before, self.place = self.place, self.place.reached(moment, first=self._first)
        self._first = False
        if self.place.latest > before.latest:
            self._socket.progressed()
        self.over = moment >= self._until + SLACK
        return not self.over and _of_interest(event, self._reading)


def _of_interest(event: dict[str, Any], reading: Reading) -> bool:
    """A post that was written or changed; or one of the window that was deleted, which becomes a reject."""
    commit = event.get("commit")
    if event.get("kind") != "commit" or not isinstance(commit, dict) or commit.get("collection") != POST:
        return False
    if commit.get("operation") != "delete":
        return True
    try:
        return reading.window.holds(written_at(str(commit.get("rkey"))))
    except ParseError:
        return False


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
