"""Fetches one address after another from one host: waits where the server asks, retries what may pass, and stays there.

What cannot be fetched is a `SourceGapError` with a reason in one line that names no account.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from protego import Protego
from scrapy import Request
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
    IgnoreRequest,
)
from scrapy.http import Response
from service_identity.exceptions import CertificateError, VerificationError

from crawlers.politeness import retry_after, wait_for_reset, wait_told
from crawlers.safety import PRIVATE, PublicResolver, is_public, literal_is_private
from crawlers.settings import CrawlSettings
from crawlers.sink import Traffic
from crawlers.source import Source

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 524})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECURE = (("https", None), ("https", 443))
_MOST_REDIRECTS = 5
_LONGEST_BACKOFF = 60.0
_ROBOT = "postsweep"
_MOST_ROBOTS = 512_000
"""Bytes of a robots.txt that are read (RFC 9309 section 2.5)."""
_PRIVATE = f"{PRIVATE}; set allow_private on the source if it is meant"
UNTRUSTED = "nobody vouches for the host's certificate"
"""The reason of a gap."""
_MEDIA_TYPES = ("text/html", "text/plain", "text/xml", "application/xml", "application/xhtml+xml", "application/json")
"""What may be told of a `Content-Type`: a server can write anything there, an account's name too."""


class SourceGapError(Exception):
    """A source cannot be read on: one line that says why, and the span `[since, until)` that is missing where the
    spider knows it."""

    def __init__(self, reason: str, span: tuple[datetime, datetime] | None = None) -> None:
        super().__init__(reason)
        self.span = span


class LeavesHostError(SourceGapError):
    """The server redirects to another host, where some send visitors to log in."""


@dataclass(frozen=True)
class Answer:
    """A final answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched_at: datetime

    def json(self) -> Any:
        """The body as JSON. Errors: SourceGapError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            kind = self.headers.get("content-type", "").partition(";")[0].strip()
            told = kind if kind in _MEDIA_TYPES else "of no known type"
            raise SourceGapError(f"HTTP {self.status} with a body that is not JSON ({told})") from None


@dataclass
class Host:
    """What the sources of a host share: when it takes the next request, on the monotonic clock in seconds, and its
    robots.txt once it was read."""

    ready_at: float = 0.0
    robots: Protego | None = None

    def hold(self, seconds: float) -> None:
        """Asks for no request within the next seconds."""
        self.ready_at = max(self.ready_at, time.monotonic() + seconds)


class Fetcher:
    """Reads for one source; the host's waiting time outlives it in `host`."""

    def __init__(
        self,
        source: Source,
        settings: CrawlSettings,
        download: Callable[[Request], Awaitable[Response]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        host: Host | None = None,
    ) -> None:
        self.host = host or Host()
        self.source = source
        self.settings = settings
        self.traffic = Traffic()
        self._download = download
        self.sleep = sleep

    async def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Gets a path of the source's base address. Errors: SourceGapError."""
        return await self.fetch(self._request(path, query, headers))

    def _request(self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None) -> Request:
        asked = f"?{urlencode(query)}" if query else ""
        return Request(f"{self.source.url}{path}{asked}", headers=dict(headers or {}))

    async def get_page(self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Gets a page that is made for people, where the host's robots.txt allows it and what it redirects to
        (RFC 9309), no faster than it asks. Errors: SourceGapError."""
        rules = self.host.robots = self.host.robots or await self._robots()
        answer = await self.fetch(self._request(path, query, headers), rules)
        self.host.hold(min(float(rules.crawl_delay(_ROBOT) or 0.0), self.settings.max_wait_seconds))
        return answer

    async def _robots(self) -> Protego:
        """A host without the file allows all; one that cannot answer allows nothing (RFC 9309 section 2.3.1)."""
        parts = urlsplit(self.source.url)
        try:
            answer = await self.fetch(Request(f"{parts.scheme}://{parts.netloc}/robots.txt"))
        except SourceGapError as error:
            raise SourceGapError(f"the host's robots.txt cannot be read: {error}") from None
        if answer.status >= 500:
            raise SourceGapError(f"the host's robots.txt cannot be read: HTTP {answer.status}")
        told = answer.body[:_MOST_ROBOTS] if answer.status < 300 else b""
        return Protego.parse(told.decode("utf-8", "replace"))

    async def post_json(self, path: str, body: Mapping[str, str]) -> Answer:
        """Posts JSON, also to where the host redirects. Errors: SourceGapError."""
        headers = {"Content-Type": "application/json"}
        request = Request(self.source.url + path, method="POST", headers=headers, body=json.dumps(body))
        return await self.fetch(request)

    async def fetch(self, request: Request, rules: Protego | None = None) -> Answer:
        """The final answer to a request: after redirects on the host, waits and retries. No address is asked for that
        the `rules` of a robots.txt forbid. Errors: SourceGapError."""
        redirects = 0
        for attempt in range(self.settings.retries + 1):
            while True:
                if rules is not None and not rules.can_fetch(request.url, _ROBOT):
                    raise SourceGapError("the host's robots.txt does not allow this page to be read")
                response, failure = await self._once(request)
                if response is None or response.status not in _REDIRECTS or b"Location" not in response.headers:
                    break
                redirects += 1
                request = self._redirected(request, response, redirects)
            if response is not None and response.status not in _TRANSIENT:
                return Answer(response.status, _headers(response), response.body, datetime.now(UTC))
            if attempt < self.settings.retries:
                self.traffic.retries += 1
                # A server that asks for less than the doubling span, or for nothing, has not said that it is well.
                self.host.hold(min(_LONGEST_BACKOFF, 2.0**attempt) * random.uniform(0.5, 1))
        said = f"HTTP {response.status}" if response is not None else failure
        raise SourceGapError(f"{said}, still after {self.settings.retries} retries")

    async def _once(self, request: Request) -> tuple[Response | None, str]:
        if literal_is_private(request.url) and not self.source.allow_private:
            raise SourceGapError(_PRIVATE)
        await self.turn()
        self.traffic.requests += 1
        try:
            response = await self._download(request.replace(dont_filter=True))
        except CannotResolveHostError:
            if urlsplit(request.url).hostname in PublicResolver.refused:
                raise SourceGapError(_PRIVATE) from None
            return None, "the host's name cannot be resolved"
        except DownloadConnectionRefusedError:
            return None, "the host refuses connections"
        except (DownloadTimeoutError, TimeoutError):
            return None, f"no answer within {self.settings.timeout_seconds:g} s"
        except DownloadCancelledError:
            raise SourceGapError("the body is larger than a page may be") from None
        except IgnoreRequest:
            raise SourceGapError("the answer was refused (its body unpacks to more than a page may have)") from None
        except Exception as error:
            if _untrusted(error):
                raise SourceGapError(UNTRUSTED) from None
            return None, f"the connection failed ({type(error).__name__})"
        connected = getattr(response, "ip_address", None)
        if connected is not None and not self.source.allow_private and not is_public(str(connected)):
            raise SourceGapError(_PRIVATE)
        self.traffic.bytes += len(response.body)
        self.heed(response.status, _headers(response), response.body)
        return response, ""

    def _redirected(self, request: Request, response: Response, redirects: int) -> Request:
        here = urlsplit(request.url)
        try:
            target = urljoin(request.url, (response.headers[b"Location"] or b"").decode("latin-1"))
            there = urlsplit(target)
            place = (there.scheme, there.port)
        except ValueError:
            raise SourceGapError("the server redirects to what is no address") from None
        stays = there.hostname == here.hostname and (
            place == (here.scheme, here.port) or (here.scheme == "http" and place in _SECURE)
        )
        if not stays:
            raise LeavesHostError("the server redirects to another host; name that host as the source if it is meant")
        if redirects > _MOST_REDIRECTS:
            raise SourceGapError("the server redirects without end")
        return request.replace(url=target)

    async def turn(self) -> None:
        """Waits until the host takes the next request. Errors: SourceGapError when that is longer than allowed."""
        if (left := self.host.ready_at - time.monotonic()) > 0:
            await self._pause(left)

    def heed(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Holds the host for as long as an answer asks, whatever it answers: whoever asks next waits, this source with
        its next try or page, or the source after it. `headers` has names in lower case."""
        now = datetime.now(UTC)
        wait = wait_for_reset(headers, now)
        if status == 429 or wait:
            self.traffic.rate_limited += 1
        if status == 429 and "retry-after" not in headers:
            wait = max(wait, wait_told(body))
        if status >= 300:
            wait = max(wait, retry_after(headers.get("retry-after"), now) or 0.0)
        self.host.hold(wait)

    async def _pause(self, seconds: float) -> None:
        allowed, most = self.settings.max_wait_seconds, self.settings.max_total_wait_seconds
        if seconds > allowed:
            raise SourceGapError(f"the server asks to wait {seconds:.0f} s, more than the {allowed:.0f} s allowed")
        if (total := self.traffic.waited_seconds + seconds) > most:
            raise SourceGapError(
                f"the waits for this source come to {total:.0f} s, more than the {most:.0f} s allowed in all"
            )
        self.traffic.waited_seconds += seconds
        await self.sleep(seconds)
        self.host.ready_at = 0.0


def _untrusted(error: Exception) -> bool:
    """Whether a download failed for the host's certificate: Scrapy hands on what Twisted collected."""
    causes = [failure.value for failure in getattr(error.__cause__, "reasons", None) or ()]
    wrong = (CertificateError, VerificationError)
    return any(isinstance(cause, wrong) or "certificate verify failed" in str(cause) for cause in causes)


def _headers(response: Response) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.items()
    }
