"""Visits to articles of WeChat and videos of Douyin, against servers that show pages as the platforms do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crawlers.platforms.douyin import parse_page
from crawlers.platforms.wechat import parse_article
from crawlers.post import Post, input_digest
from crawlers.sighting import Known
from crawlers.source import Source
from tests.jobs import postsweep
from tests.loopback import Reply, serving
from tests.sweeps import NOON, SWEEP, one_source
from tests.test_douyin import IDS, SCRIPT, page, video
from tests.test_rechecks import Kept, states, visited
from tests.wechat_server import DELETED, GATE, VIOLATION, WeChat, address, article, message, shown, wechat

MIDS = [str(2650412201 + number) for number in range(8)]
ROUNDS = """[cluster]
workers = 1

[recheck]
confirm_after_minutes = 0
removed_by_author = "keep"

[[recheck.source]]
"""
TITLES = {mid: (f"第{mid}号通告", f"渡轮照常，第{mid}班。") for mid in MIDS}


def known(post: Post) -> Known:
    name, digest = str(post.id.global_id), input_digest(post.title, post.warning, post.text)
    return Known(name, post.id.platform, name, None, None, post.url, None, None, post.kind, digest)


def articles() -> list[Known]:
    told = (article(mid, *TITLES[mid]).encode() for mid in MIDS)
    return [known(parse_article(each, "mp.weixin.qq.com", NOON)) for each in told]


def videos() -> list[Known]:
    return [known(parse_page(video(native), "www.iesdouyin.com", NOON)) for native in IDS]


def wechat_source(url: str) -> Source:
    return Source("wechat", url, "articles", allow_private=True)


def douyin_source(url: str) -> Source:
    return Source("douyin", url, "videos", allow_private=True)


def phrases(found: Kept) -> list[str | None]:
    return [each.sighting.evidence.phrase for each in found.found]


def test_an_article_that_is_gone_says_by_whose_hand_and_the_evidence_is_the_phrase() -> None:
    state = WeChat(dict(TITLES))
    state.articles[MIDS[1]] = (TITLES[MIDS[1]][0], "渡轮停航。")
    state.gone = {
        MIDS[2]: DELETED,
        MIDS[3]: VIOLATION,
        MIDS[4]: "此内容被投诉且经审核涉嫌侵权，无法查看。",
        MIDS[5]: "该公众号潮汐公社已被冻结，内容无法查看",
        MIDS[6]: "此帐号已自主注销，内容无法查看",
        MIDS[7]: "链接已过期",
    }
    with wechat(state) as server:
        found = visited(wechat_source(server.url), articles())
    assert states(found) == [
        "alive", "edited", "removed_by_author", "removed_by_platform", "removed_by_platform", "removed_by_platform",
        "account_gone", "unknown",
    ]  # fmt: skip
    assert phrases(found) == [
        None, None, "已被发布者删除", "因违规无法查看", "涉嫌侵权", "公众号…冻结", "帐号…注销", "链接已过期",
    ]  # fmt: skip
    assert found.gap is None


def test_a_verification_ends_the_visits_and_removes_nothing_of_what_was_found_before() -> None:
    state = WeChat({mid: TITLES[mid] for mid in MIDS[:2]}, gone=dict.fromkeys(MIDS[2:], DELETED), shut=3)
    with wechat(state) as server:
        found = visited(wechat_source(server.url), articles())
        asked = [path for path in server.asked if path != "/robots.txt"]
    assert states(found) == ["alive", "alive", "removed_by_author", *["unknown"] * 5]
    assert "asks for a verification" in str(found.gap)
    assert len(asked) == 4


def test_an_article_that_speaks_of_deletions_or_another_one_at_the_address_is_no_removal() -> None:
    state = WeChat({MIDS[0]: (f"什么是{GATE}", f"页面写着{DELETED}。")})
    state.faults = {1: shown(article(MIDS[5], *TITLES[MIDS[5]]))}
    with wechat(state) as server:
        found = visited(wechat_source(server.url), articles()[:2])
    assert states(found) == ["edited", "unknown"]


def filtered(native: str, told: str, reason: str = "") -> bytes:
    return page({"item_list": [], "filter_list": [{"aweme_id": native, "filter_reason": reason, "detail_msg": told}]})


def test_a_video_that_is_not_shown_has_the_platforms_reason_or_none() -> None:
    pages = {
        IDS[0]: video(IDS[0]),
        IDS[1]: filtered(IDS[1], "该作品因违规已下架"),
        IDS[2]: filtered(IDS[2], "该作品已被作者删除"),
        IDS[3]: filtered(IDS[3], "因作品权限或已被删除，无法观看", "status_self_see"),
        IDS[4]: filtered(IDS[4], "因作品权限或已被删除，无法观看"),
    }
    with serving(by_number(pages)) as server:
        found = visited(douyin_source(server.url), videos())
        again = {IDS[0]: filtered(IDS[4], "该作品已被作者删除"), IDS[1]: page({"item_list": [], "filter_list": []})}
        again |= {IDS[2]: video(IDS[3])}
    assert states(found) == ["alive", "removed_by_platform", "removed_by_author", "restricted", "unknown"]
    assert phrases(found) == [None, "违规", "已被作者删除", "status_self_see", "权限或已被删除"]
    with serving(by_number(again)) as server:
        found = visited(douyin_source(server.url), videos()[:3])
    assert states(found) == ["unknown"] * 3


def by_number(pages: dict[str, bytes]) -> Callable[[str], Reply]:
    def answer(path: str) -> Reply:
        if path == "/robots.txt":
            return 404, {}, b""
        return 200, {"Content-Type": "text/html"}, pages[path.strip("/").rpartition("/")[2]]

    return answer


def test_a_script_page_ends_the_visits_to_douyin_and_removes_nothing() -> None:
    pages = {native: filtered(native, "该作品已被作者删除") for native in IDS} | {IDS[1]: SCRIPT}
    with serving(by_number(pages)) as server:
        found = visited(douyin_source(server.url), videos())
        asked = [path for path in server.asked if path != "/robots.txt"]
    assert states(found) == ["removed_by_author", *["unknown"] * 4]
    assert "a script page or a captcha" in str(found.gap)
    assert len(asked) == 2


STRANGE: list[Reply] = [
    (404, {}, DELETED.encode()), (200, {}, b""), (200, {}, b"\xff\xfe"), (200, {}, b"{}"),
    (200, {}, json.dumps([DELETED]).encode()),
]  # fmt: skip
PLATFORMS = [(wechat_source, articles), (douyin_source, videos)]


@pytest.mark.parametrize(("source", "posts"), PLATFORMS, ids=["wechat", "douyin"])
def test_what_is_no_notice_of_the_platform_removes_nothing(source: Any, posts: Any) -> None:
    replies = iter(STRANGE)
    with serving(lambda path: (404, {}, b"") if path == "/robots.txt" else next(replies)) as server:
        found = visited(source(server.url), posts()[: len(STRANGE)])
        asked = [path for path in server.asked if path != "/robots.txt"]
    assert states(found) == ["unknown"] * len(STRANGE)
    assert len(asked) == (2 if source is douyin_source else len(STRANGE)), "a page without data is a gate of Douyin's"


@pytest.mark.parametrize(("source", "posts"), PLATFORMS, ids=["wechat", "douyin"])
def test_a_refusal_is_a_gap_whatever_its_page_says(source: Any, posts: Any) -> None:
    reply = (403, {}, message(DELETED).encode())
    with serving(lambda path: (404, {}, b"") if path == "/robots.txt" else reply) as server:
        found = visited(source(server.url), posts()[:2])
    assert (states(found), found.gap) == (["unknown"] * 2, "the server refuses visitors (HTTP 403)")


def test_a_round_over_articles_counts_what_two_visits_found_and_tells_the_phrase(tmp_path: Path) -> None:
    state = WeChat(dict(TITLES))
    with wechat(state) as server:
        (tmp_path / "list.txt").write_text("\n".join(address(server.url, mid) for mid in MIDS))
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'platform = "wechat"\nurl = "{server.url}"\nurls = "list.txt"\nallow_private = true\n'
        (tmp_path / "sweep.toml").write_text(f"{head}[[source]]\n{part}\n{ROUNDS}{part}")
        crawl = postsweep("crawl", "sweep.toml", cwd=tmp_path)
        assert crawl.returncode == 0, crawl.stderr
        state.gone = {MIDS[2]: DELETED, MIDS[3]: VIOLATION}
        done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/sightings/**/*.parquet")
    assert rows.height == len(MIDS)
    found = rows.filter("counted").sort("state").select("state", "phrase").rows()
    assert found == [("removed_by_author", "已被发布者删除"), ("removed_by_platform", "因违规无法查看")]
    assert rows.filter(~pl.col("counted"))["state"].unique().to_list() == ["alive"]


def test_a_digest_of_an_accounts_list_is_no_text_to_compare_an_article_with(tmp_path: Path) -> None:
    listed = [
        {"title": TITLES[mid][0], "digest": "渡轮照常", "link": address("https://mp.weixin.qq.com", mid)}
        for mid in MIDS
    ]
    told = [each | {"create_time": 1767268800, "item_show_type": 0} for each in listed]
    (tmp_path / "list.json").write_text(json.dumps(told))
    done = postsweep("import", "wechat", "list.json", "--archive", "archive", "--sweep", SWEEP, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with wechat(WeChat(dict(TITLES))) as server:
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'platform = "wechat"\nurl = "{server.url}"\nallow_private = true\n'
        (tmp_path / "sweep.toml").write_text(f"{head}{ROUNDS}{part}")
        done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "archive/sightings/**/*.parquet")["state"].to_list() == ["alive"] * len(MIDS)
