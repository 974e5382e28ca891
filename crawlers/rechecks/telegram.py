"""Telegram channels: each message by the page that embeds it. Who took one away is not told; of a channel that is not
shown the site says why.
"""

import re
from collections.abc import AsyncIterator

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.telegram import Preview, open_preview, parse_message
from crawlers.post import ParseError
from crawlers.sighting import ALBUM, SERVICE, Evidence, Known, Sighting, State, Visit, alive, gone, unknown

BATCH = 100
STRANGE = "not a message's page"
_SITE = "https://t.me/"
_NOT_FOUND = "Post not found"
_BLOCKED: tuple[tuple[str, State, re.Pattern[str]], ...] = (
    ("terms", "removed_by_platform", re.compile(r"displayed .{0,60}\bterms of service\b", re.IGNORECASE)),
    ("laws", "restricted", re.compile(r"displayed .{0,60}\blocal laws\b", re.IGNORECASE)),
    ("copyright", "removed_by_platform", re.compile(r"displayed .{0,60}\bcopyright", re.IGNORECASE)),
    ("pornographic", "restricted", re.compile(r"displayed .{0,60}\bpornographic\b", re.IGNORECASE)),
)
"""What a notice says of a whole channel: taken down, or hidden from some (in a country, in stores' apps)."""


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """One request a post. Errors: SourceGapError."""
    for known in visit.posts:
        answer, preview = await _embedded(visit, known)
        yield _read(known, answer, preview, visit.source.authority)


def sequence(kind: str, global_id: str) -> tuple[str, int] | None:
    """A channel's messages have numbers of one row, which albums and messages of service take too."""
    before, _, number = global_id.rpartition("/")
    return (f"{before}/", int(number)) if kind == "channel" and number.isdecimal() else None


async def probe(visit: Visit) -> AsyncIterator[Sighting]:
    """One request for each id that is missing: a message that begins before it is an album. Errors: SourceGapError."""
    for known in visit.posts:
        answer, preview = await _embedded(visit, known)
        yield _hole(known, answer, preview)


def _hole(known: Known, answer: Answer, preview: Preview) -> Sighting:
    asked = int((known.global_id or "").rpartition("/")[2])
    for message in preview.messages if answer.status == 200 else []:
        number = (message.get("data-post") or "").rpartition("/")[2]
        if not number.isdecimal() or int(number) > asked:
            continue
        if int(number) < asked:
            return unknown(known, ALBUM, 200)
        try:
            parse_message(message, "", answer.fetched_at)
        except ParseError as error:
            return unknown(known, SERVICE if error.place == "service_message" else STRANGE, 200)
        return alive(known, None)
    return _read(known, answer, preview, "")


async def _embedded(visit: Visit, known: Known) -> tuple[Answer, Preview]:
    path = (known.global_id or "").removeprefix(_SITE)
    answer = await visit.fetcher.get_page(f"/{path}", {"embed": "1", "mode": "tme"})
    if answer.status in (401, 403):
        raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
    return answer, open_preview(answer.body)


def _read(known: Known, answer: Answer, preview: Preview, host: str) -> Sighting:
    if answer.status == 200 and _NOT_FOUND in preview.errors:
        return gone(known, 200, "post not found")
    for said in preview.errors if answer.status == 200 else []:
        for code, state, notice in _BLOCKED:
            if notice.search(said):
                return Sighting(known.uid, state, Evidence(200, code, "the channel is not shown"))
    for message in preview.messages:
        try:
            post = parse_message(message, host, answer.fetched_at)
        except ParseError:
            continue
        if post.id.global_id == known.global_id:
            return alive(known, post)
    return unknown(known, STRANGE, answer.status)
