"""4chan: one request a thread tells of all its posts which are still there. Why one is not, nobody says; nor is a
thread that is gone a removal, as threads end and are dropped within days.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.fourchan import parse_post
from crawlers.post import ParseError
from crawlers.sighting import Known, Sighting, Visit, alive, gone, unknown

BATCH = 500
HOME = "https://a.4cdn.org"
ENDED = "its thread is gone, as threads are after some days"
STRANGE = "not the answer of a thread"
_SITE = "https://boards.4chan.org/"


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a thread. Errors: SourceGapError."""
    threads: dict[tuple[str, str], list[Known]] = defaultdict(list)
    for known in visit.posts:
        board, _, thread = (known.url or "").removeprefix(_SITE).partition("#")[0].partition("/thread/")
        if board and thread.isdecimal():
            threads[board, thread].append(known)
        else:
            yield unknown(known, "the post has no address of a thread")
    for (board, thread), posts in threads.items():
        answer = await visit.fetcher.get(f"/{board}/thread/{thread}.json", {})
        if answer.status in (401, 403, 451):
            raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
        for sighting in _found(answer, board, posts, visit.source.authority):
            yield sighting


def _found(answer: Answer, board: str, posts: list[Known], host: str) -> list[Sighting]:
    if answer.status == 404:
        return [unknown(known, ENDED, 404) for known in posts]
    shown = _posts(answer) if answer.status == 200 else None
    if shown is None:
        return [unknown(known, STRANGE, answer.status) for known in posts]
    found = []
    for known in posts:
        item = shown.get((known.global_id or "").partition("/")[2])
        try:
            post = None if item is None else parse_post(item, host, answer.fetched_at, board)
        except ParseError:
            found.append(unknown(known, STRANGE, 200))
            continue
        found.append(gone(known, 200, "missing") if post is None else alive(known, post))
    return found


def _posts(answer: Answer) -> dict[str, Any] | None:
    """The posts of a thread by their numbers; None where the answer is not one's."""
    told = answer.json()
    posts = told.get("posts") if isinstance(told, dict) else None
    if not isinstance(posts, list) or not posts or not all(isinstance(each, dict) for each in posts):
        return None
    return {str(each.get("no")): each for each in posts}
