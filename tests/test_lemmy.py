"""Lemmy: recordings field by field, and that a crawl hands over every post of either version of the API."""

import json
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.lemmy import parse_activity
from crawlers.post import Account, Media, ParseError, PostId
from crawlers.sink import Position
from crawlers.source import Source
from tests.jobs import postsweep
from tests.lemmy_server import Lemmy, lemmy
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import WINDOW, Counted, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment

NEWEST = WINDOW.until + timedelta(hours=1)
RECORDED = {
    "lemmy_objects_comment.json": (1, 0),
    "lemmy_objects_group.json": (0, 1),
    "lemmy_objects_page.json": (1, 0),
    "lemmy_objects_page_image_and_link.json": (1, 0),
    "lemmy_objects_person.json": (0, 1),
    "lemmy_objects_tombstone.json": (0, 1),
    "mastodon_activities_delete.json": (0, 2),
    "mastodon_objects_note_1.json": (1, 0),
}
"""Posts, and objects that are none: people, communities, a deletion and what it deletes."""


def shown(markup: str, mentioned: list[dict[str, Any]]) -> str:
    """The text of markup as simple as the recorded: one paragraph. Whom it answers is mentioned without being named."""
    (paragraph,) = ET.fromstring(f"<body>{markup}</body>")
    text = "".join(paragraph.itertext())
    for each in mentioned:
        text = text.replace("@" + each["name"].split("@")[1], "@user")
    return text


def expected_object(told: dict[str, Any]) -> dict[str, Any]:
    reply, attached = "inReplyTo" in told, told.get("attachment", [])
    mentioned = [each for each in told.get("tag", []) if each["type"] == "Mention"]
    text = shown(told["content"], mentioned)
    language = [told["language"]["identifier"]] if "language" in told else list(told["contentMap"])
    assert told.get("summary") is None
    return NOTHING | {
        "id": PostId("lemmy", told["id"]),
        "host": "orchard.example",
        "kind": "reply" if reply else "post",
        "author": Account(told["attributedTo"], url=told["attributedTo"]),
        "url": told.get("url", told["id"]),
        "created_at": moment(told["published"]),
        "edited_at": moment(told.get("updated")),
        "title": told.get("name"),
        "sensitive": told.get("sensitive"),
        "text": text,
        "lang": language[0],
        "reply_to": PostId("lemmy", told["inReplyTo"]) if reply else None,
        "mention_count": text.count("@user"),
        "links": [each["href"] for each in attached if each["type"] == "Link"],
        "media": None if reply else [Media("image", None, each["url"]) for each in attached if each["type"] == "Image"],
    }


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_objects_parse_with_no_field_wrong_and_what_is_no_post_says_so(name: str) -> None:
    told = json.loads((RECORDINGS / "lemmy" / name).read_text())
    posts, rejects = 0, 0
    for each in [told, *(inner for inner in [told.get("object")] if inner)]:
        if each["type"] in ("Page", "Note"):
            agree(parse_activity(each, "orchard.example", NOW), expected_object(each), name)
            posts += 1
            continue
        gone = each["type"] == "Tombstone"
        with pytest.raises(ParseError, match="by whom is not told" if gone else "neither a post nor"):
            parse_activity(each, "orchard.example", NOW)
        rejects += 1
    assert (posts, rejects) == RECORDED[name]


def expected_of(state: Lemmy, what: str) -> list[str]:
    moments: list[tuple[int, datetime]] = [
        (state.number - place, state.newest - timedelta(minutes=30 * place)) for place in range(state.number)
    ]
    shown = [number for number, at in moments if WINDOW.holds(at) and number not in state.deleted | state.removed]
    return sorted(state.name(what, number) for number in shown)


@pytest.mark.parametrize("version", [3, 4])
def test_each_post_is_handed_over_once_and_a_source_goes_on_from_any_page(tmp_path: Path, version: int) -> None:
    state = Lemmy(NEWEST, version, deleted=frozenset({150}), removed=frozenset({140}))
    state.faults = {1: (429, {"Retry-After": "0"}, b""), 3: (502, {}, b"")}
    with lemmy(state) as server:
        kinds = {"posts": None, "comments": None}
        whole = {kind: Source("lemmy", server.url, kind, value, True) for kind, value in kinds.items()}
        first = crawled({each: Counted() for each in whole.values()}, tmp_path / "stderr")
        rest = {
            Source("lemmy", f"{server.url}/again{page.number}", kind, None, True): (kind, page)
            for kind, each in whole.items()
            for page in first.sinks[each].pages[1:]
        }
        starts = {each: Counted(start=Position(page.number, page.cursor)) for each, (_, page) in rest.items()}
        second = crawled(starts, tmp_path / "stderr")
    for kind, each in whole.items():
        found = sorted(str(post.id.global_id) for post in first.sinks[each].posts)
        assert (found, first.reason(each)) == (expected_of(state, kind.removesuffix("s")), "")
        rejects = [reject.reason for page in first.sinks[each].pages for reject in page.rejects]
        assert sorted(rejects) == ["moderators removed it", "the author deleted it"]
    for each, (kind, page) in rest.items():
        told = [[post.id for post in again.posts] for again in second.sinks[each].pages]
        pages = first.sinks[whole[kind]].pages[page.number :]
        assert told == [[post.id for post in again.posts] for again in pages]


@pytest.mark.parametrize(
    ("kind", "value", "asked"),
    [
        ("posts", None, "/api/v3/post/list?type_=All&sort=New&limit=50"),
        ("local", None, "/api/v3/post/list?type_=Local&sort=New&limit=50"),
        ("community", "!ferries@orchard.example", "&limit=50&community_name=ferries%40orchard.example"),
        ("comments", None, "/api/v3/comment/list?type_=All&sort=New&limit=50"),
    ],
)
def test_each_kind_asks_for_its_own_listing(tmp_path: Path, kind: str, value: str | None, asked: str) -> None:
    with lemmy(Lemmy(NEWEST, number=40)) as server:
        read = Source("lemmy", server.url, kind, value, True)
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert outcome.reason(read) == ""
    assert next(each for each in server.asked if "/list" in each).endswith(asked)


def test_a_server_of_another_kind_is_one_line(tmp_path: Path) -> None:
    with lemmy(Lemmy(NEWEST, version=9)) as server:
        read = Source("lemmy", server.url, "posts", None, True)
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert outcome.reason(read).startswith("the server speaks neither version of the API")


def test_a_sweep_of_a_server_has_a_row_per_post(tmp_path: Path) -> None:
    state = Lemmy(NEWEST)
    with lemmy(state) as server:
        told = (
            one_source(server.url, allow_private=True).replace('"mastodon"', '"lemmy"').replace('"public"', '"posts"')
        )
        (tmp_path / "sweep.toml").write_text(told.replace("[sweep]", "[sweep]\ndelay_seconds = 0.0"))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(expected_of(state, "post"))
    assert set(rows["lang"]) == {"en"}
