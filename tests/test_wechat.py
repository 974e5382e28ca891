"""WeChat: articles by their addresses, told apart from pages that say that one is gone, or that say nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from crawlers.platforms.wechat import canonical, parse_article, parse_listed, standing
from crawlers.post import Account, Media, ParseError, PostId
from crawlers.sink import Position
from crawlers.source import Source
from tests.jobs import postsweep
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import Counted, Outcome, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree
from tests.wechat_server import BIZ, DELETED, GATE, VIOLATION, WeChat, address, article, message, sign, wechat

HOST = "mp.weixin.qq.com"
MIDS = [str(2650412201 + number) for number in range(9)]
ADDRESS = f"https://{HOST}/s?__biz={BIZ}&mid={MIDS[0]}&idx=1&sn={sign(MIDS[0])}"


def state(**changes: object) -> WeChat:
    return WeChat({mid: (f"第{mid}号通告", f"渡轮照常。\nBoat {mid} leaves at nine.") for mid in MIDS}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (ADDRESS, ADDRESS),
        (ADDRESS.replace("https", "http") + "&chksm=97d1&scene=21&key=secret#rd", ADDRESS),
        (ADDRESS.replace("&", "&amp;"), ADDRESS),
        (f"https://{HOST}/s/Qz7hLkT0pWmXeA2sVbNc9g?scene=1", f"https://{HOST}/s/Qz7hLkT0pWmXeA2sVbNc9g"),
        (f"https://{HOST}/s?__biz={BIZ}&mid=7", None),
        (f"https://{HOST}/mp/profile_ext?action=home&__biz={BIZ}", None),
        ("https://[", None),
    ],
)
def test_an_article_has_one_address(url: str, said: str | None) -> None:
    assert canonical(url) == said


def test_an_article_that_speaks_of_verifications_and_deletions_is_an_article() -> None:
    page = article(MIDS[0], f"什么是{GATE}", f"页面写着{DELETED}，或{VIOLATION}。").encode()
    assert standing(page) is None
    assert parse_article(page, HOST, NOW).text == f"页面写着{DELETED}，或{VIOLATION}。"


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (DELETED, "removed_by_author"),
        (VIOLATION, "removed_by_platform"),
        ("此内容因违规已删除", "removed_by_platform"),
        ("该内容被投诉且经审核涉嫌违规，无法查看", "removed_by_platform"),
        ("此账号已被冻结，内容无法查看", "removed_by_platform"),
        ("此帐号已自主注销，内容无法查看", "account_gone"),
        ("根据作者隐私设置，无法查看该内容", "restricted"),
        (GATE, "gate"),
        ("参数错误", "unknown"),
        ("系统繁忙", None),
    ],
)
def test_a_page_without_an_article_says_why_and_is_no_post(told: str, state: str | None) -> None:
    page = message(told).encode()
    notice = standing(page)
    assert (None if notice is None else notice.says) == state
    with pytest.raises(ParseError):
        parse_article(page, HOST, NOW)


RECORDED = {"official_account_list.json": (26, 0)}


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_a_recorded_list_of_an_account_parses_with_no_field_wrong() -> None:
    (name,) = RECORDED
    lines = (RECORDINGS / "wechat" / name).read_text().splitlines()
    for number, line in enumerate(lines):
        found = json.loads(line)
        asked = parse_qs(urlsplit(found["link"]).query)
        biz, mid, idx, sn = (asked[name][0] for name in ("__biz", "mid", "idx", "sn"))
        assert (mid, idx) == (str(found["appmsgid"]), str(found["itemidx"]))
        url = f"https://{HOST}/s?__biz={biz}&mid={mid}&idx={idx}&sn={sn}"
        expected = NOTHING | {
            "id": PostId("wechat", url),
            "host": HOST,
            "kind": "article" if found["item_show_type"] == 0 else "post",
            "author": Account(biz),
            "url": url,
            "created_at": datetime.fromtimestamp(found["create_time"], UTC),
            "title": found["title"],
            "text": found["digest"] or None,
            "truncated": True,
            "mention_count": 0,
            "links": [],
            "media": [Media("image", None, found["cover"])],
        }
        agree(parse_listed(found, HOST, NOW), expected, f"entry {number}")
    assert (len(lines), 0) == RECORDED[name]


# Crawls


def source(url: str, mids: list[str], *more: str) -> Source:
    return Source("wechat", url, "articles", None, True, (*(address(url, mid) for mid in mids), *more))


def crawled_from(server: WeChat, tmp_path: Path, start: Position | None = None, *more: str) -> tuple[Outcome, Source]:
    with wechat(server) as there:
        read = source(there.url, MIDS, *more)
        sink = Counted() if start is None else Counted(start=start)
        outcome = crawled({read: sink}, tmp_path / "stderr")
    assert outcome.error is None, outcome.stderr
    return outcome, read


def found(outcome: Outcome, read: Source) -> list[str]:
    return [parse_qs(urlsplit(post.id.global_id or "").query)["mid"][0] for post in outcome.sinks[read].posts]


def test_every_article_of_a_list_is_read_once_and_what_is_gone_is_a_reject_with_its_cause(tmp_path: Path) -> None:
    faults = {1: (429, {"Retry-After": "0"}, b""), 4: (503, {}, b"")}
    there = state(gone={MIDS[2]: DELETED, MIDS[5]: VIOLATION}, faults=faults)
    outcome, read = crawled_from(there, tmp_path)
    assert found(outcome, read) == [mid for mid in MIDS if mid not in there.gone]
    reasons = [reject.reason for page in outcome.sinks[read].pages for reject in page.rejects]
    assert reasons == ["its publisher deleted it", "the platform removed it, or its account"]
    assert outcome.reason(read) == ""


def test_a_verification_stops_the_source_and_leaves_a_gap_of_the_whole_window(tmp_path: Path) -> None:
    outcome, read = crawled_from(state(shut=4), tmp_path)
    assert found(outcome, read) == MIDS[:4]
    assert "postsweep import wechat" in outcome.reason(read)
    assert BIZ not in outcome.reason(read)


def test_a_page_that_robots_txt_forbids_is_not_asked_for(tmp_path: Path) -> None:
    there = state(robots="User-agent: *\nDisallow: /s\n")
    outcome, read = crawled_from(there, tmp_path)
    assert (found(outcome, read), there.requests) == ([], 0)
    assert "robots.txt" in outcome.reason(read)


def test_a_source_goes_on_from_each_of_its_pages(tmp_path: Path) -> None:
    whole, read = crawled_from(state(), tmp_path)
    cursors = [page.cursor for page in whole.sinks[read].pages]
    assert cursors == [None, *map(str, range(1, len(MIDS)))]
    for number in (3, 8):
        outcome, again = crawled_from(state(), tmp_path, Position(number, cursors[number]))
        assert found(outcome, again) == MIDS[number:]


# Sweeps


def test_a_list_of_articles_becomes_rows_of_a_sealed_sweep_and_no_row_leads_back(tmp_path: Path) -> None:
    there = state(gone={MIDS[2]: DELETED})
    with wechat(there) as server:
        told = [address(server.url, mid) for mid in MIDS]
        (tmp_path / "list.txt").write_text("\n".join([*told, told[0] + "&from=timeline"]))
        head = one_source(server.url).partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        part = f'[[source]]\nplatform = "wechat"\nurl = "{server.url}"\nurls = "list.txt"\nallow_private = true\n'
        (tmp_path / "sweep.toml").write_text(head + part)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet").sort("title")
    assert rows["title"].to_list() == [f"第{mid}号通告" for mid in MIDS if mid != MIDS[2]]
    assert rows["author"].n_unique() == 1
    assert (rows["text"][0], rows["kind"][0]) == (f"渡轮照常。\n\nBoat {MIDS[0]} leaves at nine.", "article")
    assert "潮汐公社" not in str(rows.to_dicts())
    assert BIZ not in str(rows.to_dicts()) + done.stderr
    rejects = pl.read_parquet(tmp_path / "archive/rejects/**/*.parquet")
    assert rejects["reason"].to_list() == ["its publisher deleted it"]


def test_saved_pages_are_imported_and_what_is_gone_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text(article(MIDS[0], "第一号通告", "渡轮照常。"))
    (tmp_path / "two.html").write_text(message(DELETED))
    done = postsweep("import", "wechat", "one.html", "two.html", "--archive", "archive", "--sweep", "h1", cwd=tmp_path)
    assert "its publisher deleted it" in str(pl.read_parquet(tmp_path / "archive/rejects/**/*.parquet").to_dicts())
    assert pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")["text"].to_list() == ["渡轮照常。"], done.stderr
