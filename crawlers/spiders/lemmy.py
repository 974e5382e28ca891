"""Listings of Lemmy servers (join-lemmy.org/api), newest first: version 4 of the API where a server speaks it, else
version 3, which pages its posts by a cursor and its comments by number.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.lemmy import language_table, parse_view
from crawlers.post import ParseError
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

LIMIT = 50


@dataclass(frozen=True)
class Api:
    """The version that a server speaks, and its table of languages."""

    version: int
    languages: dict[str, str]


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    api = await api_of(reading.fetcher)
    what = "comment" if reading.source.kind == "comments" else "post"
    query = _query(reading, api)
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    by_number = api.version == 3 and what == "comment"
    while True:
        place = {} if cursor is None else {"page" if by_number else "page_cursor": cursor}
        answer = await reading.fetcher.get(f"/api/v{api.version}/{what}/list", {**query, **place})
        views, following = _views(answer, what)
        if by_number:
            following = str(int(cursor or "1") + 1) if views else None
        parsed = parse_records(
            views,
            lambda view: parse_view(view, reading.source.authority, answer.fetched_at, api.languages),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        if not views or is_past(parsed, reading):
            following = None
        if following is not None:
            trail.follow(following, len(views))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        number, cursor = number + 1, following


async def api_of(fetcher: Fetcher) -> Api:
    """What a server speaks. Errors: SourceGapError for one of another kind."""
    for version in (4, 3):
        answer = await fetcher.get(f"/api/v{version}/site", {})
        if answer.status in (400, 404, 405):
            continue
        _refused(answer)
        try:
            return Api(version, language_table(answer.json()))
        except ParseError:
            raise SourceGapError("the server does not say of itself what a Lemmy server says") from None
    raise SourceGapError("the server speaks neither version of the API; is this a Lemmy server?")


def _query(reading: Reading, api: Api) -> dict[str, str]:
    kind, value = reading.source.kind, str(reading.source.value)
    query = {"type_": "Local" if kind == "local" else "All", "sort": "New", "limit": str(LIMIT)}
    if api.version == 4:
        query = {key: told.lower() for key, told in query.items()}
    return {**query, "community_name": value.removeprefix("!")} if kind == "community" else query


def _views(answer: Answer, what: str) -> tuple[list[object], str | None]:
    _refused(answer)
    found = answer.json()
    views = found.get(f"{what}s", found.get("items")) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(views, list):
        raise SourceGapError("the answer is no list; is this a Lemmy server?")
    following = found.get("next_page")
    if following is not None and not isinstance(following, str):
        raise SourceGapError("the server gives a cursor that cannot be sent back")
    return views, following or None


def _refused(answer: Answer) -> None:
    if answer.status == 200:
        return
    if answer.status in (401, 403):
        raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
    if answer.status == 404:
        raise SourceGapError("the server has no such community (HTTP 404)")
    raise SourceGapError(f"the server answered HTTP {answer.status}")
