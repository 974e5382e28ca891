"""4chan: that a crawl hands over every post of the threads that can hold some, goes on from any of them, and says what
the board has dropped; and what a later visit finds."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from crawlers.platforms.fourchan import parse_post
from crawlers.post import input_digest
from crawlers.sighting import Known
from crawlers.sink import Position
from crawlers.source import Source
from tests.fourchan_server import Board, fourchan
from tests.jobs import postsweep
from tests.loopback import Reply
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import WINDOW, Counted, Outcome, crawled
from tests.test_rechecks import states, visited

NEWEST = WINDOW.until + timedelta(hours=5)


def test_no_text_takes_long_to_read() -> None:
    for piece in ("<br>", "<b", '<a href="', '<span class="deadlink">&gt;&gt;', "<b>(USER WAS "):
        given = {"no": 2, "resto": 1, "time": int(NOW.timestamp()), "com": f"late{piece * 40_000}"}
        post = parse_post(given, "a.4cdn.org", NOW, "news")
        assert (post.text or "").startswith("late")


def read(state: Board, tmp_path: Path, value: str = "news") -> tuple[Outcome, Source]:
    with fourchan(state) as server:
        source = Source("fourchan", server.url, "board", value, True)
        return crawled({source: Counted()}, tmp_path / "stderr"), source


def expected_of(state: Board) -> list[str]:
    return sorted(name for name, at in state.written().items() if WINDOW.holds(at))


def test_each_post_is_handed_over_once_and_a_board_is_read_on_from_any_thread(tmp_path: Path) -> None:
    state = Board(NEWEST, deleted={6211}, dropped={6500})
    state.faults = {1: (429, {"Retry-After": "0"}, b""), 9: (503, {}, b"")}
    outcome, source = read(state, tmp_path)
    assert sorted(str(post.id.global_id) for post in outcome.sinks[source].posts) == expected_of(state)
    assert outcome.reason(source) == ""
    pages = outcome.sinks[source].pages
    some = pages[1::6]
    with fourchan(state) as server:
        again = [Source("fourchan", f"{server.url}", "board", "news", True, (str(page.number),)) for page in some]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in some]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr")
    for page, each in zip(some, again, strict=True):
        told = [[post.id for post in found.posts] for found in resumed.sinks[each].pages]
        assert told == [[post.id for post in found.posts] for found in pages[page.number :]]


def test_threads_that_ended_before_the_window_are_not_asked_for_and_an_unchanged_list_is_not_sent_again(
    tmp_path: Path,
) -> None:
    state = Board(WINDOW.since + timedelta(hours=8), live=60)
    with fourchan(state) as server:
        source = Source("fourchan", server.url, "board", "news", True)
        first = crawled({source: Counted()}, tmp_path / "stderr").sinks[source]
        asked = [path for path in server.asked if "/thread/" in path]
        again = crawled({source: Counted(remembered=first.remembered)}, tmp_path / "stderr").sinks[source]
    assert len(asked) == len(set(asked)) == sum(state.ended(each) >= WINDOW.since for each in state.numbers(True)) == 8
    assert again.traffic is not None
    assert (again.traffic.not_modified, [post.id for post in again.posts]) == (1, [post.id for post in first.posts])


def test_what_the_board_has_dropped_is_the_exact_gap(tmp_path: Path) -> None:
    for archive, live in ((True, 4), (False, 10)):
        state = Board(NEWEST, number=16, live=live, archive=archive)
        outcome, source = read(state, tmp_path)
        (gap,) = outcome.sinks[source].gaps or []
        first = min(state.numbers(not archive))
        earliest = state.ended(first) + timedelta(seconds=60 if archive else 0)
        assert (gap.since, gap.until) == (WINDOW.since, earliest)
        assert "the board still has" in gap.reason
        assert outcome.ids(source) == expected_of(state)


def test_a_thread_that_is_pinned_hides_nothing_of_what_a_board_without_an_archive_has_dropped(tmp_path: Path) -> None:
    state = Board(NEWEST, number=16, live=10, archive=False, pinned=True)
    outcome, source = read(state, tmp_path)
    (gap,) = outcome.sinks[source].gaps or []
    assert (gap.since, gap.until) == (WINDOW.since, state.ended(min(state.numbers(True))))


def test_a_thread_that_goes_before_it_is_read_is_a_gap_where_there_is_no_archive(tmp_path: Path) -> None:
    state = Board(NEWEST, number=40, live=40, archive=False, dropped={4300})
    outcome, source = read(state, tmp_path)
    (gap,) = outcome.sinks[source].gaps or []
    assert (gap.since, gap.until) == (WINDOW.since, state.ended(4300))
    assert WINDOW.holds(gap.until)
    pages = outcome.sinks[source].pages
    (late,) = (page for page in pages if page.cursor is not None and page.cursor.startswith("4200"))
    with fourchan(state) as server:
        again = Source("fourchan", server.url, "board", "news", True)
        start = Counted(start=Position(late.number, late.cursor))
        resumed = crawled({again: start}, tmp_path / "stderr").sinks[again]
    (same,) = resumed.gaps or []
    assert (same.since, same.until) == (gap.since, gap.until)


def test_a_board_that_is_none_is_one_line(tmp_path: Path) -> None:
    for value, said in (("tides", "there is no such board (HTTP 404)"), ("/news/", "no board's short name")):
        outcome, source = read(Board(NEWEST), tmp_path, value)
        assert said in outcome.reason(source)


def test_one_request_a_thread_tells_which_posts_are_missing_and_a_thread_that_is_gone_is_no_removal() -> None:
    state = Board(NEWEST)
    posts = [parse_post(post, "a.4cdn.org", NOW, "news") for thread in (6500, 6600) for post in state.posts(thread)]
    known = [
        Known(f"uid{place}", "fourchan", post.id.global_id, None, None, post.url, None, None, post.kind, digest)
        for place, post in enumerate(posts)
        if (digest := input_digest(post.title, None, post.text))
    ]
    state = replace(state, deleted={6511}, edited={6522}, dropped={6600})
    with fourchan(state) as server:
        kept = visited(Source("fourchan", server.url, "board", "news", True), known)
        asked = len(server.asked)
    found = dict(zip([each.sighting.uid for each in kept.found], states(kept), strict=True))
    assert [found[each.uid] for each in known[:4]] == ["alive", "gone", "edited", "alive"]
    assert {found[each.uid] for each in known[9:]} == {"unknown"}
    assert (asked, kept.gap) == (2, None)


def test_a_sweep_of_a_board_has_a_row_per_post(tmp_path: Path) -> None:
    state = Board(NEWEST)
    with fourchan(state) as server:
        told = one_source(server.url, allow_private=True).replace('"mastodon"', '"fourchan"')
        told = told.replace('kind = "public"', 'kind = "board"\nvalue = "news"')
        (tmp_path / "sweep.toml").write_text(told.replace("[sweep]", "[sweep]\ndelay_seconds = 0.0"))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(expected_of(state))
    begun = rows.filter(pl.col("kind") == "post")
    replies = rows.filter(pl.col("kind") == "reply").filter(pl.col("reply_to").is_in(begun["uid"].to_list()))
    assert (replies.height > 100, begun["title"].null_count()) == (True, 0)


class Untimed(Board):
    """A board whose list says of its last thread that it was changed in a year that no calendar has."""

    def answer(self, path: str) -> Reply:
        status, headers, body = super().answer(path)
        if not path.endswith("/threads.json"):
            return status, headers, body
        pages = json.loads(body)
        pages[-1]["threads"][-1]["last_modified"] = 1 << 50
        return status, headers, json.dumps(pages).encode()


def test_a_thread_that_was_changed_at_no_time_costs_no_other_thread(tmp_path: Path) -> None:
    state = Untimed(NEWEST, archive=False)
    (last, *_) = state.numbers(True)
    outcome, source = read(state, tmp_path)
    expected = [name for name in expected_of(state) if int(name.partition("/")[2]) >= last + 100]
    assert sorted(str(post.id.global_id) for post in outcome.sinks[source].posts) == expected
    assert expected
