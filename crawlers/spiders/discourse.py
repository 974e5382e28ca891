"""Discourse forums, newest first: `/posts.json?before=` goes down the ids of all public posts, fifty at most a page; a
topic lists its ids, which are asked for twenty at a time. The next id to be asked for is the cursor of both."""

import re
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlencode

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.discourse import parse_post
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

REACH = 50
"""How many ids below the asked one a page of older servers looks at, which may all be of posts that are not public."""
TOGETHER = 20
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    source = reading.source
    if source.kind != "posts" and _NUMBER.fullmatch(source.value or "") is None:
        raise SourceGapError(f"the source's value is not the number of a {source.kind}")
    topic = await _Topic.of(reading) if source.kind == "topic" else None
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    while True:
        before = None if cursor is None else int(cursor)
        answer, items, following = await (_latest(reading, before) if topic is None else topic.page(before))
        parsed = parse_records(
            items,
            lambda item: parse_post(item, source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        if is_past(parsed, reading):
            following = None
        if following is not None:
            trail.follow(following, len(items))
        kept, rejects = parsed.kept, parsed.rejects
        if source.kind == "category":
            kept = [each for each in kept if _category(each.raw) == source.value]
            rejects = [each for each in rejects if _category(items[each.position or 0]) == source.value]
        yield Page(number, cursor, following, kept, rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        number, cursor = number + 1, following


async def _latest(reading: Reading, before: int | None) -> tuple[Answer, list[object], str | None]:
    answer = await reading.fetcher.get("/posts.json", {} if before is None else {"before": str(before)})
    items = _list(_object(answer), "latest_posts")
    ids = _ids(items)
    if before is None and not items:
        raise SourceGapError("the forum shows no posts to visitors")
    following = min(ids) - 1 if ids else (before or 0) - REACH
    return answer, items, str(following) if following > 0 else None


class _Topic:
    """The posts of one topic by their ids."""

    def __init__(self, reading: Reading, ids: list[int], title: object) -> None:
        self._reading = reading
        self._ids = ids
        self._title = title

    @classmethod
    async def of(cls, reading: Reading) -> "_Topic":
        """Asks which posts there are. Errors: SourceGapError."""
        told = _object(await reading.fetcher.get(f"/t/{reading.source.value}.json", {}))
        stream = told.get("post_stream")
        ids = _list(stream if isinstance(stream, dict) else {}, "stream")
        return cls(reading, sorted((each for each in ids if type(each) is int), reverse=True), told.get("title"))

    async def page(self, before: int | None) -> tuple[Answer, list[object], str | None]:
        """The posts with the ids from `before` down."""
        left = [each for each in self._ids if before is None or each <= before]
        asked = urlencode([("post_ids[]", each) for each in left[:TOGETHER]])
        answer = await self._reading.fetcher.get(f"/t/{self._reading.source.value}/posts.json?{asked}", {})
        stream = _object(answer).get("post_stream")
        items = _list(stream if isinstance(stream, dict) else {}, "posts")
        titled = [{**each, "topic_title": self._title} if isinstance(each, dict) else each for each in items]
        return answer, titled, str(left[TOGETHER]) if len(left) > TOGETHER else None


def _category(item: object) -> str | None:
    return str(item.get("category_id")) if isinstance(item, dict) else None


def _ids(items: Sequence[object]) -> list[int]:
    return [each["id"] for each in items if isinstance(each, dict) and type(each.get("id")) is int]


def _list(told: dict[str, object], key: str) -> list[object]:
    found = told.get(key)
    if not isinstance(found, list):
        raise SourceGapError("the answer is not a forum's list of posts; is this a Discourse forum?")
    return found


def _object(answer: Answer) -> dict[str, object]:
    """The answer, where it is one; a forum for members only says so with 403."""
    if answer.status == 403:
        said = b"not_logged_in" in answer.body
        raise SourceGapError(
            "the forum asks for a login (HTTP 403)" if said else "the server refuses visitors (HTTP 403)"
        )
    if answer.status in (404, 410):
        raise SourceGapError(f"the forum shows no such thing to visitors (HTTP {answer.status})")
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    found = answer.json()
    return found if isinstance(found, dict) else {}
