"""Mastodon-API servers: statuses in bulk (4.3 and later), one by one elsewhere, over ActivityPub where the API asks for
a login. Whose deed a 404 is no server tells, so the account is asked for: suspended, gone, or there.

An operator's own token (`KEY`) is asked with first. It tells only what is there: an author may hide posts from one
account, so what it does not show is asked for as anybody would.

docs.joinmastodon.org/methods/statuses and /methods/accounts; w3.org/TR/activitypub section 6.11 (Tombstone).
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.mastodon import parse_status
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, gone, unknown
from crawlers.source import Source

KEY = "POSTSWEEP_MASTODON_TOKENS"
"""Names the operator's tokens, each as `host=token`, with blanks between."""
BATCH = 20
"""The most statuses that a server gives at once."""

_ACTIVITY = {
    "Accept": 'application/activity+json, application/ld+json; profile="https://www.w3.org/ns/activitystreams"'
}
_GONE = frozenset({404, 410})
STRANGE = "not a status's answer"
ELSEWHERE = "another host showed the post, and this one has no id of it"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request for all, then one for each post that was not shown, and one or two for its author.

    Errors: SourceGapError.
    """
    asks = _Asking(visit)
    here = [known for known in visit.posts if known.authority == visit.source.authority and known.native_id]
    shown = await asks.together(here)
    for known in visit.posts:
        status = shown.get(str(known.native_id)) if known in here else None
        if status is not None:
            yield _there(known, status[0], status[1])
        elif known in here:
            yield await asks.one(known)
        else:
            yield await asks.over_activitypub(known) if asks.is_home(known.global_id) else unknown(known, ELSEWHERE)


def _there(known: Known, status: object, answer: Answer) -> Sighting:
    try:
        post = parse_status(status, str(known.authority), answer.fetched_at)
    except ParseError:
        return unknown(known, STRANGE, answer.status)
    return alive(known, post) if post.id.global_id == known.global_id else unknown(known, STRANGE, answer.status)


class _Asking:
    """Asks one server for posts and their authors; what it said of an author is asked for once."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._accounts: dict[str, Evidence | None] = {}
        self._recognised: bool | None = None
        self._headers = authorization(visit.settings.environment, visit.source)

    def is_home(self, address: str | None) -> bool:
        """Whether the server is the one that an ActivityPub address belongs to."""
        base, there = urlsplit(self._visit.source.url), urlsplit(address or "")
        return (there.scheme, there.netloc) == (base.scheme, base.netloc)

    async def together(self, posts: list[Known]) -> dict[str, tuple[object, Answer]]:
        """The statuses that the server shows at once, by their ids; none where it knows no such question."""
        if len(posts) < 2:
            return {}
        asked = urlencode([("id[]", str(known.native_id)) for known in posts])
        answer = await self._visit.fetcher.get(f"/api/v1/statuses?{asked}", {}, self._headers)
        self._refuse(answer)
        if answer.status != 200:
            return {}
        try:
            found = answer.json()
        except SourceGapError:
            return {}
        statuses = found if isinstance(found, list) else []
        return {str(each["id"]): (each, answer) for each in statuses if isinstance(each, dict) and "id" in each}

    async def one(self, known: Known) -> Sighting:
        """One post by its id on this server."""
        path = f"/api/v1/statuses/{quote(str(known.native_id), safe='')}"
        if self._headers:
            answer = await self._visit.fetcher.get(path, {}, self._headers)
            self._refuse(answer)
            if answer.status == 200:
                return _there(known, answer.json(), answer)
        answer = await self._visit.fetcher.get(path, {})
        if answer.status == 200:
            found = answer.json()
            return _there(known, found, answer)
        if answer.status in _GONE and await self._is_a_server():
            return await self._whose_deed(known, answer.status, None)
        if answer.status == 401 and self.is_home(known.global_id):
            return await self.over_activitypub(known)
        if answer.status in (401, 403):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        return unknown(known, STRANGE, answer.status)

    def _refuse(self, answer: Answer) -> None:
        if self._headers and answer.status == 401:
            raise SourceGapError(f"the server does not take its token of {KEY} (HTTP 401): make a new one there")

    async def over_activitypub(self, known: Known) -> Sighting:
        """One post by its address, on its own server. Its text is not compared: what a server writes there is not
        letter by letter what its API shows."""
        answer, found = await self._object(str(known.global_id))
        if answer.status == 200 and found.get("type") == "Tombstone":
            return await self._whose_deed(known, 200, "Tombstone")
        if answer.status == 200 and found.get("id") == known.global_id:
            return alive(known, None)
        if answer.status in _GONE and await self._is_a_server():
            return await self._whose_deed(known, answer.status, "Tombstone" if answer.status == 410 else None)
        if answer.status in (401, 403):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        return unknown(known, STRANGE, answer.status)

    async def _object(self, address: str) -> tuple[Answer, dict[str, Any]]:
        path = address.removeprefix(self._visit.source.url)
        answer = await self._visit.fetcher.get(path, {}, _ACTIVITY)
        try:
            found = answer.json() if answer.status == 200 else None
        except SourceGapError:
            found = None
        return answer, found if isinstance(found, dict) else {}

    async def _is_a_server(self) -> bool:
        """Whether this is still a server of the kind: a parked domain answers 404 to everything."""
        if self._recognised is None:
            answer = await self._visit.fetcher.get("/api/v1/instance", {})
            try:
                found = answer.json() if answer.status == 200 else None
            except SourceGapError:
                found = None
            self._recognised = isinstance(found, dict) and isinstance(found.get("version"), str)
        return self._recognised

    async def _whose_deed(self, known: Known, status: int, code: str | None) -> Sighting:
        """A post that is gone, with what the server says of its author."""
        handle = known.author_handle or ""
        if handle not in self._accounts:
            self._accounts[handle] = await self._account(handle, known.author_id)
        account = self._accounts[handle]
        if account is None:
            return gone(known, status, code)
        return Sighting(known.uid, "removed_by_platform" if account.code == "suspended" else "account_gone", account)

    async def _account(self, handle: str, author_id: str | None) -> Evidence | None:
        """Suspended by the server, or gone from it; None for an account that is there or of which nothing is told.

        An account that its owner deleted may be shown as suspended too: its actor is gone then, and the cause untold.
        """
        answer = await self._visit.fetcher.get("/api/v1/accounts/lookup", {"acct": handle}) if handle else None
        try:
            found = answer.json() if answer is not None and answer.status == 200 else None
        except SourceGapError:
            found = None
        suspended = isinstance(found, dict) and found.get("suspended") is True
        missing = answer is None or answer.status in _GONE
        if (suspended or missing) and self.is_home(author_id):
            actor, told = await self._object(str(author_id))
            if actor.status == 410 or told.get("type") == "Tombstone":
                return Evidence(actor.status, "actor gone")
        return Evidence(200, "suspended") if suspended else None


def authorization(environment: Mapping[str, str], source: Source) -> dict[str, str]:
    """The header with the operator's token for a source's host, none where there is no token. Errors: SourceGapError
    where the tokens cannot be read, or this one would be sent unprotected."""
    pairs = [pair.partition("=") for pair in str(environment.get(KEY, "")).split()]
    if any(not (host and token and token.isascii() and token.isprintable()) for host, _, token in pairs):
        raise SourceGapError(f"{KEY} is not as host=token, with blanks between")
    token = {host: token for host, _, token in pairs}.get(source.authority)
    if token is None:
        return {}
    if not source.url.startswith("https://") and not source.allow_private:
        raise SourceGapError(f"{KEY}: a token is sent over https only")
    return {"Authorization": f"Bearer {token}"}
