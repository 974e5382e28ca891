"""Tumblr: that a crawl of a blog or a tag hands over every post, goes on from any page, and keeps its key to itself;
and what a later visit finds."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.catalogue.tumblr import KEY as VARIABLE
from crawlers.platforms.tumblr import parse_post
from crawlers.post import input_digest
from crawlers.sighting import Known
from crawlers.sink import Position
from crawlers.source import Source
from tests.jobs import postsweep
from tests.sweeps import contents, one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled
from tests.test_rechecks import SETTINGS as VISITING
from tests.test_rechecks import states, visited
from tests.tumblr_server import BLOG, KEY, UUID, Tumblr, tumblr

NEWEST = WINDOW.until + timedelta(hours=1)
KEYED = replace(SETTINGS, environment={VARIABLE: KEY})
VALUES = {"blog": BLOG, "tag": "Ferry"}


def read(state: Tumblr, kind: str, tmp_path: Path, settings: Any = KEYED) -> tuple[Outcome, Source]:
    with tumblr(state) as server:
        source = Source("tumblr", server.url, kind, VALUES[kind], True)
        return crawled({source: Counted()}, tmp_path / "stderr", settings), source


def expected_of(state: Tumblr) -> list[str]:
    return sorted(name for name, at in state.written().items() if WINDOW.holds(at))


@pytest.mark.parametrize("kind", ["blog", "tag"])
def test_each_post_is_handed_over_and_a_source_goes_on_from_any_page(kind: str, tmp_path: Path) -> None:
    state = Tumblr(NEWEST, deleted={100}, pinned=kind == "blog")
    state.faults = {
        1: (429, {"X-Ratelimit-Perhour-Remaining": "0", "X-Ratelimit-Perhour-Reset": "1"}, b""),
        4: (503, {}, b""),
    }
    outcome, source = read(state, kind, tmp_path)
    assert (outcome.ids(source), outcome.reason(source)) == (expected_of(state), "")
    pages = outcome.sinks[source].pages
    with tumblr(state) as server:
        again = [Source("tumblr", f"{server.url}/p{page.number}", kind, VALUES[kind], True) for page in pages[1:]]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr", KEYED)
    for page, each in zip(pages[1:], again, strict=True):
        told = [[post.id for post in found.posts] for found in resumed.sinks[each].pages]
        assert told == [[post.id for post in found.posts] for found in pages[page.number :]]


def test_posts_of_one_second_are_read_over_pages_and_what_one_page_cannot_show_is_the_exact_gap(
    tmp_path: Path,
) -> None:
    for crowd, lost in ((15, False), (31, True)):
        state = Tumblr(WINDOW.since + timedelta(hours=20), number=60, crowd=crowd)
        outcome, source = read(state, "tag", tmp_path)
        gaps = outcome.sinks[source].gaps or []
        spans = [(gap.since, gap.until) for gap in gaps]
        assert spans == ([(state.newest, state.newest + timedelta(seconds=1))] if lost else [])
        missing = set(expected_of(state)) - set(outcome.ids(source))
        assert {state.written()[each] for each in missing} == ({state.newest} if lost else set())


class Onward(Tumblr):
    """A server that answers with `length` later posts than it is asked for, two hundred times."""

    length = 2

    def _page(self, query: dict[str, str]) -> list[int]:
        return [self.requests + self.length - place for place in range(self.length)] if self.requests < 200 else []


@pytest.mark.parametrize("length", [1, 2])
def test_a_server_that_leads_to_ever_later_posts_is_not_followed(length: int, tmp_path: Path) -> None:
    state = Onward(WINDOW.until, number=300, step=timedelta(seconds=1))
    state.length = length
    outcome, source = read(state, "blog", tmp_path)
    assert "its paging goes in circles" in outcome.reason(source)
    assert state.requests < 20


def test_a_link_over_a_mention_tells_no_name() -> None:
    blog = {"uuid": UUID, "name": "orchardlane", "url": "https://orchard.example/"}
    link = {"type": "link", "start": 7, "end": 18, "url": "https://orchard.example/"}
    mention = {"type": "mention", "start": 6, "end": 18, "blog": blog}
    content = [{"type": "text", "text": "as by ·orchardlane told", "formatting": [link, mention]}]
    post = parse_post({**Tumblr(NEWEST).post(1), "content": content}, "api.tumblr.com", NOW)
    assert (post.text, post.mention_count, post.links) == ("as by @user told", 1, [])


def test_a_block_of_a_hundred_thousand_ranges_is_read_at_once() -> None:
    ranges = [{"type": ("mention", "link")[n % 2], "start": 20 * n, "end": 20 * n + 9} for n in range(100_000)]
    content = [{"type": "text", "text": "ferry late " * 200_000, "formatting": ranges}]
    post = parse_post({**Tumblr(NEWEST).post(1), "content": content}, "api.tumblr.com", NOW)
    assert post.mention_count == 50_000


def test_a_page_without_a_time_is_where_a_source_ends_and_the_rest_is_a_gap(tmp_path: Path) -> None:
    state = Tumblr(NEWEST)
    undated = [{key: value for key, value in state.post(20).items() if key != "timestamp"}]
    state.faults = {2: (200, {"Content-Type": "application/json"}, json.dumps({"response": undated}).encode())}
    outcome, source = read(state, "tag", tmp_path)
    (gap,) = outcome.sinks[source].gaps or []
    assert "no time" in gap.reason
    missing = set(expected_of(state)) - set(outcome.ids(source))
    assert missing
    assert all(gap.since <= state.written()[each] < gap.until for each in missing)
    assert [len(page.rejects) for page in outcome.sinks[source].pages] == [0, 0, 1]


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((403, {"code": 0}), "refuses this to visitors"),
        ((404, {"code": 4012}), "no such blog, or it is shown on the dashboard only"),
        ((400, {"code": 0}), "the server answered HTTP 400"),
    ],
)
def test_what_is_refused_is_one_line_without_the_key(
    refusal: tuple[int, dict[str, Any]], said: str, tmp_path: Path
) -> None:
    outcome, source = read(Tumblr(NEWEST, refusal=refusal), "blog", tmp_path)
    assert said in outcome.reason(source)
    assert KEY not in outcome.reason(source) + outcome.stderr


def test_a_key_that_is_missing_wrong_or_meant_for_another_server_is_told(tmp_path: Path) -> None:
    for environment, said in (({}, f"set {VARIABLE}"), ({VARIABLE: "another"}, "is not valid (HTTP 401)")):
        outcome, source = read(Tumblr(NEWEST), "tag", tmp_path, replace(SETTINGS, environment=environment))
        assert said in outcome.reason(source)
    elsewhere = Source("tumblr", "https://mirror.example", "tag", "Ferry")
    outcome = crawled({elsewhere: Counted()}, tmp_path / "stderr", KEYED)
    assert "is sent to https://api.tumblr.com only" in outcome.reason(elsewhere)


def known_of(state: Tumblr, number: int) -> Known:
    post = parse_post(state.post(number), "api.tumblr.com", NOW)
    digest = input_digest(post.title, post.warning, post.text)
    return Known(f"uid{number}", "tumblr", post.id.global_id, None, None, post.url, UUID, BLOG, post.kind, digest)


def test_a_visit_finds_what_is_there_edited_or_gone_and_a_blog_of_the_dashboard_is_restricted() -> None:
    state = Tumblr(NEWEST)
    known = [known_of(state, number) for number in (3, 4, 5)]
    state = replace(state, deleted={4}, edited={5})
    settings = replace(VISITING, environment={VARIABLE: KEY})
    with tumblr(state) as server:
        source = Source("tumblr", server.url, "tag", "Ferry", True)
        kept = visited(source, known, settings)
        keyless = visited(source, known)
        state.refusal = (404, {"code": 4012})
        closed = visited(source, known, settings)
    assert states(kept) == ["alive", "gone", "edited"]
    assert VARIABLE in str(keyless.gap)
    assert states(closed) == ["restricted"] * 3


def test_a_sweep_of_a_tag_and_a_blog_has_a_row_per_post_and_the_key_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    state = Tumblr(NEWEST)
    with tumblr(state) as server:
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = '[[source]]\nplatform = "tumblr"\nurl = "{}"\nkind = "{}"\nvalue = "{}"\nallow_private = true\n'
        parts = "\n".join(part.format(server.url, *kind) for kind in VALUES.items())
        (tmp_path / "sweep.toml").write_text(f"{head}\n{parts}")
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(f"{tmp_path}/archive/posts/*/*/*.parquet", hive_partitioning=False)
    assert rows.height == rows["uid"].n_unique() == len(expected_of(state))
    assert {len(seen) for seen in rows["seen_by"]} == {2}
    kept = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(kept) > 4
    assert not [path for path in kept if KEY.encode() in contents(path) or BLOG in path.name]
    naming = {path.relative_to(tmp_path / "archive").parts[0] for path in kept if BLOG.encode() in contents(path)}
    assert naming == {"identities"}
    assert KEY not in done.stderr + done.stdout
