"""Lemmy: each post or comment by the id that the server has of it (join-lemmy.org/api). What visitors are not shown any
more may stand in the log of the moderators; what its author deleted is shown as such, or is just not there.
"""

from collections.abc import AsyncIterator
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.lemmy import parse_view
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, State, Visit, alive, gone, unknown
from crawlers.spiders.lemmy import Api, api_of

BATCH = 100
STRANGE = "not a Lemmy server's answer"
NOT_HERE = "the server asked has no id of it"
_CAUSES: dict[str, State] = {"deleted": "removed_by_author", "removed": "removed_by_platform"}
_MISSING = frozenset({"not_found", "couldnt_find_post", "couldnt_find_comment"})


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post, and one for the log of the moderators where it is not shown. Errors: SourceGapError."""
    api = await api_of(visit.fetcher)
    for known in visit.posts:
        what, _, native = (known.native_id or "").partition("/")
        if what not in ("post", "comment") or not native.isdecimal() or known.authority != visit.source.authority:
            yield unknown(known, NOT_HERE)
            continue
        yield await _one(visit, api, known, what, native)


async def _one(visit: Visit, api: Api, known: Known, what: str, native: str) -> Sighting:
    answer = await visit.fetcher.get(f"/api/v{api.version}/{what}", {"id": native})
    if answer.status in (401, 403):
        raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
    told = _told(answer)
    if answer.status in (400, 404) and told.get("error") in _MISSING:
        if api.version == 3 and await _in_the_log(visit, what, native):
            return Sighting(known.uid, "removed_by_platform", Evidence(answer.status, "modlog", "removed"))
        return gone(known, answer.status, str(told["error"]))
    view = told.get(f"{what}_view")
    if answer.status != 200 or not isinstance(view, dict):
        return unknown(known, STRANGE, answer.status)
    try:
        post = parse_view(view, visit.source.authority, answer.fetched_at, api.languages)
    except ParseError as error:
        cause = error.place.rpartition(".")[2]
        if cause in _CAUSES:
            return Sighting(known.uid, _CAUSES[cause], Evidence(200, cause))
        return unknown(known, STRANGE, 200)
    return alive(known, post) if post.id.global_id == known.global_id else unknown(known, STRANGE, 200)


async def _in_the_log(visit: Visit, what: str, native: str) -> bool:
    """Whether the newest entry of the moderators' log about a post or comment says that it was removed."""
    query = {f"{what}_id": native, "type_": f"ModRemove{what.title()}", "limit": "10"}
    answer = await visit.fetcher.get("/api/v3/modlog", query)
    entries = _told(answer).get(f"removed_{what}s") if answer.status == 200 else None
    deeds = [each.get(f"mod_remove_{what}") for each in entries or [] if isinstance(each, dict)]
    about = [each for each in deeds if isinstance(each, dict) and str(each.get(f"{what}_id")) == native]
    newest = max(about, key=lambda each: str(each.get("when_")), default={})
    return newest.get("removed") is True


def _told(answer: Answer) -> dict[str, Any]:
    try:
        found = answer.json()
    except SourceGapError:
        return {}
    return found if isinstance(found, dict) else {}
