"""Captures of X by twarc, from lines on disk to rows in a sealed sweep."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.errors import Exit
from pipelines.imports.importing import ImportRequest, import_files, kind_of
from pipelines.progress import Progress
from tests.parser_fixtures import FOLDER
from tests.x_server import USERS, X

GOT = "2026-07-31T18:00:05+00:00"
NOON = datetime(2026, 7, 30, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", "5a" * 32)


def page(posts: int) -> dict[str, Any]:
    """A page as the API gives it, and as twarc writes it down."""
    state = X()
    for place in range(posts):
        state.post(NOON + timedelta(minutes=place))
    original = state.post(NOON - timedelta(days=4), text="渡轮从周四起改到鱼市码头，潜水员还在东码头作业。" * 5)
    repost = state.post(
        NOON + timedelta(hours=3),
        text="RT @tideclock: 渡轮从周四起改到鱼市码头…",
        referenced_tweets=[{"type": "retweeted", "id": original}],
    )
    shown = [tweet for native, tweet in state.tweets.items() if native != original]
    includes = {"users": list(USERS), "tweets": [state.tweets[original]]}
    meta = {"result_count": len(shown), "newest_id": repost}
    return {"data": shown, "includes": includes, "meta": meta, "__twarc": {"version": "2.14.0", "retrieved_at": GOT}}


def flattened(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """What `twarc2 flatten` makes of a page: each post a line, with what it names written into it."""
    users = {user["id"]: user for user in whole["includes"]["users"]}
    tweets = {tweet["id"]: tweet for tweet in whole["includes"]["tweets"]}

    def full(tweet: dict[str, Any]) -> dict[str, Any]:
        named = [{**full(tweets[each["id"]]), **each} for each in tweet.get("referenced_tweets", [])]
        return {**tweet, "author": users[tweet["author_id"]], **({"referenced_tweets": named} if named else {})}

    return [{**full(tweet), "__twarc": whole["__twarc"]} for tweet in whole["data"]]


def rows_of(folder: Path, lines: list[Any], name: str = "capture.jsonl") -> pl.DataFrame:
    folder.mkdir()
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    request = ImportRequest(kind_of("twarc", None), (folder / name,), folder / "archive", "h1")
    assert import_files(request, Progress()).exit == Exit.DONE
    found = pl.read_parquet(folder / "archive/posts/sweep=h1/*/*.parquet", hive_partitioning=False)
    return found.sort("uid")


def test_pages_and_what_was_flattened_of_them_become_the_same_rows(tmp_path: Path) -> None:
    whole = page(40)
    pages, flat = rows_of(tmp_path / "pages", [whole]), rows_of(tmp_path / "flat", flattened(whole), "flat.jsonl.gz")
    told = [name for name in pages.columns if name not in ("source", "seen_by", "page", "cursor")]
    assert pages.height == 41
    assert pages.select(told).equals(flat.select(told))
    assert set(pages["fetched_at"]) == {datetime.fromisoformat(GOT)}
    (repost,) = pages.filter(pl.col("kind") == "repost").to_dicts()
    assert repost["text"] == "渡轮从周四起改到鱼市码头，潜水员还在东码头作业。" * 5


def test_lines_of_the_older_api_become_rows_and_a_notice_of_a_deletion_a_reject(tmp_path: Path) -> None:
    names = ("v1-with-media", "v1-retweet", "v1-streamed-quoting-reply", "notice-of-a-deletion")
    lines = [json.loads((FOLDER / "x" / name / "input.json").read_text()) for name in names]
    found = rows_of(tmp_path / "old", lines)
    assert sorted(found["kind"]) == ["post", "reply", "repost"]
    by_kind = {row["kind"]: row for row in found.to_dicts()}
    assert by_kind["repost"]["repost_of"] == by_kind["reply"]["reply_to"] == by_kind["post"]["uid"]
    rejects = pl.read_parquet(tmp_path / "old/archive/rejects/**/*.parquet", hive_partitioning=False)
    assert rejects["place"].to_list() == ["delete"]


def test_a_broken_post_of_a_page_is_a_reject_and_costs_no_other(tmp_path: Path) -> None:
    whole = page(5)
    whole["data"][2] = {"id": "none"}
    assert rows_of(tmp_path / "broken", [whole, {"meta": {"result_count": 0}}]).height == 5
