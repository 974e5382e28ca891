"""Reddit: a hundred links and comments at once by their names (reddit.com/dev/api#GET_api_info), each with who took it
away, where the API tells that.
"""

from collections.abc import AsyncIterator
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.reddit import NAME, Remover, fullname, parse_thing, removed_by, thing_in
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, State, Visit, alive, gone, unknown
from crawlers.spiders.reddit import Session

BATCH = 100
STRANGE = "not an answer of Reddit's API"
_CAUSES: dict[Remover, State] = {
    "author": "removed_by_author",
    "moderators": "removed_by_platform",
    "platform": "removed_by_platform",
}


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request. Errors: SourceGapError."""
    named = {str(known.global_id): known for known in visit.posts if NAME.fullmatch(known.global_id or "")}
    for known in visit.posts:
        if known.global_id not in named:
            yield unknown(known, "the post has no name of a link or comment")
    if not named:
        return
    session = Session(visit.source, visit.fetcher, visit.settings)
    answer = await session.get("/api/info", {"id": ",".join(named), "raw_json": "1"})
    shown = _shown(answer)
    for name, known in named.items():
        yield _read(known, shown.get(name), answer, visit.source.authority)


def _shown(answer: Answer) -> dict[str, Any]:
    """What the API shows, by its name. Errors: SourceGapError."""
    found = answer.json() if answer.status == 200 else None
    listing = found.get("data") if isinstance(found, dict) and found.get("kind") == "Listing" else None
    things = listing.get("children") if isinstance(listing, dict) else None
    if not isinstance(things, list):
        raise SourceGapError(f"HTTP {answer.status}: {STRANGE}")
    shown = {}
    for thing in things:
        try:
            shown[fullname(thing_in(thing))] = thing
        except ParseError:
            continue
    return shown


def _read(known: Known, thing: Any, answer: Answer, host: str) -> Sighting:
    if thing is None:
        return gone(known, 200, "missing")
    try:
        remover = removed_by(thing_in(thing))
        if remover is None:
            return alive(known, parse_thing(thing, host, answer.fetched_at))
    except ParseError:
        return unknown(known, STRANGE, 200)
    return Sighting(known.uid, _CAUSES[remover], Evidence(200, remover)) if remover in _CAUSES else gone(known, 200)
