"""Discourse forums: fifty posts at once by the forum's list of all posts, where they lie close together; what is not
in it by its number. A post that visitors are still shown as deleted or hidden says by whom.
"""

from collections.abc import AsyncIterator

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.discourse import parse_post
from crawlers.post import ParseError
from crawlers.sighting import SERVICE, Evidence, Known, Sighting, State, Visit, alive, gone, unknown

BATCH = 100
STRANGE = "not a post's answer"
_CAUSES: dict[str, State] = {
    "user_deleted": "removed_by_author",
    "deleted_at": "removed_by_platform",
    "hidden": "removed_by_platform",
}


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """A request for the posts from the newest down, as long as one shows several, and one for each that is not shown.
    Errors: SourceGapError."""
    left: dict[int, Known] = {}
    for known in visit.posts:
        native = (known.global_id or "").rpartition("/p/")[2]
        if native.isdecimal():
            left[int(native)] = known
        else:
            yield unknown(known, "the post has no number")
    for number in sorted(left, reverse=True):
        if number not in left:
            continue
        for sighting in await _listed(visit, number, left):
            yield sighting
        if number in left:
            yield _read(left.pop(number), str(number), await visit.fetcher.get(f"/posts/{number}.json", {}))


def sequence(kind: str, global_id: str) -> tuple[str, int] | None:
    """A forum's posts have numbers of one row, those too that are not public; a source of them all shows the rest."""
    before, _, number = global_id.rpartition("/")
    return (f"{before}/", int(number)) if kind == "posts" and number.isdecimal() else None


async def _listed(visit: Visit, number: int, left: dict[int, Known]) -> list[Sighting]:
    """What the list shows of the posts that are left, from a number down, where two of them may be on its page."""
    if not any(other in left for other in range(number - 49, number)):
        return []
    answer = await visit.fetcher.get("/posts.json", {"before": str(number)})
    found = []
    for item in _items(answer):
        native = item.get("id") if isinstance(item, dict) else None
        if type(native) is int and (known := left.get(native)) is not None:
            sighting = _shown(known, item, answer)
            if sighting.state != "unknown":
                found.append(sighting)
                del left[native]
    return found


def _items(answer: Answer) -> list[object]:
    """The posts of a list; none where the forum gives no list, as some give none to visitors."""
    try:
        told = answer.json() if answer.status == 200 else None
    except SourceGapError:
        return []
    items = told.get("latest_posts") if isinstance(told, dict) else None
    return items if isinstance(items, list) else []


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
    return _shown(known, told, answer)


def _shown(known: Known, item: object, answer: Answer) -> Sighting:
    try:
        return alive(known, parse_post(item, str(known.authority), answer.fetched_at))
    except ParseError as error:
        if error.place in _CAUSES:
            return Sighting(known.uid, _CAUSES[error.place], Evidence(200, error.place))
        return unknown(known, SERVICE if error.place == "post_type" else "a post that cannot be read", 200)
