"""Feeds: one document is one page, asked for conditionally (RFC 9110 section 13)."""

from collections.abc import AsyncIterator
from dataclasses import replace

from crawlers.fetching import SourceGapError
from crawlers.platforms.feed import NotAFeedError, parse_feed
from crawlers.sink import Memory, Page
from crawlers.spiders.pages import Reading, created, parse_records

ACCEPT = "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, */*;q=0.1"


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the feed; when it did not change, the remembered document is parsed again. Errors: SourceGapError."""
    memory = reading.memory()
    headers = {"Accept": ACCEPT}
    if memory is not None and memory.etag:
        headers["If-None-Match"] = memory.etag
    if memory is not None and memory.last_modified:
        headers["If-Modified-Since"] = memory.last_modified
    answer = await reading.fetcher.get("", {}, headers)
    if answer.status == 304 and memory is not None:
        reading.fetcher.traffic.not_modified += 1
        answer = replace(answer, body=memory.body, headers={**answer.headers, "content-type": memory.content_type})
    elif answer.status != 200:
        said = {401: "the server asks for a login", 403: "the server refuses visitors"}.get(answer.status)
        raise SourceGapError(f"{said or 'the server has no feed there'} (HTTP {answer.status})")
    try:
        posts, rejects = parse_feed(
            answer.body, answer.headers.get("content-type", ""), reading.source.url, answer.fetched_at
        )
    except NotAFeedError as error:
        raise SourceGapError(str(error)) from None
    etag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
    if answer.status == 200 and (etag or modified):
        reading.remember(Memory(answer.body, etag, modified, answer.headers.get("content-type", "")))
    # An entry without a date cannot be placed in a window; feeds without dates exist, so it is kept.
    parsed = parse_records(posts, lambda post: post, reading.window, created, keep_undated=True)
    yield Page(reading.start.page, reading.start.cursor, None, parsed.kept, rejects, answer.fetched_at, parsed.outside)
