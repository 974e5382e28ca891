"""Jetstream: what its events become, and that a window of the stream is read whole, or with the exact gap."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.bluesky import parse_commit, written_at
from crawlers.post import ParseError, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Position
from crawlers.source import Source, Window
from crawlers.spiders.jetstream import RECORDS
from tests.jetstream_server import POST, Jetstream, commit, micros, streaming, time_key
from tests.jobs import KEY, postsweep
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled
from tests.test_recordings import RECORDINGS, agree, expected_record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def busy() -> Jetstream:
    """A post every 20 seconds of the day and the minutes around it, in turns out of order; likes' neighbours: identity
    and account events; one post that changes, one that is deleted, and the deletion of one of another year."""
    stream = Jetstream()
    begins = WINDOW.since - 600 * SECOND
    for place in range(4_400):
        moment = begins + place * 20 * SECOND - (place % 3) * SECOND
        stream.events.append(commit(f"did:plc:author{place % 9}", moment, f"The ferry is late, again: {place}"))
        if place % 50 == 0:
            time_us = micros(moment) + 1
            stream.events.append({"did": "did:plc:author1", "time_us": time_us, "kind": "identity", "identity": {}})
    first = commit("did:plc:author1", NOON, "Fery cancelled")
    again = commit("did:plc:author1", NOON + 30 * SECOND, "Ferry cancelled", "update", time_key(NOON))
    seen = commit("did:plc:author2", NOON + 40 * SECOND, "never mind")
    gone = commit("did:plc:author2", NOON + 50 * SECOND, "", "delete", time_key(NOON + 40 * SECOND))
    old = commit("did:plc:author3", NOON + 55 * SECOND, "", "delete", time_key(NOON.replace(year=2024)))
    stream.events += [first, again, seen, gone, old]
    stream.events.sort(key=lambda each: each["time_us"] // 5_000_000)
    return stream


def expected(stream: Jetstream) -> list[str]:
    return sorted(
        {
            f"at://{each['did']}/{POST}/{each['commit']['rkey']}"
            for each in stream.events
            if each["kind"] == "commit"
            and each["commit"]["operation"] != "delete"
            and micros(WINDOW.since) <= each["time_us"] < micros(WINDOW.until)
        }
    )


def source(url: str) -> Source:
    return Source("bluesky", url, "jetstream", None, allow_private=True)


def crawled_from(stream: Jetstream, tmp_path: Path, **settings: Any) -> tuple[Outcome, Source]:
    with streaming(stream):
        read = source(stream.url)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", replace(SETTINGS, **settings))
    assert outcome.error is None, outcome.stderr
    return outcome, read


# Parser


def test_a_record_key_tells_when_it_was_made() -> None:
    assert written_at(time_key(NOON)) == NOON
    assert written_at("3mmoojp4cd223").replace(microsecond=0) == datetime(2026, 5, 25, 14, 23, 28, tzinfo=UTC)
    for key in ("self", "zzzzzzzzzzzzz", ""):
        with pytest.raises(ParseError, match="not made of a time"):
            written_at(key)


def test_a_change_is_the_same_post_with_the_time_of_the_change_and_a_deletion_is_none() -> None:
    first = parse_commit(commit("did:plc:a", NOON, "Fery"), "jet.example", NOW)
    second = parse_commit(commit("did:plc:a", NOON + SECOND, "Ferry", "update", time_key(NOON)), "jet.example", NOW)
    assert first.id == second.id == PostId("bluesky", f"at://did:plc:a/{POST}/{time_key(NOON)}")
    assert (first.edited_at, second.edited_at, second.server_time) == (None, NOON + SECOND, NOON + SECOND)
    with pytest.raises(ParseError, match="deleted by its author"):
        parse_commit(commit("did:plc:a", NOON, "", "delete"), "jet.example", NOW)


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_events_are_posts_where_they_are_commits_of_posts() -> None:
    kinds = Counter[str]()
    for line in (RECORDINGS / "bluesky" / "jetstream-golden_v1.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event.get("commit", {}).get("collection") != POST:
            with pytest.raises(ParseError):
                parse_commit(event, "jet.example", NOW)
            kinds["other"] += 1
            continue
        uri = f"at://{event['did']}/{POST}/{event['commit']['rkey']}"
        seen = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["time_us"])
        expected = expected_record(uri, event["commit"]["record"]) | {"host": "jet.example", "server_time": seen}
        agree(parse_commit(event, "jet.example", NOW), expected, uri)
        kinds["post"] += 1
    assert kinds == {"post": 1, "other": 9}


# Crawls


def test_a_day_of_the_stream_is_read_whole_though_the_server_hangs_up(tmp_path: Path) -> None:
    stream = busy()
    stream.hang_ups = [700, 5, 1500]
    outcome, read = crawled_from(stream, tmp_path, retries=3)
    assert (outcome.ids(read), outcome.reason(read)) == (expected(stream), "")
    assert len(expected(stream)) > 4_300
    rejects = [reject for page in outcome.sinks[read].pages for reject in page.rejects]
    assert {(reject.place, reject.reason) for reject in rejects} == {("commit.operation", "deleted by its author")}
    assert stream.asked[0]["wantedCollections"] == [POST]
    changed = [post.text for post in outcome.sinks[read].posts if post.edited_at]
    assert set(changed) == {"Ferry cancelled"}


def test_a_stream_goes_on_from_any_page(tmp_path: Path) -> None:
    stream = busy()
    outcome, read = crawled_from(stream, tmp_path)
    pages = outcome.sinks[read].pages
    assert [page.cursor for page in pages] == [None, *(page.next_cursor for page in pages[:-1])]
    with streaming(stream):
        again = [source(f"{stream.url}/again{page.number}") for page in pages[1:]]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr")
    for first, each in zip(pages[1:], again, strict=True):
        before = {post.id.global_id or "" for page in pages[: first.number] for post in page.posts}
        assert before | set(resumed.ids(each)) == set(expected(stream))
        assert resumed.reason(each) == ""


def few() -> Jetstream:
    """A post at the window's beginning and end, at noon, and after it."""
    moments = (WINDOW.since + SECOND, NOON, WINDOW.until - SECOND, WINDOW.until + 60 * SECOND)
    return Jetstream([commit("did:plc:author1", each, "The ferry is late.") for each in moments])


def test_messages_that_are_no_events_are_passed_over_but_not_without_end(tmp_path: Path) -> None:
    stream = few()
    stream.junk = 500
    outcome, read = crawled_from(stream, tmp_path)
    assert (outcome.ids(read), outcome.reason(read)) == (expected(stream), "")
    stream.junk = 12_000
    outcome, read = crawled_from(stream, tmp_path)
    assert outcome.ids(read) == []
    assert outcome.reason(read) == "the server sends 10,000 messages in a row without getting on in time"


def test_a_post_whose_record_says_that_its_author_opted_out_is_counted_and_not_kept(tmp_path: Path) -> None:
    stream = few()
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}
    stream.events[1]["commit"]["record"]["labels"] = labels
    outcome, read = crawled_from(stream, tmp_path)
    assert len(outcome.ids(read)) == 2
    rejects = [reject.reason for page in outcome.sinks[read].pages for reject in page.rejects]
    assert rejects == ["the author opted out"]


def test_a_server_that_does_not_hold_the_beginning_any_more_leaves_the_exact_gap(tmp_path: Path) -> None:
    stream = busy()
    stream.held_from = micros(NOON)
    first = min(each["time_us"] for each in stream.events if each["time_us"] >= stream.held_from)
    outcome, read = crawled_from(stream, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert "does not hold events of so long ago" in gap.reason
    assert gap.since == WINDOW.since
    assert abs(micros(gap.until) - first) < 5_000_000
    assert set(expected(stream)) - set(outcome.ids(read)) <= {
        f"at://{each['did']}/{POST}/{each['commit']['rkey']}"
        for each in stream.events
        if "commit" in each and each["time_us"] < micros(NOON)
    }


def test_a_stream_that_dies_or_falls_silent_before_the_windows_end_is_a_gap_from_its_last_event(tmp_path: Path) -> None:
    stream = busy()
    stream.events = [each for each in stream.events if each["time_us"] < micros(NOON)]
    outcome, read = crawled_from(stream, tmp_path, timeout_seconds=1)
    (gap,) = outcome.sinks[read].gaps or []
    assert gap.reason == "the stream fell silent before the window's end"
    assert (NOON - 60 * SECOND < gap.since < NOON, gap.until) == (True, WINDOW.until)
    assert set(outcome.ids(read)) == set(expected(stream))


@pytest.mark.parametrize("last", [WINDOW.until + 3 * SECOND, WINDOW.until - SECOND, NOON])
def test_a_stream_that_refuses_later_leaves_a_gap_of_what_may_still_have_come(tmp_path: Path, last: datetime) -> None:
    moments = [WINDOW.since, *(last - timedelta(milliseconds=back) for back in range(RECORDS - 2, -1, -1))]
    stream = Jetstream([commit("did:plc:a", moment, f"low water, {moment}") for moment in moments])
    stream.hang_ups, stream.dies = [RECORDS], True
    outcome, read = crawled_from(stream, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert gap.reason == "the server refuses visitors (HTTP 403)"
    assert last - 6 * SECOND < gap.since < min(last, WINDOW.until)
    assert gap.until == WINDOW.until


def test_a_message_that_unpacks_to_more_than_allowed_is_a_gap(tmp_path: Path) -> None:
    stream = busy()
    stream.bomb = 64 << 20
    outcome, read = crawled_from(stream, tmp_path)
    assert "a message is larger than" in outcome.reason(read)


def test_a_window_that_is_not_over_is_waited_for_and_no_gap(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    window = Window(now - 30 * SECOND, now + 4 * SECOND)
    stream = Jetstream([commit("did:plc:a", now - back * SECOND, f"number {back}") for back in range(25, -4, -1)])
    with streaming(stream):
        read = replace(source(stream.url), window=window)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", replace(SETTINGS, timeout_seconds=1))
    assert outcome.reason(read) == ""
    assert datetime.now(UTC) >= window.until
    assert len(outcome.ids(read)) == 29


def test_a_sweep_of_a_stream_has_one_row_a_post_in_its_newest_version(tmp_path: Path) -> None:
    stream = busy()
    stream.hang_ups = [2_700]
    with streaming(stream):
        written = one_source(stream.url, allow_private=True)
        written = written.replace('platform = "mastodon"', 'platform = "bluesky"').replace('"public"', '"jetstream"')
        (tmp_path / "sweep.toml").write_text(written)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(f"{tmp_path}/archive/posts/*/platform=bluesky/*.parquet", hive_partitioning=False)
    names = Pseudonyms(bytes.fromhex(KEY))
    assert sorted(rows["uid"]) == sorted(names.post(PostId("bluesky", each)) for each in expected(stream))
    changed = names.post(PostId("bluesky", f"at://did:plc:author1/{POST}/{time_key(NOON)}"))
    assert rows.filter(pl.col("uid") == changed)["text"].to_list() == ["Ferry cancelled"]
