"""Tumblr: the posts of a tag or of a blog, newest first, by version 2 of its API (github.com/tumblr/docs).

Pages are asked for by the second before which posts were published. The last second of a page is asked for again, as
it may hold more than the page did.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from crawlers.catalogue.tumblr import HOME, KEY
from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.tumblr import parse_post
from crawlers.sink import Page
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

LIMIT = 20
"""The most posts that the API gives at once."""


@dataclass(frozen=True)
class _Place:
    """The second before which the next page is, and the seconds that held more posts than a page can show."""

    before: int | None = None
    crowded: tuple[int, int] | None = None

    @classmethod
    def read(cls, cursor: str | None) -> "_Place":
        numbers = [int(each) for each in (cursor or "").split()]
        return cls(numbers[0] if numbers else None, (numbers[1], numbers[2]) if len(numbers) == 3 else None)

    def __str__(self) -> str:
        return " ".join(str(each) for each in (self.before, *(self.crowded or ())))

    def after(self, moments: list[int]) -> "_Place":
        """Once a page of these moments was read, the last of them last."""
        last = moments[-1]
        if self.before is not None and last >= self.before:
            return self  # later than was asked for: whoever is led there, is led in circles
        if any(moment != last for moment in moments):
            return _Place(last + 1, self.crowded)
        if len(moments) < LIMIT:
            return _Place(last, self.crowded)
        newest = self.crowded[1] if self.crowded else last
        return _Place(last, (last, newest))


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    (key,) = keys_for(reading.source, reading.settings.environment, (KEY,), HOME)
    number, cursor = reading.start.page, reading.start.cursor
    place, trail = _Place.read(cursor), Trail(cursor)
    while True:
        answer = await _page(reading, key, place.before)
        posts = _posts(answer, reading.source.kind)
        parsed = parse_records(
            posts,
            lambda post: parse_post(post, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        moments = [moment for moment in map(_moment, posts) if moment is not None]
        following = None
        if moments and not is_past(parsed, reading):
            place = place.after(moments)
            following = str(place)
            trail.follow(following, len(posts))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if posts and not moments:
            raise SourceGapError("the posts of a page have no time, so there is no telling where to go on")
        if following is None:
            break
        number, cursor = number + 1, following
    _tell_what_was_crowded(reading, place)


def _tell_what_was_crowded(reading: Reading, place: _Place) -> None:
    if place.crowded is None:
        return
    since, until = (datetime.fromtimestamp(each, UTC) for each in place.crowded)
    window = reading.window
    span = (max(since, window.since), min(until + timedelta(seconds=1), window.until))
    if span[0] < span[1]:
        raise SourceGapError(f"a second held {LIMIT} posts or more, and the API shows no more of one", span)


async def _page(reading: Reading, key: str, before: int | None) -> Answer:
    value = str(reading.source.value)
    place = {} if before is None else {"before": str(before)}
    query = {"limit": str(LIMIT), "npf": "true", "reblog_info": "true", **place, "api_key": key}
    if reading.source.kind == "tag":
        return await reading.fetcher.get("/v2/tagged", {"tag": value.removeprefix("#"), **query})
    return await reading.fetcher.get(f"/v2/blog/{quote(value, safe=':')}/posts", query)


def _posts(answer: Answer, kind: str) -> list[Any]:
    if answer.status == 401:
        raise SourceGapError(f"the key in {KEY} is not valid (HTTP 401)")
    if answer.status == 403:
        raise SourceGapError("the API refuses this to visitors (HTTP 403)")
    if answer.status == 404:
        told = "blog, or it is shown on the dashboard only" if kind == "blog" else "tag"
        raise SourceGapError(f"there is no such {told} (HTTP 404)")
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    told = answer.json()
    found = told.get("response") if isinstance(told, dict) else None
    posts = found.get("posts") if isinstance(found, dict) else found
    if not isinstance(posts, list):
        raise SourceGapError("the answer is no list of posts; is this Tumblr's API?")
    return posts


def _moment(post: Any) -> int | None:
    """The time that a page is ordered by: of a tag that is featured, when the post was."""
    for key in ("featured_timestamp", "timestamp"):
        found = post.get(key) if isinstance(post, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 1 << 33:
            return found
    return None
