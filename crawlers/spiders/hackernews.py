"""Hacker News: the search by time (hn.algolia.com/api), read in slices of the window that its ceiling does not cut, and
all items of the window by id (github.com/HackerNews/API). Both are read from the oldest on; the site sets all times.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.hackernews import TYPES, parse_hit, parse_item, time_of
from crawlers.sink import Page
from crawlers.source import Window
from crawlers.spiders.pages import Reading, created, parse_records
from crawlers.spiders.slices import Slice, Slices

CEILING = 1000
"""Hits of one question that the search shows at most, and that it gives on one page."""
ITEMS = 100
"""Ids of a page of items."""
MARGIN = 50
"""Ids that are read on either side of the window's own: near its edges they may be out of the order of time."""

_TYPES_OF = {"stories": ("story", "poll", "job"), "comments": ("comment",)}
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_AGAIN = 3
"""Readings of a second that does not add up, before it is read type by type."""
_MOST_SHORT = 20
_MOST_CHANGES = 20
_MOST_NOTHING = 100


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the search or the items. Errors: SourceGapError, with the span that was not read."""
    kind = _items if reading.source.kind == "items" else _search
    async for page in kind(reading):
        yield page


async def _search(reading: Reading) -> AsyncIterator[Page]:
    """A slice is a page. The source ends when every slice, read once more, shows the same posts: what came into the
    search until its last slice was read is read too."""
    search = _Search(reading)
    number, cursor = reading.start.page, reading.start.cursor
    slices, changes = Slices.of(reading.window) if cursor is None else Slices.parse(cursor), 0
    try:
        while slices.todo or slices.kept:
            asked = slices.next
            if asked is None:
                slices, changes = await _confirmed(search, slices, changes)
                continue
            found = await search.hits(asked)
            if not found.whole and asked.seconds > 1:
                slices = slices.narrowed(found.total)
                continue
            slices = slices.read(asked, len(found.hits), found.digest) if found.whole else slices.fallen_short(asked)
            parsed = parse_records(
                found.hits,
                lambda hit: parse_hit(hit, reading.source.authority, found.fetched_at),  # noqa: B023 - used at once
                reading.window,
                created,
            )
            yield Page(number, cursor, str(slices), parsed.kept, parsed.rejects, found.fetched_at, parsed.outside)
            number, cursor = number + 1, str(slices)
            if len(slices.short) > _MOST_SHORT:
                break
    except SourceGapError as gap:
        raise SourceGapError(str(gap), _missing(slices, reading.window)) from None
    if slices.short:
        told = f"{len(slices.short)} second(s) of the window hold more posts than the search shows of one"
        raise SourceGapError(told, _missing(slices, reading.window))
    yield Page(number, cursor, None, [], [], datetime.now(UTC))


def _missing(slices: Slices, window: Window) -> tuple[datetime, datetime]:
    since, until = slices.unread
    return since, min(until, window.until)


async def _confirmed(search: "_Search", slices: Slices, changes: int) -> tuple[Slices, int]:
    """Reads the first of the slices that were read once more; also how many in a row had changed."""
    done, digest = slices.kept[0]
    found = await search.hits(done)
    if found.whole and found.digest == digest:
        return slices.confirmed(), 0
    if changes >= _MOST_CHANGES:
        raise SourceGapError("what the search holds of the window goes on changing while it is read")
    return slices.changed(), changes + 1


@dataclass(frozen=True)
class _Found:
    """What the search shows of a slice; `whole` when it is all that the search holds."""

    by_id: dict[str, Any]
    total: int
    whole: bool
    fetched_at: datetime

    @property
    def hits(self) -> list[Any]:
        """Each hit once."""
        return list(self.by_id.values())

    @property
    def digest(self) -> str:
        """Names the posts that are shown."""
        names = " ".join(sorted(self.by_id)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(names, digest_size=4).hexdigest()


@dataclass(frozen=True)
class _Shown:
    """One answer of the search: hits of one page, and how many there are of all and of a full page."""

    hits: list[Any]
    total: int
    full: int
    fetched_at: datetime


class _Search:
    """Asks the search for the hits of a source."""

    def __init__(self, reading: Reading) -> None:
        source = reading.source
        self._fetcher = reading.fetcher
        self._types = _TYPES_OF.get(source.kind, TYPES)
        self._author = ""
        self._query = {}
        if source.kind == "author":
            if _NAME.fullmatch(str(source.value)) is None:
                raise SourceGapError("the value is no user name: letters, digits, _ and - only")
            self._author = f",author_{source.value}"
        elif source.kind == "search":
            self._query = {"query": str(source.value)}

    async def hits(self, asked: Slice) -> _Found:
        """The hits of a slice; a single second that is too full is read type by type. Errors: SourceGapError."""
        found = await self._read(asked, self._types)
        for _ in range(_AGAIN):
            if found.whole or found.total >= CEILING or asked.seconds > 1:
                break
            found = await self._read(asked, self._types)
        if found.whole or asked.seconds > 1:
            return found
        parts = [await self._read(asked, (each,)) for each in self._types]
        joined: dict[str, Any] = {}
        for part in parts:
            _add(joined, part.hits)
        whole = all(part.whole for part in parts) and len(joined) == sum(part.total for part in parts)
        return _Found(joined, found.total, whole, parts[-1].fetched_at)

    async def _read(self, asked: Slice, types: tuple[str, ...]) -> _Found:
        """The hits of a slice: all pages of them, as a server may give fewer on a page than asked for. That is all
        there is if it is as many as the server says: it calls its numbers estimates even where they are right."""
        first = shown = await self._ask(asked, types, 0)
        steady = shown.total < CEILING
        found: dict[str, Any] = {}
        _add(found, shown.hits)
        page = 0
        while len(shown.hits) >= shown.full and (steady or asked.seconds == 1):
            page += 1
            before = len(found)
            shown = await self._ask(asked, types, page)
            steady = steady and shown.total == first.total
            _add(found, shown.hits)
            if len(found) == before:
                break
        return _Found(found, first.total, steady and len(found) == first.total, shown.fetched_at)

    async def _ask(self, asked: Slice, types: tuple[str, ...], page: int) -> _Shown:
        query = {
            **self._query,
            "tags": f"({','.join(types)}){self._author}",
            "numericFilters": f"created_at_i>={asked.start},created_at_i<{asked.end}",
            "hitsPerPage": str(CEILING),
            "page": str(page),
        }
        answer = await self._fetcher.get("/api/v1/search_by_date", query)
        _refused(answer, "the search is at https://hn.algolia.com")
        told = answer.json()
        hits, total = (told.get("hits"), told.get("nbHits")) if isinstance(told, dict) else (None, None)
        if not isinstance(hits, list) or type(total) is not int or total < 0:
            raise SourceGapError(
                "the answer is no list of hits with their number; the search is at https://hn.algolia.com"
            )
        times = [hit.get("created_at_i") for hit in hits if isinstance(hit, dict)]
        if any(isinstance(time, int) and not asked.start <= time < asked.end for time in times):
            raise SourceGapError("the search shows hits of other times than were asked for")
        full = told.get("hitsPerPage")
        return _Shown(hits, total, full if type(full) is int and full > 0 else CEILING, answer.fetched_at)


def _add(found: dict[str, Any], hits: list[Any]) -> None:
    """Adds hits by their ids, each once; one without an id counts for itself, as a record that is no post."""
    for hit in hits:
        native = hit.get("objectID") if isinstance(hit, dict) else None
        found[str(native) if native else f"record {len(found)}"] = hit


async def _items(reading: Reading) -> AsyncIterator[Page]:
    """A page is a run of ids, and a cursor the next id and the end. Where the end was that of all items, it is looked
    for again, as more of the window may have been written; while the window itself goes on, that would not end."""
    items = _Items(reading)
    number, cursor = reading.start.page, reading.start.cursor
    reached = reading.window.since
    try:
        if cursor is None:
            start, end = await items.span()
        else:
            start, end = map(int, cursor.split())
        while True:
            stop = min(start + ITEMS, end)
            found, fetched_at = await items.run(range(start, stop))
            moments = _moments(found)
            known = [moment for moment in moments if moment is not None]
            if stop == end and max(known, default=reached) < reading.window.until <= fetched_at:
                end = max(end, await items.end(end))
            parsed = parse_records(
                found,
                lambda item: parse_item(item, reading.source.authority, fetched_at),  # noqa: B023 - used at once
                reading.window,
                created,
            )
            # What is no post is counted where it belongs to the window, as posts are.
            rejects = [each for each in parsed.rejects if _is_inside(moments[each.position or 0], reading.window)]
            following = f"{stop} {end}" if stop < end else None
            outside = parsed.outside + len(parsed.rejects) - len(rejects)
            yield Page(number, cursor, following, parsed.kept, rejects, fetched_at, outside)
            if following is None:
                return
            number, cursor, start, reached = number + 1, following, stop, min(known, default=reached)
    except SourceGapError as gap:
        window = reading.window
        since = max(window.since, min(reached, window.until - timedelta(seconds=1)))
        raise SourceGapError(str(gap), (since, window.until)) from None


def _moments(items: list[Any]) -> list[datetime | None]:
    """When each item of a run was written; what does not say so is taken for as old as the one before it."""
    moments: list[datetime | None] = []
    for item in items:
        moments.append(time_of(item) or (moments[-1] if moments else None))
    return moments


def _is_inside(moment: datetime | None, window: Window) -> bool:
    return moment is None or window.holds(moment)


class _Items:
    """Asks for items by their ids, which ascend in time but for small disorder."""

    def __init__(self, reading: Reading) -> None:
        self._fetcher = reading.fetcher
        self._window = reading.window

    async def span(self) -> tuple[int, int]:
        """The ids to read for the window: the first and the one after the last. Errors: SourceGapError."""
        top = await self._top()
        first = await self._first_at(self._window.since, 1, top)
        return max(1, first - MARGIN), await self._end(first, top)

    async def end(self, known: int) -> int:
        """The id after the last to read, when it is `known` at least."""
        return await self._end(known, await self._top())

    async def run(self, ids: range) -> tuple[list[Any], datetime]:
        """The items of some ids, None where there is none, and when the last was asked for. An item that is just being
        written shows as none for a moment, so what is none is asked for once more at the end."""
        answers = {each: await self._ask(f"item/{each}") for each in ids}
        for each in [each for each in ids if answers[each].json() is None]:
            answers[each] = await self._ask(f"item/{each}")
        fetched_at = max((answer.fetched_at for answer in answers.values()), default=datetime.now(UTC))
        return [answers[each].json() for each in ids], fetched_at

    async def _end(self, low: int, top: int) -> int:
        return min(top, await self._first_at(self._window.until, low, top) + MARGIN)

    async def _first_at(self, moment: datetime, low: int, high: int) -> int:
        """The first id in `[low, high)` whose item is of the moment or later; `high` when there is none."""
        while low < high:
            middle = (low + high) // 2
            known, time = await self._time_from(middle, high)
            if time is not None and time < moment:
                low = known + 1
            else:
                high = middle
        return low

    async def _time_from(self, start: int, end: int) -> tuple[int, datetime | None]:
        """The first id from `start` on that has a time, and that time; none when no id before `end` has one."""
        for each in range(start, end):
            if each - start >= _MOST_NOTHING:
                raise SourceGapError(f"{_MOST_NOTHING} ids in a row have no item with a time")
            if (time := time_of((await self._ask(f"item/{each}")).json())) is not None:
                return each, time
        return end, None

    async def _top(self) -> int:
        """The id after the newest item's."""
        newest = (await self._ask("maxitem")).json()
        if type(newest) is not int or newest < 1:
            raise SourceGapError("the server does not say which item is its newest")
        return newest + 1

    async def _ask(self, name: str) -> Answer:
        answer = await self._fetcher.get(f"/v0/{name}.json", {})
        _refused(answer, "items by id are at https://hacker-news.firebaseio.com")
        return answer


def _refused(answer: Answer, place: str) -> None:
    """Tells a server that asks for a login or turns visitors away from one that is another kind of server."""
    if answer.status == 200:
        return
    said = {
        400: "the server does not take the question",
        401: "the server asks for a login",
        403: "the server refuses visitors",
        404: f"the server has nothing of that kind ({place})",
    }.get(answer.status, "the server does not answer")
    raise SourceGapError(f"{said} (HTTP {answer.status})")
