"""X over API v2 (docs.x.com/x-api/posts/search), newest first, paged by a token: a search of the last seven days, one
of all times, and an account's posts. All need a bearer token, which goes to X alone.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.x import LEFT_OUT_WHEN_EMPTY, joined, parse_tweet
from crawlers.post import ParseError
from crawlers.sink import Page
from crawlers.source import Source, Window
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

LIMIT = 100
KEY = "POSTSWEEP_X_BEARER_TOKEN"
HOMES = ("https://api.x.com", "https://api.twitter.com")
REACH = timedelta(days=7)
"""How far back the recent search reaches."""
DEPTH = 3_200
"""How many of an account's posts are shown; somewhat fewer where some of them were removed."""
SETTLED = timedelta(seconds=15)
"""How old the end of what is asked for must be; the API asks for ten seconds."""
FIELDS = {
    "tweet.fields": "attachments,author_id,conversation_id,created_at,edit_history_tweet_ids,entities,"
    "in_reply_to_user_id,lang,note_tweet,possibly_sensitive,public_metrics,referenced_tweets,withheld",
    "expansions": "author_id,attachments.media_keys,attachments.poll_ids,referenced_tweets.id,"
    "referenced_tweets.id.author_id,referenced_tweets.id.attachments.media_keys",
    "user.fields": "created_at,description,name,username,verified,verified_type",
    "media.fields": "alt_text,media_key,preview_image_url,type,url,variants",
    "poll.fields": "options",
}
CAPTURE = "what twarc captured can be imported instead: postsweep import twarc"

_NAME = re.compile(r"[A-Za-z0-9_]{1,15}")
_MARGIN = timedelta(minutes=1)
_ARCHIVE_INTERVAL = 1.0
"""Seconds between two searches of all times, beside the limit that the headers tell."""


@dataclass(frozen=True)
class _Trip:
    """The span that is asked for, which a token belongs to, how many posts of it were shown, and the token; as a
    cursor, one after another."""

    since: datetime
    until: datetime
    shown: int = 0
    token: str = ""

    @classmethod
    def parse(cls, cursor: str) -> "_Trip":
        """What `str` wrote."""
        since, until, shown, token = cursor.split(" ")
        return cls(datetime.fromisoformat(since), datetime.fromisoformat(until), int(shown), token)

    def __str__(self) -> str:
        return f"{_iso(self.since)} {_iso(self.until)} {self.shown} {self.token}"


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads a search or an account's posts. Errors: SourceGapError, also for the part of the window that the recent
    search does not reach."""
    api = Api(reading.source, reading.fetcher, reading.settings.environment)
    number, cursor = reading.start.page, reading.start.cursor
    trip = _trip(reading) if cursor is None else _Trip.parse(cursor)
    path, query, token_name = await _asked(reading.source, api)
    trail = Trail(trip.token or None)
    while True:
        span = {"start_time": _iso(trip.since), "end_time": _iso(trip.until)}
        answer = await api.get(path, {**query, **FIELDS, **span, **({token_name: trip.token} if trip.token else {})})
        items, token = _items(answer)
        parsed = parse_records(
            items,
            lambda item: parse_tweet(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        trip = replace(trip, shown=trip.shown + len(items), token=token or "")
        past = is_past(parsed, reading)
        following = str(trip) if token and not past else None
        if token and not past:
            trail.follow(token, len(items))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            break
        number, cursor = number + 1, following
    if reading.source.kind == "user" and not past and trip.shown > DEPTH - LIMIT:
        raise SourceGapError(f"an account's newest {DEPTH:,} posts are shown, and no older ones; {CAPTURE}")
    if trip.since > reading.window.since:
        told = f"the recent search reaches {REACH.days} days back; kind archive reaches further, and {CAPTURE}"
        raise SourceGapError(told, (reading.window.since, trip.since))


def _trip(reading: Reading) -> _Trip:
    """The part of the window that can be asked for now, in whole seconds as the API counts. Its end waits until it is
    old enough to be asked for. Errors: SourceGapError where nothing of the window can be."""
    window, now = reading.window, datetime.now(UTC)
    since, until = _second(window.since), _second(min(window.until, now), up=True)
    if reading.source.kind == "search" and since < now - REACH + _MARGIN:
        since = _second(now - REACH + _MARGIN)
    if since >= until:
        raise _unreached(window, now)
    reading.fetcher.host.hold(max(0.0, (until + SETTLED - now).total_seconds()))
    return _Trip(since, until)


def _unreached(window: Window, now: datetime) -> SourceGapError:
    if window.since >= now:
        return SourceGapError("the window has not begun", (window.since, window.until))
    told = f"the recent search reaches {REACH.days} days back; kind archive reaches further, and {CAPTURE}"
    return SourceGapError(told, (window.since, window.until))


async def _asked(source: Source, api: "Api") -> tuple[str, dict[str, str], str]:
    """The path, the question, and what the token for the next page is called."""
    if source.kind == "user":
        return f"/2/users/{await api.user(str(source.value))}/tweets", {"max_results": str(LIMIT)}, "pagination_token"
    path = "/2/tweets/search/all" if source.kind == "archive" else "/2/tweets/search/recent"
    query = {"query": str(source.value), "max_results": str(LIMIT), "sort_order": "recency"}
    return path, query, "next_token"


class Api:
    """Asks X with the token of the environment. Errors: SourceGapError without one."""

    def __init__(self, source: Source, fetcher: Fetcher, environment: Mapping[str, str]) -> None:
        self._source = source
        self._fetcher = fetcher
        self._headers = {"Authorization": f"Bearer {bearer(environment, source)}"}

    async def get(self, path: str, query: dict[str, str]) -> Answer:
        """An answer with what was asked for. Errors: SourceGapError, which tells apart a refused token, an unpaid one,
        one without the right and one that is used up."""
        try:
            answer = await self._fetcher.get(path, query, self._headers)
        except SourceGapError as gap:
            if str(gap).startswith("HTTP 429") and await used_up(self._fetcher, self._headers):
                raise SourceGapError(f"the posts that {KEY} may read in a month are used up (HTTP 429)") from None
            raise
        if self._source.kind == "archive":
            self._fetcher.host.hold(_ARCHIVE_INTERVAL)
        refuse(answer)
        return answer

    async def user(self, name: str) -> str:
        """The id of an account. Errors: SourceGapError."""
        if _NAME.fullmatch(name) is None:
            raise SourceGapError("the value is no user name: letters, digits and _ only, at most 15")
        found = _object((await self.get(f"/2/users/by/username/{name}", {})).json())
        native = _object(found.get("data")).get("id")
        if not isinstance(native, str) or not native.isascii() or not native.isdigit():
            raise SourceGapError("the server shows no such account: there is none, or it is suspended")
        return native


def bearer(environment: Mapping[str, str], source: Source) -> str:
    """The bearer token, where it may be sent to the source's host. Errors: SourceGapError."""
    (token,) = keys_for(source, environment, (KEY,), *HOMES, instead=CAPTURE)
    return token


async def used_up(fetcher: Fetcher, headers: dict[str, str]) -> bool:
    """Whether the posts of the month are used up: a limit of minutes is told by the same status."""
    with suppress(SourceGapError):
        answer = await fetcher.get("/2/usage/tweets", {}, headers)
        told = _object(_object(answer.json()).get("data")) if answer.status == 200 else {}
        with suppress(TypeError, ValueError):
            return int(told["project_usage"]) >= int(told["project_cap"]) if "project_cap" in told else False
    return False


def refuse(answer: Answer) -> None:
    """Errors: SourceGapError for anything but an answer."""
    said = {
        400: "the server does not take the question: its query or its span of time",
        401: f"the server refuses the token of {KEY}",
        402: f"nothing is left to pay with: the account of {KEY} has no credits",
        403: f"{KEY} has no right to ask this: its project's plan does not include it",
        404: "the server has nothing of that kind; the API is at https://api.x.com",
    }
    if answer.status != 200:
        raise SourceGapError(f"{said.get(answer.status, 'the server does not answer')} (HTTP {answer.status})")


def _items(answer: Answer) -> tuple[list[object], str | None]:
    """The posts of a page, and the token of the next."""
    page = answer.json()
    meta = _object(_object(page).get("meta"))
    if "result_count" not in meta:
        raise SourceGapError("the answer is no page of posts; the API is at https://api.x.com")
    try:
        items = joined(page, asked_for=LEFT_OUT_WHEN_EMPTY)
    except ParseError:
        raise SourceGapError("what the page includes is not told as the API tells it") from None
    token = meta.get("next_token")
    if isinstance(token, str) and re.search(r"\s", token):
        raise SourceGapError("the server gives a cursor that cannot be sent back")
    return items, token if isinstance(token, str) and token else None


def _second(moment: datetime, *, up: bool = False) -> datetime:
    """The whole second that a moment lies in, or the next one where it is not whole."""
    whole = moment.replace(microsecond=0)
    return whole + timedelta(seconds=1) if up and whole < moment else whole


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
