"""Hacker News: what its parser must not get wrong, and that a crawl misses no post of the window, whatever happens."""

import json
import os
import re
import signal
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.platforms.hackernews import parse_hit, parse_item, time_of
from crawlers.post import Account, ParseError, Post, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Position
from crawlers.source import Source, Window
from crawlers.spiders.slices import Slice, Slices
from tests.hackernews_server import START, HackerNews, as_hit, busy_day, comment, hackernews, ids_in, posts_at, story
from tests.jobs import postsweep, start
from tests.loopback import Reply, serving
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import WINDOW, Counted, Outcome, crawled
from tests.test_crawlers_text import as_rows
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment

HOST = "search.example"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ITEM = "https://news.ycombinator.com/item?id="
HIT: dict[str, Any] = {
    "objectID": "46400123",
    "created_at": "2026-01-01T12:00:00Z",
    "created_at_i": 1767268800,
    "author": "mill_race",
    "title": "Ask HN: is &lt;b&gt; still <b> in AT&amp;T's titles?",
    "url": "https://notes.example/titles",
    "points": 41,
    "story_text": "I see <i>both</i>.<p>Compare <a href=\"https:&#x2F;&#x2F;wiki.example&#x2F;a&#x2F;long\" "
    'rel="nofollow">https:&#x2F;&#x2F;wiki.example&#x2F;a&#x2F;...</a>',
    "comment_text": None,
    "num_comments": 7,
    "parent_id": None,
    "_tags": ["story", "author_mill_race", "story_46400123", "ask_hn"],
}


def hit(**changes: Any) -> Post:
    return parse_hit({**HIT, **changes}, HOST, NOW)


def item(native: int = 7, **changes: Any) -> Post:
    return parse_item({**comment(native, NOON), **changes}, HOST, NOW)


# Parser


def test_a_story_is_a_post_with_its_title_its_text_and_its_link() -> None:
    post = hit()
    assert post.id == PostId("hackernews", f"{ITEM}46400123")
    assert (post.kind, post.title) == ("post", "Ask HN: is <b> still <b> in AT&T's titles?")
    assert post.text == "I see both.\n\nCompare https://wiki.example/a/long"
    assert post.links == ["https://notes.example/titles", "https://wiki.example/a/long"]
    assert post.author == Account("mill_race", "mill_race", url="https://news.ycombinator.com/user?id=mill_race")
    assert (post.created_at, post.likes, post.replies, post.reply_to) == (NOON, 41, 7, None)
    assert (post.lang, post.hashtags, post.media, post.views, post.server_time) == (None, None, None, None, None)


def test_a_comment_replies_to_its_parent_under_the_name_that_the_parent_has() -> None:
    parent = item(46400123, type="story", title="A bakery that runs on cron")
    reply = item(46400124, parent=46400123)
    assert (reply.kind, reply.reply_to, reply.title, reply.likes) == ("reply", parent.id, None, None)


@pytest.mark.parametrize(
    ("fields", "kind", "title", "reply_to"),
    [
        ({"type": "job", "title": "Tidewell is hiring"}, "post", "Tidewell is hiring", None),
        ({"type": "poll", "title": "Poll: tabs at night?", "parts": [8, 9]}, "post", "Poll: tabs at night?", None),
        ({"type": "pollopt", "text": "Only in winter", "poll": 6}, "reply", None, PostId("hackernews", f"{ITEM}6")),
    ],
)
def test_jobs_and_polls_are_posts_and_the_options_of_a_poll_reply_to_it(
    fields: dict[str, Any], kind: str, title: str | None, reply_to: PostId | None
) -> None:
    written = {"id": 7, "by": "tinplate", "time": 1767268800, **fields}
    for post in (parse_item(written, HOST, NOW), parse_hit(as_hit(written), HOST, NOW)):
        assert (post.kind, post.title, post.reply_to) == (kind, title, reply_to)


def test_a_hit_and_an_item_of_one_post_say_the_same() -> None:
    for written in posts_at([NOON] * 40):
        by_search, by_id = parse_hit(as_hit(written), HOST, NOW), parse_item(written, HOST, NOW)
        differ = [name for name in vars(by_id) if getattr(by_id, name) != getattr(by_search, name)]
        assert differ == ["raw"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "item: the platform shows nothing"),
        ({"id": 7, "type": "comment", "time": 1767268800, "deleted": True}, "deleted: the author"),
        ({**comment(7, NOON), "dead": True}, "dead: the platform"),
        ({**comment(7, NOON), "type": "essay"}, "type: not a known type"),
        ({**comment(7, NOON), "text": ""}, "text: neither"),
        ({**comment(7, NOON), "time": None}, "time: missing"),
        ({**comment(7, NOON), "time": 1 << 60}, "time: not a time"),
        ({**comment(7, NOON), "id": None}, "id: not the number"),
    ],
)
def test_what_is_no_post_says_why(payload: object, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        parse_item(payload, HOST, NOW)


def test_a_score_below_zero_is_no_count_of_likes() -> None:
    assert (hit(points=-3).likes, hit(num_comments=-1).replies, hit(points=0).likes) == (None, None, 0)


def test_a_link_to_a_profile_is_left_out_and_an_address_within_the_site_is_whole() -> None:
    assert hit(url="https://social.example/@birch", story_text="").links == []
    assert hit(url=None, story_text='see <a href="item?id=5">this</a>').links == [f"{ITEM}5"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted({*HIT, *comment(7, NOON), *story(7, NOON), "poll", "dead", "deleted"})


@given(JSON | st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_is_a_post_or_a_parse_error(value: Any) -> None:
    whole = value if isinstance(value, dict) else {}
    for parse, payload in (
        (parse_hit, value),
        (parse_item, value),
        (parse_hit, {**HIT, **whole}),
        (parse_item, {**comment(7, NOON), **whole}),
    ):
        with suppress(ParseError):
            as_rows(parse(payload, HOST, NOW))
    time_of(value)


# Recordings


RECORDED = {"fixtures.json": (24, 2)}


def recorded() -> list[dict[str, Any]]:
    answers = [answer for name in RECORDED for answer in json.loads((RECORDINGS / "hackernews" / name).read_text())]
    return [found for answer in answers for found in answer["reply"].get("hits", [answer["reply"]])]


class Words(HTMLParser):
    """What a browser shows: white space is one space but in `pre`, paragraphs stand apart, links are whole."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.told, self.links = "", []  # type: tuple[str, list[str]]
        self.in_link, self.in_pre = False, False
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("p", "pre"):
            self.told, self.in_pre = self.told.rstrip() + "\n\n", tag == "pre"
        if tag == "a":
            self.in_link = True
            self.links.append(str(dict(attrs)["href"]))
            self.told += self.links[-1]

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self.told, self.in_pre = self.told.rstrip() + "\n\n", False
        if tag == "a":
            self.in_link = False

    def handle_data(self, data: str) -> None:
        if not self.in_link:
            self.told += data if self.in_pre else re.sub(r"\s+", " ", data)


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_hits_parse_with_no_field_wrong() -> None:
    posts, rejects = 0, 0
    for found in recorded():
        if "_tags" not in found:
            with pytest.raises(ParseError):
                parse_hit(found, HOST, NOW)
            rejects += 1
            continue
        kind, author, _ = found["_tags"][:3]
        assert author == f"author_{found['author']}"
        words = Words(found["comment_text"] if kind == "comment" else found["story_text"])
        parent = found["parent_id"]
        expected = NOTHING | {
            "id": PostId("hackernews", ITEM + found["objectID"]),
            "host": HOST,
            "kind": "reply" if kind == "comment" else "post",
            "author": Account(
                found["author"], found["author"], url=f"https://news.ycombinator.com/user?id={found['author']}"
            ),
            "url": ITEM + found["objectID"],
            "created_at": moment(found["created_at"]),
            "title": found["title"] or None,
            "text": words.told.strip() or None,
            "reply_to": None if parent is None else PostId("hackernews", f"{ITEM}{parent}"),
            "mention_count": 0,
            "links": list(dict.fromkeys([*([found["url"]] if found["url"] else []), *words.links])),
            "likes": found["points"],
            "replies": found["num_comments"],
        }
        agree(parse_hit(found, HOST, NOW), expected, f"hit {posts}")
        posts += 1
    assert (posts, rejects) == RECORDED["fixtures.json"]


# Crawls


def source(url: str, kind: str = "all", value: str | None = None) -> Source:
    return Source("hackernews", url, kind, value, allow_private=True)


def crawled_from(state: HackerNews, tmp_path: Path, *kinds: tuple[str, str | None]) -> tuple[Outcome, list[Source]]:
    """Crawls a state by each of the kinds, one after another."""
    with hackernews(state) as server:
        sources = [source(server.url, kind, value) for kind, value in kinds or [("all", None)]]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr")
    assert outcome.error is None, outcome.stderr
    return outcome, sources


def ids(outcome: Outcome, read: Source) -> list[str]:
    """The ids of the posts that were handed over, each as often as it was."""
    return sorted(post.id.global_id or "" for post in outcome.sinks[read].posts)


def everything(state: HackerNews) -> list[str]:
    return ids_in(state, WINDOW.since, WINDOW.until)


def test_no_post_of_a_busy_day_is_missed_and_each_is_there_once(tmp_path: Path) -> None:
    """More than the ceiling lie in one minute, 320 in one second, and the server limits and fails now and then."""
    state = busy_day()
    state.faults = {0: 429, 3: 500, 9: 429, 11: 503}
    outcome, (read,) = crawled_from(state, tmp_path)
    assert len(everything(state)) == 3_600
    assert ids(outcome, read) == everything(state)
    sink = outcome.sinks[read]
    assert (outcome.reason(read), [page.rejects for page in sink.pages if page.rejects]) == ("", [])
    assert sink.traffic is not None
    assert (sink.traffic.retries, sink.traffic.rate_limited) == (4, 2)
    assert state.requests < 60
    assert all(len(page.cursor or "") <= 4096 for page in sink.pages)


def test_stories_comments_a_user_and_a_query_are_each_read_whole(tmp_path: Path) -> None:
    state = busy_day()
    kinds = [("stories", None), ("comments", None), ("author", "mill_race"), ("search", "bridge sensors")]
    outcome, sources = crawled_from(state, tmp_path, *kinds)
    found = [ids(outcome, each) for each in sources]
    posts = {name: state.items[int(name.removeprefix(ITEM))] for name in everything(state)}
    assert found[0] == [name for name in posts if posts[name]["type"] == "story"]
    assert found[1] == [name for name in posts if posts[name]["type"] == "comment"]
    assert found[2] == [name for name in posts if posts[name]["by"] == "mill_race"]
    assert found[3] == [name for name in posts if "bridge sensors" in posts[name].get("title", "")]
    assert all(found)
    assert [outcome.reason(each) for each in sources] == [""] * 4


@pytest.mark.parametrize(
    "manner",
    [{"per_page": 100}, {"estimates_over": 300}],
    ids=["small pages", "estimates"],
)
def test_pages_smaller_than_asked_for_and_numbers_that_are_estimates_cut_nothing(
    tmp_path: Path, manner: dict[str, int]
) -> None:
    state = busy_day()
    vars(state).update(manner)
    if "estimates_over" in manner:  # a second of 320 would stay an estimate, which is told as a gap
        second = max(Counter(each["time"] for each in state.items.values()).items(), key=lambda found: found[1])[0]
        crowd = [each for each in state.items.values() if each["time"] == second]
        for each in crowd[200:]:
            each["time"] += 1
    outcome, (read,) = crawled_from(state, tmp_path)
    assert (ids(outcome, read), outcome.reason(read)) == (everything(state), "")


def test_what_arrives_while_it_is_read_is_read_too_even_where_it_was_read_already(tmp_path: Path) -> None:
    state = busy_day()
    first = max(state.items) + 1
    hours = [WINDOW.since + timedelta(hours=hour, seconds=7) for hour in range(24)]
    late = posts_at([each for each in hours for _ in range(3)], first)
    state.arrivals = {2 + 2 * place: late[3 * place : 3 * place + 3] for place in range(12)}
    state.latecomers = late[36:]  # all has been read by then
    state.per_page = 250
    outcome, (read,) = crawled_from(state, tmp_path)
    assert (state.arrivals, state.latecomers) == ({}, [])
    assert outcome.reason(read) == ""
    assert sorted(set(ids(outcome, read))) == everything(state)
    assert len(everything(state)) == 3_600 + len(late)
    assert len(ids(outcome, read)) > len(everything(state))  # a slice that changed is handed over again, and is one row


def test_a_post_that_comes_while_another_of_its_slice_goes_is_read_too(tmp_path: Path) -> None:
    state = HackerNews()
    state.add(posts_at([NOON] * 5))
    state.latecomers = [{**state.items[START], "dead": True}, *posts_at([NOON], START + 5)]
    outcome, (read,) = crawled_from(state, tmp_path)
    assert (outcome.reason(read), state.latecomers) == ("", [])
    assert set(ids(outcome, read)) == {*everything(state), f"{ITEM}{START}"}


def test_records_that_are_none_are_rejects_and_do_not_hide_each_other(tmp_path: Path) -> None:
    good, odd = as_hit(comment(START, NOON)), {**as_hit(comment(7, NOON)), "objectID": "\ud800"}
    hits = [good, odd, {"title": "no id"}, {"title": "no id"}, "no object", None]

    def answer(path: str) -> Reply:
        low, high = map(int, re.findall(r"created_at_i[>=<]+(\d+)", unquote(path)))
        inside = low <= NOON.timestamp() < high
        told = {"hits": hits if inside else [], "nbHits": len(hits) if inside else 0, "hitsPerPage": 1000}
        return 200, {}, json.dumps(told).encode()

    with serving(answer) as server:
        read = source(server.url)
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert (ids(outcome, read), outcome.reason(read)) == ([f"{ITEM}{START}"], "")
    assert len([reject for page in outcome.sinks[read].pages for reject in page.rejects]) == 5


def test_a_second_over_the_ceiling_is_read_type_by_type(tmp_path: Path) -> None:
    state = busy_day()
    first = max(state.items) + 1
    state.add(story(each, NOON) for each in range(first, first + 600))
    state.add(comment(each, NOON) for each in range(first + 600, first + 1200))
    outcome, (read,) = crawled_from(state, tmp_path)
    assert (ids(outcome, read), outcome.reason(read)) == (everything(state), "")


def test_a_second_of_which_not_all_is_shown_is_a_gap_of_that_second_and_cuts_nothing_else(tmp_path: Path) -> None:
    state, crowded = busy_day(), busy_day()
    one = list(state.items.values())[1000]
    state.hidden = frozenset({one["id"]})
    first = max(crowded.items) + 1
    crowded.add(comment(each, NOON) for each in range(first, first + 1100))
    for served, moment_of_gap in ((state, datetime.fromtimestamp(one["time"], UTC)), (crowded, NOON)):
        outcome, (read,) = crawled_from(served, tmp_path)
        (gap,) = outcome.sinks[read].gaps or []
        assert "more posts than the search shows" in gap.reason
        assert (gap.since, gap.until) == (moment_of_gap, moment_of_gap + timedelta(seconds=1))
        found = ids(outcome, read)
        missing = sorted(set(everything(served)) - set(found))
        at_gap = ids_in(served, gap.since, gap.until)
        assert missing
        assert set(missing) <= set(at_gap)
        assert len(found) == len(set(found)) == len(everything(served)) - len(missing)


def test_more_than_a_few_such_seconds_end_the_source(tmp_path: Path) -> None:
    state = busy_day()
    seconds = [WINDOW.since + timedelta(minutes=30 * place) for place in range(1, 30)]
    first = max(state.items) + 1
    state.add(posts_at(seconds, first))
    state.hidden = frozenset(range(first, first + len(seconds)))
    outcome, (read,) = crawled_from(state, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert "21 second(s)" in gap.reason
    assert (gap.since, gap.until) == (seconds[0], WINDOW.until)


def test_a_search_that_goes_on_changing_is_a_gap(tmp_path: Path) -> None:
    state = HackerNews()
    state.add(posts_at([NOON] * 5))
    state.arrivals = {number: posts_at([NOON], START + 5 + number) for number in range(300)}
    outcome, (read,) = crawled_from(state, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert "goes on changing" in gap.reason
    assert gap.since <= NOON < gap.until


def test_a_source_goes_on_from_any_page_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    state = busy_day()
    for kind in ("all", "items"):
        if kind == "items":
            state.items = {each: state.items[each] for each in list(state.items)[:420]}
        outcome, (read,) = crawled_from(state, tmp_path, (kind, None))
        pages = outcome.sinks[read].pages
        assert len(pages) >= 4
        assert [page.cursor for page in pages] == [None, *(page.next_cursor for page in pages[:-1])]
        with hackernews(state) as server:
            again = [source(f"{server.url}/again{page.number}", kind) for page in pages[1:]]
            starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
            resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr")
        for number, each in enumerate(again, 1):
            told = [[post.id for post in page.posts] for page in resumed.sinks[each].pages]
            assert told == [[post.id for post in page.posts] for page in pages[number:]]
            assert resumed.reason(each) == ""


def small_day() -> HackerNews:
    """Posts of a day and of the minutes around it; some were deleted or killed, some ids have no item, and at the edges
    of the day ids and times do not have the same order."""
    moments = [WINDOW.since + timedelta(minutes=9 * place - 600) for place in range(290)]
    state = HackerNews()
    state.add(posts_at(moments))
    inside = [each for each in state.items.values() if WINDOW.holds(datetime.fromtimestamp(each["time"], UTC))]
    for place, each in enumerate(inside):
        if place % 31 == 5:
            each["deleted"] = True
            del each["by"], each["text" if "text" in each else "title"]
        elif place % 31 == 9:
            each["dead"] = True
        elif place % 31 == 13:
            state.items[each["id"]] = {"id": each["id"]}
    for edge in (inside[0]["id"], inside[-1]["id"]):
        for before, after in ((3, 1), (17, 2), (29, 4)):
            early, late = state.items[edge - before], state.items[edge + after]
            early["time"], late["time"] = late["time"], early["time"]
    state.items[inside[0]["id"] - 25] = {"id": inside[0]["id"] - 25}
    state.items[inside[-1]["id"] + 20]["deleted"] = True
    return state


def test_items_by_id_are_the_posts_that_the_search_finds(tmp_path: Path) -> None:
    state = small_day()
    newest = max(state.items)
    state.blanks = dict.fromkeys(range(START + 100, START + 104), 1)
    state.faults = {5: 429, 40: 500}
    outcome, (search, items) = crawled_from(state, tmp_path, ("all", None), ("items", None))
    names = Pseudonyms(bytes(range(32)))
    uids = [sorted(names.post(post.id) for post in outcome.sinks[each].posts) for each in (search, items)]
    assert uids[0] == uids[1]
    assert ids(outcome, items) == everything(state)
    assert [outcome.reason(each) for each in (search, items)] == ["", ""]
    rejects = Counter(reject.place for page in outcome.sinks[items].pages for reject in page.rejects)
    assert rejects == {"deleted": 5, "dead": 5, "item": 5}
    by_search = {post.id: post for post in outcome.sinks[search].posts}
    for post in outcome.sinks[items].posts:
        assert (post.title, post.text, post.links, post.reply_to) == (
            (other := by_search[post.id]).title, other.text, other.links, other.reply_to
        )  # fmt: skip
    assert newest == max(state.items)


def test_a_gap_of_items_begins_no_later_than_the_oldest_item_of_the_last_page(tmp_path: Path) -> None:
    state = small_day()
    with hackernews(state) as server:
        whole = source(server.url, "items")
        crawled({whole: Counted()}, tmp_path / "stderr")
    last, missed = len(server.asked) - 1, 0
    for number in (last - 60, last):
        state.requests, state.faults = 0, dict.fromkeys((number, number + 1), 500)
        outcome, (read,) = crawled_from(state, tmp_path, ("items", None))
        (gap,) = outcome.sinks[read].gaps or []
        assert WINDOW.since <= gap.since < gap.until == WINDOW.until
        missing = set(everything(state)) - set(ids(outcome, read))
        assert missing <= set(ids_in(state, gap.since, gap.until))
        missed += len(missing)
    assert missed > 0


def test_items_written_while_items_are_read_are_read_too(tmp_path: Path) -> None:
    state = HackerNews()
    state.add(posts_at([WINDOW.since + timedelta(minutes=each) for each in range(150)]))
    newest = max(state.items)
    state.arrivals = {
        100: posts_at([WINDOW.since + timedelta(hours=3)] * 80, newest + 1),
        300: posts_at([WINDOW.since + timedelta(hours=4)] * 9, newest + 81),
    }
    outcome, (read,) = crawled_from(state, tmp_path, ("items", None))
    assert state.arrivals == {}
    assert (ids(outcome, read), outcome.reason(read)) == (everything(state), "")


@pytest.mark.parametrize(
    ("kind", "value", "answer", "said"),
    [
        ("all", None, (404, {}, b"{}"), "nothing of that kind (the search is at"),
        ("items", None, (404, {}, b"{}"), "nothing of that kind (items by id are at"),
        ("all", None, (403, {}, b"{}"), "refuses visitors (HTTP 403)"),
        ("all", None, (200, {}, b"<html>Just a moment"), "not JSON"),
        ("all", None, (200, {}, b'{"hits": [], "nbHits": "none"}'), "no list of hits with their number"),
        ("all", None, (200, {}, b'{"hits": [{"created_at_i": 5}], "nbHits": 1}'), "other times than were asked for"),
        ("items", None, (200, {}, b"null"), "does not say which item is its newest"),
        ("author", "oakfern,story_1", (200, {}, b"{}"), "no user name"),
    ],
)
def test_a_server_that_cannot_be_read_is_a_gap_of_the_whole_window(
    tmp_path: Path, kind: str, value: str | None, answer: Reply, said: str
) -> None:
    with serving(lambda _: answer) as server:
        read = source(server.url, kind, value)
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    (gap,) = outcome.sinks[read].gaps or []
    assert said in gap.reason
    assert (gap.since, gap.until) == (WINDOW.since, WINDOW.until)


def test_a_gap_begins_where_reading_ended(tmp_path: Path) -> None:
    state = busy_day()
    broken = HackerNews(items=state.items, faults=dict.fromkeys(range(8, 12), 500))
    outcome, (read,) = crawled_from(broken, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert gap.reason == "HTTP 500, still after 1 retries"
    assert WINDOW.since < gap.since < gap.until == WINDOW.until
    assert ids(outcome, read) == ids_in(state, WINDOW.since, gap.since)


# Slices


@given(st.data(), st.integers(1, 400_000))
def test_slices_cover_each_second_of_the_window_once_and_a_cursor_tells_them_whole(
    data: st.DataObject, long: int
) -> None:
    window = Window(NOON, NOON + timedelta(seconds=long))
    slices, done, start = Slices.of(window), [], int(NOON.timestamp())
    for _ in range(60):
        asked = slices.next
        if asked is None:
            break
        hits = data.draw(st.integers(0, 3000))
        assert asked.seconds >= 1
        if hits >= 1000 and asked.seconds > 1:
            slices = slices.narrowed(hits)
            assert slices.next is not None
            assert slices.next.seconds < asked.seconds
        else:
            slices = slices.read(asked, hits, f"{hits:08x}")
            done.append(asked)
        assert Slices.parse(str(slices)) == slices
        assert len(str(slices)) <= 4096
    told = [*done, *slices.todo]
    assert [each.start for each in told] == [start, *(each.end for each in told[:-1])]
    assert told[-1].end == start + long


def test_a_window_is_read_in_whole_seconds() -> None:
    half = timedelta(milliseconds=500)
    assert Slices.of(Window(NOON + half, NOON + 3 * half)).todo == (Slice(1767268801, 1767268802),)
    assert Slices.of(Window(NOON + half / 2, NOON + half)).todo == ()


def test_a_second_that_fell_short_is_read_again_when_its_source_is_tried_again() -> None:
    second = Slice(1767268800, 1767268801)
    slices = Slices((second, Slice(1767268801, 1767268900)), width=1).fallen_short(second)
    assert slices.unread == (NOON, NOON + timedelta(seconds=100))
    assert Slices.parse(str(slices)).todo == (second, Slice(1767268801, 1767268900))


# Sources


def test_a_user_is_named_by_a_keyed_hash_also_where_a_query_asks_for_one() -> None:
    names = Pseudonyms(bytes(range(32)))
    for kind, value in (("author", "mill_race"), ("search", "by:mill_race"), ("search", "author:mill_race tides")):
        assert "mill_race" not in names.source(source("https://hn.algolia.com", kind, value))
    plain = source("https://hn.algolia.com", "search", "standby:mode")
    assert names.source(plain) == "hackernews:hn.algolia.com:search:standby:mode"


# Sweeps


def sweep_file(url: str, *kinds: str) -> str:
    head = one_source(url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
    part = '[[source]]\nplatform = "hackernews"\nurl = "{}"\nkind = "{}"\nallow_private = true\n'
    return head + "\n".join(part.format(url, kind) for kind in kinds)


def test_a_sweep_of_the_search_and_of_items_has_one_row_per_post_which_names_both(tmp_path: Path) -> None:
    state = small_day()
    with hackernews(state) as server:
        (tmp_path / "sweep.toml").write_text(sweep_file(server.url, "all", "items"))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "archive/posts").to_pylist()
    place = server.url.removeprefix("http://")
    assert len(rows) == len({row["uid"] for row in rows}) == len(everything(state))
    assert {tuple(row["seen_by"]) for row in rows} == {(f"hackernews:{place}:all", f"hackernews:{place}:items")}
    uids = {row["uid"] for row in rows}
    joined = [row for row in rows if row["reply_to"] in uids]
    assert len(joined) > 50
    assert not [row for row in rows if row["kind"] == "post" and row["title"] is None]


@pytest.mark.slow
def test_a_sweep_killed_at_several_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    state = busy_day()
    digests = []
    with hackernews(state) as server:
        for name, moments in (("whole", ()), ("killed", (20, 6))):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "sweep.toml").write_text(sweep_file(server.url, "all"))
            for number in moments:
                child = start("crawl", "sweep.toml", cwd=folder)
                state.breaks[state.requests + number] = lambda: os.killpg(child.pid, signal.SIGKILL)  # noqa: B023
                assert child.wait(120) == -signal.SIGKILL
            done = postsweep("crawl", "sweep.toml", cwd=folder)
            assert done.returncode == 0, done.stderr
            manifest = json.loads((folder / "archive/manifests/sweeps/d2026-01-01.0.json").read_text())
            assert manifest["counts"]["posts"] == 3_600
            digests.append(manifest["digest"])
    assert digests[0] == digests[1]
