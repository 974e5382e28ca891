"""Visits to events of a relay on loopback: what its author asked to delete, and what is just not there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.nostr import parse_event
from crawlers.post import input_digest
from crawlers.sighting import Known
from crawlers.source import Source
from tests.jobs import postsweep
from tests.nostr_server import Relay, event, relaying
from tests.sweeps import NOON, SWEEP, one_source
from tests.test_nostr import real_relay  # noqa: F401 - a fixture
from tests.test_rechecks import SETTINGS, Kept, states, visited

SECOND = int(NOON.timestamp())
NOTES = [event(f"author {place % 3}", SECOND + place, f"The ferry is late, {place}.") for place in range(12)]


def known(told: dict[str, Any]) -> Known:
    post = parse_event(told, "relay.example", NOON)
    digest = input_digest(post.title, post.warning, post.text)
    return Known(told["id"], "nostr", told["id"], None, None, None, told["pubkey"], None, "post", digest)


def deletion(author: str, *events: dict[str, Any], second: int = SECOND + 100) -> dict[str, Any]:
    return event(author, second, "", 5, [["e", each["id"]] for each in events])


def visit(relay: Relay, notes: list[dict[str, Any]] = NOTES, **settings: Any) -> Kept:
    with relaying(relay):
        source = Source("nostr", relay.url, "notes", allow_private=True)
        return visited(source, [known(each) for each in notes], replace(SETTINGS, **settings))


def test_what_its_author_asked_to_delete_is_removed_by_its_author_and_what_is_just_missing_is_untold() -> None:
    relay = Relay(NOTES[2:])
    relay.events += [deletion("author 0", NOTES[0]), deletion("author 2", NOTES[5], NOTES[8])]
    found = visit(relay)
    removed = {0: "removed_by_author", 1: "gone", 5: "removed_by_author", 8: "removed_by_author"}
    assert states(found) == [removed.get(place, "alive") for place in range(len(NOTES))]
    assert found.found[0].sighting.evidence.code == "kind 5"
    assert found.gap is None
    # Those that are there are asked for once; what is missing once more, as a relay may have cut its answer.
    assert [len(asked["ids"]) for asked in relay.asked if "ids" in asked] == [12, 2]


def test_a_request_of_another_key_or_one_that_was_altered_deletes_nothing() -> None:
    mine, forged = deletion("author 0", NOTES[0]), deletion("author 1", NOTES[0], NOTES[1])
    relay = Relay([*NOTES[2:], forged, {**mine, "tags": [["e", NOTES[3]["id"]]]}])
    # The request that names another's event is its author's word on the own one alone.
    assert states(visit(relay)) == ["gone", "removed_by_author", *["alive"] * 10]


def test_an_author_who_asked_relays_to_keep_nothing_is_gone_up_to_that_moment() -> None:
    everywhere, elsewhere = [["relay", "ALL_RELAYS"]], [["relay", "wss://elsewhere.example"]]
    relay = Relay([*NOTES[1:], event("author 0", SECOND + 7, "", 62, everywhere)])
    relay.events.append(event("author 1", SECOND + 99, "", 62, elsewhere))
    # Of author 0 are notes 0, 3, 6 and 9, the last of which is newer; note 0 is not there, the others still are.
    left = {0: "account_gone", 3: "account_gone", 6: "account_gone"}
    assert states(visit(relay)) == [left.get(place, "alive") for place in range(len(NOTES))]


def test_a_relay_that_caps_its_answers_hides_no_event_and_no_request() -> None:
    relay = Relay(
        [*NOTES, *(deletion("author 1", each, second=SECOND + 200 + n) for n, each in enumerate(NOTES[1::3]))]
    )
    relay.cap = 2
    assert states(visit(relay)) == ["alive", "removed_by_author", "alive"] * 4


def test_an_event_that_was_altered_since_is_unknown() -> None:
    relay = Relay([{**NOTES[0], "content": "The ferry sank."}, *NOTES[1:]])
    assert states(visit(relay)) == ["unknown", *["alive"] * 11]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("auth-required: we only serve members like bob", "refuses visitors (auth-required)"),
        ("restricted: not for you", "refuses visitors (restricted)"),
        ("hello bob", "it does not say why"),
        ("notice", "the relay refuses for now (rate-limited)"),
        ("silence", "no answer within"),
        ("hang up", "the connection was closed"),
        ("huge", "a message is larger than"),
    ],
)
def test_a_relay_that_does_not_answer_removes_nothing(fault: str, said: str) -> None:
    relay = Relay([deletion("author 0", NOTES[0])], faults=dict.fromkeys(range(9), fault))
    found = visit(relay, timeout_seconds=0.5)
    assert states(found) == ["unknown"] * len(NOTES)
    assert said in str(found.gap)
    assert "bob" not in str(found.gap)


BY_ARCHIVE = ("archive", "--sweep", SWEEP, "--contact", "mailto:operator@example.org", "--confirm-after", "0")


@pytest.mark.parametrize("asked", [("sweep.toml",), BY_ARCHIVE], ids=["sweep file", "archive"])
def test_a_round_over_a_relay_redacts_what_its_author_took_away(tmp_path: Path, asked: tuple[str, ...]) -> None:
    relay = Relay(list(NOTES))
    with relaying(relay):
        written = one_source(relay.url, allow_private=True)
        written = written.replace('platform = "mastodon"', 'platform = "nostr"').replace('"public"', '"notes"')
        written = written.replace("[[source]]", "delay_seconds = 0\n[[source]]")
        (tmp_path / "sweep.toml").write_text(
            f"{written}\n[cluster]\nworkers = 1\n\n[recheck]\nconfirm_after_minutes = 0\n"
        )
        crawl = postsweep("crawl", "sweep.toml", cwd=tmp_path)
        assert crawl.returncode == 0, crawl.stderr
        relay.events = [*NOTES[2:], deletion("author 0", NOTES[0])]
        # The relay is a private address, which its source allows, and a visit to the source's host too.
        done = postsweep("recheck", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/sightings/**/*.parquet")
    assert rows.filter("counted").sort("state").select("state", "code", "phrase").rows() == [
        ("removed_by_author", "kind 5", None),
        ("unknown", None, "gone, cause not told"),
    ]
    texts = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")["text"]
    assert texts.null_count() == 1
    assert NOTES[0]["content"] not in json.dumps(texts.to_list())


@pytest.mark.servers
@pytest.mark.slow
def test_a_real_relay_tells_what_its_authors_deleted(real_relay: dict[str, Any]) -> None:  # noqa: F811 - a fixture
    posts = real_relay["posts"].values()
    keys = real_relay["pubkeys"]
    seen = [
        Known(each["id"], "nostr", each["id"], None, None, None, keys[each["author"]], None, "post", None)
        for each in posts
    ]
    found = visited(Source("nostr", real_relay["base"], "notes", allow_private=True), seen)
    expected = [
        "removed_by_author" if "deletion_event" in each
        else "account_gone" if each["author"] in real_relay["vanish"]
        else "alive"
        for each in posts
    ]  # fmt: skip
    assert states(found) == expected
    assert len(set(expected)) == 3
