"""Visits the posts of a sweep again: batch by batch, the hosts side by side, each by its platform's checker.

What was found goes to a `Visits`, which knows where to go on and keeps it; nothing here touches storage.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from crawlers.fetching import Fetcher, SourceGapError
from crawlers.post import input_digest
from crawlers.rechecks import RECHECKS
from crawlers.run import HostLike, read_hosts
from crawlers.settings import CrawlSettings
from crawlers.sighting import Batch, Known, Seen, Sighting, State, Visit, unknown
from crawlers.source import Source

LEFT_OUT = "the checker said nothing of it"
BUSY = "another process reads a host that would tell the cause"


class Visits(Protocol):
    """Gives the posts of one source that are still to be visited, and keeps what was found, in that order."""

    def batches(self, size: int) -> Iterator[Batch]:
        """The batches that are left, of `size` posts at most."""

    def keep(self, found: Sequence[Seen]) -> None:
        """Takes what was found of a batch, in its order."""

    def finish(self, gap: str | None, requests: int) -> None:
        """Ends the source. `gap` says why its last posts could not be visited."""


OpenVisits = Callable[[Source], Visits]
Alone = Callable[[str], bool]
"""Whether this process alone may ask a host from now on."""


def revisit(
    sources: list[Source], settings: CrawlSettings, open_visits: OpenVisits, alone: Alone, *, probing: bool = False
) -> None:
    """Visits the posts of the sources, or with `probing` asks for ids that are missing among them, to
    the end of each. Errors: the first that a `Visits` raised."""
    private = {urlsplit(source.url).hostname for source in sources if source.allow_private}
    read_hosts(sources, settings, _Revisit(settings, open_visits, alone, frozenset(private), probing).read)


def seen(known: Known, sighting: Sighting) -> Seen:
    """What is kept: a post that is there with another text than the sweep's was edited. Texts that were redacted, or
    that a visit does not show, are not compared."""
    post = sighting.post
    now = None if post is None else input_digest(post.title, post.warning, post.text)
    changed = sighting.state == "alive" and None not in (now, known.input_digest) and now != known.input_digest
    state: State = "edited" if changed else sighting.state
    return Seen(sighting, state, now, datetime.now(UTC) if post is None else post.fetched_at)


class _Revisit:
    def __init__(
        self,
        settings: CrawlSettings,
        open_visits: OpenVisits,
        alone: Alone,
        private: frozenset[str | None],
        probing: bool,
    ) -> None:
        self._probing = probing
        self._settings = settings
        self._open_visits = open_visits
        self._alone = alone
        self._private = private
        self._unread: dict[str, str] = {}

    async def read(self, source: Source, way: HostLike) -> None:
        """Visits the posts of one source. Once its host could not be read, what is left of it is unknown."""
        visits = self._open_visits(source)
        fetcher = way.fetcher(source)
        recheck = RECHECKS[source.platform]
        check = (recheck.probe if self._probing else None) or recheck.check
        host = source.authority
        for batch in visits.batches(recheck.batch):
            found: dict[str, Sighting] = {}
            if host not in self._unread:
                try:
                    if batch.not_before is not None:
                        await way.sleep((batch.not_before - datetime.now(UTC)).total_seconds())
                    visit = Visit(source, batch.posts, fetcher, self._settings, self._elsewhere(source, fetcher, way))
                    async for sighting in check(visit):
                        found[sighting.uid] = sighting
                except SourceGapError as gap:
                    if way.failure is not None:
                        return
                    self._unread[host] = str(gap)
                except Exception as error:
                    # A bug in a checker costs its host, never the others; messages may hold ids.
                    self._unread[host] = f"not foreseen by the checker: {type(error).__name__}"
            if way.failure is not None:
                return
            reason = self._unread.get(host, LEFT_OUT)
            visits.keep([seen(known, found.get(known.uid) or unknown(known, reason)) for known in batch.posts])
        visits.finish(self._unread.get(host), fetcher.traffic.requests)

    def _elsewhere(self, source: Source, fetcher: Fetcher, way: HostLike) -> Callable[[str], Fetcher]:
        def elsewhere(url: str) -> Fetcher:
            there = replace(source, url=url.rstrip("/"), allow_private=urlsplit(url).hostname in self._private)
            if there.authority != source.authority and not self._alone(there.authority):
                raise SourceGapError(BUSY)
            made = way.fetcher(there)
            made.traffic = fetcher.traffic
            return made

        return elsewhere
