"""Discourse forums: recorded posts against a second reading, and that a crawl has each post once."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.discourse import parse_post
from crawlers.politeness import wait_told
from crawlers.post import Account, Media, ParseError, PostId, input_digest
from crawlers.sighting import Known
from crawlers.sink import Position
from crawlers.source import Source
from tests.discourse_server import BUSY, MEMBERS, Discourse, Record, discourse, forum, post
from tests.jobs import postsweep
from tests.loopback import Reply
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import WINDOW, Counted, Outcome, crawled
from tests.test_rechecks import states, visited
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment

HOST = "forum.example"
BROKEN: Reply = (502, {}, b"")


# Parser


def test_a_reply_names_its_parent_by_the_place_that_the_parent_has_beside_its_number() -> None:
    parent = parse_post(post(7, WINDOW.since, 57, 3), HOST, NOW)
    reply = parse_post(post(9, WINDOW.since, 57, 4, reply_to_post_number=3), HOST, NOW)
    assert reply.reply_to is not None
    assert reply.reply_to.key == parent.id.alias


def test_no_name_of_whoever_is_quoted_is_in_a_text() -> None:
    quote = (
        '<aside class="quote" data-username="x" data-post="1" data-topic="5"><div class="title">oak_fern:</div></aside>'
    )
    found = parse_post(post(7, WINDOW.since, 57, 3, cooked=f"{quote}<p>Yes.</p>"), HOST, NOW)
    assert (found.text, found.quote_of) == ("Yes.", PostId("discourse", None, HOST, "5/1"))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"extras": {"wait_seconds": 17}}', 17.0),
        (b'{"extras": {"wait_seconds": -1}}', 0.0),
        (b'{"extras": {"wait_seconds": 1e999}}', 0.0),
        (b'{"extras": {"wait_seconds": NaN}}', 0.0),
        (b'{"extras": []}', 0.0),
        (b"[" * 9_000, 0.0),
        (b"slower", 0.0),
    ],
)
def test_a_wait_is_read_out_of_the_body_of_a_429(body: bytes, seconds: float) -> None:
    assert wait_told(body) == seconds


# Recordings


class Lines(HTMLParser):
    """What a browser shows of the recorded markup: paragraphs stand apart, links are whole, emojis are their names."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.told = ""
        self.anchor: list[str] | None = None
        self.feed(markup)
        lines = "\n".join(" ".join(line.split()) for line in self.told.strip().split("\n"))
        self.told = re.sub("\n{3,}", "\n\n", lines)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("p", "h3", "ul", "li", "br", "a", "img", "strong", "em"), f"{tag} is not read here"
        given = dict(attrs)
        if tag in ("p", "h3", "ul", "li", "br"):
            self.told += "\n" if tag in ("li", "br") else "\n\n"
        if tag == "img" and given.get("class") == "emoji":
            self.told += str(given["alt"])
        if tag == "a":
            self.anchor = [str(given["href"]), ""]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "h3", "ul"):
            self.told += "\n\n"
        if tag == "a" and self.anchor is not None:
            (address, words), self.anchor = self.anchor, None
            self.told += address if address == words else f"{words} ({address})"

    def handle_data(self, data: str) -> None:
        if self.anchor is not None:
            self.anchor[1] += data
        elif data.strip():
            self.told += re.sub(r"\s+", " ", data)


RECORDED = {
    "categories.json": (0, 1),
    "latest.json": (0, 1),
    "latest_topics_response.json": (0, 1),
    "post.json": (1, 0),
    "posts_latest.json": (4, 0),
    "replies.json": (0, 1),
    "search.json": (0, 1),
    "topic.json": (4, 0),
    "topic_posts.json": (1, 0),
}
"""Posts, and lists of categories, topics, actions and finds, which hold no post."""


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_posts_parse_with_no_field_wrong() -> None:
    for name, (posts, rejects) in RECORDED.items():
        told = json.loads((RECORDINGS / "discourse" / name).read_text())
        if rejects:
            with pytest.raises(ParseError):
                parse_post(told, HOST, NOW)
            continue
        stream = told.get("post_stream", {"posts": told.get("latest_posts", [told])})
        assert len(stream["posts"]) == posts
        for each in stream["posts"]:
            first = each["post_number"] == 1
            pictures = re.findall(r'<img src="([^"]*)"(?![^>]*class="emoji")[^>]*>', each["cooked"])
            alts = [re.search(rf'src="{re.escape(src)}"[^>]*?alt="([^"]*)"', each["cooked"]) for src in pictures]
            links = re.findall(r'<a href="(http[^"]*)"', each["cooked"])
            likes = [action.get("count", 0) for action in each["actions_summary"] if action["id"] == 2]
            expected = NOTHING | {
                "id": PostId(
                    "discourse", f"https://{HOST}/p/{each['id']}", HOST, f"{each['topic_id']}/{each['post_number']}"
                ),
                "host": HOST,
                "kind": "post" if first else "reply",
                "author": Account(
                    f"{HOST}:{each['user_id']}", each["username"], each["name"], f"https://{HOST}/u/{each['username']}"
                ),
                "url": f"https://{HOST}/t/{each['topic_slug']}/{each['topic_id']}/{each['post_number']}",
                "created_at": moment(each["created_at"]),
                "edited_at": moment(each["updated_at"]) if each["version"] > 1 else None,
                "title": each.get("topic_title") if first else None,
                "text": Lines(each["cooked"]).told or None,
                "reply_to": None
                if first
                else PostId("discourse", None, HOST, f"{each['topic_id']}/{each['reply_to_post_number'] or 1}"),
                "mention_count": 0,
                "links": list(dict.fromkeys(links)),
                "media": [
                    Media("image", (alt[1] or None) if alt else None, src if src.startswith("http") else f"https:{src}")
                    for src, alt in zip(pictures, alts, strict=True)
                ],
                "likes": likes[0] if likes else 0,
                "replies": each["reply_count"],
                "views": each["reads"],
            }
            agree(parse_post(each, HOST, NOW), expected, f"{name} {each['id']}")


# Crawls


def source(url: str, kind: str = "posts", value: str | None = None) -> Source:
    return Source("discourse", url, kind, value, allow_private=True)


def crawled_from(state: Discourse, tmp_path: Path, *kinds: tuple[str, str | None]) -> tuple[Outcome, list[Source]]:
    with discourse(state) as server:
        sources = [source(server.url, kind, value) for kind, value in kinds or [("posts", None)]]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr")
    assert outcome.error is None, outcome.stderr
    return outcome, sources


def is_post(told: Record) -> bool:
    try:
        return WINDOW.holds(parse_post(told, HOST, NOW).created_at)  # type: ignore[arg-type]
    except ParseError:
        return False


def everything(state: Discourse, **where: Any) -> list[int]:
    """The numbers of the window's posts, of which some may be asked for by what they say."""
    return sorted(
        each["id"]
        for each in state.public()
        if is_post(each) and all(each[key] == value for key, value in where.items())
    )


def found(outcome: Outcome, read: Source) -> list[int]:
    return sorted(int((post.id.global_id or "").rpartition("/")[2]) for post in outcome.sinks[read].posts)


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "older"])
def test_each_post_of_the_window_is_there_once_though_some_come_and_go_and_the_forum_limits_and_fails(
    tmp_path: Path, newer: bool
) -> None:
    state = forum(newer=newer, faults={0: BUSY, 4: BROKEN})
    newest = max(state.posts)

    def changes() -> None:
        state.posts[newest + 1] = post(newest + 1, WINDOW.until, 11, 200)
        del state.posts[everything(state)[3]]

    state.turns = {3: changes}
    outcome, (read,) = crawled_from(state, tmp_path)
    assert len(everything(state)) > 130
    assert (found(outcome, read), outcome.reason(read)) == (everything(state), "")
    sink = outcome.sinks[read]
    assert sink.traffic is not None
    assert (sink.traffic.retries, sink.traffic.rate_limited) == (2, 1)
    assert {each.place for page in sink.pages for each in page.rejects} == {"hidden", "post_type"}
    assert state.requests < 15


def test_a_topic_and_a_category_are_read_whole_and_a_topic_has_its_title(tmp_path: Path) -> None:
    state = forum()
    outcome, sources = crawled_from(
        state, tmp_path, ("topic", "12"), ("category", "4"), ("topic", "99"), ("topic", "x")
    )
    assert found(outcome, sources[0]) == everything(state, topic_id=12)
    assert found(outcome, sources[1]) == everything(state, category_id=4)
    assert [outcome.reason(each) for each in sources] == [
        "",
        "",
        "the forum shows no such thing to visitors (HTTP 404)",
        "the source's value is not the number of a topic",
    ]


@pytest.mark.parametrize("kind", [("posts", None), ("topic", "12")])
def test_a_crawl_goes_on_from_every_page(tmp_path: Path, kind: tuple[str, str | None]) -> None:
    state = forum()
    whole, (read,) = crawled_from(state, tmp_path, kind)
    pages = whole.sinks[read].pages
    assert len(pages) > 3
    with discourse(state) as server:
        sources = {page.number: source(f"{server.url}/again{page.number}", *kind) for page in pages[1:]}
        starts = {sources[page.number]: Counted(start=Position(page.number, page.cursor)) for page in pages[1:]}
        rest = crawled(starts, tmp_path / "stderr")
    for number, again in sources.items():
        expected = [each.id.native_id for later in pages[number:] for each in later.posts]
        assert [each.id.native_id for each in rest.sinks[again].posts] == expected


def test_a_forum_that_fails_in_the_middle_is_a_gap_of_what_lies_before_its_last_page(tmp_path: Path) -> None:
    outcome, (read,) = crawled_from(forum(faults={5: BROKEN, 6: BROKEN}), tmp_path)
    sink = outcome.sinks[read]
    assert sink.gaps is not None
    (gap,) = sink.gaps
    newest = max(each.created_at for each in sink.pages[-1].posts if each.created_at is not None)
    assert (gap.since, gap.until, gap.reason) == (WINDOW.since, newest, "HTTP 502, still after 1 retries")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (MEMBERS, "the forum asks for a login (HTTP 403)"),
        ((403, {}, b"<html>no</html>"), "the server refuses visitors (HTTP 403)"),
        (
            (200, {"Content-Type": "text/html"}, b"<html>Are you?</html>"),
            "HTTP 200 with a body that is not JSON (text/html)",
        ),
        ((200, {}, b"[]"), "the answer is not a forum's list of posts; is this a Discourse forum?"),
        ((200, {}, b'{"latest_posts": []}'), "the forum shows no posts to visitors"),
    ],
)
def test_another_answer_is_a_gap(tmp_path: Path, reply: Reply, said: str) -> None:
    outcome, (read,) = crawled_from(forum(faults={0: reply}), tmp_path)
    assert outcome.reason(read) == said


def test_a_sweep_of_a_forum_joins_replies_to_what_they_reply_to(tmp_path: Path) -> None:
    state = forum()
    with discourse(state) as server:
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'[[source]]\nplatform = "discourse"\nurl = "{server.url}"\nkind = "posts"\nallow_private = true\n'
        later = [each for each in everything(state) if state.posts[each]["post_number"] > 60]
        for number in later:
            state.posts[number]["reply_to_post_number"] = state.posts[number]["post_number"] - 1
        (tmp_path / "sweep.toml").write_text(head + part)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(everything(state))
    assert rows.filter(pl.col("reply_to").is_in(rows["uid"].to_list())).height > 50


def test_a_later_visit_tells_whose_deed_it_was_where_the_forum_still_shows_the_post() -> None:
    changes: list[dict[str, Any]] = [{}, {"cooked": "<p>Now right.</p>"}, {"user_deleted": True}, {"hidden": True}, {}]
    state = Discourse({number: post(number, WINDOW.since, 5, number, **each) for number, each in enumerate(changes, 2)})
    del state.posts[6]
    posts = []
    for number in range(2, 7):
        before = parse_post(post(number, WINDOW.since, 5, number), HOST, NOW)
        digest = input_digest(before.title, before.warning, before.text)
        name = before.id.global_id
        posts.append(Known(f"uid{number}", "discourse", name, HOST, f"5/{number}", None, None, None, "reply", digest))
    with discourse(state) as server:
        kept = visited(source(server.url), posts)
    assert states(kept) == ["alive", "edited", "removed_by_author", "removed_by_platform", "gone"]
