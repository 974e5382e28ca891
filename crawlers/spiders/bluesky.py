"""Bluesky over XRPC (docs.bsky.app): author feeds and search from an AppView, records from a PDS, paged by cursor."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.bluesky import POST, parse_feed_item, parse_record, parse_view
from crawlers.post import Post
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, created, earliest, is_past, parse_records

LIMIT = 100
IDENTIFIER, PASSWORD = "POSTSWEEP_BLUESKY_IDENTIFIER", "POSTSWEEP_BLUESKY_APP_PASSWORD"
_SEARCH_DEPTH = 9_900
"""Hits after which a search's cursor ends, though more exist; the search then goes on before the oldest hit."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads an author feed, a repository's records or a search. Errors: SourceGapError."""
    kind = {"author": _author, "records": _records, "search": _search}[reading.source.kind]
    async for page in kind(reading):
        yield page


async def _author(reading: Reading) -> AsyncIterator[Page]:
    query = {"actor": str(reading.source.value), "limit": str(LIMIT), "filter": "posts_with_replies"}
    host = reading.source.authority

    def parse(item: Any, answer: Answer) -> Post:
        return parse_feed_item(item, host, answer.fetched_at)

    async for page in _walk(reading, "app.bsky.feed.getAuthorFeed", query, "feed", parse):
        yield page


async def _records(reading: Reading) -> AsyncIterator[Page]:
    """The whole repository: its records come by the time of their keys, which says nothing sure of their claimed times.

    The window's clock is what a post claims, as a PDS gives no time of its own.
    """
    did = await _did(reading.fetcher, str(reading.source.value))
    query = {"repo": did, "collection": POST, "limit": str(LIMIT)}
    host = reading.source.authority

    def parse(item: Any, answer: Answer) -> Post:
        return parse_record(item, did, host, answer.fetched_at)

    async for page in _walk(reading, "com.atproto.repo.listRecords", query, "records", parse, stops=False):
        yield page


async def _search(reading: Reading) -> AsyncIterator[Page]:
    headers = {"Authorization": f"Bearer {await _session(reading)}"}
    query = {"q": str(reading.source.value), "limit": str(LIMIT), "sort": "latest"}
    query |= {"since": _iso(reading.window.since)}
    number, state = reading.start.page, reading.start.cursor
    seen = {state}
    while True:
        # The cursor kept is `<until> <hits before> <the server's own>`: a search is taken up again within its depth.
        until, hits, cursor = (state or f"{_iso(reading.window.until)} 0 ").split(" ", 2)
        asked = {**query, "until": until, **({"cursor": cursor} if cursor else {})}
        answer = await reading.fetcher.get("/xrpc/app.bsky.feed.searchPosts", asked, headers)
        items, following = _items(answer, "posts")
        parsed = parse_records(
            items,
            lambda item: parse_view(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            earliest,
        )
        count = int(hits) + len(items)
        state_before, state = state, None
        if following is not None:
            state = f"{until} {count} {following}"
        elif count >= _SEARCH_DEPTH:
            # Not inclusive: a post of the same millisecond may be among those not shown.
            oldest = parsed.oldest and parsed.oldest + timedelta(milliseconds=1)
            state = f"{until if oldest is None else _iso(oldest)} 0 "
        yield Page(number, state_before, state, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if state is None:
            return
        if (mark := state if following is None else following) in seen:
            raise SourceGapError("the server gives the same cursor again: its paging goes in circles")
        seen.add(mark)
        number += 1


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _walk(
    reading: Reading,
    method: str,
    query: dict[str, str],
    key: str,
    parse: Callable[[Any, Answer], Post],
    *,
    stops: bool = True,
) -> AsyncIterator[Page]:
    number, cursor = reading.start.page, reading.start.cursor
    seen = {cursor}
    while True:
        asked = query if cursor is None else {**query, "cursor": cursor}
        answer = await reading.fetcher.get(f"/xrpc/{method}", asked)
        items, following = _items(answer, key)
        clock = earliest if stops else created
        parsed = parse_records(items, lambda item: parse(item, answer), reading.window, clock)  # noqa: B023
        if not items or (stops and is_past(parsed, reading)):
            following = None
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        if following in seen:
            raise SourceGapError("the server gives the same cursor again: its paging goes in circles")
        seen.add(following)
        number, cursor = number + 1, following


def _items(answer: Answer, key: str) -> tuple[list[object], str | None]:
    found = _checked(answer)
    items = found.get(key)
    if not isinstance(items, list):
        raise SourceGapError(f"the answer has no list of {key}; is this an AT-proto server of that kind?")
    cursor = found.get("cursor")
    return items, cursor if isinstance(cursor, str) and cursor else None


def _checked(answer: Answer) -> dict[str, Any]:
    if answer.status == 401:
        raise SourceGapError("the server asks for a login (HTTP 401)")
    if answer.status != 200:
        try:
            found = answer.json()
            name = str(found.get("error", ""))[:60] if isinstance(found, dict) else ""
        except SourceGapError:
            name = ""
        told = f" {name}" if name.isalnum() else ""
        raise SourceGapError(f"HTTP {answer.status}{told}: no such account or repository, or no access to it")
    found = answer.json()
    if not isinstance(found, dict):
        raise SourceGapError("the answer is not an object; is this an AT-proto server?")
    return found


async def _did(fetcher: Fetcher, actor: str) -> str:
    if actor.startswith("did:"):
        return actor
    handle = actor.removeprefix("@")
    found = _checked(await fetcher.get("/xrpc/com.atproto.identity.resolveHandle", {"handle": handle}))
    did = found.get("did")
    if not isinstance(did, str) or not did.startswith("did:"):
        raise SourceGapError("the server does not resolve the account's handle")
    return did


async def _session(reading: Reading) -> str:
    environment = reading.settings.environment
    missing = [name for name in (IDENTIFIER, PASSWORD) if not environment.get(name)]
    if missing:
        raise SourceGapError(f"search needs your own app password: set {' and '.join(missing)} in the environment")
    body = {"identifier": environment[IDENTIFIER], "password": environment[PASSWORD]}
    answer = await reading.fetcher.post_json("/xrpc/com.atproto.server.createSession", body)
    if answer.status == 401:
        raise SourceGapError(f"the server refuses the login of {IDENTIFIER} and {PASSWORD} (HTTP 401)")
    token = _checked(answer).get("accessJwt")
    if not isinstance(token, str):
        raise SourceGapError("the server gave no session for the app password")
    return token
