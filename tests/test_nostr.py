"""Nostr: what its parser must not get wrong, and that a walk of a relay misses no post of the window."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.nostr import parse_event, public_key
from crawlers.post import ParseError, Post, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Position
from crawlers.source import Source
from tests.jobs import KEY, postsweep
from tests.nostr_server import Relay, event, key, relaying
from tests.shared_data import SHARED
from tests.sweeps import contents, one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled

NPUB = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"
HEX = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
"""A key and its npub, as NIP-19 gives them."""
NOON = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
OTHER, THIRD = key("other"), key("third")


def parsed(content: str, tags: list[list[str]] | None = None, kind: int = 1) -> Post:
    return parse_event(event("mill race", NOON, content, kind, tags), "relay.example", NOW)


# Parser


def test_an_npub_and_its_hexadecimal_form_are_one_key_and_a_typing_error_is_none() -> None:
    assert public_key(NPUB) == public_key(f"nostr:{NPUB}") == public_key(HEX.upper()) == HEX
    assert public_key(NPUB.replace("w6", "w7")) is None
    assert public_key("rivermint") is None


@pytest.mark.parametrize("named", [NPUB, f"nostr:{NPUB}", f"https://njump.example/{NPUB}", f"@{NPUB}"])
def test_people_are_masked_however_they_are_named(named: str) -> None:
    post = parsed(f"谢谢{named}，明天见")
    assert (post.text, post.mention_count, post.links) == ("谢谢@user，明天见", 1, [])


def test_a_reference_to_a_post_keeps_no_name_as_it_can_hold_its_authors() -> None:
    assert parsed(f"see nostr:nevent1{'q' * 60} and https://x.example/a").text == "see [post] and https://x.example/a"
    assert parsed("see #[1] by #[0]", [["p", HEX], ["e", OTHER]]).text == "see [post] by @user"


@pytest.mark.parametrize(
    ("tags", "kind", "parent"),
    [
        ([["e", OTHER, "", "root"]], "reply", OTHER),
        ([["e", OTHER, "", "root"], ["e", THIRD, "", "reply"]], "reply", THIRD),
        ([["e", OTHER], ["e", THIRD]], "reply", THIRD),
        ([["e", OTHER, "", "mention"]], "post", None),
        ([["q", OTHER]], "quote", None),
        ([["e", "no id"]], "post", None),
    ],
)
def test_a_reply_names_its_parent_by_marks_or_by_place(tags: list[list[str]], kind: str, parent: str | None) -> None:
    post = parsed("The ferry is late.", tags)
    assert (post.kind, post.reply_to) == (kind, parent and PostId("nostr", parent))


def test_a_repost_has_the_text_of_what_it_carries_unless_that_is_another_event() -> None:
    inner = event("other", NOON - 60, "The ferry is late.", tags=[["t", "Ferry"]])
    repost = parsed(json.dumps(inner), [["e", inner["id"]]], kind=6)
    assert (repost.kind, repost.text, repost.hashtags) == ("repost", "The ferry is late.", ["ferry"])
    assert repost.repost_of == PostId("nostr", inner["id"])
    for carried in ("", "{}", "[" * 100_000, json.dumps({**inner, "content": "forged"})):
        assert parsed(carried, [["e", inner["id"]]], kind=6).text is None
    assert parsed(json.dumps(inner), [["e", OTHER]], kind=6).text is None


def test_an_event_that_was_altered_is_none_and_control_characters_are_written_either_way() -> None:
    with pytest.raises(ParseError, match="id: not the digest"):
        parse_event({**event("a", NOON, "as signed"), "content": "as altered"}, "relay.example", NOW)
    written = event("a", NOON, "a bell \x07 and \\u0007")
    assert parse_event(written, "relay.example", NOW).text == "a bell  and \\u0007"
    bare = f'[0,"{written["pubkey"]}",{NOON},1,[],"a bell \x07 and \\\\u0007"]'
    parse_event({**written, "id": hashlib.sha256(bare.encode()).hexdigest()}, "relay.example", NOW)


# Crawls


def source(url: str, kind: str = "notes", value: str | None = None) -> Source:
    return Source("nostr", url, kind, value, allow_private=True)


def busy() -> Relay:
    """2,000 events over the day and around it, some of them in the same second, and some of other kinds."""
    start = int(WINDOW.since.timestamp()) - 3600
    moments = [start + place * 45 - place % 3 * 44 for place in range(2000)]
    texts = ["The ferry is late.", "今天的雨很大", "Bridge closed until noon"]
    relay = Relay()
    for place, second in enumerate(moments):
        tags = [["t", "ferry"]] if place % 5 == 0 else []
        kind = 1 if place % 11 else 7
        relay.events.append(event(f"author {place % 7}", second, f"{texts[place % 3]} {place}", kind, tags))
    relay.events += [event("author 1", NOON + 1, f"at the stroke {place}") for place in range(60)]
    return relay


def expected(relay: Relay, **wanted: Any) -> list[str]:
    low, high = WINDOW.since.timestamp(), WINDOW.until.timestamp()
    return sorted(
        each["id"]
        for each in relay.events
        if low <= each["created_at"] < high
        and each["kind"] != 7
        and all(each[name] == value for name, value in wanted.items())
    )


def crawled_from(
    relay: Relay, tmp_path: Path, *kinds: tuple[str, str | None], **settings: Any
) -> tuple[Outcome, list[Source]]:
    with relaying(relay):
        sources = [source(relay.url, kind, value) for kind, value in kinds or [("notes", None)]]
        changed = replace(SETTINGS, **settings)
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr", changed)
    assert outcome.error is None, outcome.stderr
    return outcome, sources


def ids(outcome: Outcome, read: Source) -> list[str]:
    return sorted(post.id.global_id or "" for post in outcome.sinks[read].posts)


def test_every_note_is_there_once_though_the_relay_caps_fails_and_limits(tmp_path: Path) -> None:
    relay = busy()
    relay.refusals = [503, 429]
    relay.faults = {0: "hang up", 4: "notice", 9: "rate-limited: wait", 12: "hang up"}
    outcome, (read,) = crawled_from(relay, tmp_path, retries=3)
    assert (ids(outcome, read), outcome.reason(read)) == (expected(relay), "")
    assert len(expected(relay)) > 1_500
    assert {page.outside for page in outcome.sinks[read].pages} == {0}
    traffic = outcome.sinks[read].traffic
    assert traffic is not None
    assert traffic.retries == 6
    assert traffic.bytes > 100_000
    assert set(relay.agents) == {"postsweep/0 (+mailto:operator@example.org)"}


def test_a_tag_and_an_author_are_read_whole(tmp_path: Path) -> None:
    relay = busy()
    outcome, (tag, author) = crawled_from(relay, tmp_path, ("tag", "Ferry"), ("author", key("author 3")))
    assert ids(outcome, author) == expected(relay, pubkey=key("author 3"))
    assert ids(outcome, tag) == expected(relay, tags=[["t", "ferry"]])


def test_a_walk_goes_on_from_any_page(tmp_path: Path) -> None:
    relay = busy()
    outcome, (read,) = crawled_from(relay, tmp_path)
    pages = outcome.sinks[read].pages
    assert [page.cursor for page in pages] == [None, *(page.next_cursor for page in pages[:-1])]
    with relaying(relay):
        again = [source(f"{relay.url}/again{page.number}") for page in pages[1::5]]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1::5]]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr")
    for first, each in zip(pages[1::5], again, strict=True):
        told = [[post.id for post in page.posts] for page in resumed.sinks[each].pages]
        assert told == [[post.id for post in page.posts] for page in pages[first.number :]]


def test_a_second_that_the_relay_does_not_show_whole_is_a_gap_of_that_second_and_cuts_nothing_else(
    tmp_path: Path,
) -> None:
    relay = busy()
    relay.cap = 40
    outcome, (read,) = crawled_from(relay, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert "more posts share one second" in gap.reason
    begins = datetime.fromtimestamp(NOON + 1, UTC)
    assert (gap.since, gap.until) == (begins, begins + timedelta(seconds=1))
    missing = set(expected(relay)) - set(ids(outcome, read))
    assert missing
    assert missing <= set(expected(relay, created_at=NOON + 1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("auth-required: we only serve members like bob", "refuses visitors (auth-required)"),
        ("hello bob", "it does not say why"),
        ("huge", "a message is larger than"),
        ("silence", "no answer within"),
    ],
)
def test_a_relay_that_refuses_floods_or_falls_silent_is_a_gap_that_says_so_and_names_nobody(
    tmp_path: Path, fault: str, said: str
) -> None:
    relay = busy()
    relay.faults = dict.fromkeys(range(2, 20), fault)
    outcome, (read,) = crawled_from(relay, tmp_path, timeout_seconds=0.5)
    (gap,) = outcome.sinks[read].gaps or []
    assert said in gap.reason
    assert "bob" not in gap.reason + outcome.stderr
    oldest = min(post.created_at for post in outcome.sinks[read].pages[-1].posts if post.created_at)
    assert gap.since == WINDOW.since
    assert oldest <= gap.until < WINDOW.until


def test_a_private_address_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    relay = busy()
    with relaying(relay):
        named = relay.url.replace("127.0.0.1", "localhost")
        sources = [replace(source(url), allow_private=False) for url in (relay.url, named)]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr")
    assert [outcome.reason(each).partition(";")[0] for each in sources] == ["private address not allowed"] * 2
    assert relay.agents == []


def test_a_server_that_is_no_relay_says_so(tmp_path: Path) -> None:
    relay = busy()
    relay.refusals = [404, 403]
    outcome, (lost, shut) = crawled_from(relay, tmp_path, ("notes", None), ("tag", "ferry"))
    assert outcome.reason(lost) == "HTTP 404: no WebSocket at this address"
    assert outcome.reason(shut) == "the server refuses visitors (HTTP 403)"


def test_a_sweep_of_a_relay_is_sealed_with_its_notes_and_no_key_outside_identities(tmp_path: Path) -> None:
    relay = busy()
    relay.events = relay.events[:400]
    with relaying(relay):
        written = one_source(relay.url, allow_private=True)
        written = written.replace('platform = "mastodon"', 'platform = "nostr"').replace('"public"', '"notes"')
        (tmp_path / "sweep.toml").write_text(written.replace("[[source]]", "delay_seconds = 0\n[[source]]"))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(f"{tmp_path}/archive/posts/*/platform=nostr/*.parquet", hive_partitioning=False)
    names = Pseudonyms(bytes.fromhex(KEY))
    assert sorted(rows["uid"]) == sorted(names.post(PostId("nostr", each)) for each in expected(relay))
    for path in (tmp_path / "archive").rglob("*"):
        if path.is_file() and "identities" not in path.parts:
            assert key("author 3").encode() not in contents(path)


@pytest.fixture
def real_relay() -> Iterator[dict[str, Any]]:
    if SHARED is None:
        pytest.skip("the scripts of the servers are not here")
    folder = SHARED / "servers" / "nostr"
    done = subprocess.run([str(folder / "start.sh")], capture_output=True, text=True, check=False, env=None)
    if done.returncode != 0:
        pytest.skip(f"the relay does not start here: {done.stderr.strip()[-200:]}")
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    try:
        yield {"base": values["BASE_URL"], **json.loads(Path(values["SEEDED"]).read_text())}
    finally:
        subprocess.run([str(folder / "stop.sh")], capture_output=True, check=False)


@pytest.mark.servers
@pytest.mark.slow
def test_a_real_relay_is_read_whole_without_what_was_deleted(real_relay: dict[str, Any], tmp_path: Path) -> None:
    sweep = one_source(real_relay["base"], allow_private=True).replace('"mastodon"', '"nostr"')
    sweep = sweep.replace('"public"', '"notes"').replace("since = 2026-01-01", "since = 2020-01-01")
    sweep = sweep.replace("until = 2026-01-02", "until = 2026-11-01")
    (tmp_path / "sweep.toml").write_text(sweep)
    done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(f"{tmp_path}/archive/posts/*/platform=nostr/*.parquet", hive_partitioning=False)
    names = Pseudonyms(bytes.fromhex(KEY))
    live = [each["id"] for each in real_relay["posts"].values() if "deletion_event" not in each]
    assert sorted(rows["uid"]) == sorted(names.post(PostId("nostr", each)) for each in live)
