"""Discourse forums: each post by its number. A post that visitors are still shown as deleted or hidden says by whom."""

from collections.abc import AsyncIterator

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.discourse import parse_post
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, State, Visit, alive, gone, unknown

BATCH = 100
STRANGE = "not a post's answer"
_CAUSES: dict[str, State] = {
    "user_deleted": "removed_by_author",
    "deleted_at": "removed_by_platform",
    "hidden": "removed_by_platform",
}


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    for known in visit.posts:
        native = (known.global_id or "").rpartition("/p/")[2]
        if not native.isdecimal():
            yield unknown(known, "the post has no number")
            continue
        yield _read(known, native, await visit.fetcher.get(f"/posts/{native}.json", {}))


def _read(known: Known, native: str, answer: Answer) -> Sighting:
    try:
        found = answer.json()
    except SourceGapError:
        return unknown(known, STRANGE, answer.status)
    told = found if isinstance(found, dict) else {}
    if answer.status == 404 and told.get("error_type") == "not_found":
        return gone(known, 404, "not_found")
    if answer.status != 200 or str(told.get("id")) != native:
        return unknown(known, STRANGE, answer.status)
    try:
        return alive(known, parse_post(told, str(known.authority), answer.fetched_at))
    except ParseError as error:
        if error.place in _CAUSES:
            return Sighting(known.uid, _CAUSES[error.place], Evidence(200, error.place))
        return unknown(known, "a post that cannot be read", 200)
