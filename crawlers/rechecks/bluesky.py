"""Bluesky: posts by 25 from an AppView, which leaves out what it does not show; then the author's own server says
whether the record or the whole account is gone, and why.

docs.bsky.app: app.bsky.feed.getPosts, app.bsky.actor.getProfile, com.atproto.repo.getRecord,
com.atproto.sync.getRepoStatus; web.plc.directory for the server that an account is at: one that moved away leaves an
empty or deactivated repository behind, which is no removal.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from libipld import decode_car

from crawlers.fetching import Answer, Fetcher, SourceGapError
from crawlers.platforms.bluesky import POST, parse_record, parse_view
from crawlers.post import ParseError, Post
from crawlers.sighting import Evidence, Known, Sighting, State, Visit, alive, gone, unknown

BATCH = 25
"""The most posts that an AppView gives at once."""
DIRECTORY = "POSTSWEEP_PLC_DIRECTORY"
"""The environment variable that names another directory than plc.directory, such as a mirror."""

STRANGE = "not the answer of an AT-proto server"
NO_RECORD = "no record of its own"
MOVED = "gone from this server, which is not known to be the account's own"
WITHHELD = "in the author's repository, and not shown"
_REFUSES = (401, 403)
_OF_ACCOUNT: dict[str, State] = {
    "deleted": "account_gone",
    "deactivated": "account_gone",
    "RepoNotFound": "account_gone",
    "RepoDeactivated": "account_gone",
    "AccountDeactivated": "account_gone",
    "takendown": "removed_by_platform",
    "suspended": "removed_by_platform",
    "RepoTakendown": "removed_by_platform",
    "RepoSuspended": "removed_by_platform",
    "AccountTakedown": "removed_by_platform",
}
"""What servers say of an account whose posts are gone with it."""
_ACTIVE = Evidence(200, "active")
_UNTOLD = Evidence()
_TAKEN_DOWN = "!takedown"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request for 25 posts of an AppView, one for each post of a PDS, and some for each author of whom posts are
    gone. Errors: SourceGapError."""
    asking = _Asking(visit)
    posts = []
    for known in visit.posts:
        if known.global_id is None or f"/{POST}/" not in known.global_id or "#" in known.global_id:
            yield unknown(known, NO_RECORD)  # a repost that a feed tells of
        else:
            posts.append(known)
    if visit.source.kind == "records":
        for known in posts:
            yield await asking.record(known)
    elif posts:
        async for sighting in asking.views(posts):
            yield sighting


class _Asking:
    """Asks one server, and of what is gone the author's own; what was said of an author is asked for once."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._homes: dict[str, str | None] = {}
        self._accounts: dict[tuple[str, str], Evidence] = {}

    async def views(self, posts: list[Known]) -> AsyncIterator[Sighting]:
        """Posts as an AppView shows them."""
        asked = urlencode([("uris", str(known.global_id)) for known in posts])
        answer = await self._visit.fetcher.get(f"/xrpc/app.bsky.feed.getPosts?{asked}", {})
        views = _object(answer).get("posts")
        if answer.status != 200 or not isinstance(views, list):
            raise SourceGapError(f"HTTP {answer.status}: {STRANGE}")
        shown = {view["uri"]: view for view in views if isinstance(view, dict) and isinstance(view.get("uri"), str)}
        host = self._visit.source.authority
        for known in posts:
            view = shown.get(str(known.global_id))
            if view is None:
                yield await self._hidden(known)
            elif any(label.get("val") == _TAKEN_DOWN and not label.get("neg") for label in _labels(view)):
                yield Sighting(known.uid, "removed_by_platform", Evidence(200, _TAKEN_DOWN))
            else:
                yield _read(known, answer, lambda at, view=view: parse_view(view, host, at))  # type: ignore[misc]

    async def record(self, known: Known) -> Sighting:
        """A record of the PDS that is the source, as long as its author is there."""
        sighting = await self._at_home(known, self._visit.fetcher)
        if sighting.state == "account_gone" and not _same(await self._home(_did(known)), self._visit.source.url):
            return unknown(known, MOVED, sighting.evidence.status)
        return sighting

    async def _hidden(self, known: Known) -> Sighting:
        """A post that the AppView leaves out: what it says of the author, then what the author's own server has."""
        account = await self._account(_did(known), self._visit.fetcher, "app.bsky.actor.getProfile", "actor")
        if account.code in _OF_ACCOUNT:
            return Sighting(known.uid, _OF_ACCOUNT[str(account.code)], account)
        home = await self._home(_did(known))
        if home is not None:
            with suppress(SourceGapError):  # of the AppView's answer enough is known
                sighting = await self._at_home(known, self._visit.elsewhere(home))
                if sighting.state == "alive":  # there, and not shown: the AppView took it down, or has not got it yet
                    return unknown(known, "at the author's server, and not shown by the AppView", 200)
                return sighting
        return gone(known, 200)

    async def _at_home(self, known: Known, fetcher: Fetcher) -> Sighting:
        """What a PDS has of an account, then of its record: one that is missing in an active repository was deleted by
        its author. In this order, as a PDS passes questions on accounts that are not its own to an AppView."""
        did, key = _did(known), str(known.global_id).rpartition("/")[2]
        account = await self._account(did, fetcher, "com.atproto.sync.getRepoStatus", "did")
        if account.code in _OF_ACCOUNT:
            return Sighting(known.uid, _OF_ACCOUNT[str(account.code)], account)
        query = {"repo": did, "collection": POST, "rkey": key}
        answer = await fetcher.get("/xrpc/com.atproto.repo.getRecord", query)
        found = _object(answer)
        if answer.status == 200 and found.get("uri") == known.global_id:
            return _read(known, answer, lambda at: parse_record(found, did, self._visit.source.authority, at))
        if answer.status in _REFUSES:
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        if answer.status in (400, 404) and found.get("error") == "RecordNotFound" and account == _ACTIVE:
            return await self._deleted_or_withheld(known, did, key, fetcher)
        return unknown(known, STRANGE, answer.status)

    async def _deleted_or_withheld(self, known: Known, did: str, key: str, fetcher: Fetcher) -> Sighting:
        """A server says the same of a record that its author deleted and of one that it took down; the repository
        itself, which the author alone signs, holds the second and not the first."""
        query = {"did": did, "collection": POST, "rkey": key}
        answer = await fetcher.get("/xrpc/com.atproto.sync.getRecord", query)
        held = _held(answer.body) if answer.status == 200 else None
        if held is True:
            return Sighting(known.uid, "removed_by_platform", Evidence(200, "RecordNotFound", WITHHELD))
        if held is False or _object(answer).get("error") == "RecordNotFound":
            return Sighting(known.uid, "removed_by_author", Evidence(answer.status, "RecordNotFound"))
        return gone(known, answer.status, "RecordNotFound")

    async def _account(self, did: str, fetcher: Fetcher, method: str, key: str) -> Evidence:
        """What a server says of an account: `_ACTIVE`, one of `_OF_ACCOUNT`, or nothing that is known."""
        if (did, method) not in self._accounts:
            answer = await fetcher.get(f"/xrpc/{method}", {key: did})
            found = _object(answer)
            code = found.get("status") if found.get("active") is False else found.get("error")
            told = Evidence(answer.status, code) if isinstance(code, str) and code in _OF_ACCOUNT else _UNTOLD
            if answer.status == 200 and found.get("did") == did and found.get("active") is True:
                told = _ACTIVE
            self._accounts[did, method] = told
        return self._accounts[did, method]

    async def _home(self, did: str) -> str | None:
        """The address of the server that an account is at; None where the directory does not say."""
        if did not in self._homes:
            self._homes[did] = None
            directory = self._visit.settings.environment.get(DIRECTORY, "https://plc.directory").rstrip("/")
            if did.startswith("did:plc:"):
                with suppress(SourceGapError):
                    answer = await self._visit.elsewhere(directory).get(f"/{quote(did, safe=':')}", {})
                    self._homes[did] = _service(_object(answer))
        return self._homes[did]


def _held(car: bytes) -> bool | None:
    """Whether a piece of a repository (CAR v1), the proof of one record, holds that record; None where it is none."""
    try:
        header, blocks = decode_car(car)
    except Exception:
        return None
    values = [block for block in blocks.values() if isinstance(block, dict)] if header.get("roots") else []
    if not any("sig" in block and "did" in block for block in values):
        return None  # not a commit among them
    return any(block.get("$type") == POST for block in values)


def _did(known: Known) -> str:
    return str(known.global_id).removeprefix("at://").partition("/")[0]


def _read(known: Known, answer: Answer, parse: Callable[[Any], Post]) -> Sighting:
    try:
        return alive(known, parse(answer.fetched_at))
    except ParseError:
        return unknown(known, STRANGE, answer.status)


def _service(document: dict[str, Any]) -> str | None:
    """The PDS of a DID document (atproto.com/specs/did)."""
    services = document.get("service")
    for each in services if isinstance(services, list) else []:
        if isinstance(each, dict) and each.get("type") == "AtprotoPersonalDataServer":
            address = each.get("serviceEndpoint")
            if isinstance(address, str) and address.startswith(("https://", "http://")):
                return address.rstrip("/")
    return None


def _same(one: str | None, other: str) -> bool:
    return one is not None and urlsplit(one).netloc == urlsplit(other).netloc


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = answer.json()
    except SourceGapError:
        return {}
    return found if isinstance(found, dict) else {}


def _labels(view: dict[str, Any]) -> list[dict[str, Any]]:
    labels = view.get("labels")
    return [label for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []
