"""Runs a crawl: one Scrapy process reads many hosts side by side, and the sources of each host one after another.

Every source that is not complete ends in exactly one `Sink.finish`: complete, or with the gap that it left. A failure
of a sink is nobody's gap: it stops the crawl and comes back to the caller. Once per process, as Scrapy's reactor is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import AsyncCrawlerProcess

from crawlers.fetching import Fetcher, Host, SourceGapError
from crawlers.settings import CrawlSettings
from crawlers.sink import Gap, OpenSink, Page, Sink
from crawlers.source import Source, Window
from crawlers.spiders.pages import Reading, SinkFailedError, Spider

__all__ = ["CrawlSettings", "crawl"]

NOT_OVER = "the window was not over when the source was read"
"""The reason of a gap."""


def spider_of(platform: str) -> Spider:
    """The platform's spider: `read` of its module in `crawlers/spiders/`."""
    read: Spider = import_module(f"crawlers.spiders.{platform}").read
    return read


class HostLike(Protocol):
    """The way to a host, as a source's reader is given it."""

    @property
    def failure(self) -> BaseException | None:
        """What ended all reading, None while it goes on."""

    def fetcher(self, source: Source) -> Fetcher:
        """A fetcher for a source; those of one host share its waiting time."""

    async def sleep(self, seconds: float) -> None:
        """Waits, but no longer than the reading goes on. Errors: SourceGapError when it ended meanwhile."""


Read = Callable[[Source, HostLike], Awaitable[None]]
"""Reads one source, to its end or gap."""


@dataclass
class _Shared:
    """What the spiders of all hosts share."""

    settings: CrawlSettings
    read: Read
    hosts: dict[str, Host] = field(default_factory=dict)
    failure: BaseException | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, failure: BaseException) -> None:
        """Ends the reading of all hosts, those that wait too; the first failure is the one that counts."""
        self.failure = self.failure or failure
        self.stop.set()

    async def sleep(self, seconds: float) -> None:
        """Waits, but no longer than the crawl goes on. Errors: SourceGapError when it ended meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)
        if self.stop.is_set():
            raise SourceGapError("the crawl was stopped")


class HostSpider(scrapy.Spider):
    """Reads the sources of one host."""

    name = "host"
    custom_settings: dict[str, Any] | None = None

    def __init__(self, shared: _Shared, sources: list[Source], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._shared = shared
        self._sources = sources

    async def start(self) -> AsyncIterator[Any]:
        """Scrapy's entry: all reading happens here, and nothing is yielded, as pages go to sinks."""
        for source in self._sources:
            if self._shared.failure is not None:
                return
            try:
                await self._shared.read(source, self)
            except BaseException as error:
                # Also a cancellation or an interrupt: a spider that just stops would leave the crawl waiting for ever.
                self._shared.fail(error)
        if False:
            yield

    @property
    def failure(self) -> BaseException | None:
        """See `HostLike`."""
        return self._shared.failure

    def fetcher(self, source: Source) -> Fetcher:
        """See `HostLike`."""
        engine = self.crawler.engine
        if engine is None:
            raise RuntimeError("Scrapy has no engine for this spider")
        host = self._shared.hosts.setdefault(source.authority, Host())
        return Fetcher(source, self._shared.settings, engine.download_async, self._shared.sleep, host)

    async def sleep(self, seconds: float) -> None:
        """See `HostLike`."""
        await self._shared.sleep(seconds)


@dataclass(frozen=True)
class _Crawl:
    """Reads sources for a window into sinks."""

    window: Window
    settings: CrawlSettings
    open_sink: OpenSink

    async def read(self, source: Source, way: HostLike) -> None:
        """See `Read`."""
        sink = self.open_sink(source)
        position = sink.position()
        if position is None:
            return
        window = source.window or self.window
        begun = position.begun or datetime.now(UTC)
        fetcher = way.fetcher(source)
        pages = spider_of(source.platform)(Reading(source, window, fetcher, self.settings, position, sink))
        reach = _Reach(source, window)
        ended = await _pump(pages, sink, reach, lambda: way.failure is not None)
        if way.failure is not None:
            return
        gaps = []
        if ended is not None:
            since, until = ended.span or reach.missing()
            gaps.append(Gap(since, until, str(ended)))
        late = Gap(max(begun, window.since), window.until, NOT_OVER) if begun < window.until else None
        # What was posted after the first request is on no page, or on some by chance; a source that is read from the
        # oldest waits for it instead.
        if late and source.order != "oldest first" and not any(gap.holds(late) for gap in gaps):
            gaps.append(late)
        sink.finish(gaps, fetcher.traffic)


class _Reach:
    """Remembers how far a source was read."""

    def __init__(self, source: Source, window: Window) -> None:
        self._source = source
        self._window = window
        self._reached: datetime | None = None

    def page(self, page: Page) -> None:
        """Takes one page."""
        times = [moment for post in page.posts if (moment := post.server_time or post.created_at) is not None]
        self._reached = max(times, default=self._reached)

    def missing(self) -> tuple[datetime, datetime]:
        """What is missing of a source that ended too early: of a timeline that is read from the newest what lies before
        the newest post of its last page, of one that is read from the oldest what lies after it, else all."""
        since, until = self._window.since, self._window.until
        if self._reached is not None and since < self._reached <= until:
            if self._source.order == "newest first":
                return since, self._reached
            if self._source.order == "oldest first" and self._reached < until:
                return self._reached, until
        return since, until


async def _pump(
    pages: AsyncIterator[Page], sink: Sink, reach: _Reach, stopped: Callable[[], bool]
) -> SourceGapError | None:
    """Hands pages to the sink; returns why the source could not be read to its end, or None. Sinks' errors pass."""
    while not stopped():
        try:
            page = await anext(pages)
        except StopAsyncIteration:
            return None
        except SourceGapError as gap:
            return gap
        except SinkFailedError as error:
            raise error.__cause__ or error from None
        except Exception as error:
            # A bug in a spider costs its source, never the others; only its class is told, as messages may hold ids.
            return SourceGapError(f"not foreseen by the spider: {type(error).__name__}")
        sink.page(page)
        reach.page(page)
    return None


def crawl(
    sources: list[Source],
    window: Window,
    settings: CrawlSettings,
    open_sink: OpenSink,
) -> None:
    """Reads the sources; returns when each has ended. Errors: the first that a sink raised."""
    read_hosts(sources, settings, _Crawl(window, settings, open_sink).read)


def read_hosts(sources: list[Source], settings: CrawlSettings, read: Read) -> None:
    """Reads many hosts side by side, the sources of each one after another. Errors: the first that `read` raised."""
    hosts: dict[str, list[Source]] = {}
    for source in sources:
        hosts.setdefault(source.authority, []).append(source)
    allowed = sorted({urlsplit(source.url).hostname or "" for source in sources if source.allow_private})
    shared = _Shared(settings, read)
    process = AsyncCrawlerProcess(settings.scrapy(allowed))
    # Scrapy's own lines name requests, and so accounts: none of them reaches whatever listens at the root.
    for name in ("scrapy", "twisted"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    for host in hosts.values():
        process.crawl(HostSpider, shared=shared, sources=host)
    if hosts:
        process.start(install_signal_handlers=False)
    if shared.failure is not None:
        raise shared.failure
