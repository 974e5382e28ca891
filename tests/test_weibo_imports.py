"""Captures of Weibo that other tools made, from their files to rows of a sealed sweep."""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.errors import Exit
from pipelines.imports.importing import ImportRequest, import_files, kind_of
from pipelines.progress import Progress
from tests.parser_fixtures import FOLDER


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", "5a" * 32)


def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "weibo" / name / "input.json").read_text(encoding="utf-8"))
    return found


def imported(folder: Path, kind: str, *files: Path) -> pl.DataFrame:
    request = ImportRequest(kind_of(kind, None), files, folder / "archive", "h1")
    assert import_files(request, Progress()).exit == Exit.DONE
    return pl.read_parquet(folder / "archive/posts/**/*.parquet", hive_partitioning=True).sort("uid")


def written(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        table.writeheader()
        table.writerows(rows)
    return path


def test_an_account_captured_as_json_and_as_a_table_is_one_set_of_posts(tmp_path: Path) -> None:
    posts = [fixture("weibo-crawler-json"), fixture("weibo-crawler-json-repost")]
    capture = {"user": {"id": "5719382046"}, "weibo": posts}
    as_json = tmp_path / "5719382046.json"
    as_json.write_text(json.dumps(capture, ensure_ascii=False))
    rows = (fixture("weibo-crawler-csv"), fixture("weibo-crawler-csv-repost-with-words"))
    as_table = written(tmp_path / "5719382046.csv", *rows)
    found = imported(tmp_path, "weibo-crawler", as_json, as_table)
    assert found.height == found["uid"].n_unique() == 3
    assert sorted(found["seen_by"].list.len()) == [1, 1, 2]
    assert found["author"].n_unique() == 1
    assert sorted(found["kind"]) == ["post", "quote", "repost"]
    assert found.filter(kind="repost")["repost_of"].to_list() == found.filter(kind="quote")["quote_of"].to_list()
    assert "@user" in found.filter(kind="post")["text"].item()


def test_what_a_search_showed_joins_with_the_same_post_of_an_account(tmp_path: Path) -> None:
    file = written(_made(tmp_path / "a") / "雨.csv", fixture("weibo-search-csv"))
    searched = imported(tmp_path / "a", "weibo-search", file)
    crawled = imported(
        tmp_path / "b", "weibo-crawler", written(_made(tmp_path / "b") / "5719382046.csv", fixture("weibo-crawler-csv"))
    )
    same = ["uid", "author", "kind", "text", "hashtags"]
    assert searched.select(same).equals(crawled.select(same))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_folder_of_mediacrawler_is_a_source_for_each_platform(tmp_path: Path) -> None:
    cases = sorted(FOLDER.glob("*/mediacrawler-*")) + sorted(FOLDER.glob("mediacrawler/*"))
    records = [json.loads((case / "input.json").read_text(encoding="utf-8")) for case in cases]
    lines = tmp_path / "contents.jsonl"
    lines.write_text("\n".join(json.dumps(each, ensure_ascii=False) for each in records[:7]))
    whole = tmp_path / "comments.json"
    whole.write_text(json.dumps(records[7:], ensure_ascii=False))
    found = imported(tmp_path, "mediacrawler", lines, whole)
    platforms = {"weibo", "xiaohongshu", "douyin", "bilibili", "kuaishou", "zhihu", "tieba"}
    assert set(found["platform"]) == platforms
    assert found.height == len(records) - 1  # one is an account
    uids = set(found["uid"])
    replies = found.filter(kind="reply")
    assert replies.height == 6
    assert replies.filter(pl.col("reply_to").is_in(uids)).height == 5  # one replies to a comment that is not there
