"""Bluesky over XRPC (docs.bsky.app): author feeds and search from an AppView, records from a PDS, paged by cursor."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import islice
from typing import Any

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.bluesky import POST, parse_feed_item, parse_record, parse_view
from crawlers.platforms.car import Repository
from crawlers.platforms.optouts import OPTED_OUT, opted_out
from crawlers.post import ParseError, Post
from crawlers.sink import Page, Reject
from crawlers.spiders import jetstream
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Reading, Trail, created, earliest, is_past, parse_records

LIMIT = 100
_OF_REPOSITORY = 1_000
"""Records of a page of a repository that came in one answer."""
IDENTIFIER, PASSWORD = "POSTSWEEP_BLUESKY_IDENTIFIER", "POSTSWEEP_BLUESKY_APP_PASSWORD"
SEARCH_DEPTH = 9_900
"""Hits after which a search's cursors are known to end, though more exist."""
_ERRORS = frozenset(
    {
        *("InvalidRequest", "BadQueryString", "AuthMissing", "AuthenticationRequired", "ExpiredToken", "InvalidToken"),
        *("AccountTakedown", "RepoNotFound", "RepoTakendown", "RepoSuspended", "RepoDeactivated", "BlockedActor"),
        *("BlockedByActor", "RecordNotFound", "MethodNotImplemented", "Forbidden", "NotFound"),
    }
)
"""The names of errors that are told: a server can write anything there, an account's name too."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads an author feed, a repository's records, a search or a Jetstream. Errors: SourceGapError."""
    kinds = {"author": _author, "records": _records, "search": _search, "repo": _repo, "jetstream": jetstream.read}
    kind = kinds[reading.source.kind]
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
    if await _opted_out(reading.fetcher, did):
        reject = Reject(None, "account", OPTED_OUT)
        yield Page(reading.start.page, reading.start.cursor, None, [], [reject], datetime.now(UTC))
        return
    query = {"repo": did, "collection": POST, "limit": str(LIMIT)}
    host = reading.source.authority

    def parse(item: Any, answer: Answer) -> Post:
        return parse_record(item, did, host, answer.fetched_at)

    async for page in _walk(reading, "com.atproto.repo.listRecords", query, "records", parse, stops=False):
        yield page


async def _repo(reading: Reading) -> AsyncIterator[Page]:
    """The whole repository in one answer, block by block checked against its hashes; a cursor is the key that a page
    began after, and going on asks for the repository again."""
    did = await _did(reading.fetcher, str(reading.source.value))
    answer = await reading.fetcher.get("/xrpc/com.atproto.sync.getRepo", {"did": did})
    if answer.status != 200:
        _checked(answer)
    number, cursor = reading.start.page, reading.start.cursor
    host = reading.source.authority
    try:
        repository = Repository(BytesIO(answer.body))
        if repository.did != did:
            raise SourceGapError("the server gives another repository than was asked for")
        if any(map(opted_out, repository.records("app.bsky.actor.profile"))):
            reject = Reject(None, "account", OPTED_OUT)
            yield Page(number, cursor, None, [], [reject], answer.fetched_at)
            return
        items = (item for item in repository.records(POST) if item["uri"] > (cursor or ""))
        while batch := list(islice(items, _OF_REPOSITORY)):
            parsed = parse_records(
                batch, lambda item: parse_record(item, did, host, answer.fetched_at), reading.window, created
            )
            following = batch[-1]["uri"] if len(batch) == _OF_REPOSITORY else None
            yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
            number, cursor = number + 1, following
    except ParseError as error:
        raise SourceGapError(f"the repository cannot be read: {error}") from None
    if number == reading.start.page or cursor is not None:
        yield Page(number, cursor, None, [], [], answer.fetched_at)


async def _search(reading: Reading) -> AsyncIterator[Page]:
    """Hits, newest first, in rounds: a server ends its cursors after some depth without a word, so a round that ended
    is followed by one that begins with its last page, until all that is left fits on one page."""
    session = _Session(reading)
    query = {"q": str(reading.source.value), "limit": str(LIMIT), "sort": "latest", "since": _iso(reading.window.since)}
    number, state = reading.start.page, reading.start.cursor
    at = _SearchState.read(state, reading.window.until)
    trail = Trail(at.mark)
    while True:
        asked = {**query, "until": at.until, **({"cursor": at.cursor} if at.cursor else {})}
        answer = await session.get("app.bsky.feed.searchPosts", asked)
        # Some servers refuse a cursor at their depth, others give none there.
        refused = answer.status == 400 and bool(at.cursor)
        items, following = ([], None) if refused else _items(answer, "posts")
        parsed = parse_records(
            items,
            lambda item: parse_view(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            earliest,
        )
        past = is_past(parsed, reading)  # a server that heeds `since` shows no such page
        goes_on = None if past else at.next(following, parsed.newest and min(parsed.newest, reading.window.until))
        if goes_on is not None:
            trail.follow(goes_on.mark, len(items))
        kept = None if goes_on is None else str(goes_on)
        yield Page(number, state, kept, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if goes_on is None:
            if not past and at.cursor and (refused or at.hits + LIMIT >= SEARCH_DEPTH):
                raise SourceGapError("more hits share one moment than the server's search shows")
            return
        number, state, at = number + 1, kept, goes_on


@dataclass(frozen=True)
class _SearchState:
    """Where a search stands: in the round of hits before `until`, at most `hits` deep, at the server's own `cursor`.
    The round after it begins before `then`. Kept as `<until> <then> <hits> <cursor>`."""

    until: str
    then: str
    hits: int
    cursor: str

    @classmethod
    def read(cls, kept: str | None, until: datetime) -> "_SearchState":
        """What was kept, or the beginning."""
        if kept is None:
            end = _iso(until + timedelta(microseconds=999))
            return cls(end, end, 0, "")
        end, then, hits, cursor = kept.split(" ", 3)
        return cls(end, then, int(hits), cursor)

    def __str__(self) -> str:
        return f"{self.until} {self.then} {self.hits} {self.cursor}"

    @property
    def mark(self) -> str:
        """What is the same only if the same page is asked for again: cursors of two rounds may be equal."""
        return f"{self.until} {self.cursor}"

    def next(self, cursor: str | None, newest: datetime | None) -> "_SearchState | None":
        """Where to go on after a page with the next cursor and the time of its newest hit, as far as it has one; None
        at the end, or when a round would not begin earlier than this one did."""
        # Up to the newest hit of the last page, inclusive: others of its millisecond may not have been shown. To begin
        # at the oldest would save a page, but one that a client dated back would cut off all between.
        then = self.then if newest is None else min(self.until, _iso(newest + timedelta(milliseconds=1)))
        if cursor is not None:
            return _SearchState(self.until, then, self.hits + LIMIT, cursor)
        return _SearchState(then, then, 0, "") if self.cursor and then < self.until else None


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
    trail = Trail(cursor)
    while True:
        asked = query if cursor is None else {**query, "cursor": cursor}
        answer = await reading.fetcher.get(f"/xrpc/{method}", asked)
        items, following = _items(answer, key)
        clock = earliest if stops else created
        parsed = parse_records(items, lambda item: parse(item, answer), reading.window, clock)  # noqa: B023
        if stops and is_past(parsed, reading):
            following = None
        if following is not None:
            trail.follow(following, len(items))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
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
        name = _error(answer)
        told = f" {name}" if name in _ERRORS else ""
        raise SourceGapError(f"HTTP {answer.status}{told}: no such account or repository, or no access to it")
    found = answer.json()
    if not isinstance(found, dict):
        raise SourceGapError("the answer is not an object; is this an AT-proto server?")
    return found


def _error(answer: Answer) -> str:
    """The name of the error that an answer tells of, empty without one."""
    try:
        found = answer.json()
    except SourceGapError:
        return ""
    return str(found.get("error", "")) if isinstance(found, dict) else ""


async def _did(fetcher: Fetcher, actor: str) -> str:
    if actor.startswith("did:"):
        return actor
    handle = actor.removeprefix("@")
    found = _checked(await fetcher.get("/xrpc/com.atproto.identity.resolveHandle", {"handle": handle}))
    did = found.get("did")
    if not isinstance(did, str) or not did.startswith("did:"):
        raise SourceGapError("the server does not resolve the account's handle")
    return did


async def _opted_out(fetcher: Fetcher, did: str) -> bool:
    """Whether an account opted out: a PDS says it in the account's profile, not beside each record."""
    query = {"repo": did, "collection": "app.bsky.actor.profile", "rkey": "self"}
    answer = await fetcher.get("/xrpc/com.atproto.repo.getRecord", query)
    return answer.status == 200 and opted_out(answer.json())


class _Session:
    """A login by app password. Sessions last for about two hours: one that ended is followed by another."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._headers: dict[str, str] | None = None

    async def get(self, method: str, query: dict[str, str]) -> Answer:
        """Gets what is shown to who is logged in. Errors: SourceGapError, also when a new session is refused."""
        path = f"/xrpc/{method}"
        if self._headers is not None:
            answer = await self._reading.fetcher.get(path, query, self._headers)
            if not _session_ended(answer):
                return answer
        self._headers = {"Authorization": f"Bearer {await self._log_in()}"}
        answer = await self._reading.fetcher.get(path, query, self._headers)
        if _session_ended(answer):
            raise SourceGapError(f"the server refuses the session that it just gave (HTTP {answer.status})")
        return answer

    async def _log_in(self) -> str:
        source, environment = self._reading.source, self._reading.settings.environment
        identifier, password = keys_for(source, environment, (IDENTIFIER, PASSWORD))
        body = {"identifier": identifier, "password": password}
        answer = await self._reading.fetcher.post_json("/xrpc/com.atproto.server.createSession", body)
        if answer.status == 401:
            raise SourceGapError(f"the server refuses the login of {IDENTIFIER} and {PASSWORD} (HTTP 401)")
        token = _checked(answer).get("accessJwt")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise SourceGapError("the server gave no session for the app password")
        return token


def _session_ended(answer: Answer) -> bool:
    return answer.status == 401 or (answer.status == 400 and _error(answer) in ("ExpiredToken", "InvalidToken"))
