"""Tumblr: each post by its number (github.com/tumblr/docs, `/posts?id=`). Why one is not there, the API does not say,
but for blogs that are shown on the dashboard only.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from crawlers.catalogue.tumblr import HOME, KEY
from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.tumblr import parse_post
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, gone, unknown
from crawlers.spiders.keys import keys_for

BATCH = 100
STRANGE = "not an answer of Tumblr's API"
_DASHBOARD = 4012


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    (key,) = keys_for(visit.source, visit.settings.environment, (KEY,), HOME)
    for known in visit.posts:
        blog = known.author_id or known.author_handle
        if not blog:
            yield unknown(known, "nothing is known of its blog")
            continue
        query = {"id": str(known.global_id), "npf": "true", "reblog_info": "true", "api_key": key}
        answer = await visit.fetcher.get(f"/v2/blog/{quote(blog, safe=':')}/posts", query)
        if answer.status in (401, 403):
            raise SourceGapError(f"the key in {KEY} is refused (HTTP {answer.status})")
        yield _read(known, answer, visit.source.authority)


def _read(known: Known, answer: Answer, host: str) -> Sighting:
    told = _object(answer.json())
    if answer.status == 404 and _object(told.get("meta")).get("status") == 404:
        if _DASHBOARD in _codes(told):
            return Sighting(known.uid, "restricted", Evidence(404, str(_DASHBOARD), "shown on the dashboard only"))
        return gone(known, 404)
    posts = _object(told.get("response")).get("posts")
    for item in posts if answer.status == 200 and isinstance(posts, list) else []:
        try:
            post = parse_post(item, host, answer.fetched_at)
        except ParseError:
            continue
        if post.id.global_id == known.global_id:
            return alive(known, post)
    return unknown(known, STRANGE, answer.status)


def _codes(told: dict[str, Any]) -> list[Any]:
    errors = told.get("errors")
    return [_object(error).get("code") for error in errors] if isinstance(errors, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
