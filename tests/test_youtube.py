"""YouTube: recorded answers, that no comment of the window is missed, and that the key stays secret."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.catalogue.youtube import KEY as VARIABLE
from crawlers.platforms.youtube import parse_comment, parse_video
from crawlers.post import Account, Media, ParseError, PostId
from crawlers.sink import Memory, Position
from crawlers.source import Source
from pipelines.config import SourcePart
from tests.jobs import postsweep
from tests.loopback import serving
from tests.shared_data import SHARED
from tests.sweeps import contents, one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment
from tests.youtube_server import CHANNEL, KEY, VIDEO, YouTube, comments_of, youtube

HOST = "www.googleapis.com"
KEYED = replace(SETTINGS, environment={VARIABLE: KEY})


def source(url: str, kind: str) -> Source:
    return Source("youtube", url, kind, VIDEO if kind == "comments" else CHANNEL, allow_private=True)


def read(state: YouTube, kind: str, tmp_path: Path, settings: Any = KEYED) -> tuple[Outcome, Source]:
    with youtube(state) as server:
        asked = source(server.url, kind)
        outcome = crawled({asked: Counted()}, tmp_path / "stderr", settings)
    assert outcome.error is None, outcome.stderr
    return outcome, asked


def ids(outcome: Outcome, asked: Source) -> list[str]:
    """Each as often as it was handed over."""
    return sorted(post.id.global_id or "" for post in outcome.sinks[asked].posts)


def busy_video() -> YouTube:
    """Nine days of comments, of which the window holds one, and answers on each day to those of the days before."""
    return YouTube(threads=comments_of(WINDOW.since - timedelta(days=6), 9 * 24, 23), per_page=20)


def everything(state: YouTube) -> list[str]:
    told = [(native, at) for native, at, answers in state.threads for native, at in [(native, at), *answers]]
    return sorted(f"yt:comment:{native}" for native, at in told if WINDOW.holds(at))


# Recordings


def recorded(kind: str) -> Iterator[dict[str, Any]]:
    for path in sorted((RECORDINGS / "youtube").glob("*.json")):
        told = json.loads(path.read_text())
        yield from (item for item in told.get("items", [told]) if item.get("kind") == f"youtube#{kind}")


RECORDED = {
    "channel_info_multi.json": (0, 2),
    "comment_threads_by_channel.json": (2, 0),
    "comment_threads_with_search.json": (1, 0),
    "comments_by_parent_paged_1.json": (2, 0),
    "error_permission_resp.json": (0, 1),
    "error_response.json": (0, 1),
    "playlist_items_single.json": (0, 1),
    "search_result.json": (0, 1),
    "video_info.json": (1, 0),
    "videos_chart_paged_2.json": (3, 0),
    "videos_info_multi.json": (2, 0),
    "videos_info_single.json": (1, 0),
    "videos_myrating_paged_1.json": (2, 0),
    "videos_myrating_paged_2.json": (1, 0),
}
"""Videos and comments, and what is none: channels, errors, what is found and listed, which the spider asks again."""
PROFILES = ("youtube.com/c/", "youtube.com/channel/", "twitter.com/", "instagram.com/")


def plain(written: str) -> tuple[str, list[str], int]:
    """A text, its links and how many accounts it names, word by word; none of the recorded holds a handle."""
    assert re.search(r"@\w", written) is None
    text, links, users = "", [], 0
    for word in re.split(r"(\s)", written.strip()):
        if not word.startswith("http"):
            text += word
        elif word.partition("://")[2].removeprefix("www.").startswith(PROFILES):
            text, users = text + "@user", users + 1
        else:
            text += word
            links.append(word)
    return text, list(dict.fromkeys(links)), users


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
@pytest.mark.parametrize("name", RECORDED)
def test_of_recorded_answers_only_videos_and_comments_are_posts(name: str) -> None:
    told = json.loads((RECORDINGS / "youtube" / name).read_text())
    posts, rejects = 0, 0
    for item in told.get("items", [told]):
        try:
            (parse_video if item.get("kind") == "youtube#video" else parse_comment)(item, HOST, NOW)
            posts += 1
        except ParseError:
            rejects += 1
    assert (posts, rejects) == RECORDED[name]


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_comments_parse_with_no_field_wrong() -> None:
    found = [*recorded("commentThread"), *recorded("comment")]
    for each in found:
        told = each["snippet"].get("topLevelComment", each)["snippet"]
        text, links, users = plain(told["textOriginal"])
        parent, channel = told.get("parentId"), told["authorChannelId"]["value"]
        expected = NOTHING | {
            "id": PostId("youtube", f"yt:comment:{each['id']}"),
            "host": HOST,
            "kind": "reply" if parent else "post",
            "author": Account(channel, None, told["authorDisplayName"], f"https://www.youtube.com/channel/{channel}"),
            "created_at": moment(told["publishedAt"]),
            "text": text,
            "reply_to": PostId("youtube", f"yt:comment:{parent}") if parent else None,
            "mention_count": users,
            "links": links,
            "likes": told["likeCount"],
            "replies": each["snippet"].get("totalReplyCount"),
        }
        agree(parse_comment(each, HOST, NOW), expected, each["id"])
    assert len(found) == 5


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_recorded_videos_parse_with_no_field_wrong() -> None:
    found = list(recorded("video"))
    for each in found:
        told, counts = each["snippet"], each.get("statistics", {})
        text, links, users = plain(told["description"])
        channel, watch = told["channelId"], f"https://www.youtube.com/watch?v={each['id']}"
        expected = NOTHING | {
            "id": PostId("youtube", f"yt:video:{each['id']}"),
            "host": HOST,
            "kind": "post",
            "author": Account(
                channel, display_name=told["channelTitle"], url=f"https://www.youtube.com/channel/{channel}"
            ),
            "url": watch,
            "created_at": moment(told["publishedAt"]),
            "title": told["title"],
            "text": text or None,
            "mention_count": users,
            "links": links,
            "sensitive": False if "contentDetails" in each else None,
            "lang": told.get("defaultLanguage"),
            "hashtags": [tag.casefold() for tag in told["tags"]] if "tags" in told else None,
            "media": [Media("video", None, watch)],
            **{
                name: int(counts[key]) if key in counts else None
                for name, key in (("likes", "likeCount"), ("replies", "commentCount"), ("views", "viewCount"))
            },
        }
        agree(parse_video(each, HOST, NOW), expected, each["id"])
    assert len(found) == 10


# Crawls


def test_no_comment_of_the_window_is_missed_not_even_a_late_answer_and_each_is_read_once(tmp_path: Path) -> None:
    state = busy_video()
    state.faults = {1: 429, 4: 500, 9: 503}
    outcome, asked = read(state, "comments", tmp_path)
    assert len(everything(state)) > 60
    # What a thread shows of its answers is among all of them too, so that a crawl may see one twice.
    assert sorted(set(ids(outcome, asked))) == everything(state)
    assert outcome.reason(asked) == ""
    assert [page.rejects for page in outcome.sinks[asked].pages if page.rejects] == []
    assert all(KEY not in str(page.cursor) for page in outcome.sinks[asked].pages)
    answers = [post for post in outcome.sinks[asked].posts if "." in str(post.id.global_id)]
    assert all(f"{post.reply_to.global_id}." in str(post.id.global_id) for post in answers if post.reply_to)


def test_a_feed_that_did_not_change_is_read_again_from_what_was_remembered(tmp_path: Path) -> None:
    state = YouTube(videos=[(VIDEO, WINDOW.since + timedelta(hours=3))])
    _, _, body = state.answer(f"/feeds/videos.xml?channel_id={CHANNEL}")
    with serving(lambda _: (304, {}, b"")) as server:
        asked = source(server.url, "channel")
        sink = Counted(remembered=Memory(body, '"tide"', "Thu, 01 Jan 2026 04:00:00 GMT"))
        outcome = crawled({asked: sink}, tmp_path / "stderr", KEYED)
    assert (ids(outcome, asked), outcome.reason(asked)) == ([f"yt:video:{VIDEO}"], "")
    assert server.headers[0]["If-None-Match"] == '"tide"'
    assert server.headers[0]["If-Modified-Since"] == "Thu, 01 Jan 2026 04:00:00 GMT"
    traffic = outcome.sinks[asked].traffic
    assert traffic is not None
    assert traffic.not_modified == 1


def test_comments_go_on_from_any_page(tmp_path: Path) -> None:
    state = busy_video()
    outcome, asked = read(state, "comments", tmp_path)
    pages = outcome.sinks[asked].pages
    some = pages[1::7]
    with youtube(state) as server:
        again = [source(f"{server.url}/again{page.number}", "comments") for page in some]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in some]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr", KEYED)
    for page, each in zip(some, again, strict=True):
        told = [[post.id for post in found.posts] for found in resumed.sinks[each].pages]
        assert told == [[post.id for post in found.posts] for found in pages[page.number :]]


def test_what_comes_and_goes_while_comments_are_read_moves_no_other(tmp_path: Path) -> None:
    state = busy_video()
    gone = state.threads[-1]

    def changed() -> None:
        state.threads.insert(0, ("UgyTideNewcomerAaABAg", WINDOW.until - timedelta(seconds=5), []))
        state.threads.remove(gone)

    state.before = {3: changed}
    before = everything(state)
    outcome, asked = read(state, "comments", tmp_path)
    assert outcome.reason(asked) == ""
    assert set(before) - set(ids(outcome, asked)) <= {f"yt:comment:{native}" for native, _ in gone[2]}


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((403, "quotaExceeded"), "the quota of the key in POSTSWEEP_YOUTUBE_KEY is used up"),
        ((403, "commentsDisabled"), "comments are turned off"),
        ((404, "videoNotFound"), "no such video"),
        ((400, "keyInvalid"), "the key in POSTSWEEP_YOUTUBE_KEY is not valid"),
        ((403, "somethingElse"), "the API refuses the request (HTTP 403)"),
    ],
)
def test_what_the_api_refuses_is_told_apart_without_the_key(
    refusal: tuple[int, str], said: str, tmp_path: Path
) -> None:
    outcome, asked = read(YouTube(refusal=refusal), "comments", tmp_path)
    assert said in outcome.reason(asked)
    assert KEY not in outcome.reason(asked) + outcome.stderr


def test_a_quota_that_ends_is_a_gap_and_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    outcome, asked = read(replace(busy_video(), quota=4), "comments", tmp_path)
    assert "used up" in outcome.reason(asked)
    assert len(outcome.sinks[asked].pages) == 4
    outcome, asked = read(busy_video(), "comments", tmp_path, SETTINGS)
    assert outcome.reason(asked) == "this needs your own key: set POSTSWEEP_YOUTUBE_KEY in the environment"


def test_the_key_goes_to_no_other_server_than_its_own(tmp_path: Path) -> None:
    asked = Source("youtube", "https://mirror.example", "comments", VIDEO)
    outcome = crawled({asked: Counted()}, tmp_path / "stderr", KEYED)
    assert "is sent to https://www.googleapis.com only" in outcome.reason(asked)


def test_each_kind_of_source_has_the_server_that_it_is_read_from() -> None:
    kinds = {
        kind: SourcePart(platform="youtube", kind=kind, value=CHANNEL).url for kind in ("channel", "videos", "comments")
    }
    api = "https://www.googleapis.com"
    assert kinds == {"channel": "https://www.youtube.com", "videos": api, "comments": api}


def hourly(count: int) -> YouTube:
    noon = WINDOW.since + timedelta(hours=12)
    return YouTube(videos=[(f"vid{place:05d}xyz", noon - timedelta(hours=place)) for place in range(count)], per_page=9)


def test_a_full_feed_that_does_not_reach_back_to_the_window_leaves_the_exact_gap(tmp_path: Path) -> None:
    moments = [WINDOW.until - timedelta(minutes=40 * place + 1) for place in range(30)]
    state = YouTube(videos=[(f"vid{place:05d}xyz", at) for place, at in enumerate(moments)])
    outcome, asked = read(state, "channel", tmp_path)
    (gap,) = outcome.sinks[asked].gaps or []
    assert (gap.since, gap.until) == (WINDOW.since, state.videos[14][1])
    assert ids(outcome, asked) == sorted(f"yt:video:{native}" for native, _ in state.videos[:15])


def test_a_feed_with_room_left_or_that_reaches_further_back_is_whole(tmp_path: Path) -> None:
    for count in (14, 40):
        state = hourly(count)
        outcome, asked = read(state, "channel", tmp_path)
        expected = [f"yt:video:{native}" for native, at in state.videos if WINDOW.holds(at)]
        assert (ids(outcome, asked), outcome.reason(asked)) == (sorted(expected), "")


def test_a_channels_videos_are_read_whole_and_no_further_back_than_the_margin(tmp_path: Path) -> None:
    state = hourly(400)
    state.faults = {1: 429, 5: 500}
    outcome, asked = read(state, "videos", tmp_path)
    assert ids(outcome, asked) == sorted(f"yt:video:{native}" for native, at in state.videos if WINDOW.holds(at))
    assert (outcome.reason(asked), state.requests < 20) == ("", True)


def test_a_consent_page_in_place_of_a_feed_is_a_gap(tmp_path: Path) -> None:
    with serving(lambda _: (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Before you continue")) as server:
        asked = source(server.url, "channel")
        outcome = crawled({asked: Counted()}, tmp_path / "stderr")
    assert "a consent form or a challenge" in outcome.reason(asked)


# Sweeps


def test_a_sweep_has_a_row_for_each_comment_and_the_key_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    state = replace(busy_video(), per_page=100)
    state.videos = [(VIDEO, datetime(2026, 1, 1, 3, tzinfo=UTC))]
    with youtube(state) as server:
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = '[[source]]\nplatform = "youtube"\nurl = "{}"\nkind = "{}"\nvalue = "{}"\nallow_private = true\n'
        kinds = (("channel", CHANNEL), ("videos", CHANNEL), ("comments", VIDEO))
        sweep = head + "\n".join(part.format(server.url, *kind) for kind in kinds)
        (tmp_path / "sweep.toml").write_text(sweep)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(f"{tmp_path}/archive/posts/*/*/*.parquet", hive_partitioning=False)
    assert rows.height == rows["uid"].n_unique() == len(everything(state)) + 1
    video = rows.filter(pl.col("kind") == "post").row(0, named=True)
    assert len(video["seen_by"]) == 2
    assert rows.filter(pl.col("reply_to") == video["uid"]).height == 24
    kept = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(kept) > 4
    assert not [path for path in kept if KEY.encode() in contents(path) or CHANNEL in path.name]
    assert KEY not in done.stderr + done.stdout
