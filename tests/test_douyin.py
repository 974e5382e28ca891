"""Douyin: share pages by their addresses, what they say of videos that are gone, and gates."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.douyin import NoDataError, canonical, parse_data, parse_page, standing
from crawlers.post import Account, Media, PostId
from crawlers.source import Source
from tests.jobs import postsweep
from tests.loopback import Reply, serving
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import Counted, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree

HOST = "www.iesdouyin.com"
IDS = [str(7412345678901234500 + number) for number in range(5)]
SCRIPT = b"<!DOCTYPE html><html><script>window.byted_acrawler.init({aid: 6383})</script></html>"


def page(told: dict[str, Any]) -> bytes:
    data = json.dumps({"loaderData": {"video_(id)/page": {"videoInfoRes": told}}}, ensure_ascii=False)
    return f"<!DOCTYPE html><html><body><script>window._ROUTER_DATA = {data}</script></body></html>".encode()


def video(native: str) -> bytes:
    author = {"sec_uid": "MS4wLjABAAAAq3ferryTide", "unique_id": "harbor_lin", "nickname": "港口小林"}
    item = {"aweme_id": native, "desc": f"第{native}班", "create_time": 1767268800, "author": author}
    return page({"item_list": [item], "filter_list": []})


def gone(told: str) -> bytes:
    return page({"item_list": [], "filter_list": [{"aweme_id": IDS[1], "detail_msg": told}]})


def answer(path: str) -> Reply:
    if path == "/robots.txt":
        return 404, {}, b""
    native = path.strip("/").rpartition("/")[2]
    return 200, {"Content-Type": "text/html"}, gone("该作品因违规已下架") if native == IDS[1] else video(native)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("该作品因违规已下架", "removed_by_platform"),
        ("该作品已被作者删除", "removed_by_author"),
        ("因作品权限或已被删除，无法观看", "unknown"),
        ("该账号已注销", "account_gone"),
        ("该账号已被封禁", "removed_by_platform"),
        ("该作品已设为私密", "restricted"),
        ("稍后再来", "unknown"),
    ],
)
def test_a_page_without_a_video_says_why(told: str, state: str) -> None:
    notice = standing(gone(told))
    assert notice is not None
    assert notice.says == state


def test_a_script_page_is_a_gate_and_no_removal() -> None:
    with pytest.raises(NoDataError):
        standing(SCRIPT)
    with pytest.raises(NoDataError):
        parse_page(SCRIPT, HOST, NOW)


def test_a_video_has_one_address() -> None:
    short = f"https://{HOST}/share/video/{IDS[0]}"
    assert canonical(f"{short}/?region=CN&mid=7&u_code=secret") == canonical(short) == f"{short}/"
    assert canonical(f"https://{HOST}/share/user/MS4wLjABAAAAq3ferryTide") is None


RECORDED = {"share_page_router_data.abridged.json": (1, 0)}


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_a_recorded_page_parses_with_no_field_wrong() -> None:
    (name,) = RECORDED
    data = json.loads((RECORDINGS / "douyin" / name).read_text())
    (item,) = data["loaderData"]["video_(id)/page"]["videoInfoRes"]["item_list"]
    native, author, counts = item["aweme_id"], item["author"], item["statistics"]
    expected = NOTHING | {
        "id": PostId("douyin", f"douyin.com/{native}"),
        "host": HOST,
        "kind": "post",
        "author": Account(
            author["sec_uid"], author["unique_id"], url=f"https://www.douyin.com/user/{author['sec_uid']}"
        ),
        "url": f"https://{HOST}/share/video/{native}/",
        "warning": item["risk_infos"]["content"],
        "sensitive": True,
        "hashtags": [extra["hashtag_name"] for extra in item["text_extra"]],
        "media": [Media("video", None, item["video"]["play_addr"]["url_list"][0])],
        "likes": counts["digg_count"],
        "reposts": counts["share_count"],
        "replies": counts["comment_count"],
        "platform_labels": [item["risk_infos"]["content"]],
    }
    agree(parse_data(data, HOST, NOW), expected, "video")


def test_a_captcha_stops_the_source(tmp_path: Path) -> None:
    pages = {IDS[2]: SCRIPT}

    def shut(path: str) -> Reply:
        status, headers, body = answer(path)
        return status, headers, pages.get(path.strip("/").rpartition("/")[2], body)

    with serving(shut) as server:
        urls = tuple(f"{server.url}/share/video/{native}/" for native in IDS)
        read = Source("douyin", server.url, "videos", None, True, urls)
        outcome = crawled({read: Counted()}, tmp_path / "stderr")
    assert outcome.ids(read) == [f"douyin.com/{IDS[0]}"]
    assert "postsweep import douyin" in outcome.reason(read)


def test_a_list_of_videos_becomes_rows_of_a_sealed_sweep(tmp_path: Path) -> None:
    with serving(answer) as server:
        (tmp_path / "list.txt").write_text("\n".join(f"{server.url}/share/video/{native}/?mid=1" for native in IDS))
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'[[source]]\nplatform = "douyin"\nurl = "{server.url}"\nurls = "list.txt"\nallow_private = true\n'
        (tmp_path / "sweep.toml").write_text(head + part)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert sorted(rows["text"]) == [f"第{native}班" for native in IDS if native != IDS[1]]
    assert "MS4wLjABAAAA" not in str(rows.to_dicts())
    rejects = pl.read_parquet(tmp_path / "archive/rejects/**/*.parquet")
    assert rejects["reason"].to_list() == ["the platform removed it"]
