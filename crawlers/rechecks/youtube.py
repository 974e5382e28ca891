"""YouTube: fifty videos or comments at once by their ids (developers.google.com/youtube/v3/docs), with the operator's
key, also where a feed was read. Why one is not listed, the API does not say.
"""

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from crawlers.platforms.youtube import parse_comment, parse_video
from crawlers.post import ParseError, Post
from crawlers.sighting import Evidence, Known, Sighting, Visit, alive, gone, unknown
from crawlers.spiders.youtube import Api

BATCH = 50
STRANGE = "an item that cannot be read"
_VIDEO, _COMMENT = "yt:video:", "yt:comment:"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """A request for the videos and one for the comments. Errors: SourceGapError."""
    api, host = Api(visit), visit.source.authority
    parts: list[tuple[str, str, str, Callable[..., Post]]] = [
        (_VIDEO, "videos", "snippet,contentDetails,statistics,status", parse_video),
        (_COMMENT, "comments", "snippet", parse_comment),
    ]
    asked = set()
    for prefix, what, part, parse in parts:
        known = {
            native: each
            for each in visit.posts
            if (each.global_id or "").startswith(prefix)
            and _ID.fullmatch(native := str(each.global_id).removeprefix(prefix))
        }
        asked |= {each.uid for each in known.values()}
        if not known:
            continue
        items, answer, _ = await api.get(what, {"part": part, "id": ",".join(known)})
        shown = {str(item.get("id")): item for item in items if isinstance(item, dict)}
        for native, each in known.items():
            item = shown.get(native)
            yield gone(each, 200, "missing") if item is None else _read(each, item, parse, host, answer.fetched_at)
    for each in visit.posts:
        if each.uid not in asked:
            yield unknown(each, "the post has no id of a video or comment")


def _read(known: Known, item: dict[str, Any], parse: Callable[..., Post], host: str, fetched_at: datetime) -> Sighting:
    status = item.get("status")
    told = status if isinstance(status, dict) else {}
    if told.get("uploadStatus") == "rejected":
        return Sighting(known.uid, "removed_by_platform", Evidence(200, "rejected"))
    if told.get("uploadStatus") in ("deleted", "failed"):
        return gone(known, 200, str(told["uploadStatus"]))
    if told.get("privacyStatus") == "private":
        return Sighting(known.uid, "restricted", Evidence(200, "private"))
    try:
        return alive(known, parse(item, host, fetched_at))
    except ParseError:
        return unknown(known, STRANGE, 200)
