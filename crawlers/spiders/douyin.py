"""Douyin: share pages of videos and notes, from a list of their addresses."""

from collections.abc import AsyncIterator

from crawlers.fetching import Answer
from crawlers.platforms.douyin import NoDataError, canonical, parse_page, standing
from crawlers.post import ParseError, Post
from crawlers.sink import Page
from crawlers.spiders.addresses import read_addresses
from crawlers.spiders.pages import Reading

GATE = (
    "the host answers with a script page or a captcha instead of a share page; save the pages in a browser and read"
    " them with `postsweep import douyin`"
)


async def read(reading: Reading) -> AsyncIterator[Page]:
    """Reads the videos and notes. Errors: SourceGapError."""

    def parse(answer: Answer, _: str) -> Post:
        return parse_page(answer.body, reading.source.authority, answer.fetched_at)

    async for page in read_addresses(reading, canonical, parse, gate):
        yield page


def gate(answer: Answer) -> str | None:
    """Why an answer stops all reading of the host; None for one that does not."""
    if answer.status != 200:
        return None
    try:
        standing(answer.body)
    except NoDataError:
        return GATE
    except ParseError:
        return None
    return None
