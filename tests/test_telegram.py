"""Telegram channels: recorded messages against a second reading, and that a crawl has each message once."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from crawlers.platforms.telegram import open_preview, parse_message, parse_preview
from crawlers.post import Account, Media, Post, PostId, input_digest
from crawlers.sighting import Known
from crawlers.sink import Position
from crawlers.source import Source
from crawlers.spiders.telegram import INSTEAD
from crawlers.text import names_account
from tests.jobs import postsweep
from tests.loopback import Reply
from tests.shared_data import SHARED
from tests.sweeps import contents, one_source
from tests.telegram_server import Message, Telegram, harbour, markup, telegram
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import WINDOW, Counted, Outcome, crawled
from tests.test_rechecks import states, visited
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment

CHANNEL = "harbour_notes"
SITE = "https://t.me/"
BUSY: Reply = (429, {"Retry-After": "0"}, b"")
BROKEN: Reply = (502, {}, b"")


def parsed(message: Message) -> Post:
    (element,) = open_preview(markup(CHANNEL, message).encode()).messages
    return parse_message(element, "t.me", NOW)


# Parser


def test_a_message_that_was_edited_says_no_time_of_it() -> None:
    post = parsed(Message(7, WINDOW.since, "All ferries run again.", edited=True))
    assert (post.created_at, post.edited_at, post.text) == (WINDOW.since, None, "All ferries run again.")


def test_a_count_that_cannot_be_read_is_none() -> None:
    assert [parsed(Message(7, WINDOW.since, "x", views=told)).views for told in ("0", "many", "")] == [0, None, None]


def test_the_markup_of_a_message_is_its_raw_form_where_the_views_stand_as_they_were_shown() -> None:
    raw = parsed(Message(7, WINDOW.since, "x", views="4.35K")).raw
    assert raw is not None
    assert '<span class="tgme_widget_message_views">4.35K</span>' in raw["html"]


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("https://t.me/oakfern", True),
        ("https://t.me/s/oakfern/12", True),
        ("https://t.me/c/1591537674/3", True),
        ("https://telegram.me/oakfern", True),
        ("https://oakfern.t.me/12", True),
        ("https://t.me/joinchat/AAAAAE", False),
        ("https://t.me/+4fKq2", False),
        ("https://t.me/addstickers/Gulls", False),
        ("https://t.me/", False),
    ],
)
def test_an_address_of_the_site_names_an_account_unless_it_is_an_invitation_or_a_thing(
    address: str, names: bool
) -> None:
    assert names_account(address) is names


# Recordings


class Shown(HTMLParser):
    """A second reading of one recorded message: what stands under each class, and where attributes lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.under: list[set[str]] = []
        self.text, self.name, self.views, self.time, self.href = "", "", "", "", ""
        self.links: list[str] = []
        self.media: list[Media] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = set(given.get("class", "").split())
        over: set[str] = set().union(*self.under)
        if tag == "br" and "js-message_text" in over:
            self.text += "\n"
        if tag == "a" and ("js-message_text" in over or "tgme_widget_message_link_preview" in classes):
            self.links.append(given["href"])
        if tag == "a" and "tgme_widget_message_date" in classes:
            self.href = given["href"]
        if tag == "time" and "tgme_widget_message_date" in over:
            self.time = given["datetime"]
        if "tgme_widget_message_photo_wrap" in classes:
            self.media.append(Media("image", url=given["style"].split("url('")[1].split("')")[0]))
        if "tgme_widget_message_video_player" in classes:
            self.media.append(Media("video"))
        if "tgme_widget_message_voice_player" in classes:
            self.media.append(Media("audio"))
        if "tgme_widget_message_location_wrap" in classes:
            self.media.append(Media("location", url=given["href"]))
        if tag in ("video", "audio"):
            last = self.media[-1]
            self.media[-1] = last if last.url else replace(last, url=given["src"])
        if tag not in ("br", "img", "path", "meta", "link"):
            self.under.append(classes)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("br", "img", "path", "meta", "link"):
            self.under.pop()

    def handle_data(self, data: str) -> None:
        over: set[str] = set().union(*self.under)
        if "js-message_text" in over:
            self.text += re.sub(r"\s+", " ", data)
        if "tgme_widget_message_owner_name" in over:
            self.name += data
        if "tgme_widget_message_views" in over:
            self.views += data


SERVICE = ("channel_created", "channel_name_changed", "channel_photo_updated")
SHOWN = (
    *("audio_message", "emoji_message", "location_message", "location_message_3", "multimedia_message"),
    *("photo_single", "service_message_channel_video_changed", "text_message_link_no_preview"),
    *("text_message_link_with_regular_preview", "text_message_link_with_right_preview", "text_message_multiline"),
    *("text_message_signed_not_edited", "unsigned_text_message", "video_big", "video_single"),
)
RECORDED = {"no_posts_found.html": (0, 0)}
RECORDED |= {f"service_message_{name}.html": (0, 1) for name in SERVICE}
RECORDED |= {f"{name}.html": (1, 0) for name in SHOWN}
"""Messages of people, and of the channel about itself."""


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_messages_parse_with_no_field_wrong() -> None:
    for name, counts in RECORDED.items():
        path = RECORDINGS / "telegram" / name
        page = path.read_text()
        found, rejects = parse_preview(page.encode(), "t.me", NOW)
        assert [each.place for each in rejects] == ["service_message"] * ("service_message " in page)
        assert (len(found), len(rejects)) == counts, name
        for post in found:
            seen = Shown(page)
            channel, number = seen.href.removeprefix(SITE).split("/")
            factor = {"K": 1_000, "M": 1_000_000}.get(seen.views[-1], 1)
            expected = NOTHING | {
                "id": PostId("telegram", f"{SITE}{channel.lower()}/{number}"),
                "host": "t.me",
                "kind": "post",
                "author": Account(SITE + channel, channel, " ".join(seen.name.split()), SITE + channel),
                "url": seen.href,
                "created_at": moment(seen.time),
                "text": "\n".join(line.strip() for line in seen.text.split("\n")).strip() or None,
                "hashtags": [],
                "mention_count": 0,
                "links": list(dict.fromkeys(seen.links)),
                "media": seen.media,
                "views": round(float(seen.views.rstrip("KM")) * factor),
            }
            agree(post, expected, name)


# Crawls


def source(url: str, channel: str = CHANNEL) -> Source:
    return Source("telegram", url, "channel", channel, allow_private=True)


def crawled_from(state: Telegram, tmp_path: Path, *channels: str) -> tuple[Outcome, list[Source]]:
    with telegram(state) as server:
        sources = [source(server.url, channel) for channel in channels or [CHANNEL]]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr")
    assert outcome.error is None, outcome.stderr
    return outcome, sources


def everything(messages: dict[int, Message]) -> list[str]:
    """The ids of the window's posts."""
    return sorted(
        f"{SITE}{CHANNEL}/{each.number}" for each in messages.values() if WINDOW.holds(each.moment) and not each.service
    )


def found(outcome: Outcome, read: Source) -> list[str]:
    return sorted(post.id.global_id or "" for post in outcome.sinks[read].posts)


def test_each_message_of_the_window_is_there_once_though_some_go_and_the_server_limits_and_fails(
    tmp_path: Path,
) -> None:
    state = Telegram({CHANNEL: harbour()}, faults={0: BUSY, 3: BROKEN})
    newest = max(state.channels[CHANNEL])
    unread = min(each.number for each in harbour().values() if each.moment > WINDOW.since and not each.service)

    def changes() -> None:
        state.channels[CHANNEL][newest + 9] = Message(newest + 9, WINDOW.until, "One more.")
        del state.channels[CHANNEL][unread]

    state.turns = {2: changes}
    outcome, (read,) = crawled_from(state, tmp_path)
    expected = everything(state.channels[CHANNEL])
    assert len(expected) > 40
    assert (found(outcome, read), outcome.reason(read)) == (expected, "")
    sink = outcome.sinks[read]
    assert sink.traffic is not None
    assert (sink.traffic.retries, sink.traffic.rate_limited) == (2, 1)
    rejects = [each for page in sink.pages for each in page.rejects]
    assert {each.place for each in rejects} == {"service_message"}
    assert state.requests < 12  # it stopped a day before the window, not at the channel's beginning


def test_a_crawl_goes_on_from_every_page(tmp_path: Path) -> None:
    state = Telegram({CHANNEL: harbour()})
    whole, (read,) = crawled_from(state, tmp_path)
    pages = whole.sinks[read].pages
    assert len(pages) > 3
    with telegram(state) as server:
        sources = {page.number: source(f"{server.url}/again{page.number}") for page in pages[1:]}
        starts = {sources[page.number]: Counted(start=Position(page.number, page.cursor)) for page in pages[1:]}
        rest = crawled(starts, tmp_path / "stderr")
    for number, again in sources.items():
        expected = [post.id for later in pages[number:] for post in later.posts]
        assert [post.id for post in rest.sinks[again].posts] == expected


def test_a_channel_that_fails_in_the_middle_is_a_gap_of_what_lies_before_its_last_page(tmp_path: Path) -> None:
    state = Telegram({CHANNEL: harbour()}, faults={3: BROKEN, 4: BROKEN})
    outcome, (read,) = crawled_from(state, tmp_path)
    sink = outcome.sinks[read]
    assert sink.gaps is not None
    (gap,) = sink.gaps
    newest = max(post.created_at for post in sink.pages[-1].posts if post.created_at is not None)
    assert (gap.since, gap.until, gap.reason) == (WINDOW.since, newest, "HTTP 502, still after 1 retries")


def test_what_hides_a_channel_is_a_gap_that_says_so_and_names_nobody(tmp_path: Path) -> None:
    state = Telegram(
        {"quiet_pier": {}, "shut_pier": {}, CHANNEL: {}}, frozenset({"quiet_pier"}), frozenset({"shut_pier"})
    )
    names = ("quiet_pier", "nobody_here", "shut_pier", CHANNEL, "no/name")
    outcome, sources = crawled_from(state, tmp_path, *names)
    reasons = [outcome.reason(each) for each in sources]
    assert reasons == [
        "the site shows no preview of this channel: it is turned off or blocked, or there is no such channel; "
        + INSTEAD,
        "the site shows no preview of this channel: it is turned off or blocked, or there is no such channel; "
        + INSTEAD,
        f"the site shows a notice in place of the channel's messages: it is blocked; {INSTEAD}",
        "",
        "the source's value is not the name of a channel (letters, digits and _)",
    ]
    assert not [name for name in names for said in (*reasons, outcome.stderr) if name in said]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((403, {}, b"<html>no</html>"), f"the server refuses visitors (HTTP 403); {INSTEAD}"),
        ((404, {}, b"<html>no</html>"), "the server answered HTTP 404"),
        (
            (200, {}, b"<html>Are you a person?</html>"),
            f"the answer is not a channel's page: a challenge, or another site; {INSTEAD}",
        ),
        ((200, {}, b""), f"the answer is not a channel's page: a challenge, or another site; {INSTEAD}"),
    ],
)
def test_another_answer_is_a_gap(tmp_path: Path, reply: Reply, said: str) -> None:
    outcome, (read,) = crawled_from(Telegram({CHANNEL: harbour()}, faults={0: reply}), tmp_path)
    assert outcome.reason(read) == said


def test_robots_txt_is_heeded(tmp_path: Path) -> None:
    state = Telegram({CHANNEL: harbour()}, robots="User-agent: *\nDisallow: /s/\n")
    outcome, (read,) = crawled_from(state, tmp_path)
    assert outcome.reason(read) == "the host's robots.txt does not allow this page to be read"
    assert state.requests == 0


def test_a_sweep_of_a_channel_names_it_nowhere_outside_identities(tmp_path: Path) -> None:
    messages = harbour()
    with telegram(Telegram({CHANNEL: messages})) as server:
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'[[source]]\nplatform = "telegram"\nurl = "{server.url}"\nvalue = "{CHANNEL}"\nallow_private = true\n'
        (tmp_path / "sweep.toml").write_text(head + part)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(everything(messages))
    assert set(rows["views"]) == {1_200}
    assert rows["created_at"].min() == min(each.moment for each in messages.values() if WINDOW.holds(each.moment))
    told = [path for path in (tmp_path / "archive").rglob("*") if path.is_file() and "identities" not in path.parts]
    assert told
    assert not [path for path in told if CHANNEL.encode() in contents(path) or CHANNEL in path.name]
    assert CHANNEL not in done.stdout + done.stderr


def test_a_later_visit_tells_a_message_that_is_gone_from_an_edited_one_and_from_another_messages_album() -> None:
    texts = {1: "On time.", 2: "Late.", 3: "Gone.", 5: "Once a post of its own."}
    state = Telegram(
        {CHANNEL: {1: Message(1, WINDOW.since, "On time."), 2: Message(2, WINDOW.since, "Late, after all.")}}
    )
    state.channels[CHANNEL][4] = Message(4, WINDOW.since, "Four pictures", takes=4)
    posts = [
        Known(f"uid{number}", "telegram", f"{SITE}{CHANNEL}/{number}", None, None, None, None, None, "post",
              input_digest(None, None, text))
        for number, text in texts.items()
    ]  # fmt: skip
    with telegram(state) as server:
        kept = visited(source(server.url), posts)
    assert states(kept) == ["alive", "edited", "gone", "unknown"]
