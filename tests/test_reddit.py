"""Reddit: recordings field by field, and that a crawl hands over every post and tells what it cannot reach."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.catalogue.reddit import CLIENT_ID, CLIENT_SECRET
from crawlers.platforms.reddit import parse_thing
from crawlers.post import Account, PostId
from crawlers.sink import Position
from crawlers.source import Source
from tests.jobs import postsweep
from tests.loopback import Reply, serving
from tests.reddit_server import CLIENT, SECRET, Reddit, links_every, reddit
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree

SITE = "https://www.reddit.com"
OWN = replace(SETTINGS, environment={CLIENT_ID: CLIENT, CLIENT_SECRET: SECRET})
RECORDED = {
    "TestComment.test_attributes.json": (1, 0),
    "TestListingGenerator.test_no_items.json": (0, 0),
    "TestSubmission.test_edit_invalid.json": (0, 0),
    "TestSubreddit.test_sticky.json": (0, 0),
    "TestSubredditListings.test_comments.json": (100, 0),
    "TestSubredditListings.test_new.json": (100, 0),
}
"""Links and comments. Three tapes hold none: an empty listing, an error and a redirect."""


def things(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if value.get("kind") in ("t1", "t3") else []
        return own + [found for inner in value.values() for found in things(inner)]
    return [found for inner in value for found in things(inner)] if isinstance(value, list) else []


class Rendered(HTMLParser):
    """What the platform itself makes of Markdown, as a browser shows it, with the addresses of links."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.told, self.links, self.users = "", [], 0  # type: tuple[str, list[str], int]
        self.anchor: list[str] | None = None
        self.feed(markup)
        self.told = "\n".join(line.rstrip() for line in self.told.strip().split("\n"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("div", "p", "a", "em", "strong"), f"{tag} is shown in a way that is not read here"
        if tag == "p":
            self.told = f"{self.told.rstrip()}\n\n"
        if tag == "a":
            self.anchor = [str(dict(attrs)["href"]), ""]

    def handle_endtag(self, tag: str) -> None:
        if tag != "a" or self.anchor is None:
            return
        (address, words), self.anchor = self.anchor, None
        if address.startswith(("/u/", "/user/")):
            self.told, self.users = f"{self.told}@user", self.users + 1
        elif address.startswith("/"):
            self.told += words
        else:
            self.links.append(address)
            self.told += address if words == address else f"{words} ({address})"

    def handle_data(self, data: str) -> None:
        if self.anchor is None:
            self.told += data
        else:
            self.anchor[1] += data


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_links_and_comments_parse_with_no_field_wrong(name: str) -> None:
    """Texts are compared with what the platform's own HTML shows of them."""
    tape = json.loads((RECORDINGS / "reddit" / name).read_text())
    bodies = [each["response"]["body"]["string"] for each in tape["interactions"]]
    found = [thing for body in bodies if body for thing in things(json.loads(body))]
    assert (len(found), 0) == RECORDED[name]
    for place, thing in enumerate(found):
        data, comment = thing["data"], thing["kind"] == "t1"
        post = parse_thing(thing, "oauth.reddit.com", NOW)
        hidden = data["score_hidden"] if comment else data["hide_score"]
        shown = Rendered((data["body_html"] if comment else data["selftext_html"]) or "")
        edited = data["edited"]
        native = data["id"]
        expected = NOTHING | {
            "id": PostId("reddit", data["name"]),
            "host": "oauth.reddit.com",
            "kind": "reply" if comment else "post",
            "author": None
            if data["author"] == "[deleted]"
            else Account(data["author"], data["author"], url=f"{SITE}/user/{data['author']}/"),
            "url": f"{SITE}/comments/{data['link_id'][3:]}/_/{native}/" if comment else SITE + data["permalink"],
            "created_at": datetime.fromtimestamp(data["created_utc"], UTC),
            "edited_at": datetime.fromtimestamp(edited, UTC) if edited else None,
            "title": None if comment else unescape(data["title"]).strip(),
            "sensitive": data.get("over_18"),
            "text": shown.told or None,
            "reply_to": PostId("reddit", data["parent_id"]) if comment else None,
            "mention_count": shown.users,
            "links": list(dict.fromkeys(shown.links)),
            "media": None if comment else [],
            "likes": None if hidden or data["score"] < 0 else data["score"],
            "replies": None if comment else data["num_comments"],
            "platform_labels": [] if "quarantine" in data else None,
        }
        agree(post, expected, f"{name} {place}")


def source(url: str, kind: str = "subreddit", value: str = "harbourtown") -> Source:
    return Source("reddit", url, kind, value, allow_private=True)


def crawled_from(state: Reddit, tmp_path: Path) -> tuple[Outcome, Source]:
    with reddit(state) as server:
        read = source(server.url)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", OWN)
    assert outcome.error is None, outcome.stderr
    assert SECRET not in outcome.stderr
    return outcome, read


def names(outcome: Outcome, read: Source) -> list[str]:
    return sorted(str(post.id.global_id) for post in outcome.sinks[read].posts)


def in_window(state: Reddit) -> list[str]:
    moments = [(each["name"], datetime.fromtimestamp(each["created_utc"], UTC)) for each in state.links]
    return sorted(name for name, moment in moments if WINDOW.holds(moment))


def three_days() -> Reddit:
    return Reddit(links_every(10, 450, WINDOW.until + timedelta(hours=2)))


def test_every_post_of_the_window_is_there_once_though_the_api_limits_fails_and_ends_a_token(tmp_path: Path) -> None:
    state = three_days()
    state.faults = {0: (429, {"Retry-After": "0"}, b""), 2: (503, {}, b"upstream"), 4: (401, {}, b"{}")}
    outcome, read = crawled_from(state, tmp_path)
    assert (names(outcome, read), outcome.reason(read)) == (in_window(state), "")
    assert len(in_window(state)) == 144
    assert state.tokens == 2


def test_a_count_of_requests_left_that_is_a_float_is_heeded(tmp_path: Path) -> None:
    state = three_days()
    state.left = ["600.0", "0.0"]
    outcome, read = crawled_from(state, tmp_path)
    traffic = outcome.sinks[read].traffic
    assert traffic is not None
    assert (traffic.rate_limited, traffic.waited_seconds > 0.5, names(outcome, read)) == (1, True, in_window(state))


def test_a_source_goes_on_from_any_page(tmp_path: Path) -> None:
    state = three_days()
    outcome, read = crawled_from(state, tmp_path)
    pages = outcome.sinks[read].pages
    assert len(pages) >= 4
    with reddit(state) as server:
        again = [source(f"{server.url}/again{page.number}") for page in pages[1:]]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr", OWN)
    for number, each in enumerate(again, 1):
        told = [[post.id for post in page.posts] for page in resumed.sinks[each].pages]
        assert told == [[post.id for post in page.posts] for page in pages[number:]]
        assert resumed.reason(each) == ""


def test_a_listing_that_ends_before_the_window_does_is_a_gap_of_what_lies_before_its_last_post(tmp_path: Path) -> None:
    state = Reddit(links_every(1, 1300, WINDOW.until + timedelta(hours=1)))
    outcome, read = crawled_from(state, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    last = datetime.fromtimestamp(state.links[999]["created_utc"], UTC)
    assert "ends after 1,000 posts; a dump serves instead" in gap.reason
    assert (gap.since, gap.until) == (WINDOW.since, last + timedelta(seconds=1))
    assert set(in_window(state)) - set(names(outcome, read)) == {
        each["name"] for each in state.links[1000:] if each["name"] in in_window(state)
    }


def test_the_post_that_a_page_is_asked_after_may_go_meanwhile(tmp_path: Path) -> None:
    state = three_days()
    state.taken_away = {1: 99}
    outcome, read = crawled_from(state, tmp_path)
    assert set(in_window(state)) <= set(names(outcome, read))
    assert outcome.reason(read) == ""


def test_a_small_subreddit_that_ends_is_whole(tmp_path: Path) -> None:
    state = Reddit(links_every(10, 30, WINDOW.until))
    outcome, read = crawled_from(state, tmp_path)
    assert (names(outcome, read), outcome.reason(read)) == (in_window(state), "")


@pytest.mark.parametrize(
    ("settings", "kind", "value", "answer", "said"),
    [
        (SETTINGS, "subreddit", "harbourtown", (200, {}, b"{}"), f"set {CLIENT_ID} and {CLIENT_SECRET}"),
        (OWN, "subreddit", "harbourtown", (401, {}, b"{}"), "refuses the application"),
        (OWN, "subreddit", "harbourtown", (200, {}, b"<html>whoa there"), "not JSON"),
        (OWN, "subreddit", "u_tinplate", (200, {}, b"{}"), "no name of a subreddit"),
        (OWN, "user", "tin plate", (200, {}, b"{}"), "no name of an account"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    tmp_path: Path, settings: Any, kind: str, value: str, answer: Reply, said: str
) -> None:
    with serving(lambda _: answer) as server:
        read = source(server.url, kind, value)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", settings)
    assert said in outcome.reason(read)
    assert value not in outcome.reason(read)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((403, {}, b'{"reason": "private", "error": 403}'), "does not show this subreddit: private"),
        ((404, {}, b'{"reason": "banned", "error": 404}'), "does not show this subreddit: banned"),
        ((403, {}, b'{"reason": "ask @someone"}'), "refuses this (HTTP 403); a dump"),
        ((200, {}, b'{"kind": "Listing", "data": {"children": [{"kind": "t5", "data": {}}]}}'), "no such subreddit"),
        ((200, {}, b'{"kind": "Listing", "data": {"children": [], "after": "../me"}}'), "what is no name"),
    ],
)
def test_an_answer_that_is_no_listing_says_what_it_is(tmp_path: Path, fault: Reply, said: str) -> None:
    state = three_days()
    state.faults = {0: fault}
    outcome, read = crawled_from(state, tmp_path)
    assert said in outcome.reason(read)


@pytest.mark.parametrize(
    ("kind", "value", "asked"),
    [
        ("subreddit", "r/ferries+tides", "/r/ferries+tides/new?limit=100&raw_json=1"),
        ("comments", "ferries", "/r/ferries/comments?limit=100&raw_json=1"),
        ("user", "u/tin_plate", "/user/tin_plate/overview?limit=100&raw_json=1&sort=new"),
        ("search", "low water", "/search?limit=100&raw_json=1&q=low+water&sort=new&type=link&include_over_18=on"),
    ],
)
def test_each_kind_asks_for_its_own_listing(tmp_path: Path, kind: str, value: str, asked: str) -> None:
    state = three_days()
    with reddit(state) as server:
        read = source(server.url, kind, value)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", OWN)
    listed = [each for each in server.asked if "access_token" not in each]
    assert listed[0] == asked
    assert all(each.startswith(f"{asked}&after=t3_") for each in listed[1:])
    assert (names(outcome, read), outcome.reason(read)) == (in_window(state), "")


def test_the_secret_goes_to_no_other_host(tmp_path: Path) -> None:
    read = Source("reddit", "https://elsewhere.example", "subreddit", "harbourtown")
    outcome = crawled({read: Counted()}, tmp_path / "stderr", OWN)
    assert "is sent to https://oauth.reddit.com only" in outcome.reason(read)


def test_a_sweep_of_a_subreddit_has_a_row_per_post_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLIENT_ID, CLIENT)
    monkeypatch.setenv(CLIENT_SECRET, SECRET)
    state = three_days()
    with reddit(state) as server:
        told = (
            one_source(server.url, allow_private=True)
            .replace('"mastodon"', '"reddit"')
            .replace('"public"', '"subreddit"')
        )
        told = told.replace("[sweep]", "[sweep]\ndelay_seconds = 0.0") + 'value = "harbourtown"\n'
        (tmp_path / "sweep.toml").write_text(told)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(in_window(state))
    kept = [path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert not any(secret in held for held in [*kept, done.stderr.encode()] for secret in (SECRET.encode(), b"token1"))
