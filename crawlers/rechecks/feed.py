"""Feeds: a document holds its newest entries only, so one that it does not show any more is no removal."""

from collections.abc import AsyncIterator

from crawlers.fetching import SourceGapError
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.post import PostId
from crawlers.sighting import Known, Sighting, Visit, alive, unknown
from crawlers.spiders.feed import ACCEPT

BATCH = 20_000


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request for all posts of a feed. Errors: SourceGapError."""
    answer = await visit.fetcher.get("", {}, {"Accept": ACCEPT})
    if answer.status != 200:
        raise SourceGapError(f"the server has no feed there (HTTP {answer.status})")
    kind = answer.headers.get("content-type", "")
    try:
        posts, _ = parse_feed(answer.body, kind, visit.source.url, answer.fetched_at)
    except NotAFeedError as error:
        raise SourceGapError(str(error)) from None
    shown = {_name(post.id): post for post in posts}
    for known in visit.posts:
        post = shown.get(_name(known))
        yield unknown(known, "not in the feed any more", 200) if post is None else alive(known, post)


def _name(of: Known | PostId) -> tuple[str | None, ...]:
    return (of.global_id,) if of.global_id is not None else (of.authority, of.native_id)
