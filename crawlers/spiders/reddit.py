"""Reddit's listings over its API (reddit.com/dev/api), newest first, paged by `after`, for an application of your own
without a user (github.com/reddit-archive/reddit/wiki/OAuth2, application only).

A listing ends after some 1,000 posts and says nothing of it: what lies before is a gap. The post that a page is asked
after may be taken away meanwhile, and nothing follows it then: so the two before it are kept too.
"""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from scrapy import Request

from crawlers.catalogue.reddit import ABOUT, CLIENT_ID, CLIENT_SECRET
from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.reddit import NAME, created_of, parse_thing
from crawlers.settings import CrawlSettings
from crawlers.sink import Page
from crawlers.source import Source, Window
from crawlers.spiders.keys import keys_for
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

LIMIT = 100
DEPTH = {"search": 200}
"""Records after which the end of a listing is no end of what it lists: searches are known to end after some 250."""
LISTING_DEPTH = 900
"""The same of the others, which end after 1,000, those included that are shown to nobody."""
TOKENS_AT = "https://www.reddit.com"
"""Where the API's tokens come from."""
INSTEAD = "a dump serves instead: postsweep import pushshift"
_ANCHORS = 3
_SUBREDDIT = re.compile(r"(?!u_)[A-Za-z0-9_]{2,24}(?:\+(?!u_)[A-Za-z0-9_]{2,24})*", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_-]{2,30}")
_REASONS = frozenset({"private", "banned", "quarantined", "gold_only", "premium_only"})
"""What the API says of a subreddit that it does not show."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    path, query = _listing(reading.source)
    session = Session(reading.source, reading.fetcher, reading.settings)
    depth = DEPTH.get(reading.source.kind, LISTING_DEPTH)
    number, cursor = reading.start.page, reading.start.cursor
    at = _Place.read(cursor)
    trail = Trail(at.after[0] if at.after else None)
    while True:
        answer, things, after = await _page(session, path, query, at)
        parsed = parse_records(
            things,
            lambda thing: parse_thing(thing, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        past = is_past(parsed, reading)
        at = at.next(after, things)
        following = str(at) if after and not past else None
        if following is not None:
            trail.follow(after or "", len(things))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            if not past and at.seen >= depth and (span := at.missing(reading.window)) is not None:
                raise SourceGapError(f"the listing ends after {at.seen:,} posts; {INSTEAD}", span)
            return
        number, cursor = number + 1, following


class Session:
    """A token of the operator's own application. It lasts for a day: one that ended is followed by another."""

    def __init__(self, source: Source, fetcher: Fetcher, settings: CrawlSettings) -> None:
        self._source = source
        self._fetcher = fetcher
        self._environment = settings.environment
        self._headers: dict[str, str] | None = None

    async def get(self, path: str, query: dict[str, str]) -> Answer:
        """Gets what the API shows to the application. Errors: SourceGapError, also when a new token is refused."""
        if self._headers is not None:
            answer = await self._fetcher.get(path, query, self._headers)
            if answer.status != 401:
                return answer
        self._headers = {"Authorization": f"Bearer {await self._token()}"}
        answer = await self._fetcher.get(path, query, self._headers)
        if answer.status == 401:
            raise SourceGapError("the API refuses the token that it just gave (HTTP 401)")
        return answer

    async def _token(self) -> str:
        home, keys = str(ABOUT.home), (CLIENT_ID, CLIENT_SECRET)
        pair = ":".join(keys_for(self._source, self._environment, keys, home, instead=INSTEAD))
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        # A server of one's own gives its tokens itself.
        base = TOKENS_AT if self._source.url == home else self._source.url
        place = f"{base}/api/v1/access_token"
        answer = await self._fetcher.fetch(
            Request(place, method="POST", headers=headers, body="grant_type=client_credentials")
        )
        if answer.status in (400, 401, 403):
            raise SourceGapError(
                f"the platform refuses the application of {CLIENT_ID} and {CLIENT_SECRET} (HTTP {answer.status})"
            )
        found = answer.json() if answer.status == 200 else None
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise SourceGapError(f"the platform gave no token for the application (HTTP {answer.status})")
        return token


@dataclass(frozen=True)
class _Place:
    """Where a listing stands: the names of the last records, the last one first, how many were seen, and the second of
    the oldest. Kept as `<names by commas> <seen> <oldest>`."""

    after: tuple[str, ...] = ()
    seen: int = 0
    oldest: int | None = None

    @classmethod
    def read(cls, kept: str | None) -> "_Place":
        if kept is None:
            return cls()
        names, seen, oldest = kept.split(" ")
        return cls(tuple(names.split(",")), int(seen), int(oldest) if oldest != "-" else None)

    def __str__(self) -> str:
        return f"{','.join(self.after)} {self.seen} {'-' if self.oldest is None else self.oldest}"

    def next(self, after: str | None, things: list[object]) -> "_Place":
        """After a page of things, and the name that the API says to go on after."""
        names = [
            inner["name"]
            for thing in things[-_ANCHORS:]
            if isinstance(thing, dict)
            and isinstance(inner := thing.get("data"), dict)
            and isinstance(inner.get("name"), str)
            and NAME.fullmatch(inner["name"])
        ]
        anchors = tuple(dict.fromkeys([*([after] if after else []), *reversed(names)]))[:_ANCHORS]
        seconds = [int(moment.timestamp()) for thing in things if (moment := created_of(thing)) is not None]
        seconds += [] if self.oldest is None else [self.oldest]
        return _Place(anchors, self.seen + len(things), min(seconds, default=None))

    def missing(self, window: Window) -> tuple[datetime, datetime] | None:
        """What of the window lies before the oldest that was seen; that second may hold more than was shown."""
        if self.oldest is None:
            return window.since, window.until
        until = min(window.until, datetime.fromtimestamp(self.oldest, UTC) + timedelta(seconds=1))
        return (window.since, until) if window.since < until else None


async def _page(
    session: Session, path: str, query: dict[str, str], at: _Place
) -> tuple[Answer, list[object], str | None]:
    """The page after the last record that still leads somewhere."""
    for anchor in at.after or (None,):
        answer = await session.get(path, query if anchor is None else {**query, "after": anchor})
        things, after = _things(answer)
        if things:
            break
    return answer, things, after


def _listing(source: Source) -> tuple[str, dict[str, str]]:
    query, value = {"limit": str(LIMIT), "raw_json": "1"}, str(source.value)
    if source.kind == "search":
        return "/search", {**query, "q": value, "sort": "new", "type": "link", "include_over_18": "on"}
    if source.kind == "user":
        name = re.sub(r"^(?:/?u/|@)", "", value)
        if _NAME.fullmatch(name) is None:
            raise SourceGapError("the source's value is no name of an account")
        return f"/user/{quote(name, safe='')}/overview", {**query, "sort": "new"}
    name = re.sub(r"^/?r/", "", value)
    if _SUBREDDIT.fullmatch(name) is None:
        raise SourceGapError("the source's value is no name of a subreddit (an account is read as kind user)")
    return f"/r/{name}/{'comments' if source.kind == 'comments' else 'new'}", query


def _things(answer: Answer) -> tuple[list[object], str | None]:
    _refused(answer)
    found = answer.json()
    listing = found.get("data") if isinstance(found, dict) and found.get("kind") == "Listing" else None
    things = listing.get("children") if isinstance(listing, dict) else None
    if not isinstance(listing, dict) or not isinstance(things, list):
        raise SourceGapError("the answer is no listing")
    if things and all(isinstance(thing, dict) and thing.get("kind") == "t5" for thing in things):
        raise SourceGapError("the platform knows no such subreddit, and answers with a search for its name")
    after = listing.get("after")
    if after is not None and (not isinstance(after, str) or NAME.fullmatch(after) is None):
        raise SourceGapError("the listing goes on after what is no name")
    return things, after


def _refused(answer: Answer) -> None:
    if answer.status == 200:
        return
    try:
        found = answer.json()
    except SourceGapError:
        found = None
    reason = found.get("reason") if isinstance(found, dict) else None
    if answer.status in (403, 404) and isinstance(reason, str) and reason in _REASONS:
        raise SourceGapError(f"the platform does not show this subreddit: {reason} (HTTP {answer.status})")
    if answer.status == 403:
        raise SourceGapError(f"the platform refuses this (HTTP 403); {INSTEAD}")
    if answer.status == 404:
        raise SourceGapError("the platform has no such listing (HTTP 404)")
    raise SourceGapError(f"the API answered HTTP {answer.status}")
