"""Whole crawls, each in a process of its own as Scrapy's reactor demands, against real servers on loopback."""

import json
import multiprocessing
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crawlers.run import CrawlSettings, crawl
from crawlers.settings import MAX_BODY
from crawlers.sink import Gap, Page, Position, SinkRecorder, Traffic
from crawlers.source import Source, Window
from tests.loopback import Reply, serving

WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
SETTINGS = CrawlSettings("mailto:operator@example.org", "0", delay_seconds=0, retries=1, environment={})


@dataclass
class Counted(SinkRecorder):
    """Counts how often it was finished, and fails at its first page when told to."""

    fails: bool = False
    finished: int = 0

    def page(self, page: Page) -> None:
        if self.fails:
            raise OSError("no space left")
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


def _child(connection: Any, sinks: dict[Source, Counted], log: str) -> None:
    outcome = Outcome(sinks=sinks)
    with Path(log).open("w") as sys.stderr:
        try:
            crawl(list(sinks), WINDOW, SETTINGS, sinks.__getitem__)
        except OSError as error:
            outcome.error = str(error)
    connection.send(outcome)


def crawled(sinks: dict[Source, Counted], log: Path) -> Outcome:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(theirs, sinks, str(log)))
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
