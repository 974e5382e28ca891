"""Pages and answers of Chinese platforms, from a server or from disk to the flags of a report. No post is real."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from lxml import html

from pipelines.archive import read_archive, run_manifest, sweep_manifest
from pipelines.report.figures import compute
from tests.jobs import postsweep
from tests.loopback import Reply, serving
from tests.sweeps import NOON, SWEEP, one_source
from tests.test_douyin import gone, page
from tests.test_imports import fixture, warc
from tests.wechat_server import DELETED, WeChat, address, wechat
from tests.weibo_server import COOKIE, USER, Weibo, mblog, weibo

WATER = "紧急扩散！自来水厂被投毒，全城的水已经不能喝，已有多人死亡，官方封锁消息，请速转发给家人！"
GARLIC = "某专家透露，白酒泡大蒜能杀死全部癌细胞，医院为了赚钱封锁消息，赶快转发给家人，已有上万人治愈！"
MILK = "速转！某品牌奶粉检出致癌物，已有三十名婴儿死亡，央视不敢报道，赶紧告诉身边的妈妈！"
VIRUS = "紧急扩散！儿童医院昨夜发现新型病毒，已死亡一百多人，院方不让外传，请转发给所有家长！"
SALT = "网传：喝热水加盐就能杀死新冠病毒，专家亲测有效，官方隐瞒真相，转发救命！"
FERRY = "从周一起，渡轮早班改为七点，票价不变。"
MARKET = "早市六点开门，荠菜很新鲜，带上布袋就好。"
LAMP = "桥下的灯修好了，走夜路亮堂多了。"
DUMPLINGS = "奶奶教我包荠菜馄饨，第一次就成功了。"

Flagged = dict[str, tuple[int, int]]
"""By platform: scored posts, and those with the flag."""


def judged(folder: Path, sweep: str) -> pl.DataFrame:
    """The posts of a sweep, each with the flags of its one run."""
    told: Any = {"hive_partitioning": True}
    posts = pl.read_parquet(folder / f"archive/posts/sweep={sweep}/*/*.parquet", **told)
    scores = pl.read_parquet(folder / f"archive/scores/run=*/sweep={sweep}/*/*.parquet", **told)
    found = posts.join(scores.select("uid", "flags", "rumor"), on="uid", validate="1:1")
    assert found.height == posts.height == scores.height
    return found


def rumors(found: pl.DataFrame) -> list[str]:
    """What is read of the posts that are flagged as rumors, in the order of platforms and texts."""
    flagged = found.filter(pl.col("flags").list.contains("rumor")).sort("platform", "text")
    return [f"{platform}: {text}" for platform, text in flagged.select("platform", "text").iter_rows()]


def figures(folder: Path, sweep: str) -> Flagged:
    """What the figures of a report say of rumors."""
    store = read_archive(folder / "archive")
    manifest = sweep_manifest(store, sweep)
    (name,) = (path.stem for path in (folder / "archive/manifests/runs").glob("*.json"))
    assert manifest is not None
    run = run_manifest(store, name)
    assert run is not None
    (label,) = (each for each in compute(store.root, manifest, run, False, 6).labels if each.name == "rumor")
    return {each.name: (each.scored, each.flagged) for each in label.platforms}


def shown(report: Any) -> Flagged:
    """What the report shows of rumors, in its table by platform."""
    (table,) = report.xpath("//section[@id='flagged']/h3[.='rumor']/following::table[.//th[.='Platform']][1]")
    rows = [[cell.text_content() for cell in row.iter("td")] for row in table.iter("tr")]
    return {row[0]: (int(row[1]), int(row[2])) for row in rows if row}


def to_review(report: Any) -> Iterator[str]:
    """The platform and the text of each post that the report gives to review as a rumor, for its high score."""
    (heading,) = report.xpath("//section[@id='examples']/h3[.='rumor']")
    for node in heading.itersiblings():
        if node.tag == "h3":
            return
        (meta,), text = node.xpath("p[@class='meta']"), node.xpath("p[@class='text']")[0]
        _, platform, *_, why = (part.strip() for part in meta.text_content().split("·"))
        if why == "highest":
            yield f"{platform}: {text.text_content()}"


def read_report(path: Path) -> Any:
    return html.document_fromstring(path.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))


# A crawl


def video(native: str, desc: str, likes: int = 12) -> dict[str, Any]:
    author = {"sec_uid": f"MS4wLjABAAAAtide{native[-3:]}", "unique_id": "", "short_id": "0", "nickname": "港口小林"}
    counts = {"digg_count": likes, "comment_count": 3, "share_count": 1, "collect_count": 2, "play_count": 0}
    told = {"aweme_id": native, "desc": desc, "create_time": int(NOON.timestamp()), "author": author}
    return told | {"statistics": counts, "text_extra": [], "risk_infos": {"warn": False, "type": 0, "content": ""}}


def older(item: dict[str, Any]) -> bytes:
    """The page of a video as it was, with its data in `RENDER_DATA`."""
    detail = {"awemeId": item["aweme_id"], "desc": item["desc"], "createTime": item["create_time"]}
    detail |= {"authorInfo": {"secUid": item["author"]["sec_uid"], "nickname": "港口小林"}}
    data = quote(json.dumps({"app": {"videoDetail": detail}}, ensure_ascii=False))
    return f'<html><body><script id="RENDER_DATA" type="application/json">{data}</script></body></html>'.encode()


VIDEOS = {
    "7412345678901234501": page({"item_list": [video("7412345678901234501", MILK, 1_200_000)], "filter_list": []}),
    "7412345678901234502": page({"item_list": [video("7412345678901234502", FERRY)], "filter_list": []}),
    "7412345678901234503": older(video("7412345678901234503", VIRUS)),
    "7412345678901234504": older(video("7412345678901234504", LAMP)),
    "7412345678901234505": gone("该作品因违规已下架"),
}


def douyin(path: str) -> Reply:
    if path == "/robots.txt":
        return 404, {}, b""
    return 200, {"Content-Type": "text/html"}, VIDEOS[path.strip("/").rpartition("/")[2]]


def timeline() -> Weibo:
    """Cards: a rumor whose counts are rounded, a long one whose card is cut before it begins, a repost of a rumor
    without words, a repost of what its author took away, a stub, and two harmless posts."""
    cards = [mblog(number, NOON) for number in range(7)]
    cards[0] |= {"text": f'<a href="/search">#自来水#</a>{WATER}<br />', "reposts_count": "100万+"}
    cards[0] |= {"attitudes_count": "1.5万", "comments_count": "评论"}
    cards[1] |= {"text": f'{MARKET}...<a href="/status/{cards[1]["mid"]}">全文</a>', "isLongText": True}
    cards[2] |= {"text": "转发微博", "retweeted_status": mblog(90, NOON, text=SALT)}
    stub = {"text": "抱歉，此微博已被作者删除。查看帮助：", "user": None, "created_at": cards[6]["created_at"]}
    gone_before = stub | {"mid": "5142888000111222", "id": "5142888000111222", "deleted": "1"}
    cards[3] |= {"text": "转发微博", "retweeted_status": gone_before}
    cards[4] |= {"text": FERRY}
    cards[5] |= {"text": DUMPLINGS}
    cards[6] = stub | {"mid": cards[6]["mid"], "id": cards[6]["id"]}
    return Weibo(mblogs=cards, long_texts={cards[1]["mid"]: f"{MARKET}<br />另外，{GARLIC}"})


def test_rumors_of_wechat_douyin_and_weibo_are_crawled_flagged_and_shown_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_WEIBO_COOKIE", COOKIE)
    mids = [str(2650412201 + number) for number in range(5)]
    titles = {mids[0]: ("全城停水真相", WATER), mids[1]: ("渡轮时刻表", FERRY), mids[2]: ("医院不会告诉你的事", GARLIC)}
    articles = WeChat(titles | {mids[3]: ("周末早市", MARKET)}, gone={mids[4]: DELETED})
    with wechat(articles) as first, serving(douyin) as second, weibo(timeline()) as third:
        # The same article as it is passed on twice: one row.
        listed = [*(address(first.url, mid) for mid in mids), address(first.url, mids[0]) + "&from=timeline"]
        (tmp_path / "articles.txt").write_text("\n".join(listed))
        (tmp_path / "videos.txt").write_text("\n".join(f"{second.url}/share/video/{each}/?mid=7" for each in VIDEOS))
        head = one_source("").partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        for platform, url, what in (
            ("wechat", first.url, 'urls = "articles.txt"'),
            ("douyin", second.url, 'urls = "videos.txt"'),
            ("weibo", third.url, f'kind = "user"\nvalue = "{USER}"'),
        ):
            head += f'[[source]]\nplatform = "{platform}"\nurl = "{url}"\n{what}\nallow_private = true\n\n'
        (tmp_path / "sweep.toml").write_text(head + "[cluster]\nworkers = 1\n")
        done = postsweep("run", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    found = judged(tmp_path, SWEEP)
    expected = [
        *(f"douyin: {text}" for text in sorted((MILK, VIRUS))),
        *(f"wechat: {text}" for text in sorted((WATER, GARLIC))),
        *(f"weibo: {text}" for text in sorted((f"#自来水#{WATER}", f"{MARKET}\n另外，{GARLIC}", SALT))),
    ]
    assert rumors(found) == expected
    counts = {"douyin": (4, 2), "wechat": (4, 2), "weibo": (5, 3)}
    assert dict(found.group_by("platform").len().iter_rows()) == {"douyin": 4, "wechat": 4, "weibo": 6}

    rounded = found.filter(pl.col("text").str.starts_with("#自来水#")).row(0, named=True)
    assert (rounded["reposts"], rounded["likes"], rounded["replies"]) == (1_000_000, 15_000, None)
    assert found.filter(pl.col("text") == MILK)["likes"].to_list() == [1_200_000]
    assert found.filter(pl.col("truncated"))["text"].to_list() == []
    (lost,) = found.filter((pl.col("kind") == "repost") & pl.col("text").is_null()).iter_rows(named=True)
    assert (lost["rumor"], lost["flags"]) == (None, [])
    rejects = pl.read_parquet(tmp_path / "archive/rejects/**/*.parquet")
    assert sorted(rejects["reason"]) == [
        "a stub in place of a post that is gone (removed_by_author)",
        "its publisher deleted it",
        "the platform removed it",
    ]

    report = read_report(tmp_path / f"{SWEEP}.html")
    assert figures(tmp_path, SWEEP) == shown(report) == counts
    reviewed = set(to_review(report))
    assert reviewed >= {f"douyin: {MILK}", f"douyin: {VIRUS}"}
    assert reviewed >= {f"wechat: 全城停水真相\n{WATER}", f"wechat: 医院不会告诉你的事\n{GARLIC}"}
    # Of an author two posts at most are given to review.
    assert len([each for each in reviewed if each.startswith("weibo: ")]) == 2


# Captures


def with_text(name: str, place: str, text: str, **more: Any) -> dict[str, Any]:
    """A fixture's mblog with another text, in the field that its shape is read from."""
    told: dict[str, Any] = json.loads(fixture(f"weibo/{name}"))
    holder = told
    for key in place.split(".")[:-1]:
        holder = holder[key]
    holder[place.rpartition(".")[2]] = text
    return told | more


def test_weibo_of_each_shape_and_saved_pages_go_from_a_capture_on_disk_to_flags_in_the_report(tmp_path: Path) -> None:
    cards = [
        with_text("card-with-markup", "text", f"<span class='url-icon'><img alt=[雨] src='r.png' /></span>{WATER}"),
        with_text("card-with-indexed-pictures-and-shortened-counts", "text", FERRY),
        with_text("cut-text-made-whole", "longText.longTextContent", f"{MARKET}<br /><br />{GARLIC}"),
        with_text("repost-without-words", "retweeted_status.text", SALT),
        json.loads(fixture("weibo/repost-of-what-its-author-removed")),
        json.loads(fixture("weibo/stub-of-its-author")),
    ]
    web = [with_text("ajax-that-was-edited", "text_raw", MILK, reposts_count="100万+", attitudes_count="1.5万")]
    old = [with_text("api-answer", "text", VIRUS)]
    article_page = fixture("wechat/article-with-pictures-and-source").decode()
    for place in ("受潮位影响，<strong>早班渡轮</strong>从六点半改到七点。", "冬季航线调整：早班改到七点"):
        assert place in article_page
        article_page = article_page.replace(place, WATER)
    video_page = page({"item_list": [video("7412345678901234501", GARLIC)], "filter_list": []})
    answers = [
        ("https://m.weibo.cn/api/container/getIndex?containerid=1076031",
         {"ok": 1, "data": {"cards": [{"card_type": 9, "mblog": each} for each in cards]}}),
        ("https://weibo.com/ajax/statuses/mymblog?uid=1&page=1", {"ok": 1, "data": {"list": web}}),
        ("https://api.weibo.com/2/statuses/user_timeline.json", {"statuses": old, "total_number": 1}),
    ]  # fmt: skip
    records = [(url, 200, "application/json", json.dumps(told).encode(), {}) for url, told in answers]
    records += [
        ("https://mp.weixin.qq.com/s/Qz7hLkT0pWmXeA2sVbNc9g", 200, "text/html", article_page.encode(), {}),
        ("https://www.iesdouyin.com/share/video/7412345678901234501/", 200, "text/html", video_page, {}),
    ]
    warc(tmp_path / "capture.warc.gz", records)
    for step in (
        ("import", "warc", "capture.warc.gz", "--sweep", "h1"),
        ("classify", "archive", "--sweep", "h1"),
        ("report", "archive", "--sweep", "h1"),
    ):
        done = postsweep(*step, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    found = judged(tmp_path, "h1")
    told = rumors(found)
    assert [each.partition(":")[0] for each in told] == ["douyin", "wechat", *["weibo"] * 5]
    for rumor in (WATER, GARLIC, SALT, MILK, VIRUS):
        assert [each for each in told if each.startswith("weibo: ") and rumor in each], rumor
    rounded = found.filter(pl.col("text").str.contains("致癌物")).row(0, named=True)
    assert (rounded["reposts"], rounded["likes"]) == (1_000_000, 15_000)
    harmless = found.filter((pl.col("platform") == "weibo") & (pl.col("text") == FERRY)).row(0, named=True)
    assert (harmless["reposts"], harmless["replies"], harmless["likes"]) == (15_000, None, 1_000_000)
    report = read_report(tmp_path / "h1.html")
    assert figures(tmp_path, "h1") == shown(report) == {"douyin": (1, 1), "wechat": (1, 1), "weibo": (7, 5)}
    assert any(GARLIC in each for each in to_review(report))
