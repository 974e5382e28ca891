"""WeChat: pages of articles, from a list of their addresses. There is no public list of an account's articles."""

from collections.abc import AsyncIterator
from contextlib import suppress

from crawlers.fetching import Answer
from crawlers.platforms.wechat import canonical, parse_article, standing
from crawlers.post import ParseError, Post
from crawlers.sink import Page
from crawlers.spiders.addresses import read_addresses
from crawlers.spiders.pages import Reading

GATE = (
    "the host asks for a verification instead of an article; wait a day, or save the pages in a browser and read them"
    " with `postsweep import wechat`"
)


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the articles. Errors: SourceGapError."""

    def parse(answer: Answer, address: str) -> Post:
        return parse_article(answer.body, reading.source.authority, answer.fetched_at, address)

    async for page in read_addresses(reading, canonical, parse, gate):
        yield page


def gate(answer: Answer) -> str | None:
    """Why an answer stops all reading of the host; None for one that does not."""
    with suppress(ParseError):
        notice = standing(answer.body)
        return GATE if notice is not None and notice.says == "gate" else None
    return None
