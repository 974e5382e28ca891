"""Whatever dialect a server says it in: while it asks for no request, none comes, and the crawl still ends whole."""

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from crawlers.source import Source
from tests.loopback import Reply, serving
from tests.test_crawlers_spiders import SETTINGS, Counted, crawled, source, status, view

Dialect = Callable[[float], tuple[dict[str, str], float]]
"""Headers that ask for no request until a moment (seconds since 1970), and that moment as they can write it."""


def iso_instant(until: float) -> tuple[dict[str, str], float]:
    return {
        "X-RateLimit-Limit": "300",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": datetime.fromtimestamp(until, UTC).isoformat().replace("+00:00", "Z"),
    }, until


def epoch_seconds(until: float) -> tuple[dict[str, str], float]:
    moment = math.ceil(until)
    return {
        "RateLimit-Limit": "3000",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(moment),
        "RateLimit-Policy": "3000;w=300",
    }, moment


def x_epoch_seconds(until: float) -> tuple[dict[str, str], float]:
    moment = math.ceil(until)
    return {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(moment)}, moment


def seconds_left(until: float) -> tuple[dict[str, str], float]:
    left = math.ceil(until - time.time())
    return {
        "x-ratelimit-remaining": "0.0",
        "x-ratelimit-used": "100",
        "x-ratelimit-reset": str(left),
    }, time.time() + left


def retry_after_seconds(until: float) -> tuple[dict[str, str], float]:
    left = math.ceil(until - time.time())
    return {"Retry-After": str(left)}, time.time() + left


def retry_after_date(until: float) -> tuple[dict[str, str], float]:
    moment = math.ceil(until)
    return {"Retry-After": format_datetime(datetime.fromtimestamp(moment, UTC), usegmt=True)}, moment


def nothing(_: float) -> tuple[dict[str, str], float]:
    return {}, 0.0


@dataclass
class Limited:
    """A server that closes for a while at its second request, and again at its fourth."""

    dialect: Dialect
    refuses: bool
    serve: Callable[[str], Reply]
    requests: int = 0
    too_early: int = 0
    closed_until: float = 0.0
    at: list[float] = field(default_factory=list)

    def __call__(self, path: str) -> Reply:
        self.requests += 1
        self.at.append(time.time())
        self.too_early += time.time() < self.closed_until
        if self.requests not in (2, 4):
            return self.serve(path)
        headers, self.closed_until = self.dialect(time.time() + 1.2)
        if self.refuses:
            return 429, headers, b'{"error": "too many requests"}'
        code, given, body = self.serve(path)
        return code, {**given, **headers}, body


def timeline(path: str) -> Reply:
    above = int(parse_qs(urlsplit(path).query).get("max_id", ["11"])[0])
    return 200, {}, json.dumps([status(number) for number in range(above - 1, max(0, above - 3), -1)]).encode()


def author_feed(path: str) -> Reply:
    start = int(parse_qs(urlsplit(path).query).get("cursor", ["0"])[0])
    feed = [{"post": view(f"3k{number:03}")} for number in range(start, start + 2)]
    return 200, {}, json.dumps({"feed": feed, **({"cursor": str(start + 2)} if start < 8 else {})}).encode()


def test_no_request_comes_while_a_server_asks_for_none_in_whichever_dialect_and_the_crawl_ends_whole(
    tmp_path: Path,
) -> None:
    servers = [
        *(Limited(iso_instant, refuses, timeline) for refuses in (True, False)),
        *(Limited(epoch_seconds, refuses, author_feed) for refuses in (True, False)),
        *(Limited(seconds_left, refuses, timeline) for refuses in (True, False)),
        *(Limited(x_epoch_seconds, refuses, timeline) for refuses in (True, False)),
        Limited(retry_after_seconds, True, timeline),
        Limited(retry_after_date, True, timeline),
        Limited(nothing, True, timeline),
    ]
    with ExitStack() as running:
        sources = [_source(running.enter_context(serving(server)).url, server) for server in servers]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr", replace(SETTINGS, retries=3))
    for server, each in zip(servers, sources, strict=True):
        place = (server.dialect.__name__, server.refuses)
        assert server.requests >= 5, place
        assert server.too_early == 0, place
        assert outcome.sinks[each].gaps == [], (place, outcome.reason(each))
        assert len(outcome.ids(each)) == 10, place


def test_a_server_that_refuses_without_saying_for_how_long_is_left_alone_for_longer_each_time(
    tmp_path: Path,
) -> None:
    asked: list[float] = []

    def answer(path: str) -> Reply:
        asked.append(time.monotonic())
        return (429, {}, b"") if len(asked) < 4 else timeline(path)

    with serving(answer) as server:
        read = source(server.url, "busy")
        outcome = crawled({read: Counted()}, tmp_path / "stderr", replace(SETTINGS, retries=3))
    first, second, third = (later - earlier for earlier, later in pairwise(asked[:4]))
    assert first >= 0.5
    assert second >= 1
    assert third >= 2
    assert outcome.sinks[read].gaps == []


def _source(url: str, server: Limited) -> Source:
    if server.serve is author_feed:
        return Source("bluesky", url, "author", "oakfern.example", allow_private=True)
    return source(url, "rain")
