"""Weibo: recorded answers, whole reads of a server in its shape, its gates, and a sweep."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.platforms.weibo import bid_of, mblogs_in, mid_of, parse_mblog
from crawlers.platforms.weibo_text import read_words
from crawlers.post import Account, Media, ParseError, Post, PostId, Verification, VerifiedAs
from crawlers.sink import Position
from crawlers.source import Source
from crawlers.text import names_account
from tests.jobs import postsweep
from tests.loopback import Reply
from tests.shared_data import SHARED
from tests.sweeps import contents, one_source
from tests.test_crawlers_spiders import SETTINGS, WINDOW, Counted, Outcome, crawled
from tests.test_recordings import NOTHING, RECORDINGS, agree
from tests.weibo_server import COOKIE, LOGIN, USER, VISITOR, Weibo, day_of, mblog, weibo

HOST = "m.weibo.cn"
NOW = datetime(2026, 3, 14, 4, 30, tzinfo=UTC)
WITH_COOKIE = replace(SETTINGS, environment={"POSTSWEEP_WEIBO_COOKIE": COOKIE})

# Parser


def test_a_bid_is_its_mid_in_base_62() -> None:
    assert mid_of("I3S86DzcR") == "4409230629430129"
    assert bid_of("4409230629430129") == "I3S86DzcR"


@given(st.integers(10**12, 10**17))
def test_each_mid_has_one_bid_and_each_bid_its_mid(mid: int) -> None:
    assert mid_of(bid_of(str(mid))) == str(mid)


@pytest.mark.parametrize("bid", ["", "I3S8", "I3S86Dzc_", "ZZZZZZZZZ", "0" * 9, "9" * 40])
def test_what_is_no_bid_names_no_post(bid: str) -> None:
    with pytest.raises(ParseError):
        mid_of(bid)


def parsed(**fields: Any) -> Post:
    return parse_mblog(mblog(7, NOW) | fields, HOST, NOW)


def test_a_post_is_one_whether_it_is_named_by_its_number_or_its_bid() -> None:
    whole = mblog(7, NOW)
    bare = {key: value for key, value in whole.items() if key not in ("id", "mid")}
    mid, bid = whole["mid"], bid_of(whole["mid"])
    names: list[dict[str, Any]] = [{"mid": mid}, {"id": int(mid)}, {"bid": bid}, {"mblogid": bid}]
    ids = {parse_mblog(bare | named, HOST, NOW).id for named in names}
    assert ids == {PostId("weibo", whole["mid"])}
    with pytest.raises(ParseError, match="not one number"):
        parsed(idstr="5143000000000099")


@pytest.mark.parametrize(
    "text",
    [
        "谢谢@城东气象笔记-南站 提醒",
        "转发//@Alder-Field_9:早上好//@阿-澄_77：收到",
        "<a href='/n/城东气象笔记-南站'>@城东气象笔记-南站</a>你好<br />还有@阿-澄_77，",
        '来自<a href="https://m.weibo.cn/u/1904427315">城东气象笔记-南站</a>',
        'x<a href="https://weibo.cn/n/Alder-Field_9">@Alder-Field_9</a>',
        "看 https://weibo.com/n/Alder-Field_9 与 https://weibo.com/1904427315/I3S86DzcR 与 https://m.weibo.cn/n/阿-澄_77",
    ],
)
def test_no_name_is_left_of_a_mention_nor_a_link_to_who_it_is(text: str) -> None:
    post = parsed(text=text)
    told = f"{post.text} {post.links} {post.hashtags}"
    assert not re.search("Alder|Field|气象|南站|阿|澄|77|1904427315|I3S86DzcR", unquote(told))
    assert "@user" in told
    assert post.mention_count


def test_words_like_those_of_a_stub_are_a_post_when_a_person_writes_them() -> None:
    assert parsed(text="抱歉，此微博已被作者删除。这句话我看了三遍").kind == "post"


def test_a_short_link_becomes_what_it_leads_to_and_ends_where_chinese_goes_on() -> None:
    reading = read_words(
        "见http://t.cn/A6kQ9zzz和http://t.cn/A6other。", {"http://t.cn/A6kQ9zzz": "https://city.example/a"}
    )
    assert reading.text == "见https://city.example/a 和http://t.cn/A6other。"
    assert reading.links == ["https://city.example/a", "http://t.cn/A6other"]


# Recordings


RECORDED = {
    "m_weibo_cn_card9.abridged.json": (1, 0),
    "sfm_287c996639f6_1.json": (0, 1),
    "sfm_29240c69dd68_1.json": (1, 0),
    "sfm_29240c69dd68_2.json": (0, 0),
    "sfm_3a3f522447d1_2.json": (0, 0),
    "sfm_3a3f522447d1_3.json": (0, 0),
    "sfm_5d8ea69b3544_2.json": (0, 0),
}
"""Posts, and an error; four pages hold nothing."""
MARKS: dict[int, VerifiedAs] = {0: "person", 3: "media"}


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
@pytest.mark.parametrize("shown_at", [NOW, datetime(2024, 3, 1, 9, 0, tzinfo=UTC)])
def test_recorded_answers_parse_with_no_field_wrong(shown_at: datetime) -> None:
    for name, counts in RECORDED.items():
        path, found = RECORDINGS / "weibo" / name, 0
        answer = json.loads(path.read_text())
        if "error" in answer:
            with pytest.raises(ParseError):
                mblogs_in(answer)
            assert counts == (0, 1)
            continue
        for told in mblogs_in(answer):
            assert isinstance(told, dict)
            found += 1
            card, user = "bid" in told, told["user"]
            # The card says how many hours ago, which is a moment only together with the time that it was shown at.
            hours = timedelta(hours=int(told["created_at"].removesuffix("小时前"))) if card else timedelta()
            moment = shown_at - hours if card else parsedate_to_datetime(told["created_at"])
            since = parsedate_to_datetime(user["created_at"]).astimezone(UTC) if "created_at" in user else None
            # The API tells no bid: the conversion is held by the card, which tells both.
            bid = told.get("bid", bid_of(told["mid"]))
            urls = [each["large"]["url"] for each in told["pics"]] if card else [told["thumbnail_pic"]]
            expected = NOTHING | {
                "id": PostId("weibo", told["mid"]),
                "host": HOST,
                "kind": "post",
                "author": Account(
                    str(user["id"]), user["screen_name"], user["screen_name"], f"https://weibo.com/u/{user['id']}",
                    verified=user["verified"], created_at=since, bio=user.get("description") or None,
                    verification=Verification(MARKS[user["verified_type"]], user["verified_reason"]),
                ),
                "url": f"https://weibo.com/{user['id']}/{bid}",
                "created_at": moment.astimezone(UTC),
                "text": told["text"].strip(),
                "truncated": False,
                "hashtags": [],
                "mention_count": 0,
                "links": [],
                "media": [Media("image", url=url) for url in urls],
                "likes": told["attitudes_count"],
                "reposts": told["reposts_count"],
                "replies": told["comments_count"],
            }  # fmt: skip
            agree(parse_mblog(told, HOST, shown_at), expected, name)
        assert (found, 0) == counts


# Crawls


def source(url: str, kind: str = "user", value: str | None = str(USER), **more: Any) -> Source:
    return Source("weibo", url, kind, value, allow_private=True, **more)


def crawled_from(state: Weibo, tmp_path: Path, *kinds: tuple[str, str | None], settings: Any = WITH_COOKIE) -> Any:
    with weibo(state) as server:
        sources = [source(server.url, *each) for each in kinds or [("user", str(USER))]]
        outcome = crawled({each: Counted() for each in sources}, tmp_path / "stderr", settings)
    assert outcome.error is None, outcome.stderr
    return outcome, sources, server


def ids(outcome: Outcome, read: Source) -> list[str]:
    return sorted(post.id.global_id or "" for post in outcome.sinks[read].posts)


def within(state: Weibo, word: str = "") -> list[str]:
    moments = ((each, datetime.strptime(each["created_at"], "%a %b %d %H:%M:%S %z %Y")) for each in state.mblogs)
    return sorted(each["mid"] for each, moment in moments if WINDOW.holds(moment) and word in each["text"])


def test_an_account_and_a_search_are_read_whole_though_the_server_limits_and_fails(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    state.mblogs.insert(0, mblog(3, WINDOW.since.replace(year=2024), mblogtype=2))  # pinned
    state.faults = {1: (429, {"Retry-After": "0"}, b""), 5: (502, {}, b"")}
    outcome, (user, search), server = crawled_from(state, tmp_path, ("user", str(USER)), ("search", "水位"))
    assert (outcome.reason(user), outcome.reason(search)) == ("", "")
    assert ids(outcome, user) == within(state)
    assert len(within(state)) == 36
    assert ids(outcome, search) == within(state, "水位")
    assert {headers["Cookie"] for headers in server.headers} == {COOKIE}
    assert {headers["User-Agent"] for headers in server.headers} == {SETTINGS.user_agent}
    assert COOKIE not in outcome.stderr


def test_a_long_post_is_made_whole_and_one_whose_rest_is_not_told_says_so(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    cut = [each["mid"] for each in state.mblogs if each["isLongText"] and each["mid"] in within(state)]
    del state.long_texts[cut[0]]
    outcome, (read,), server = crawled_from(state, tmp_path)
    posts = {post.id.global_id: post for post in outcome.sinks[read].posts}
    assert [mid for mid in posts if posts[mid].truncated] == [cut[0]]
    assert all(str(posts[mid].text).endswith("水位") and "全文" not in str(posts[mid].text) for mid in cut[1:])
    assert len([path for path in server.asked if path.startswith("/statuses/extend")]) == len(cut) == 4


def test_a_source_goes_on_from_any_page_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    listed = tuple(each["mid"] for each in state.mblogs)
    for kind, value, urls in (("user", str(USER), ()), ("search", "。", ()), ("posts", None, listed)):
        with weibo(state) as server:
            read = source(server.url, kind, value, urls=urls)
            pages = crawled({read: Counted()}, tmp_path / "stderr", WITH_COOKIE).sinks[read].pages
            again = [source(f"{server.url}/again{page.number}", kind, value, urls=urls) for page in pages[1:]]
            starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
            resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr", WITH_COOKIE)
        assert len(pages) >= 3
        for number, each in enumerate(again, 1):
            told = [[post.id for post in page.posts] for page in resumed.sinks[each].pages]
            assert told == [[post.id for post in page.posts] for page in pages[number:]]
            assert resumed.reason(each) == ""


def test_a_list_in_another_order_is_the_same_source_and_goes_on_with_what_was_not_read(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    mids = within(state)
    with weibo(state) as server:
        read = source(server.url, "posts", None, urls=tuple(mids))
        pages = crawled({read: Counted()}, tmp_path / "stderr", WITH_COOKIE).sinks[read].pages
        turned = source(server.url, "posts", None, urls=tuple(reversed(mids)))
        start = Counted(start=Position(pages[1].number, pages[1].cursor))
        resumed = crawled({turned: start}, tmp_path / "stderr", WITH_COOKIE).sinks[turned].posts
    assert turned.canonical == read.canonical
    first = [post.id.global_id for post in pages[0].posts]
    assert sorted([*first, *(post.id.global_id for post in resumed)]) == mids


def test_what_is_written_and_deleted_while_it_is_read_hides_and_doubles_nothing(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    before = within(state)

    def change(served: Weibo) -> None:
        served.mblogs[:0] = [mblog(5_000 + each, WINDOW.until) for each in range(4)]
        del served.mblogs[40]

    state.changes = {6: change}
    outcome, (read,), _ = crawled_from(state, tmp_path)
    assert state.changes == {}
    assert set(within(state)) <= set(ids(outcome, read)) <= set(before)
    assert len(ids(outcome, read)) == len(set(ids(outcome, read)))


def test_a_list_names_posts_by_addresses_numbers_and_bids_and_tells_which_are_none(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    mids = within(state)[:4]
    urls = (
        f"https://m.weibo.cn/detail/{mids[0]}",
        f"https://weibo.com/{USER}/{bid_of(mids[1])}?from=page",
        mids[2],
        bid_of(mids[3]),
        "https://m.weibo.cn/status/5143999999999999",
        "https://weibo.com/",
    )
    with weibo(state) as server:
        read = source(server.url, "posts", None, urls=urls)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", WITH_COOKIE)
    assert (ids(outcome, read), outcome.reason(read)) == (mids, "")
    reasons = [reject.reason for page in outcome.sinks[read].pages for reject in page.rejects]
    assert reasons == ["the platform shows no post at this address", "not the address or the number of a post"]


def test_a_site_that_shows_one_page_under_every_number_is_not_read_for_ever(tmp_path: Path) -> None:
    state = Weibo(mblogs=[mblog(number, NOW) for number in range(3)], ignores_pages=True)
    state.mblogs = [each | {"created_at": "Thu Jan 01 20:00:00 +0800 2026"} for each in state.mblogs]
    outcome, (read,), server = crawled_from(state, tmp_path)
    assert "goes in circles" in outcome.reason(read)
    assert len(outcome.sinks[read].posts) == 3
    assert len(server.asked) < 6


def test_a_timeline_that_ends_in_the_middle_leaves_a_gap_up_to_where_it_was_read(tmp_path: Path) -> None:
    state = day_of(WINDOW.since)
    whole, (first,), _ = crawled_from(state, tmp_path)
    state.requests, state.faults = 0, dict.fromkeys(range(5, 12), (503, {}, b""))
    outcome, (read,), _ = crawled_from(state, tmp_path)
    (gap,) = outcome.sinks[read].gaps or []
    assert gap.reason == "HTTP 503, still after 1 retries"
    assert WINDOW.since == gap.since < gap.until < WINDOW.until
    moments = {post.id.global_id: post.created_at for post in whole.sinks[first].posts}
    missing = set(within(state)) - set(ids(outcome, read))
    assert missing
    assert all(gap.since <= moments[mid] < gap.until for mid in missing)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((418, {}, b""), "a block page (HTTP 418)"),
        ((432, {}, b""), "a visitor's gate (HTTP 432)"),
        ((403, {}, b""), "a refusal (HTTP 403)"),
        ((200, {"Content-Type": "text/html"}, VISITOR), "a login or visitor's page"),
        ((302, {"Location": "https://visitor.passport.weibo.cn/visitor/visitor?entry=sinawap"}, b""), "a redirect"),
        ((200, {}, json.dumps(LOGIN).encode()), "not logged in any more"),
        ((200, {}, b'{"ok": 1, "data": {"login": false}}'), "not logged in any more"),
    ],
)
@pytest.mark.parametrize("number", [0, 3])
def test_a_gate_ends_the_source_and_names_the_import_that_serves(
    tmp_path: Path, reply: Reply, said: str, number: int
) -> None:
    state = day_of(WINDOW.since)
    if number and b"login" in reply[2] and b"false" in reply[2]:
        state.changes = {number: lambda served: vars(served).update(logged_in=False)}
    else:
        state.faults = {number: reply}
    outcome, (read,), _ = crawled_from(state, tmp_path)
    assert said in outcome.reason(read)
    assert "postsweep import" in outcome.reason(read)
    assert "weibo-crawler" in outcome.reason(read)
    assert COOKIE not in outcome.reason(read)
    assert str(USER) not in outcome.reason(read)


def test_a_session_that_died_is_told_and_never_an_empty_timeline(tmp_path: Path) -> None:
    for moment in (0, 1, 4):
        state = day_of(WINDOW.since)
        state.empty_when_logged_out = True
        state.changes = {moment: lambda served: vars(served).update(logged_in=False)}
        outcome, (read,), _ = crawled_from(state, tmp_path)
        assert "not logged in any more" in outcome.reason(read)


def test_the_cookie_is_asked_for_by_its_name_and_goes_nowhere_else(tmp_path: Path) -> None:
    outcome, (read,), server = crawled_from(day_of(WINDOW.since), tmp_path, settings=SETTINGS)
    assert "set POSTSWEEP_WEIBO_COOKIE" in outcome.reason(read)
    elsewhere = [Source("weibo", url, "user", str(USER)) for url in ("http://m.weibo.cn", "https://weibo.example")]
    outcome = crawled({each: Counted() for each in elsewhere}, tmp_path / "stderr", WITH_COOKIE)
    assert all("sent to https://m.weibo.cn only" in outcome.reason(each) for each in elsewhere)
    assert server.asked == []


def test_an_account_without_posts_is_complete(tmp_path: Path) -> None:
    outcome, (read,), _ = crawled_from(Weibo(), tmp_path)
    assert (outcome.reason(read), ids(outcome, read)) == ("", [])


# Sweep


def test_a_sweep_ends_as_rows_without_a_name_or_the_cookie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_WEIBO_COOKIE", COOKIE)
    state = day_of(WINDOW.since)
    original = mblog(2_000, WINDOW.since, text="老桥封闭检修，请绕行。")
    state.mblogs[30] |= {"text": "转发微博", "isLongText": False, "retweeted_status": original}
    with weibo(state) as server:
        head = one_source(server.url, allow_private=True).replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
        head = head.replace('"mastodon"', '"weibo"').replace('kind = "public"', f'kind = "user"\nvalue = "{USER}"')
        (tmp_path / "sweep.toml").write_text(head)
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(within(state)) == 36
    assert rows.filter(kind="repost")["text"].to_list() == ["老桥封闭检修，请绕行。"]
    assert rows["truncated"].to_list() == [False] * 36
    assert rows["likes"].null_count() == 0
    assert not any(names_account(link) for links in rows["links"].to_list() for link in links)
    told = done.stdout + done.stderr
    for path in (tmp_path / "archive").rglob("*"):
        if path.is_file():
            held = contents(path)
            assert COOKIE.encode() not in held
            assert "identities" in path.parts or str(USER).encode() not in held, path.name
    assert COOKIE not in told
    assert str(USER) not in told
