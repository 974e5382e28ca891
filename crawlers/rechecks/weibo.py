"""Weibo: every post by its number on m.weibo.cn, with the operator's own session. A gate is no removal.

What a stub or the API's codes say of a cause is taken; a post that is just not there stays without one.
"""

from collections.abc import AsyncIterator
from typing import Any

from crawlers.fetching import Answer
from crawlers.platforms.weibo import native_id, parse_mblog, stub_state
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, State, Visit, alive, gone, unknown
from crawlers.spiders.weibo import Session, says_gone

BATCH = 20
HOME = "https://m.weibo.cn"
STRANGE = "not a post's answer"

_CODES: dict[str, State] = {"20101": "removed_by_author", "20112": "removed_by_platform"}
"""Target weibo does not exist; permission denied (open.weibo.com/wiki/Error_code)."""


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post, after one for the session. Errors: SourceGapError."""
    site = Session(visit)
    await site.check()
    for known in visit.posts:
        if not (known.global_id or "").isdecimal():
            yield unknown(known, "the post has no number")
            continue
        answer = await site.get("/statuses/show", {"id": str(known.global_id)})
        told = site.told(answer)
        if told.get("ok") != 1:
            await site.check()
            yield _refused(known, told)
            continue
        try:
            yield _shown(known, told.get("data"), answer, visit.source.authority)
        except ParseError as error:
            state: State = "restricted" if error.place == "visible.type" else "unknown"
            yield Sighting(known.uid, state, Evidence(200, None, STRANGE if state == "unknown" else error.reason))


def _shown(known: Known, mblog: object, answer: Answer, host: str) -> Sighting:
    if not isinstance(mblog, dict) or native_id(mblog) != known.global_id:
        return unknown(known, STRANGE, 200)
    state = stub_state(mblog)
    if state is not None:
        return gone(known, 200, "stub") if state == "unknown" else Sighting(known.uid, state, Evidence(200, "stub"))
    post = parse_mblog(mblog, host, answer.fetched_at)
    # A text that is cut cannot be compared with a whole one.
    return alive(known, None if post.truncated else post)


def _refused(known: Known, told: dict[str, Any]) -> Sighting:
    code = next((str(told[key]) for key in ("error_code", "errno") if isinstance(told.get(key), int | str)), "")
    if code in _CODES:
        return Sighting(known.uid, _CODES[code], Evidence(200, code))
    return gone(known, 200) if says_gone(told) else unknown(known, STRANGE, 200)
