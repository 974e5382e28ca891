"""Visits to posts of Reddit, Lemmy, YouTube, Discourse and Telegram, each against its server on loopback."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crawlers.catalogue.reddit import CLIENT_ID, CLIENT_SECRET
from crawlers.catalogue.youtube import KEY as YOUTUBE_KEY
from crawlers.platforms.discourse import parse_post
from crawlers.platforms.lemmy import parse_view
from crawlers.platforms.reddit import parse_thing
from crawlers.platforms.youtube import parse_comment, parse_video
from crawlers.post import Post, input_digest
from crawlers.sighting import REMOVALS, Known
from crawlers.source import Source
from tests.discourse_server import Discourse, discourse
from tests.discourse_server import post as forum_post
from tests.lemmy_server import Lemmy
from tests.loopback import Reply, serving
from tests.reddit_server import CLIENT, SECRET, Reddit, link, reddit
from tests.sweeps import NOON
from tests.test_rechecks import ALIKE, SETTINGS, states, visited
from tests.youtube_server import CHANNEL, KEY, VIDEO, YouTube, as_comment, as_video, youtube

APPLICATION = replace(SETTINGS, environment={CLIENT_ID: CLIENT, CLIENT_SECRET: SECRET})
KEYED = replace(SETTINGS, environment={YOUTUBE_KEY: KEY})


def known_of(post: Post) -> Known:
    """A post as a sweep knows it."""
    ident, digest = post.id, input_digest(post.title, post.warning, post.text)
    return Known(
        str(ident.global_id), ident.platform, ident.global_id, ident.authority, ident.native_id, post.url,
        None, None, post.kind, digest,
    )  # fmt: skip


def found_of(source: Source, known: list[Known], settings: Any = SETTINGS) -> list[str]:
    """What was found of each, in the order of the posts."""
    kept = visited(source, known, settings)
    found = dict(zip([each.sighting.uid for each in kept.found], states(kept), strict=True))
    return [found[each.uid] for each in known]


def test_a_hundred_things_of_reddit_are_asked_for_at_once_and_tell_who_took_them_away() -> None:
    links = [link(number, NOON - timedelta(minutes=number)) for number in range(100)]
    known = [known_of(parse_thing(each, "oauth.reddit.com", NOON)) for each in links]
    changed = [dict(each) for each in links if each["id"] != links[6]["id"]]
    changed[1]["selftext"] = "The winter timetable was put up again."
    changed[2] |= {"selftext": "[deleted]", "author": "[deleted]"}
    changed[3] |= {"selftext": "[removed]", "removed_by_category": "moderator"}
    changed[4] |= {"removed_by_category": "anti_evil_ops"}
    changed[5] |= {"removed_by_category": "something new"}
    with reddit(Reddit(changed)) as server:
        found = found_of(Source("reddit", server.url, "subreddit", "harbourtown", True), known, APPLICATION)
        asked = [path for path in server.asked if "/api/info" in path]
    assert found[:8] == [
        "alive", "edited", "removed_by_author", "removed_by_platform", "removed_by_platform", "gone", "gone", "alive"
    ]  # fmt: skip
    assert (len(asked), set(found[8:])) == (1, {"alive"})


def test_videos_and_comments_are_asked_for_fifty_at_once_and_nobody_says_why_one_is_missing() -> None:
    moments = {f"vid{number:05d}xyz": NOON + timedelta(minutes=number) for number in range(60)}
    comments = {f"UgyTide{number:03d}AaABAg": NOON + timedelta(hours=number) for number in range(3)}
    known = [known_of(parse_video(as_video(*each), "www.googleapis.com", NOON)) for each in moments.items()]
    known += [
        known_of(parse_comment(as_comment(*each), "www.googleapis.com", NOON, VIDEO)) for each in comments.items()
    ]
    state = YouTube(videos=[each for each in moments.items() if each[0] != "vid00007xyz"])

    def answer(path: str) -> Reply:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if "/comments" in path:
            ids = [native for native in asked["id"].split(",") if native != "UgyTide001AaABAg"]
            items = [as_comment(native, comments[native]) for native in ids]
            return 200, {"Content-Type": "application/json"}, json.dumps({"items": items}).encode()
        status, headers, body = state.answer(path)
        told = json.loads(body)
        for item in told.get("items", []):
            if item["id"] == "vid00003xyz":
                item["status"] = {"uploadStatus": "rejected", "rejectionReason": "copyright"}
            if item["id"] == "vid00004xyz":
                item["status"] = {"uploadStatus": "processed", "privacyStatus": "unlisted"}
            if item["id"] == "vid00006xyz":
                item["status"] = {"uploadStatus": "deleted"}
            if item["id"] == "vid00005xyz":
                item["snippet"]["title"] = "Ferry log, corrected"
        return status, headers, json.dumps(told).encode()

    with serving(answer) as server:
        source = Source("youtube", server.url, "channel", CHANNEL, True)
        found = found_of(source, known, KEYED)
        asked = list(server.asked)
    told = dict(zip([each.uid for each in known], found, strict=True))
    assert [told[f"yt:video:vid0000{number}xyz"] for number in (3, 4, 5, 6, 7)] == [
        "removed_by_platform", "alive", "edited", "gone", "gone"
    ]  # fmt: skip
    assert [told[f"yt:comment:{native}"] for native in comments] == ["alive", "gone", "alive"]
    assert sorted(told.values()).count("alive") == 63 - 5
    assert len(asked) == 3


def test_without_a_key_nothing_of_youtube_is_visited_and_the_variable_is_named() -> None:
    known = [known_of(parse_video(as_video("vid00001xyz", NOON), "www.googleapis.com", NOON))]
    with youtube(YouTube()) as server:
        kept = visited(Source("youtube", server.url, "channel", CHANNEL, True), known)
    assert (states(kept), YOUTUBE_KEY in str(kept.gap)) == (["unknown"], True)


@pytest.mark.parametrize("version", [3, 4])
def test_what_a_lemmy_server_shows_no_more_is_looked_up_in_the_log_of_its_moderators(version: int) -> None:
    state = Lemmy(NOON, version, number=8)
    with serving(lambda path: lemmy_shows(state, path)) as server:
        authority = urlsplit(server.url).netloc
        views = [("post", state._view("post", number)) for number in range(8)]
        views += [("comment", state._view("comment", number)) for number in range(2)]
        known = [known_of(parse_view(view, authority, NOON)) for _, view in views]
        elsewhere = replace(known[0], uid="elsewhere", authority="pond.example")
        found = found_of(Source("lemmy", server.url, "posts", None, True), [*known, elsewhere])
    told = dict(zip([view[what]["id"] for what, view in views[:8]], found, strict=False))
    logged = "removed_by_platform" if version == 3 else "gone"
    assert [told[number] for number in (8, 7, 6, 5, 4)] == [
        "alive", "removed_by_author", "removed_by_platform", logged, "gone"
    ]  # fmt: skip
    assert found[8:] == ["alive", "alive", "unknown"]


def lemmy_shows(state: Lemmy, path: str) -> Reply:
    """Posts and comments by their ids: 7 says that it was deleted, 6 that it was removed; 5 and 4 are not shown, and
    the log has the removal of 5, and of 4 one that was taken back."""
    asked = urlsplit(path)
    *_, version, what = asked.path.split("/")
    query = {name: values[0] for name, values in parse_qs(asked.query).items()}
    if version != f"v{state.version}" or what == "site":
        return state.answer(path)
    if what == "modlog":
        native = int(query["post_id"])
        deeds = [{"post_id": native, "removed": True, "when_": "2026-01-02T01:00:00Z"}]
        deeds += [{"post_id": native, "removed": False, "when_": "2026-01-02T02:00:00Z"}] if native == 4 else []
        entries = [{"mod_remove_post": deed} for deed in deeds]
        return 200, {}, json.dumps({"removed_posts": entries}).encode()
    native = int(query["id"])
    if what == "post" and native in (4, 5):
        error = "couldnt_find_post" if state.version == 3 else "not_found"
        return 404, {}, json.dumps({"error": error}).encode()
    view = state._view(what, state.number - native)
    if what == "post":
        view["post"] |= {"deleted": native == 7, "removed": native == 6}
    return 200, {}, json.dumps({f"{what}_view": view}).encode()


def test_posts_of_a_forum_that_lie_close_together_are_asked_for_at_once() -> None:
    told = {number: forum_post(number, NOON + timedelta(minutes=number), 11, number) for number in range(1, 121)}
    state = Discourse(posts={number: dict(each) for number, each in told.items() if number not in (30, 31)})
    state.posts[10] |= {"cooked": "<p>The tide table is right after all.</p>", "raw": "The tide table is right."}
    state.posts[20] |= {"user_deleted": True}
    state.posts[21] |= {"hidden": True}
    with discourse(state) as server:
        authority = urlsplit(server.url).netloc
        known = [known_of(parse_post(each, authority, NOON)) for number, each in told.items() if number != 60]
        known.append(replace(known[0], uid="far", global_id=f"https://{authority}/p/100000"))
        found = found_of(Source("discourse", server.url, "posts", None, True), known)
        asked = len(server.asked)
    by_number = dict(zip([number for number in told if number != 60] + [100000], found, strict=True))
    assert {number: state for number, state in by_number.items() if state != "alive"} == {
        10: "edited", 20: "removed_by_author", 21: "removed_by_platform", 30: "gone", 31: "gone", 100000: "gone"
    }  # fmt: skip
    assert asked < 10


@pytest.mark.parametrize(
    ("notice", "state"),
    [
        ("This channel can’t be displayed because it violated Telegram's Terms of Service.", "removed_by_platform"),
        ("Unfortunately, this channel couldn't be displayed on your device: it violates local laws", "restricted"),
        ("This channel can’t be displayed because it was used to spread pornographic content.", "restricted"),
        ("Something went wrong.", "unknown"),
    ],
)
def test_a_channel_that_is_not_shown_says_why(notice: str, state: str) -> None:
    page = f'<div class="tgme_widget_message_error">{notice}</div>'.encode()
    posts = [Known("uid1", "telegram", "https://t.me/harbour_notes/7", None, None, None, None, None, "post", None)]
    with serving(lambda path: (404, {}, b"") if "robots" in path else (200, {}, page)) as server:
        found = visited(Source("telegram", server.url, "channel", "harbour_notes", True), posts)
    assert states(found) == [state]


KNOWN: dict[str, Callable[[str], Known]] = {
    "reddit": lambda _: known_of(parse_thing(link(1, NOON), "oauth.reddit.com", NOON)),
    "youtube": lambda _: known_of(parse_video(as_video("vid00001xyz", NOON), "www.googleapis.com", NOON)),
    "lemmy": lambda base: known_of(parse_view(Lemmy(NOON)._view("post", 1), urlsplit(base).netloc, NOON)),
}


@pytest.mark.parametrize("answer", ALIKE)
@pytest.mark.parametrize("platform", list(KNOWN))
def test_a_server_that_answers_everything_alike_removes_nothing(platform: str, answer: Reply) -> None:
    environment = {**APPLICATION.environment, **KEYED.environment}
    with serving(lambda _: answer) as server:
        source = Source(platform, server.url, "posts", None, True)
        found = visited(source, [KNOWN[platform](server.url)], replace(SETTINGS, environment=environment))
    assert not {each.state for each in found.found} & REMOVALS
    assert states(found) == ["unknown"]
