"""Feeds: one document is one page, asked for conditionally (RFC 9110 section 13)."""

from collections.abc import AsyncIterator

from crawlers.fetching import SourceGapError
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.sink import Page
from crawlers.spiders.pages import Reading, created, parse_records

ACCEPT = "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, */*;q=0.1"


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the feed; when it did not change, the remembered document is parsed again. Errors: SourceGapError."""
    answer, came = await reading.get_changed("", {}, {"Accept": ACCEPT})
    if answer.status != 200:
        said = {401: "the server asks for a login", 403: "the server refuses visitors"}.get(answer.status)
        raise SourceGapError(f"{said or 'the server has no feed there'} (HTTP {answer.status})")
    try:
        posts, rejects = parse_feed(
            answer.body, answer.headers.get("content-type", ""), reading.source.url, answer.fetched_at
        )
    except NotAFeedError as error:
        raise SourceGapError(str(error)) from None
    if came:
        reading.remember(answer)
    # An entry without a date cannot be placed in a window; feeds without dates exist, so it is kept.
    parsed = parse_records(posts, lambda post: post, reading.window, created, keep_undated=True)
    yield Page(reading.start.page, reading.start.cursor, None, parsed.kept, rejects, answer.fetched_at, parsed.outside)
