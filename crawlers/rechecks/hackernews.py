"""Hacker News: every item by its id (github.com/HackerNews/API), which tells `deleted` and `dead` apart.

The search shows nothing of what is gone, so the items are asked for, wherever a sweep read its posts.
"""

from collections.abc import AsyncIterator

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.hackernews import parse_item
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, gone, unknown

BATCH = 100
HOME = "https://hacker-news.firebaseio.com"
STRANGE = "not an item's answer"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    for known in visit.posts:
        native = (known.global_id or "").rpartition("?id=")[2]
        if not native.isdecimal():
            yield unknown(known, "the post has no number of an item")
            continue
        answer = await visit.fetcher.get(f"/v0/item/{native}.json", {})
        if answer.status in (401, 403, 451):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        yield _read(known, native, answer, visit.source.authority)


def _read(known: Known, native: str, answer: Answer, host: str) -> Sighting:
    item = answer.json() if answer.status == 200 else {}
    if item is None:
        return gone(known, 200, "null")
    if not isinstance(item, dict) or str(item.get("id")) != native:
        return unknown(known, STRANGE, answer.status)
    if item.get("deleted") is True:
        return Sighting(known.uid, "removed_by_author", Evidence(200, "deleted"))
    if item.get("dead") is True:
        return Sighting(known.uid, "removed_by_platform", Evidence(200, "dead"))
    try:
        return alive(known, parse_item(item, host, answer.fetched_at))
    except ParseError:
        return unknown(known, "an item that cannot be read", 200)
