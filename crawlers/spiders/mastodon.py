"""Timelines of Mastodon-API servers (docs.joinmastodon.org/methods/timelines), newest first, paged by `max_id`."""

import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, quote

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.mastodon import is_error, parse_status
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

LIMIT = 40
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_PAGES = re.compile(r'\brel="?(?:next|prev)"?', re.IGNORECASE)


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    path, query = await _timeline(reading)
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    while True:
        answer = await reading.fetcher.get(path, query if cursor is None else {**query, "max_id": cursor})
        statuses = _statuses(answer)
        parsed = parse_records(
            statuses,
            lambda item: parse_status(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        following = None if not statuses or is_past(parsed, reading) else next_max_id(answer, statuses)
        if following is not None:
            trail.follow(following, len(statuses))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        number, cursor = number + 1, following


def next_max_id(answer: Answer, statuses: list[object]) -> str | None:
    """The next `max_id`: out of the `Link` header where a server sends one, else the last status's own id.

    Of the header's address nothing else is taken: where the next page is asked for, the source alone says. A header
    that pages (others only preload) without a next address ends the timeline. Errors: SourceGapError when there is
    nothing to go on from.
    """
    link = answer.headers.get("link", "")
    if _PAGES.search(link):
        found = _NEXT.search(link)
        if found is None:
            return None
        asked: str = found[1].partition("?")[2].partition("#")[0]
        if given := parse_qs(asked).get("max_id"):
            return given[0]
    ids: list[str] = [item["id"] for item in statuses if isinstance(item, dict) and isinstance(item.get("id"), str)]
    if not ids:
        raise SourceGapError("no status of a page has an id, so the page after it cannot be asked for")
    return ids[-1]


async def _timeline(reading: Reading) -> tuple[str, dict[str, str]]:
    source, query = reading.source, {"limit": str(LIMIT)}
    if source.kind == "public":
        return "/api/v1/timelines/public", query
    if source.kind == "local":
        return "/api/v1/timelines/public", {**query, "local": "true"}
    if source.kind == "tag":
        return f"/api/v1/timelines/tag/{quote(str(source.value), safe='')}", query
    answer = await reading.fetcher.get("/api/v1/accounts/lookup", {"acct": str(source.value).removeprefix("@")})
    if answer.status == 404:
        raise SourceGapError("the server knows no such account (HTTP 404)")
    _refused(answer)
    found = answer.json()
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise SourceGapError("the answer to the account's lookup has no id")
    return f"/api/v1/accounts/{quote(found['id'], safe='')}/statuses", query


def _statuses(answer: Answer) -> list[object]:
    _refused(answer)
    found = answer.json()
    if not isinstance(found, list):
        raise SourceGapError("the answer is not a list of statuses; is this a Mastodon-API server?")
    return found


def _refused(answer: Answer) -> None:
    """Tells a server that hides its timelines from visitors from one that asks for a login as such, and from one that
    turns visitors away, as a block page does."""
    if answer.status == 200:
        return
    try:
        said = (is_error(answer.json()) or "").lower()
    except SourceGapError:
        said = ""
    if answer.status in (401, 403, 422) and "authenticated user" in said:
        raise SourceGapError(
            f"the server's previews are disabled: it shows this timeline to logged-in users only (HTTP {answer.status})"
        )
    if answer.status == 401:
        raise SourceGapError("the server asks for a login (HTTP 401)")
    if answer.status == 403:
        raise SourceGapError("the server refuses visitors (HTTP 403)")
    if answer.status == 404:
        raise SourceGapError("the server has no such timeline (HTTP 404)")
    raise SourceGapError(f"the server answered HTTP {answer.status}")
