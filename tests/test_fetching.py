import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scrapy import Request
from scrapy.exceptions import CannotResolveHostError, DownloadConnectionRefusedError
from scrapy.http import Response

from crawlers.fetching import Answer, Fetcher, Host, SourceGapError
from crawlers.politeness import retry_after, wait_for_reset
from crawlers.settings import CrawlSettings
from crawlers.sink import Memory, Page, Position, SinkRecorder
from crawlers.source import Source, Window
from crawlers.spiders import bluesky, feed, mastodon
from crawlers.spiders.pages import Reading

SOURCE = Source("mastodon", "https://hearth.example", "public")
SETTINGS = CrawlSettings(contact="mailto:operator@example.org", version="0", retries=2, environment={})
WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)

Reply = Callable[[Request], Response]


def answer(status: int, body: bytes = b"[]", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Response(request.url, status, headers=named, body=body)


def fails(error: Exception) -> Reply:
    def reply(_: Request) -> Response:
        raise error

    return reply


class Server:
    """Answers in turn, the last one for good, and keeps what was asked and how long was waited."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Request] = []
        self.waits: list[float] = []

    async def download(self, request: Request) -> Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(request)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def fetcher(self, source: Source = SOURCE, settings: CrawlSettings = SETTINGS, host: Host | None = None) -> Fetcher:
        return Fetcher(source, settings, self.download, self.sleep, host)

    def get(self, source: Source = SOURCE) -> Answer:
        return asyncio.run(self.fetcher(source).get("/x", {}))

    def pages(
        self, source: Source, read: object, memory: Memory | None = None, settings: CrawlSettings = SETTINGS
    ) -> list[Page]:
        sink = SinkRecorder(remembered=memory)
        reading = Reading(source, WINDOW, self.fetcher(source), settings, Position(), sink)

        async def collect() -> list[Page]:
            return [page async for page in read(reading)]  # type: ignore[operator]

        made: Awaitable[list[Page]] = collect()
        return asyncio.run(made)  # type: ignore[arg-type]


def test_retry_after_is_waited_out_and_counted() -> None:
    server = Server(answer(429, Retry_After="7"), answer(200))
    assert server.get().status == 200
    assert server.waits == [pytest.approx(7, abs=1)]


def test_a_wait_that_only_the_body_of_a_429_tells_is_waited_out() -> None:
    server = Server(answer(429, b'{"extras": {"wait_seconds": 17}}'), answer(200))
    assert server.get().status == 200
    assert 16 < server.waits[0] <= 17


def test_a_limit_that_is_used_up_is_waited_for_before_the_next_request_whatever_the_answer_was() -> None:
    used_up = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "30"}
    for first in (answer(200, **used_up), answer(404, **used_up), answer(302, Location="/y", **used_up)):
        server = Server(first, answer(200))
        fetcher = server.fetcher()
        asyncio.run(fetcher.get("/x", {}))
        asyncio.run(fetcher.get("/x", {}))
        assert server.waits == [pytest.approx(30, abs=1)]
        assert fetcher.traffic.rate_limited == 1


def test_a_wait_that_is_too_long_is_a_gap() -> None:
    with pytest.raises(SourceGapError, match="asks to wait 5000 s"):
        Server(answer(429, Retry_After="5000")).get()


def test_a_server_that_asks_to_wait_again_and_again_is_a_gap_in_the_end() -> None:
    busy, settings = answer(429, Retry_After="800"), replace(SETTINGS, max_total_wait_seconds=2000)
    server = Server(busy, answer(200), busy, answer(200), busy, answer(200))
    fetcher = server.fetcher(settings=settings)

    async def read_on() -> None:
        for _ in range(3):
            await fetcher.get("/x", {})

    with pytest.raises(SourceGapError, match="waits for this source come to 2400 s, more than the 2000 s allowed"):
        asyncio.run(read_on())
    assert server.waits == [pytest.approx(800, abs=1)] * 2
    assert fetcher.host.ready_at > 0, "the host's other sources know of the wait"


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_asked_for_at_the_last_try_holds_the_next_source(status: int) -> None:
    server = Server(answer(status, Retry_After="30"))
    host = Host()
    with pytest.raises(SourceGapError, match=f"HTTP {status}, still after 2 retries"):
        asyncio.run(server.fetcher(host=host).get("/x", {}))
    server.replies, server.waits = [answer(200)], []
    asyncio.run(server.fetcher(host=host).get("/x", {}))
    assert server.waits == [pytest.approx(30, abs=1)]


def test_a_refusal_that_asks_to_wait_holds_the_next_source() -> None:
    server, host = Server(answer(403, Retry_After="120"), answer(200)), Host()
    assert asyncio.run(server.fetcher(host=host).get("/x", {})).status == 403
    asyncio.run(server.fetcher(host=host).get("/x", {}))
    assert server.waits == [pytest.approx(120, abs=1)]


def test_a_server_that_asks_for_no_wait_is_still_given_some() -> None:
    server = Server(answer(503, Retry_After="0"), answer(429, Retry_After="0"), answer(200))
    assert server.get().status == 200
    assert server.waits == [pytest.approx(0.75, abs=0.4), pytest.approx(1.5, abs=0.7)]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining": "0, 0", "x-ratelimit-reset": "40, 40"}, 40),
        ({"x-ratelimit-remaining": "0, 299", "x-ratelimit-reset": "2026-08-01T12:00:09Z"}, 9),
        ({"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOW.timestamp() + 300) * 1000)}, 300),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "40"}, 0),
        ({"ratelimit": f"limit=100, remaining=0, reset={int(NOW.timestamp()) + 50}"}, 50),
        ({"ratelimit": '"default";r=0;t=99999999'}, 0),
    ],
)
def test_limits_that_came_twice_or_in_milliseconds_are_read(headers: dict[str, str], seconds: float) -> None:
    assert wait_for_reset(headers, NOW) == pytest.approx(seconds)
    assert (retry_after("5, 9", NOW), retry_after("nan", NOW)) == (9, None)
    assert retry_after(str(int(NOW.timestamp()) + 60), NOW) == 60


def test_the_delay_between_requests_is_never_less_than_was_set() -> None:
    assert SETTINGS.scrapy([])["RANDOMIZE_DOWNLOAD_DELAY"] is False


def test_an_error_tells_nothing_that_the_server_could_have_written_of_an_account() -> None:
    with pytest.raises(SourceGapError) as gap:
        Server(answer(200, b"<html>", Content_Type="rivermint\x1b[2J; x")).pages(SOURCE, mastodon.read)
    assert "of no known type" in str(gap.value)
    author = Source("bluesky", "https://view.example", "author", "rivermint.example")
    with pytest.raises(SourceGapError, match=r"^HTTP 400: no such account"):
        Server(answer(400, b'{"error": "rivermint"}')).pages(author, bluesky.read)
    with pytest.raises(SourceGapError, match=r"^HTTP 400 RepoTakendown: no such account"):
        Server(answer(400, b'{"error": "RepoTakendown"}')).pages(author, bluesky.read)


def test_what_fails_for_a_while_is_tried_again_and_then_a_gap() -> None:
    assert Server(answer(503), fails(DownloadConnectionRefusedError("x")), answer(200)).get().status == 200
    with pytest.raises(SourceGapError, match="refuses connections, still after 2 retries"):
        Server(fails(DownloadConnectionRefusedError("x"))).get()
    with pytest.raises(SourceGapError, match="name cannot be resolved"):
        Server(fails(CannotResolveHostError("hearth.example"))).get()


def test_a_redirect_stays_on_the_host() -> None:
    server = Server(answer(301, Location="/y"), answer(200))
    assert server.get().status == 200
    assert server.asked[1].url == "https://hearth.example/y"
    for target in ("https://other.example/", "http://hearth.example/", "https://hearth.example:8443/", "file:///etc/hosts"):
        with pytest.raises(SourceGapError, match="redirects to another host"):
            Server(answer(302, Location=target), answer(200)).get()
    for target in ("http://hearth.example:port/", "http://[::1"):
        with pytest.raises(SourceGapError, match="what is no address"):
            Server(answer(302, Location=target), answer(200)).get()
    plain = Source("mastodon", "http://hearth.example", "public")
    assert Server(answer(301, Location="https://hearth.example/x"), answer(200)).get(plain).status == 200
    with pytest.raises(SourceGapError, match="redirects to another host"):
        Server(answer(301, Location="https://hearth.example:8443/x"), answer(200)).get(plain)
    with pytest.raises(SourceGapError, match="without end"):
        Server(answer(302, Location="/again")).get()


def test_a_private_address_is_not_asked_unless_allowed() -> None:
    server = Server(answer(200))
    with pytest.raises(SourceGapError, match="private address not allowed"):
        server.get(Source("mastodon", "http://127.0.0.1:9", "public"))
    assert server.asked == []
    assert server.get(Source("mastodon", "http://127.0.0.1:9", "public", None, True)).status == 200


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error": "This method requires an authenticated user"}', "previews are disabled"),
        (422, b'{"error": "This method requires an authenticated user"}', "previews are disabled"),
        (401, b"<html>", "asks for a login"),
        (403, b"<html>", "refuses visitors"),
        (404, b"{}", "no such timeline"),
        (200, b"<html>", "not JSON"),
        (200, b"{}", "not a list"),
    ],
)
def test_a_timeline_that_is_not_shown_says_why(status: int, body: bytes, said: str) -> None:
    with pytest.raises(SourceGapError, match=said):
        Server(answer(status, body)).pages(SOURCE, mastodon.read)


def test_paging_in_circles_ends_in_a_gap() -> None:
    status = b'[{"id": "5"}]'
    with pytest.raises(SourceGapError, match="circles"):
        Server(answer(200, status)).pages(SOURCE, mastodon.read)


def test_a_page_leads_to_no_other_that_robots_txt_forbids() -> None:
    rules = answer(200, b"User-agent: *\nDisallow: /members/\n")
    server = Server(rules, answer(302, Location="/members/ferry"), answer(200))
    with pytest.raises(SourceGapError, match=r"robots\.txt does not allow"):
        asyncio.run(server.fetcher().get_page("/ferry", {}))
    assert [request.url.partition(".example")[2] for request in server.asked] == ["/robots.txt", "/ferry"]
    server = Server(rules, answer(302, Location="/harbour/ferry"), answer(200, b"low water"))
    assert asyncio.run(server.fetcher().get_page("/ferry", {})).body == b"low water"


def test_search_names_the_variable_that_is_missing() -> None:
    with pytest.raises(SourceGapError, match="POSTSWEEP_BLUESKY_APP_PASSWORD"):
        Server(answer(200)).pages(Source("bluesky", "https://pds.example", "search", "rain"), bluesky.read)


def test_search_sends_no_password_in_the_clear_and_tells_none() -> None:
    environment = {bluesky.IDENTIFIER: "operator.example", bluesky.PASSWORD: "abcd-efgh"}
    settings = replace(SETTINGS, environment=environment)
    assert "abcd-efgh" not in repr(settings)
    server = Server(answer(200))
    with pytest.raises(SourceGapError, match="over https only"):
        server.pages(Source("bluesky", "http://pds.example", "search", "rain"), bluesky.read, settings=settings)
    assert server.asked == []
    source = Source("bluesky", "https://pds.example", "search", "rain")
    refusals = {401: "refuses the login of POSTSWEEP_BLUESKY_IDENTIFIER", 400: "HTTP 400: no such", 200: "no session"}
    for status, said in refusals.items():
        with pytest.raises(SourceGapError, match=said) as gap:
            Server(answer(status, b'{"error": "abcd-efgh"}')).pages(source, bluesky.read, settings=settings)
        assert "abcd-efgh" not in str(gap.value)


def test_an_unchanged_feed_is_read_from_memory() -> None:
    body = b'{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": "a", "content_text": "hello"}]}'
    server = Server(answer(304, b""))
    source = Source("feed", "https://press.example/feed.json", "feed")
    (page,) = server.pages(source, feed.read, Memory(body, etag='"v1"'))
    assert server.asked[0].headers[b"If-None-Match"] == b'"v1"'
    assert [post.text for post in page.posts] == ["hello"]
