"""Ids that are missing in a channel or a forum: the first round asks for them and tells what took them."""

import json
import random
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from crawlers.post import PostId
from crawlers.pseudonyms import Pseudonyms
from pipelines.recheck_holes import _KEPT, _Sequence
from tests.discourse_server import SINCE, Discourse, discourse, forum, post
from tests.jobs import KEY, postsweep
from tests.sweeps import SWEEP, one_source
from tests.telegram_server import Message, Telegram, harbour, telegram

NAMES = Pseudonyms(bytes.fromhex(KEY))


def swept(folder: Path, url: str, platform: str, kind: str, recheck: str = "") -> None:
    """A sealed sweep of one source."""
    told = one_source(url, allow_private=True).replace('"mastodon"', f'"{platform}"').replace('"public"', f'"{kind}"')
    told = told.replace("[sweep]", "[sweep]\ndelay_seconds = 0.0\nretries = 0")
    value = 'value = "harbour_notes"\n' if kind == "channel" else ""
    (folder / "sweep.toml").write_text(f"{told}{value}\n[recheck]\nconfirm_after_minutes = 0\n{recheck}\n")
    done = postsweep("crawl", "sweep.toml", cwd=folder)
    assert done.returncode == 0, done.stderr


def rechecked(folder: Path, number: int = 1) -> tuple[dict[str, Any], str]:
    """The manifest of the next round, and what the command said."""
    done = postsweep("recheck", "sweep.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f"archive/manifests/rounds/{SWEEP}.{number}.json").read_text()), done.stdout


@pytest.mark.slow
def test_missing_messages_of_a_channel_are_told_from_albums_and_messages_of_service(tmp_path: Path) -> None:
    state = Telegram(channels={"harbour_notes": harbour()})
    with telegram(state) as server:
        swept(tmp_path, server.url, "telegram", "channel")
        identities = pl.read_parquet(f"{tmp_path}/archive/identities/sweep=*/*/*.parquet", hive_partitioning=False)
        read = {int(each.rpartition("/")[2]) for each in identities["global_id"]}
        messages = state.channels["harbour_notes"].values()
        service = {each.number for each in messages if each.service and min(read) < each.number < max(read)}
        albums = {
            number
            for each in messages
            for number in range(each.number + 1, each.number + each.takes)
            if min(read) < number < max(read)
        }
        gone = set(range(min(read), max(read))) - read - service - albums
        before = len([path for path in server.asked if "embed" in path])
        told, said = rechecked(tmp_path)
        asked = len([path for path in server.asked if "embed" in path]) - before
        second, _ = rechecked(tmp_path, 2)
    (holes,) = told["holes"]
    assert (len(service) > 1, len(albums) > 1, len(gone) > 1) == (True, True, True)
    assert holes["found"] == {
        "part of an album": len(albums),
        "a message of service, no post": len(service),
        "gone, cause not told": len(gone),
    }
    assert (holes["asked"], holes["left"]) == (len(albums | service | gone), 0)
    assert asked == len(read) + holes["asked"]
    assert f"missing ids at telegram:{urlsplit(server.url).netloc}:channel" in said
    assert f": {holes['asked']} asked for; a message of service, no post {len(service)}, gone" in said
    assert (second["holes"], second["counts"]["posts"]) == ([], len(read))
    sightings = pl.read_parquet(f"{tmp_path}/archive/sightings/*/round=1/*/*.parquet", hive_partitioning=False)
    assert sightings.height == told["counts"]["posts"] == len(read)
    assert postsweep("verify", "archive", cwd=tmp_path).returncode == 0
    status = postsweep("status", "sweep.toml", cwd=tmp_path)
    assert "missing ids at" in status.stdout


def test_what_was_erased_is_not_asked_for_again(tmp_path: Path) -> None:
    state = Telegram(channels={"harbour_notes": {number: message(number) for number in range(1, 21)}})
    with telegram(state) as server:
        swept(tmp_path, server.url, "telegram", "channel")
        uid = NAMES.post(PostId("telegram", "https://t.me/harbour_notes/7"))
        done = postsweep("erase", "archive", "--post", uid, "--yes", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        state.channels["harbour_notes"].pop(9)
        before = len(server.asked)
        told, _ = rechecked(tmp_path)
        asked = [path for path in server.asked[before:] if "/7?" in path]
    assert (asked, told["holes"], told["counts"]["posts"]) == ([], [], 19)


def message(number: int) -> Message:
    return Message(number, SINCE + timedelta(hours=1, minutes=number), f"Ferry {number} left on time.")


def test_missing_posts_of_a_forum_are_told_by_whom_they_were_taken_and_the_newest_are_asked_for(tmp_path: Path) -> None:
    state = forum()
    with discourse(state) as server:
        swept(tmp_path, server.url, "discourse", "posts", "probe_holes = 60")
        read = {
            int(each.rpartition("/")[2])
            for each in pl.read_parquet(f"{tmp_path}/archive/identities/sweep=*/*/*.parquet", hive_partitioning=False)[
                "global_id"
            ]
        }
        holes_of = sorted(set(range(min(read), max(read))) - read, reverse=True)
        told, _ = rechecked(tmp_path)
    (holes,) = told["holes"]
    newest = holes_of[:60]
    shown = {number: state.posts[number] for number in newest if number in state.posts}
    hidden = sum(each["hidden"] for each in shown.values())
    notes = sum(each["post_type"] == 3 for each in shown.values())
    expected = {"removed_by_platform": hidden, "a message of service, no post": notes}
    expected["gone, cause not told"] = len(newest) - len(shown)
    assert holes["found"] == {what: count for what, count in sorted(expected.items()) if count}
    assert (holes["asked"], holes["left"]) == (60, len(holes_of) - 60)
    assert holes["left"] > 0


def test_no_missing_id_is_asked_for_where_the_sweep_file_says_so(tmp_path: Path) -> None:
    posts = {each * 3: post(each * 3, SINCE, 11, each) for each in range(1, 9)}
    with discourse(Discourse(posts=posts)) as server:
        swept(tmp_path, server.url, "discourse", "posts", "probe_holes = 0")
        told, _ = rechecked(tmp_path)
    assert (told["holes"], told["counts"]["states"]["alive"]) == ([], 8)


def test_the_newest_missing_numbers_are_found_whatever_their_order_and_the_rest_is_counted() -> None:
    present = [*range(1, 3_000_000, 5), 2_999_990]
    sequence = _Sequence()
    for number in random.Random(3).sample(present, len(present)):
        sequence.add(number)
    newest = list(islice(sequence.missing(), 1000))
    known = set(present)
    assert newest == list(islice((number for number in range(max(known), 0, -1) if number not in known), 1000))
    assert sequence.holes == max(known) - len(known)
    assert len(sequence.newest) <= 2 * _KEPT
