"""Lists of addresses: one page of the host is one page of the source, in the order of the addresses themselves, so that
a number is enough to go on from."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from crawlers.fetching import Answer, SourceGapError
from crawlers.post import Post
from crawlers.sink import Page, Reject
from crawlers.spiders.pages import Reading, created, parse_records


async def read_addresses(
    reading: Reading,
    canonical: Callable[[str], str | None],
    parse: Callable[[Answer, str], Post],
    gate: Callable[[Answer], str | None],
) -> AsyncIterator[Page]:
    """Reads each address once, as `canonical` writes it; one that it does not know is a reject. `gate` tells why an
    answer stops the source. Errors: SourceGapError."""
    known = {url: canonical(url) for url in reading.source.urls}
    addresses = sorted({address or url for url, address in known.items()})
    valid = set(known.values())
    start = int(reading.start.cursor or 0)
    for number, address in enumerate(addresses[start:], start):
        further = str(number + 1) if number + 1 < len(addresses) else None
        cursor = str(number) if number else None
        fetched_at = datetime.now(UTC)
        posts: list[Post] = []
        outside = 0
        if address in valid:
            parts = urlsplit(address)
            answer = await reading.fetcher.get_page(parts.path, dict(parse_qsl(parts.query)))
            fetched_at = answer.fetched_at
            if answer.status in (401, 403, 451):
                raise SourceGapError(f"the server refuses visitors (HTTP {answer.status})")
            if (shut := gate(answer)) is not None:
                raise SourceGapError(shut)
            if answer.status == 200:
                parsed = parse_records(
                    [(answer, address)], lambda each: parse(*each), reading.window, created, keep_undated=True
                )
                posts, rejects, outside = parsed.kept, parsed.rejects, parsed.outside
            else:
                rejects = [Reject(0, "page", f"the server shows nothing at this address (HTTP {answer.status})")]
        else:
            rejects = [Reject(0, "urls", "not an address of a page that can be read")]
        yield Page(number, cursor, further, posts, rejects, fetched_at, outside)
