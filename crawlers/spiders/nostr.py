"""Nostr relays by NIP-01: a window is asked for newest first and walked down by `until`, as relays cap what they give
at once without a word."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from crawlers.fetching import SourceGapError
from crawlers.platforms.nostr import KINDS, parse_event, public_key
from crawlers.sighting import Visit
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, created, parse_records
from crawlers.streaming import LostError, Socket

LIMIT = 500
_LEAST_CAP = 20
"""A relay that gives fewer events at once than this is not known; fewer in one second are all that it has."""
_MOST_KEPT = 100
"""Events of one second that a cursor names, so that the next page leaves them out."""
_MOST_MESSAGES = 10_000
_BUSY = ("rate-limited", "error")
_GATED = ("auth-required", "restricted", "blocked", "payment-required", "pow", "invite-required")
_OTHERS = ("unsupported", "invalid")


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the notes of a relay, of a tag or of an author. Errors: SourceGapError."""
    relay = Relay(reading)
    try:
        async for page in _walk(reading, relay):
            yield page
    finally:
        await relay.close()


class Relay:
    """Asks a relay for events, over new connections where one is lost."""

    def __init__(self, reading: Reading | Visit) -> None:
        self._fetcher = reading.fetcher
        self._seconds = reading.settings.timeout_seconds
        self._socket = Socket(reading.fetcher)

    async def events(self, wanted: dict[str, Any]) -> list[Any]:
        """All events that the relay gives for a filter, as it gives them. Errors: SourceGapError."""
        while True:
            try:
                if not self._socket.connected:
                    await self._socket.connect()
                await self._fetcher.turn()
                self._fetcher.traffic.requests += 1
                found = await self._answer(wanted)
            except LostError as lost:
                await self._socket.close()
                self._socket.lost(lost)
                continue
            self._socket.progressed()
            return found

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        await self._socket.close()

    async def _answer(self, wanted: dict[str, Any]) -> list[Any]:
        name, events = f"posts{self._fetcher.traffic.requests}", []
        await self._socket.send(["REQ", name, wanted])
        for _ in range(_MOST_MESSAGES):
            message = await self._socket.receive(self._seconds)
            if message is None:
                raise LostError(f"no answer within {self._seconds:g} s")
            match message:
                case ["EVENT", str(of), event] if of == name:
                    events.append(event)
                case ["EOSE", str(of)] if of == name:
                    await self._socket.send(["CLOSE", name])
                    return events
                case ["CLOSED", str(of), *said] if of == name:
                    self._refused(said)
                case ["NOTICE", *said]:
                    self._refused(said, notice=True)
                case _:
                    pass  # a challenge, which is a gate only once a request is refused; or an answer to an earlier one
        raise SourceGapError(f"the relay sends {_MOST_MESSAGES:,} messages where {LIMIT} posts were asked for")

    def _refused(self, said: list[Any], *, notice: bool = False) -> None:
        """Takes a refusal. Errors: LostError, SourceGapError."""
        word = _word(said)
        if word in _GATED:
            raise SourceGapError(f"the relay refuses visitors ({word})")
        if word in _BUSY:
            self._fetcher.traffic.rate_limited += word == "rate-limited"
            raise LostError(f"the relay refuses for now ({word})")
        if not notice:
            raise SourceGapError(
                f"the relay refuses the request ({word if word in _OTHERS else 'it does not say why'})"
            )


@dataclass(frozen=True)
class _Place:
    """Where a walk stands: at the second `until`, of which the events in `known` were given already; `most` is the
    largest number that the relay gave at once; `crowded` are the oldest and newest seconds not shown whole, 0 for none.
    """

    until: int
    most: int = 0
    known: tuple[str, ...] = ()
    crowded: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, kept: str) -> "_Place":
        until, most, known, crowded = json.loads(kept)
        return cls(until, most, tuple(known), tuple(crowded))

    def __str__(self) -> str:
        return json.dumps([self.until, self.most, self.known, self.crowded], separators=(",", ":"))

    def next(self, events: list[tuple[int, str]]) -> "_Place | None":
        """Where to go on after a page of times and ids; None at the end."""
        if not events:
            return None
        most, oldest = max(self.most, len(events)), min(events)[0]
        if oldest < self.until or not self.known:
            # Others of the oldest second may have been cut off, so it is asked for once more.
            known = [name[:16] for second, name in events if second == oldest]
            return _Place(oldest, most, tuple(sorted(known)[:_MOST_KEPT]), self.crowded)
        if len(events) < max(most, _LEAST_CAP):
            return None  # nothing older came, though there was room for it
        crowded = (self.until, self.crowded[1] or self.until)
        return _Place(self.until - 1, most, (), crowded)


async def _walk(reading: Reading, relay: Relay) -> AsyncIterator[Page]:
    window, host = reading.window, reading.source.authority
    since = int(window.since.timestamp())
    number, cursor = reading.start.page, reading.start.cursor
    place = _Place(ceil(window.until.timestamp()) - 1) if cursor is None else _Place.of(cursor)
    asked = {"kinds": list(KINDS), "since": since, "limit": LIMIT, **_filter(reading)}
    while place.until >= since:
        events = await relay.events({**asked, "until": place.until})
        fetched_at = datetime.now(UTC)
        placed = [found for event in events if (found := _placed(event)) and since <= found[0] <= place.until]
        known = set(place.known)
        fresh = [event for event in events if not ((found := _placed(event)) and found[1][:16] in known)]
        parsed = parse_records(fresh, lambda event: parse_event(event, host, fetched_at), window, created)  # noqa: B023
        following = place.next(placed)
        if following is not None and following.until < since:
            following = None
        kept = None if following is None else str(following)
        yield Page(number, cursor, kept, parsed.kept, parsed.rejects, fetched_at, parsed.outside)
        if following is None:
            break
        number, cursor, place = number + 1, kept, following
        reading.fetcher.host.hold(reading.settings.delay_seconds)
    if place.crowded[1]:
        first, last = (datetime.fromtimestamp(second, UTC) for second in place.crowded)
        span = (max(first, window.since), min(last + timedelta(seconds=1), window.until))
        raise SourceGapError("more posts share one second than the relay shows at once", span)


def _filter(reading: Reading) -> dict[str, Any]:
    value = str(reading.source.value)
    if reading.source.kind == "tag":
        return {"#t": sorted({value.removeprefix("#"), value.removeprefix("#").lower()})}
    if reading.source.kind == "author":
        key = public_key(value)
        if key is None:
            raise SourceGapError("the author is neither an npub nor a key of 64 hexadecimal digits")
        return {"authors": [key]}
    return {}


def _placed(event: object) -> tuple[int, str] | None:
    """When an event claims to be written, and its id."""
    if not isinstance(event, dict):
        return None
    second, name = event.get("created_at"), event.get("id")
    return (second, name) if type(second) is int and isinstance(name, str) else None


def _word(said: list[Any]) -> str:
    """The word of NIP-01's with which a relay that refuses begins what it says."""
    return str(said[0]).partition(":")[0].strip().lower() if said else ""
