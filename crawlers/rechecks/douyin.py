"""Douyin: every video or note by its share page. One that it does not show has a reason in words, or none; a script
page or a captcha ends the visits to the host, and removes nothing.
"""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.douyin import HOME, PLATFORM, NoDataError, canonical, parse_page, standing
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, unknown
from crawlers.spiders.douyin import GATE

__all__ = ["BATCH", "HOME", "check"]

BATCH = 20
STRANGE = "not a share page"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    for known in visit.posts:
        native = (known.global_id or "").removeprefix(f"{PLATFORM}.com/")
        shown = canonical(known.url or "") or ""
        address = shown if shown.endswith(f"/{native}/") else canonical(f"{HOME}/share/video/{native}/")
        if address is None:
            yield unknown(known, "the post has no number of a video")
            continue
        answer = await visit.fetcher.get_page(urlsplit(address).path, {})
        if answer.status in (401, 403, 451):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        yield _read(known, native, answer, visit.source.authority)


def _read(known: Known, native: str, answer: Answer, host: str) -> Sighting:
    if answer.status != 200:
        return unknown(known, STRANGE, answer.status)
    try:
        notice = standing(answer.body, native)
        if notice is None:
            post = parse_page(answer.body, host, answer.fetched_at)
            return alive(known, post) if post.id.global_id == known.global_id else unknown(known, STRANGE, 200)
    except NoDataError:
        raise SourceGapError(GATE) from None
    except ParseError:
        return unknown(known, STRANGE, 200)
    if notice.says == "gate":
        raise SourceGapError(GATE)
    return Sighting(known.uid, notice.says, Evidence(200, None, notice.phrase))
