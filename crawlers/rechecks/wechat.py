"""WeChat: every article by its address. A page that shows none says why in words; one that asks for a verification
ends the visits to the host, and removes nothing.
"""

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.wechat import HOME, canonical, parse_article, standing
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, unknown
from crawlers.spiders.wechat import GATE

__all__ = ["BATCH", "HOME", "check"]

BATCH = 20
STRANGE = "not an article's page"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    for known in visit.posts:
        address = canonical(known.global_id or "")
        if address is None:
            yield unknown(known, "the post has no address of an article")
            continue
        parts = urlsplit(address)
        answer = await visit.fetcher.get_page(parts.path, dict(parse_qsl(parts.query)))
        if answer.status in (401, 403, 451):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        yield _read(known, address, answer, visit.source.authority)


def _read(known: Known, address: str, answer: Answer, host: str) -> Sighting:
    if answer.status != 200:
        return unknown(known, STRANGE, answer.status)
    try:
        notice = standing(answer.body)
        if notice is None:
            post = parse_article(answer.body, host, answer.fetched_at, address)
            return alive(known, post) if post.id.global_id == known.global_id else unknown(known, STRANGE, 200)
    except ParseError:
        return unknown(known, STRANGE, 200)
    if notice.says == "gate":
        raise SourceGapError(GATE)
    return Sighting(known.uid, notice.says, Evidence(200, None, notice.phrase))
