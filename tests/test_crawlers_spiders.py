"""Whole crawls, each in a process of its own as Scrapy's reactor demands, against real servers on loopback."""

import asyncio
import gzip
import json
import multiprocessing
import sys
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crawlers.run import CrawlSettings, crawl
from crawlers.settings import MAX_BODY
from crawlers.sink import Gap, Memory, Page, Position, SinkRecorder, Traffic
from crawlers.source import Source, Window
from crawlers.spiders.bluesky import IDENTIFIER, PASSWORD
from pipelines.demo.network import APP_PASSWORD, Network
from pipelines.demo.network import IDENTIFIER as OPERATOR
from tests.loopback import Reply, serving

WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
SETTINGS = CrawlSettings("mailto:operator@example.org", "0", delay_seconds=0, retries=1, environment={})


@dataclass
class Counted(SinkRecorder):
    """Counts how often it was finished, and fails at its first page when told to."""

    fails: bool = False
    cut: bool = False
    finished: int = 0

    def page(self, page: Page) -> None:
        if self.fails:
            raise OSError("no space left")
        if self.cut:
            raise asyncio.CancelledError
        super().page(page)

    def finish(self, gaps: list[Gap], traffic: Traffic) -> None:
        self.finished += 1
        super().finish(gaps, traffic)


@dataclass
class Outcome:
    """What came of a crawl: the sinks by source, the error it ended with, and what it wrote to the terminal."""

    error: str | None = None
    sinks: dict[Source, Counted] = field(default_factory=dict)
    stderr: str = ""

    def reason(self, source: Source) -> str:
        """Why a source is a gap; empty when it is complete."""
        gaps = self.sinks[source].gaps
        assert gaps is not None, "the source was not finished"
        return gaps[0].reason if gaps else ""

    def ids(self, source: Source) -> list[str]:
        """The ids of the posts read of a source, once each, sorted."""
        return sorted({post.id.global_id or "" for post in self.sinks[source].posts})


def _child(connection: Any, sinks: dict[Source, Counted], log: str, settings: CrawlSettings) -> None:
    outcome = Outcome(sinks=sinks)
    with Path(log).open("w") as sys.stderr:
        try:
            crawl(list(sinks), WINDOW, settings, sinks.__getitem__)
        except (OSError, asyncio.CancelledError) as error:
            outcome.error = str(error) or type(error).__name__
    connection.send(outcome)


def crawled(sinks: dict[Source, Counted], log: Path, settings: CrawlSettings = SETTINGS) -> Outcome:
    ours, theirs = multiprocessing.Pipe()
    arguments = (theirs, sinks, str(log), settings)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=arguments)
    process.start()
    try:
        assert ours.poll(50), "the crawl did not end"
        outcome: Outcome = ours.recv()
    finally:
        process.kill()
        process.join()
    outcome.stderr = log.read_text()
    return outcome


def source(url: str, value: str, allow_private: bool = True) -> Source:
    return Source("mastodon", url, "tag", value, allow_private)


def status(number: int) -> dict[str, Any]:
    uri = f"https://hearth.example/users/oakfern/statuses/{number}"
    account = {"id": "7", "acct": "oakfern", "url": "https://hearth.example/@oakfern"}
    content = f"<p>{number}</p>"
    return {"id": f"{number}", "uri": uri, "created_at": "2026-01-01T12:00:00Z", "content": content, "account": account}


def timeline(path: str) -> Reply:
    """Ten statuses, four a page; no `Link`, as some servers send none."""
    above = int(parse_qs(urlsplit(path).query).get("max_id", ["11"])[0])
    numbers = range(above - 1, max(0, above - 5), -1)
    return 200, {"Content-Type": "application/json"}, json.dumps([status(number) for number in numbers]).encode()


def test_a_source_is_read_to_its_end_goes_on_where_it_was_left_and_one_bad_host_stops_no_other(tmp_path: Path) -> None:
    busy = (429, {"Retry-After": "0"}, b"")
    first = [busy]

    def answer(path: str) -> Reply:
        if "/vast" in path:
            return 200, {}, b"[" + b" " * MAX_BODY + b"]"
        if "/moved" in path:
            return 302, {"Location": "http://other.example/"}, b""
        return first.pop() if first else timeline(path)

    with serving(answer) as server, serving(lambda _: (200, {}, b"[]")) as shy:
        whole, half, moved, vast = (source(server.url, name) for name in ("whole", "half", "moved", "vast"))
        dead = source("http://127.0.0.1:9", "dead")
        private = source(shy.url.replace("127.0.0.1", "localhost"), "private", allow_private=False)
        done = source(server.url, "done")
        sinks = {each: Counted() for each in (whole, half, moved, vast, dead, private)}
        sinks[half].start = Position(1, "7")
        sinks[vast].start = Position(3, "secret-native-id")
        sinks[done] = Counted(start=None)
        outcome = crawled(sinks, tmp_path / "stderr")
    read = outcome.sinks
    assert outcome.error is None
    assert [len(page.posts) for page in read[whole].pages] == [4, 4, 2, 0]
    assert read[whole].gaps == []
    cost = read[whole].traffic
    assert cost is not None
    assert (cost.rate_limited, cost.retries) == (1, 1)
    assert [(page.number, page.cursor) for page in read[half].pages] == [(1, "7"), (2, "3"), (3, "1")]
    reasons = {each: (read[each].gaps or [None])[0] for each in (moved, vast, dead, private)}  # type: ignore[list-item]
    said = {each.value: gap.reason for each, gap in reasons.items() if gap is not None}
    assert "redirects to another host" in said["moved"]
    assert "larger than a page" in said["vast"]
    assert "refuses connections" in said["dead"]
    assert "private address" in said["private"]
    assert shy.asked == []
    assert [read[each].finished for each in read] == [1, 1, 1, 1, 1, 1, 0]
    assert "secret-native-id" not in outcome.stderr


def test_a_host_that_asks_for_a_long_wait_is_left_alone_by_its_other_sources(tmp_path: Path) -> None:
    with serving(lambda _: (429, {"Retry-After": "5000"}, b"")) as server:
        sinks = {source(server.url, name): Counted() for name in ("one", "two", "three")}
        outcome = crawled(sinks, tmp_path / "stderr")
    assert len(server.asked) == 1
    assert [sink.finished for sink in outcome.sinks.values()] == [1, 1, 1]
    assert all("asks to wait" in sink.gaps[0].reason for sink in outcome.sinks.values() if sink.gaps)


def test_a_failing_sink_ends_the_crawl_even_while_another_host_waits(tmp_path: Path) -> None:
    with serving(timeline) as server, serving(lambda _: (429, {"Retry-After": "600"}, b"")) as slow:
        sinks = {source(server.url, "full"): Counted(fails=True), source(slow.url, "slow"): Counted()}
        outcome = crawled(sinks, tmp_path / "stderr")
    assert outcome.error == "no space left"
    assert [sink.finished for sink in outcome.sinks.values()] == [0, 0]


def test_a_crawl_that_is_cancelled_ends_and_says_so(tmp_path: Path) -> None:
    with serving(timeline) as server:
        sinks = {source(server.url, "cut"): Counted(cut=True)}
        outcome = crawled(sinks, tmp_path / "stderr")
    assert outcome.error == "CancelledError"
    assert [sink.finished for sink in outcome.sinks.values()] == [0]


def test_a_gap_reaches_up_to_the_newest_post_of_the_last_page(tmp_path: Path) -> None:
    """One post that is dated back says nothing about what lies between."""

    def answer(path: str) -> Reply:
        if "max_id" in path:
            return 401, {}, b'{"error":"no"}'
        late, early = status(9), {**status(8), "created_at": "2026-01-01T01:00:00Z"}
        return 200, {}, json.dumps([late, early]).encode()

    with serving(answer) as server:
        read = source(server.url, "early")
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    (gap,) = outcome.sinks[read].gaps or []
    assert (gap.since, gap.until) == (WINDOW.since, datetime(2026, 1, 1, 12, tzinfo=UTC))


def test_where_a_link_header_leads_only_its_max_id_is_taken(tmp_path: Path) -> None:
    """And without one, or in an address without one, the last status says where to go on."""
    links = {
        "elsewhere": "<{other}/api/v1/timelines/tag/x?max_id={id}&limit=1>; rel=\"next\", <{other}/>; rel=\"prev\"",
        "numbered": "<{other}/api/v1/timelines/tag/x?page=2>; Rel=Next",
        "odd": "<http://[::1?max_id=>; rel=next",
        "first": "<{other}/?max_id={id}>; rel=\"prev\"",
        "preload": "<{other}/style.css>; rel=\"preload\"; as=\"style\"",
    }

    def answer(path: str) -> Reply:
        code, headers, body = timeline(path)
        found = json.loads(body)
        link = links.get(urlsplit(path).path.rpartition("/")[2])
        if link and found:
            headers["Link"] = link.format(other=other.url, id=found[-1]["id"])
        if "nameless" in path:
            body = json.dumps([{**each, "id": None} for each in found]).encode()
        return code, headers, body

    with serving(timeline) as other, serving(answer) as server:
        sources = {name: source(server.url, name) for name in (*links, "nameless")}
        outcome = crawled({each: Counted() for each in sources.values()}, tmp_path / "stderr")
    assert other.asked == []
    for name in ("elsewhere", "numbered", "odd", "preload"):
        assert outcome.reason(sources[name]) == "", name
        assert len(outcome.ids(sources[name])) == 10, name
    assert len(outcome.ids(sources["first"])) == 4, "a header without a next address ends the timeline"
    assert "no status of a page has an id" in outcome.reason(sources["nameless"])


def test_a_body_that_is_too_large_or_unpacks_to_too_much_is_a_gap(tmp_path: Path) -> None:
    bodies: dict[str, tuple[dict[str, str], bytes]] = {
        "large": ({}, b" " * 20_001),
        "bomb": ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 1_000_000)),
        "twice": ({"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b" " * 1_000_000))),
        "endless": ({"Content-Length": "", "Connection": "close"}, b" " * 1_000_000),
        "packed": ({"Content-Encoding": "gzip"}, gzip.compress(b"[]" + b" " * 15_000)),
    }

    def answer(path: str) -> Reply:
        return (200, *bodies[urlsplit(path).path.rpartition("/")[2]])

    with serving(answer) as server:
        sources = {name: source(server.url, name) for name in bodies}
        settings = replace(SETTINGS, max_body_bytes=20_000, retries=0)
        outcome = crawled({each: Counted() for each in sources.values()}, tmp_path / "stderr", settings)
    assert outcome.reason(sources["packed"]) == ""
    assert "larger than a page" in outcome.reason(sources["large"])
    assert "unpacks to more" in outcome.reason(sources["bomb"])
    assert "unpacks to more" in outcome.reason(sources["twice"])
    assert "endless" in sources
    assert outcome.reason(sources["endless"]) != ""


def test_a_page_of_more_records_than_any_page_has_is_a_gap_and_not_as_many_rejects(tmp_path: Path) -> None:
    with serving(lambda _: (200, {}, b"[" + b"0," * 20_000 + b"0]")) as server:
        many = source(server.url, "many")
        outcome = crawled({many: Counted()}, tmp_path / "stderr", SETTINGS)
    assert outcome.reason(many) == "a page of 20,001 records, more than the 20,000 that one may have"
    assert outcome.sinks[many].pages == []


def test_a_host_is_the_same_with_its_scheme_s_own_port_written_out() -> None:
    written = {
        Source("feed", url, "feed").authority for url in ("https://News.example:443/a", "https://news.example/b")
    }
    assert written == {"news.example"}
    assert Source("mastodon", "http://news.example:443", "public").authority == "news.example:443"


def test_no_way_of_writing_a_private_address_is_asked_and_no_redirect_leads_to_one(tmp_path: Path) -> None:
    with serving(timeline) as shy, serving(timeline, "::1") as shy_too:
        port, port_too = urlsplit(shy.url).port, urlsplit(shy_too.url).port
        hidden = [
            source(f"http://{name}:{port}", "hidden", allow_private=False)
            for name in ("localhost", "LocalHost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]")
        ]
        hidden.append(source(f"http://[::1]:{port_too}", "hidden", allow_private=False))
        with serving(lambda _: (302, {"Location": f"http://localhost:{port}/"}, b"")) as mover:
            moved = source(mover.url, "moved")
            outcome = crawled({each: Counted() for each in (*hidden, moved)}, tmp_path / "stderr")
    assert (shy.asked, shy_too.asked) == ([], [])
    for each in hidden:
        assert "private address not allowed" in outcome.reason(each), each.url
    assert "redirects to another host" in outcome.reason(moved)


def test_a_host_is_read_over_ipv6(tmp_path: Path) -> None:
    with serving(timeline, "::1") as server:
        read = source(server.url, "six")
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert (outcome.reason(read), len(outcome.ids(read))) == ("", 10)


def test_an_unchanged_feed_is_sent_once_and_read_twice(tmp_path: Path) -> None:
    with Network(faults=False) as network:
        press = network.hosts["press"]
        feeds = [Source("feed", f"{press}/news.{kind}", "feed", None, True) for kind in ("rss", "json")]
        first = crawled({each: Counted() for each in feeds}, tmp_path / "stderr")
        remembered = {each: first.sinks[each].remembered for each in feeds}
        memories = {
            feeds[0]: replace(remembered[feeds[0]] or Memory(b""), etag=None),  # some servers give one validator alone
            feeds[1]: replace(remembered[feeds[1]] or Memory(b""), last_modified=None),
        }
        second = crawled({each: Counted(remembered=memories[each]) for each in feeds}, tmp_path / "stderr")
    for each in feeds:
        cost = second.sinks[each].traffic
        assert cost is not None
        assert (cost.not_modified, cost.bytes) == (1, 0)
        assert first.ids(each) == second.ids(each)
        assert [post.text for post in first.sinks[each].posts] == [post.text for post in second.sinks[each].posts] != []


def test_an_unchanged_feed_is_read_in_the_encoding_that_it_was_sent_in(tmp_path: Path) -> None:
    title = "Žluťoučký kůň"
    item = f"<item><guid>https://n.example/1</guid><title>{title}</title></item>"
    body = f'<rss version="2.0"><channel>{item}</channel></rss>'.encode("iso-8859-2")
    with serving(
        lambda _: (200, {"Content-Type": "text/xml; charset=iso-8859-2", "ETag": '"a"'}, body)
    ) as server:
        sent = Source("feed", f"{server.url}/feed.xml", "feed", None, True)
        first = crawled({sent: Counted()}, tmp_path / "stderr").sinks[sent]
        assert [post.title for post in first.posts] == [title]
    with serving(lambda _: (304, {}, b"")) as server:
        again = Source("feed", f"{server.url}/feed.xml", "feed", None, True)
        second = crawled({again: Counted(remembered=first.remembered)}, tmp_path / "stderr").sinks[again]
    assert [post.title for post in second.posts] == [title]


def self_signed(path: Path) -> Path:
    """A file with a key and a certificate for this machine that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2020, 1, 1), datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*kinds) + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_host_whose_certificate_nobody_vouches_for_is_not_read(tmp_path: Path) -> None:
    with serving(timeline, key=self_signed(tmp_path / "key.pem")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        read = source(url, "forged")
        relay = Source("nostr", url.replace("https", "wss"), "notes", allow_private=True)
        outcome = crawled({read: Counted(), relay: Counted()}, tmp_path / "stderr")
    assert server.asked == []
    assert outcome.reason(read) == outcome.reason(relay) == "nobody vouches for the host's certificate"
    for each in (read, relay):
        assert (outcome.sinks[each].traffic or Traffic()).retries == 0


def test_a_page_to_pass_before_reading_is_a_gap_and_no_empty_timeline(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
    with serving(lambda _: (200, {"Content-Type": "text/html; charset=utf-8"}, page)) as server:
        url = server.url
        sources = [
            Source("mastodon", url, "public", None, True),
            Source("mastodon", url, "account", "oakfern", True),
            Source("bluesky", url, "author", "oakfern.example", True),
            Source("bluesky", url, "records", "did:plc:oakfern", True),
            Source("bluesky", url, "search", "rain", True),
            Source("feed", url, "feed", None, True),
        ]
        settings = replace(SETTINGS, environment={IDENTIFIER: OPERATOR, PASSWORD: APP_PASSWORD})
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr", settings)
    for each in sources:
        assert outcome.sinks[each].pages == [], each.kind
        assert "JSON" in outcome.reason(each), each.kind


def test_a_server_that_says_no_more_is_waited_for_no_longer_than_was_set(tmp_path: Path) -> None:
    over = threading.Event()

    def answer(path: str) -> Reply:
        if "silent" in path:
            over.wait()
            return 200, {}, b"[]"
        return 200, {"Content-Length": "1000"}, b"["

    with serving(answer) as server:
        silent, stuck = (source(server.url, name) for name in ("silent", "stuck"))
        settings = replace(SETTINGS, timeout_seconds=0.5, retries=0)
        outcome = crawled({each: Counted() for each in (silent, stuck)}, tmp_path / "stderr", settings)
        over.set()
    assert outcome.reason(silent) == outcome.reason(stuck) == "no answer within 0.5 s, still after 0 retries"


def test_a_host_has_one_request_at_a_time_however_many_sources_it_has(tmp_path: Path) -> None:
    lock, now, most, failed = threading.Lock(), [0], [0], set[str]()

    def answer(path: str) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        reply = timeline(path) if path in failed or "max_id" in path else (503, {}, b"")
        failed.add(path)
        with lock:
            now[0] -= 1
        return reply

    with serving(answer) as server:
        sources = [source(server.url, f"tag{number}") for number in range(2)]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr")
    assert [len(outcome.ids(each)) for each in sources] == [10, 10]
    assert most == [1]


def test_a_body_that_broke_off_is_asked_for_again(tmp_path: Path) -> None:
    breaks = [True]

    def answer(path: str) -> Reply:
        code, headers, body = timeline(path)
        if breaks:
            breaks.pop()
            headers |= {"Content-Length": str(len(body) + 100), "Connection": "close"}
        return code, headers, body

    with serving(answer) as server:
        read = source(server.url, "broken")
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert (outcome.reason(read), len(outcome.ids(read))) == ("", 10)


def test_a_cursor_that_cannot_be_kept_costs_its_source_alone(tmp_path: Path) -> None:
    def answer(path: str) -> Reply:
        if "half" in path:
            return 200, {}, json.dumps([{**status(9), "id": "\ud800"}]).encode()
        if "getAuthorFeed" in path:
            return 200, {}, json.dumps({"feed": [], "cursor": f"cursor-{len(server.asked)}"}).encode()
        return timeline(path)

    with serving(answer) as server:
        half, whole = source(server.url, "half"), source(server.url, "whole")
        endless = Source("bluesky", server.url, "author", "oakfern.example", True)
        outcome = crawled({each: Counted() for each in (half, endless, whole)}, tmp_path / "stderr")
    assert outcome.error is None
    assert "cannot be sent back" in outcome.reason(half)
    assert "empty pages in a row" in outcome.reason(endless)
    assert len(outcome.ids(whole)) == 10


def test_a_server_that_is_busy_again_and_again_is_a_gap_in_the_end(tmp_path: Path) -> None:
    asked: set[str] = set()

    def answer(path: str) -> Reply:
        if path not in asked:
            asked.add(path)
            return 429, {"Retry-After": "1"}, b""
        return timeline(path)

    with serving(answer) as server:
        read = source(server.url, "busy")
        outcome = crawled({read: Counted()}, tmp_path / "stderr", replace(SETTINGS, max_total_wait_seconds=1.5))
    assert "the waits for this source come to 2 s" in outcome.reason(read)
    assert len(outcome.ids(read)) == 4, "what was read before is kept"


def test_posts_of_authors_who_opted_out_are_counted_and_not_kept(tmp_path: Path) -> None:
    def by(number: int, **account: Any) -> dict[str, Any]:
        return {**status(number), "account": {**status(number)["account"], **account}}

    statuses = [
        by(9, noindex=True),
        by(8, noindex=False, indexable=False, discoverable=False),
        by(7, noindex=None),
        {**status(6), "reblog": by(5, noindex=True)},
        {**by(4, noindex=True), "created_at": "2025-12-31T12:00:00Z"},
    ]
    hidden = [{"src": "did:plc:fern", "val": "!no-unauthenticated"}]
    feed = [
        {"post": view("one", labels=hidden)},
        {"post": view("two", labels=[{**hidden[0], "neg": True}])},
        {"post": view("three"), "reason": {"$type": "#reasonRepost", "by": {"labels": hidden, "did": "did:plc:moss"}}},
    ]
    feed[2]["reason"]["indexedAt"] = feed[2]["post"]["indexedAt"]
    profile = {"value": {"$type": "app.bsky.actor.profile", "labels": {"values": [{"val": "!no-unauthenticated"}]}}}

    def answer(path: str) -> Reply:
        if "getAuthorFeed" in path:
            return 200, {}, json.dumps({"feed": feed}).encode()
        if "getRecord" in path:
            return 200, {}, json.dumps(profile).encode()
        if "lookup" in path:
            return 200, {}, b'{"id": "7"}'
        return 200, {}, json.dumps([] if "max_id" in path else statuses).encode()

    with serving(answer) as server:
        tag, account = source(server.url, "tag"), Source("mastodon", server.url, "account", "oakfern", True)
        author = Source("bluesky", server.url, "author", "fern.example", True)
        records = Source("bluesky", server.url, "records", "did:plc:fern", True)
        outcome = crawled({each: Counted() for each in (tag, account, author, records)}, tmp_path / "stderr")
    for each in (tag, account):
        (page, _) = outcome.sinks[each].pages
        assert [post.id.native_id for post in page.posts] == ["8", "7"]
        assert [(each.position, each.reason) for each in page.rejects] == [
            (0, "the author opted out"),
            (3, "the author opted out"),
        ]
        assert page.outside == 1
    (page,) = outcome.sinks[author].pages
    assert [post.text for post in page.posts] == ["two"]
    assert [each.reason for each in page.rejects] == ["the author opted out"] * 2
    (page,) = outcome.sinks[records].pages
    assert (page.posts, [each.reason for each in page.rejects]) == ([], ["the author opted out"])
    assert not [path for path in server.asked if "listRecords" in path], "nothing more is asked for"


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def view(key: str, moment: datetime = NOON, labels: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A post view; its record claims the moment of its indexing."""
    told = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "uri": f"at://did:plc:fern/app.bsky.feed.post/{key}",
        "author": {"did": "did:plc:fern", "handle": "fern.example", "labels": labels or []},
        "record": {"$type": "app.bsky.feed.post", "text": key, "createdAt": told},
        "indexedAt": told,
    }


@dataclass
class Search:
    """A server's search: shows `hits`, newest first, `page` at a time and no deeper than `depth`."""

    hits: list[tuple[datetime, dict[str, Any]]]
    page: int = 3
    depth: int = 10_000
    refuses: bool = False

    def answer(self, query: dict[str, str]) -> Reply:
        start = int(query.get("cursor", "0"))
        if self.refuses and start >= self.depth:
            return 400, {}, b'{"error": "InvalidRequest", "message": "cursor too deep"}'
        until = datetime.fromisoformat(query["until"])
        found = [shown for moment, shown in self.hits if moment < until]
        shown = found[: self.depth][start : start + self.page]
        end = start + len(shown)
        more = len(shown) == self.page and (self.refuses or end < self.depth)
        return 200, {}, json.dumps({"posts": shown, **({"cursor": str(end)} if more else {})}).encode()


def spread(count: int, together: int = 1, newest: datetime = NOON) -> list[tuple[datetime, dict[str, Any]]]:
    """Hits, newest first, so many of them in each millisecond."""
    moments = [newest - timedelta(milliseconds=number // together) for number in range(count)]
    return [(moment, view(f"{moment.day}-{number}", moment)) for number, moment in enumerate(moments)]


def dated_back(hits: list[tuple[datetime, dict[str, Any]]], places: range) -> list[tuple[datetime, dict[str, Any]]]:
    """The same, some with an early time that their clients claim: some servers sort by their own."""
    for place in places:
        hits[place][1]["record"]["createdAt"] = "2026-01-01T03:00:00Z"
    return hits


LOGIN = replace(SETTINGS, environment={IDENTIFIER: OPERATOR, PASSWORD: APP_PASSWORD})


def test_a_search_is_read_beyond_the_depth_of_its_cursors(tmp_path: Path) -> None:
    before = spread(30, newest=NOON - timedelta(days=9))
    searches = {
        "deep": Search(spread(40), depth=9),
        "refusing": Search(spread(40), depth=9, refuses=True),
        "crowded": Search(spread(40, together=4), depth=9),
        "dated-back": Search(dated_back(spread(40), range(5, 40, 7)), depth=9),
        "page-dated-back": Search(dated_back(spread(40), range(3, 6)), depth=9),
        "one-moment": Search(spread(40, together=40)),
        "too-crowded": Search(spread(140, together=140), page=1, depth=120),
        "one-page": Search(spread(2)),
        "whole-pages": Search(spread(6)),
        "nothing": Search([]),
        "older": Search(spread(6) + before),
    }

    def answer(path: str) -> Reply:
        if "createSession" in path:
            return 200, {}, b'{"accessJwt": "session-1"}'
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        return searches[query["q"]].answer(query)

    with serving(answer) as server:
        sources = {name: Source("bluesky", server.url, "search", name, True) for name in searches}
        outcome = crawled({each: Counted() for each in sources.values()}, tmp_path / "stderr", LOGIN)
    for name, search in searches.items():
        read = outcome.sinks[sources[name]]
        assert [page.number for page in read.pages] == list(range(len(read.pages))), name
        if name == "too-crowded":
            assert outcome.reason(sources[name]) == "more hits share one moment than the server's search shows"
        else:
            search.hits = [hit for hit in search.hits if hit not in before]
            assert outcome.reason(sources[name]) == "", name
            assert outcome.ids(sources[name]) == sorted(shown["uri"] for _, shown in search.hits), name
    assert len([path for path in server.asked if "q=one-page" in path]) == 1
    assert len([path for path in server.asked if "q=older" in path]) == 3, "a page before the window ends it"


def test_a_search_goes_on_where_it_was_left_and_with_a_new_session_when_one_ended(tmp_path: Path) -> None:
    with Network(faults=False, search_depth=25, session_requests=2) as network:
        url = network.hosts["pds"]
        whole, capital = (Source("bluesky", url, "search", query, True) for query in ("e", "E"))
        first = crawled({whole: Counted()}, tmp_path / "stderr", LOGIN)
        pages = first.sinks[whole].pages
        for places in ((2, 4), (len(pages) - 2, 1)):
            left = {
                each: Counted(start=Position(place + 1, pages[place].next_cursor))
                for each, place in zip((whole, capital), places, strict=True)
            }
            second = crawled(left, tmp_path / "stderr", LOGIN)
            for each, place in zip((whole, capital), places, strict=True):
                before = {post.id.global_id for page in pages[: place + 1] for post in page.posts}
                assert second.reason(each) == ""
                assert before | set(second.ids(each)) == set(first.ids(whole)), place
                assert second.sinks[each].pages[0].number == place + 1
        shown = [post for post in network.timeline("bluesky") if not post.repost_of and WINDOW.holds(post.time)]
        wanted = [post.time for post in shown if "e" in f"{post.text} {' '.join(post.tags)}".casefold()]
    assert first.reason(whole) == ""
    assert len(first.ids(whole)) == len(wanted) > 25
    assert {post.created_at for post in first.sinks[whole].posts} == set(wanted)
    cost = first.sinks[whole].traffic
    assert cost is not None
    sessions = (len(pages) + 1) // 2
    assert cost.requests == len(pages) + 2 * sessions - 1, "each session has a login, and all but the last an end"
    assert APP_PASSWORD not in repr(first) + first.stderr


def test_a_session_that_ended_is_followed_by_one_more_and_the_password_is_told_to_nobody(tmp_path: Path) -> None:
    searched: list[str] = []

    def answer(path: str) -> Reply:
        if "createSession" in path:
            return 200, {}, b'{"accessJwt": "session"}'
        searched.append(path)
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if len(searched) == 2 or query["q"] == "refused":
            return 401, {}, json.dumps({"error": APP_PASSWORD, "message": APP_PASSWORD}).encode()
        return Search(spread(8)).answer(query)

    with serving(answer) as server:
        renewed, refused = (Source("bluesky", server.url, "search", query, True) for query in ("rain", "refused"))
        outcome = crawled({renewed: Counted(), refused: Counted()}, tmp_path / "stderr", LOGIN)
    assert (outcome.reason(renewed), len(outcome.ids(renewed))) == ("", 8)
    assert "refuses the session that it just gave (HTTP 401)" in outcome.reason(refused)
    logins = [body for body in server.bodies if body]
    assert [json.loads(body) for body in logins] == [{"identifier": OPERATOR, "password": APP_PASSWORD}] * 3
    assert APP_PASSWORD not in repr(outcome) + outcome.stderr
    assert not any(APP_PASSWORD in path for path in server.asked)
