"""4chan: the threads of a board, those of its archive too, one at a time from the highest number down.

github.com/4chan/4chan-API. A thread that goes on keeps its number, so the number of the last one that was read tells
where to go on, whatever moved into the archive meanwhile.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.fourchan import BOARD, archived_on, parse_post
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, created, parse_records


@dataclass(frozen=True)
class _Place:
    """Where the reading stands: the lowest number that was read, and the second before which threads ended that are
    gone, as far as the threads that were read tell it."""

    number: int | None = None
    lost: int | None = None

    @classmethod
    def read(cls, cursor: str | None) -> "_Place":
        number, _, lost = (cursor or "").partition(" ")
        return cls(int(number) if number else None, int(lost) if lost else None)

    def __str__(self) -> str:
        return f"{self.number or ''} {self.lost or ''}".rstrip()

    def archived(self, number: int, moment: datetime | None) -> "_Place":
        """Once a thread was read where there is an archive: before the earliest that it holds, nothing is told."""
        seen = [each for each in (self.lost, int(moment.timestamp()) if moment else None) if each is not None]
        return _Place(number, min(seen, default=None))

    def pushed_off(self, number: int, changed: int | None) -> "_Place":
        """Once a thread was read where there is none, with its last change if it was gone by then."""
        return _Place(number, max((each for each in (self.lost, changed) if each is not None), default=None))


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the threads that can hold posts of the window. Errors: SourceGapError."""
    board = str(reading.source.value)
    if BOARD.fullmatch(board) is None:
        raise SourceGapError("the value is no board's short name: g, news")
    place, page = _Place.read(reading.start.cursor), reading.start.page
    live, answer = await _live(reading, board)
    archive, at = await _archive(reading, board), int(reading.window.since.timestamp())
    numbers = {number for number, modified in live.items() if modified >= at} | set(archive)
    left = sorted((each for each in numbers if place.number is None or each < place.number), reverse=True)
    cursor = reading.start.cursor
    for position, number in enumerate(left):
        answer, posts = await _thread(reading, board, number)
        if archive:
            place = place.archived(number, archived_on(posts[0]) if posts else None)
        else:
            place = place.pushed_off(number, None if posts else live[number])
        parsed = parse_records(
            posts,
            lambda post: parse_post(post, reading.source.authority, answer.fetched_at, board),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        following = None if position + 1 == len(left) else str(place)
        yield Page(page, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        page, cursor = page + 1, following
    if not left:
        yield Page(page, cursor, None, [], [], answer.fetched_at)
    if not archive and live:
        # The last of the board is the next to go. Others may have been changed earlier: those that are pinned.
        place = place.pushed_off(place.number or 0, list(live.values())[-1])
    _tell_what_is_lost(reading, place.lost)


def _tell_what_is_lost(reading: Reading, lost: int | None) -> None:
    """A thread that was archived, or where there is no archive pushed off the board, before the earliest that is still
    there may have held posts of the window."""
    window = reading.window
    told = None if lost is None else datetime.fromtimestamp(lost, UTC)
    if told is not None and told > window.since:
        reason = "threads that ended earlier than those that the board still has are gone; read it more often"
        raise SourceGapError(reason, (window.since, min(told, window.until)))


async def _live(reading: Reading, board: str) -> tuple[dict[int, int], Answer]:
    """The threads of the board and when each was last changed, in seconds since 1970; asked for conditionally."""
    answer, came = await reading.get_changed(f"/{board}/threads.json", {})
    if answer.status == 404:
        raise SourceGapError("there is no such board (HTTP 404)")
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    if came:
        reading.remember(answer)
    found: dict[int, int] = {}
    for page in _list(answer.json()):
        for thread in _list(page.get("threads") if isinstance(page, dict) else None):
            if isinstance(thread, dict) and _is_number(thread.get("no")) and _is_time(thread.get("last_modified")):
                found[thread["no"]] = thread["last_modified"]
    return found, answer


async def _archive(reading: Reading, board: str) -> list[int]:
    """The numbers of the archived threads; none where the board has no archive."""
    answer = await reading.fetcher.get(f"/{board}/archive.json", {})
    if answer.status == 404:
        return []
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    return [number for number in _list(answer.json()) if _is_number(number)]


async def _thread(reading: Reading, board: str, number: int) -> tuple[Answer, list[Any]]:
    """The posts of a thread; none of one that went since it was listed."""
    answer = await reading.fetcher.get(f"/{board}/thread/{number}.json", {})
    if answer.status == 404:
        return answer, []
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    told = answer.json()
    return answer, _list(told.get("posts") if isinstance(told, dict) else None)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise SourceGapError("the answer is not one of 4chan's API")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53


def _is_time(value: Any) -> bool:
    return _is_number(value) and value < 1 << 33
