"""Channels of Telegram by their previews (t.me/s/<channel>), newest page first, paged by `before`."""

import re
from collections.abc import AsyncIterator

from crawlers.fetching import Answer, SourceGapError
from crawlers.platforms.telegram import Preview, open_preview, parse_message
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, Trail, created, is_past, parse_records

_NAME = re.compile(r"\w{4,32}", re.ASCII)
INSTEAD = "pages that were saved serve instead: postsweep import warc"
_NONE = re.compile(r"no (?:posts|messages)\b", re.IGNORECASE)
"""What stands on a page without a message, where nothing is wrong with the channel."""


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads pages until one lies wholly before the window. Errors: SourceGapError."""
    channel = str(reading.source.value).removeprefix("@")
    if _NAME.fullmatch(channel) is None:
        raise SourceGapError("the source's value is not the name of a channel (letters, digits and _)")
    number, cursor = reading.start.page, reading.start.cursor
    trail = Trail(cursor)
    while True:
        answer = await reading.fetcher.get_page(f"/s/{channel}", {} if cursor is None else {"before": cursor})
        preview = _preview(answer)
        parsed = parse_records(
            preview.messages,
            lambda item: parse_message(item, reading.source.authority, answer.fetched_at),  # noqa: B023 - used at once
            reading.window,
            created,
        )
        following = None if is_past(parsed, reading) else preview.before
        if following is not None:
            trail.follow(following, len(preview.messages))
        yield Page(number, cursor, following, parsed.kept, parsed.rejects, answer.fetched_at, parsed.outside)
        if following is None:
            return
        number, cursor = number + 1, following


def _preview(answer: Answer) -> Preview:
    """A channel without a preview leads to its own page, which shows no message; so does a name that nobody has."""
    if answer.status == 403:
        raise SourceGapError(f"the server refuses visitors (HTTP 403); {INSTEAD}")
    if answer.status != 200:
        raise SourceGapError(f"the server answered HTTP {answer.status}")
    preview = open_preview(answer.body)
    if not preview.history:
        if b"tgme_page" in answer.body:
            raise SourceGapError(
                "the site shows no preview of this channel: it is turned off or blocked, or there is no such channel; "
                + INSTEAD
            )
        raise SourceGapError(f"the answer is not a channel's page: a challenge, or another site; {INSTEAD}")
    if not preview.messages and not all(_NONE.match(said) for said in preview.errors):
        raise SourceGapError(f"the site shows a notice in place of the channel's messages: it is blocked; {INSTEAD}")
    return preview
