"""X: what its parsers must not get wrong, and that a crawl misses no post of the window, whatever happens."""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import polars as pl
import pytest
import yaml

from crawlers.fetching import SourceGapError
from crawlers.platforms.x import joined, parse_captured
from crawlers.post import Account, Media, PostId
from crawlers.sighting import Known
from crawlers.sink import Gap, Position
from crawlers.source import Source, Window
from crawlers.spiders.x import KEY, bearer
from tests.jobs import postsweep
from tests.loopback import Reply
from tests.shared_data import SHARED
from tests.sweeps import one_source
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import SETTINGS, Counted, Outcome, crawled
from tests.test_rechecks import ANSWERS, Kept, states, visited
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment
from tests.x_server import BEARER, USERS, X, limited, time_at, x

HOST = "api.x.com"
Json = dict[str, Any]

# Recordings

RECORDED = {
    "normalization-payload-search.json": (1, 0),
    "payload-v2-geo.json": (2, 0),
    "payload-v2-singletweet.json": (1, 0),
    "payload-v2-video.json": (1, 0),
    "payload-v2.json": (10, 0),
    "test_asyncclient_search_recent_tweets.yaml": (10, 0),
    "test_client_get_list_tweets.yaml": (97, 0),
    "test_client_get_quote_tweets.yaml": (9, 0),
    "test_client_search_recent_tweets.yaml": (10, 0),
}


def recorded(name: str) -> Iterator[Json]:
    path = RECORDINGS / "twitter_x" / name
    if path.suffix == ".json":
        yield json.loads(path.read_text())
        return
    for interaction in yaml.safe_load(path.read_text())["interactions"]:
        body = interaction["response"]["body"]["string"]
        yield json.loads(gzip.decompress(body) if isinstance(body, bytes) else body)


def cut(text: str, spans: list[tuple[int, int, str]]) -> str:
    """A text with spans of it, which count code points, written otherwise; what is told of nothing goes."""
    for start, end, written in sorted(spans, reverse=True):
        text = text[:start] + written + text[end:]
    return unescape(text).strip()


def own_address(url: Json, quoted: str | None) -> bool:
    """Whether a shortened address stands for media of the post, or for what it quotes."""
    expanded = url["expanded_url"]
    return "/photo/" in expanded or "/video/" in expanded or (quoted is not None and expanded.endswith(quoted))


def expected_text(text: str, entities: Json, quoted: str | None) -> Json:
    """Of API v2; of API v1.1 once its names are those of v2."""
    spans, links = [], []
    for url in entities.get("urls", []):
        target = "" if own_address(url, quoted) else url["expanded_url"]
        if target.startswith("https://twitter.com/"):
            target = "@user"
        links += [target] if target.startswith("http") else []
        spans.append((url["start"], url["end"], target))
    names = [(each["start"], each["end"], "@user") for each in entities.get("mentions", [])]
    mentions = len(names) + sum(span[2] == "@user" for span in spans)
    return {"text": cut(text, spans + names) or None, "mention_count": mentions, "links": list(dict.fromkeys(links))}


def expected_tweet(tweet: Json, page: Json) -> Json:
    """A post with the fields that one asked for, by hand out of the page."""
    included = page.get("includes", {})
    refers = {each["type"]: each["id"] for each in tweet.get("referenced_tweets", [])}
    author = next((each for each in included.get("users", []) if each["id"] == tweet["author_id"]), None)
    keys = tweet["attachments"].get("media_keys", []) if "attachments" in tweet else None
    found = {each["media_key"]: each for each in included.get("media", [])}
    media = []
    for key in keys or []:
        each = found.get(key, {})
        best = max(each.get("variants", []), key=lambda variant: variant.get("bit_rate", 0), default={})
        kind = {"3": "image", "7": "video", "13": "video"}[key.partition("_")[0]]
        media.append(Media(kind, None, each.get("url") or best.get("url")))
    metrics, tags = tweet["public_metrics"], tweet.get("entities", {}).get("hashtags", [])
    native = {name: None if name not in refers else PostId("x", refers[name]) for name in ("replied_to", "quoted")}
    return (
        NOTHING
        | {
            "id": PostId("x", tweet["id"]),
            "host": HOST,
            "kind": "reply" if "replied_to" in refers else "quote" if "quoted" in refers else "post",
            "author": Account(tweet["author_id"])
            if author is None
            else Account(
                author["id"],
                author["username"],
                author["name"],
                f"https://x.com/{author['username']}",
                verified=author["verified"],
                created_at=moment(author["created_at"]),
                bio=" ".join(author.get("description", "").split()) or None,
            ),
            "url": f"https://x.com/{author['username'] if author else 'i'}/status/{tweet['id']}",
            "created_at": moment(tweet["created_at"]),
            "sensitive": tweet["possibly_sensitive"],
            "lang": None if tweet["lang"] == "und" else tweet["lang"],
            "reply_to": native["replied_to"],
            "quote_of": native["quoted"],
            "hashtags": list(dict.fromkeys(tag["tag"].lower() for tag in tags)) if "entities" in tweet else None,
            "media": None if keys is None else media,
            "likes": metrics["like_count"],
            "reposts": metrics["retweet_count"],
            "replies": metrics["reply_count"],
            "views": metrics.get("impression_count"),
        }
        | expected_text(tweet["text"], tweet.get("entities", {}), refers.get("quoted"))
    )


KEPT_OF_A_REPOST = ("id", "author", "url", "created_at")


def expected_repost(repost: Json, original: Json) -> Json:
    counts = dict.fromkeys(("likes", "reposts", "replies", "views", "reply_to", "quote_of"))
    own = {name: repost[name] for name in KEPT_OF_A_REPOST}
    return original | counts | own | {"kind": "repost", "repost_of": original["id"]}


def expected_bare(tweet: Json) -> Json:
    """A post for which no field was asked for, so that only its id, its versions and its text are told: the id tells
    the time, and names are read sign by sign. An address that is cut leads nowhere."""
    assert set(tweet) == {"id", "text", "edit_history_tweet_ids"}
    text, *named = unescape(tweet["text"]).strip().split("@")
    for each in named:
        text += "@user" + each.lstrip("".join({*ascii_letters, *digits, "_"}))
    addresses = [word.rstrip(".,") for word in text.split() if word.startswith("http")]
    made = datetime.fromtimestamp(((int(tweet["id"]) >> 22) + 1_288_834_974_657) / 1000, UTC)
    return NOTHING | {
        "id": PostId("x", tweet["edit_history_tweet_ids"][0]),
        "host": HOST,
        "kind": "post",
        "url": f"https://x.com/i/status/{tweet['id']}",
        "created_at": made,
        "text": unicodedata.normalize("NFC", text),
        "mention_count": len(named),
        "links": list(dict.fromkeys(each for each in addresses if not each.endswith("…"))),
    }


def expected_status(status: Json) -> Json:
    def moved(entity: Json, **more: str) -> Json:
        return {"start": entity["indices"][0], "end": entity["indices"][1], **entity, **more}

    user, entities = status["user"], status["entities"]
    urls = [moved(each) for each in [*entities["urls"], *entities.get("media", [])]]
    names = [moved(each) for each in entities["user_mentions"]]
    quoted = status.get("quoted_status_id_str")
    return (
        NOTHING
        | {
            "id": PostId("x", status["id_str"]),
            "host": HOST,
            "kind": "quote" if quoted else "post",
            "author": Account(
                user["id_str"],
                user["screen_name"],
                user["name"],
                f"https://x.com/{user['screen_name']}",
                verified=user["verified"],
                bio=" ".join((user["description"] or "").split()) or None,
                created_at=parsedate_to_datetime(old_time(user["created_at"])),
            ),
            "url": f"https://x.com/{user['screen_name']}/status/{status['id_str']}",
            "created_at": parsedate_to_datetime(old_time(status["created_at"])),
            "sensitive": status.get("possibly_sensitive"),
            "truncated": status["truncated"],
            "lang": status["lang"],
            "quote_of": PostId("x", quoted) if quoted else None,
            "hashtags": [],
            "media": [
                Media("image", None, each["media_url_https"])
                for each in status.get("extended_entities", {}).get("media", [])
            ],
            "likes": status["favorite_count"],
            "reposts": status["retweet_count"],
        }
        | expected_text(status["full_text"], {"urls": urls, "mentions": names}, quoted)
    )


def old_time(told: str) -> str:
    """As mail writes it."""
    weekday, month, day, clock, zone, year = told.split()
    return f"{weekday}, {day} {month} {year} {clock} {zone}"


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_posts_parse_with_no_field_wrong(name: str) -> None:
    posts = 0
    for page in recorded(name):
        items = joined(page) if "data" in page else [page]
        tweets = page.get("data", page)
        for item, tweet in zip(items, tweets if isinstance(tweets, list) else [tweets], strict=True):
            post = parse_captured(item, HOST, NOW)
            if "user" in tweet:
                expected = expected_status(tweet)
                expected = expected_repost(expected, expected_status(tweet["retweeted_status"]))
            elif "author_id" in tweet:
                expected = expected_tweet(tweet, page)
                reposted = {each["id"] for each in tweet.get("referenced_tweets", []) if each["type"] == "retweeted"}
                for each in page.get("includes", {}).get("tweets", []):
                    if each["id"] in reposted:
                        expected = expected_repost(expected, expected_tweet(each, page))
            else:
                expected = expected_bare(tweet)
            agree(post, expected, f"{name}, {posts}")
            posts += 1
    assert (posts, 0) == RECORDED[name]


# Crawls

UNTIL = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)
WINDOW = Window(UNTIL - timedelta(days=1), UNTIL)
WITH_KEY = replace(SETTINGS, environment={KEY: BEARER})


def source(url: str, kind: str = "search", value: str = "(", window: Window = WINDOW) -> Source:
    return Source("x", url, kind, value, allow_private=True, window=window)


def day(posts: int = 250) -> X:
    """Posts spread over the window, and ten on either side of it."""
    state = X()
    step = (WINDOW.until - WINDOW.since) / posts
    for place in range(-10, posts + 10):
        state.post(WINDOW.since + place * step)
    return state


def crawled_from(
    state: X, tmp_path: Path, kind: str = "search", value: str = "(", window: Window = WINDOW
) -> tuple[Outcome, Source]:
    with x(state) as server:
        read = source(server.url, kind, value, window)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", WITH_KEY)
    assert outcome.error is None, outcome.stderr
    return outcome, read


def ids(outcome: Outcome, read: Source) -> list[str]:
    """The ids of the posts that were handed over, each as often as it was."""
    return sorted(post.id.global_id or "" for post in outcome.sinks[read].posts)


def everything(state: X, since: datetime = WINDOW.since) -> list[str]:
    return state.first_ids(since, WINDOW.until)


def gap_of(outcome: Outcome, read: Source) -> Gap:
    (gap,) = outcome.sinks[read].gaps or []
    return gap


def test_a_search_hands_over_every_post_of_the_window_once_though_the_server_limits_and_fails(tmp_path: Path) -> None:
    state = day()
    state.faults = {1: limited(), 3: (503, {}, b"over capacity")}
    outcome, read = crawled_from(state, tmp_path)
    assert len(everything(state)) == 250
    assert (ids(outcome, read), outcome.reason(read)) == (everything(state), "")
    sink = outcome.sinks[read]
    assert sink.traffic is not None
    assert (sink.traffic.retries, sink.traffic.rate_limited) == (2, 1)
    assert [page.rejects for page in sink.pages if page.rejects] == []
    assert all(post.author and post.author.handle and post.media == [] for post in sink.posts)


def test_an_account_and_the_archive_are_read_whole(tmp_path: Path) -> None:
    state = day()
    author = {tweet["edit_history_tweet_ids"][0]: tweet["author_id"] for tweet in state.tweets.values()}
    outcome, read = crawled_from(state, tmp_path, "user", "linqiu_reads")
    theirs = [native for native in everything(state) if author[native] == USERS[1]["id"]]
    assert (ids(outcome, read), outcome.reason(read)) == (theirs, "")
    long_ago = Window(WINDOW.since - timedelta(days=900), WINDOW.since - timedelta(days=899))
    old = state.post(long_ago.since + timedelta(hours=3))
    outcome, read = crawled_from(state, tmp_path, "archive", "(", long_ago)
    assert (ids(outcome, read), outcome.reason(read)) == ([old], "")


def test_many_small_pages_of_an_account_are_not_taken_for_the_end_of_what_is_shown(tmp_path: Path) -> None:
    state = day()
    state.page_size = 2
    outcome, read = crawled_from(state, tmp_path, "user", "linqiu_reads")
    assert (len(outcome.sinks[read].pages) > 32, outcome.reason(read)) == (True, "")


def test_an_account_with_more_posts_than_are_shown_leaves_a_gap_before_the_last_that_was_read(tmp_path: Path) -> None:
    state, author = X(), USERS[1]["id"]
    for place in range(3_200):
        state.post(WINDOW.until - timedelta(seconds=20 * place + 1), author_id=author)
    outcome, read = crawled_from(state, tmp_path, "user", "linqiu_reads")
    gap = gap_of(outcome, read)
    assert "newest 3,200 posts" in gap.reason
    last = outcome.sinks[read].pages[-1].posts[0].created_at
    assert (gap.since, gap.until, len(ids(outcome, read))) == (WINDOW.since, last, 3_200)


def test_a_source_goes_on_from_any_page_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    state = day()
    state.page_size = 60
    outcome, read = crawled_from(state, tmp_path)
    pages = outcome.sinks[read].pages
    assert [page.cursor for page in pages] == [None, *(page.next_cursor for page in pages[:-1])]
    assert len(pages) == 5
    with x(state) as server:
        again = [source(f"{server.url}/again{page.number}") for page in pages[1:]]
        starts = [Counted(start=Position(page.number, page.cursor)) for page in pages[1:]]
        resumed = crawled(dict(zip(again, starts, strict=True)), tmp_path / "stderr", WITH_KEY)
    for number, each in enumerate(again, 1):
        told = [[post.id for post in page.posts] for page in resumed.sinks[each].pages]
        assert told == [[post.id for post in page.posts] for page in pages[number:]]
        assert resumed.reason(each) == ""


def test_posts_that_are_deleted_and_edited_while_a_search_is_read_neither_repeat_nor_hide_others(
    tmp_path: Path,
) -> None:
    state = day()
    state.page_size = 100
    newest_first = sorted(state.tweets, key=int, reverse=True)
    inside = [native for native in newest_first if WINDOW.holds(time_at(native))]
    gone, edited = inside[150], inside[160]
    before = everything(state)

    def happens() -> None:
        del state.tweets[gone]
        state.edit(edited, time_at(edited) + timedelta(seconds=1), "渡轮改到鱼市码头，周四起 (corrected)")

    state.between = {1: happens}
    outcome, read = crawled_from(state, tmp_path)
    assert (ids(outcome, read), outcome.reason(read)) == (sorted(set(before) - {gone}), "")
    (post,) = [post for post in outcome.sinks[read].posts if post.id.global_id == edited]
    assert (post.created_at, post.edited_at) == (
        time_at(edited),
        (time_at(edited) + timedelta(seconds=1)).replace(microsecond=0),
    )
    assert post.text == "渡轮改到鱼市码头，周四起 (corrected)"


def test_a_repost_has_the_text_of_what_it_reposts(tmp_path: Path) -> None:
    state = X()
    words = "The east pier is closed and the ferry stops at the fish market until the divers are done ("
    original = state.post(WINDOW.since - timedelta(days=3), text=words * 3)
    state.post(
        WINDOW.since + timedelta(hours=1),
        text=f"RT @harbour_notes: {words[:100]}…",
        referenced_tweets=[{"type": "retweeted", "id": original}],
        entities={"mentions": [{"start": 3, "end": 17, "username": "harbour_notes"}]},
    )
    outcome, read = crawled_from(state, tmp_path, value="east")
    (post,) = outcome.sinks[read].posts
    assert (post.kind, post.repost_of, post.text) == ("repost", PostId("x", original), (words * 3))


def test_what_the_recent_search_does_not_reach_is_a_gap_of_exactly_that_span(tmp_path: Path) -> None:
    state = day()
    long = Window(WINDOW.until - timedelta(days=20), WINDOW.until)
    outcome, read = crawled_from(state, tmp_path, window=long)
    gap = gap_of(outcome, read)
    assert "reaches 7 days back" in gap.reason
    assert gap.since == long.since
    assert timedelta(days=6, hours=23) < datetime.now(UTC) - gap.until < timedelta(days=7)
    assert ids(outcome, read) == everything(state, gap.until)
    old = Window(WINDOW.since - timedelta(days=30), WINDOW.since - timedelta(days=29))
    outcome, read = crawled_from(X(), tmp_path, window=old)
    gap = gap_of(outcome, read)
    assert (gap.since, gap.until, outcome.sinks[read].pages) == (old.since, old.until, [])


def test_a_search_that_dies_in_the_middle_leaves_a_gap_that_holds_all_that_is_missing(tmp_path: Path) -> None:
    state = day()
    state.faults = dict.fromkeys((2, 3), (500, {}, b""))
    outcome, read = crawled_from(state, tmp_path)
    gap = gap_of(outcome, read)
    assert gap.reason == "HTTP 500, still after 1 retries"
    assert WINDOW.since == gap.since < gap.until < WINDOW.until
    missing = set(everything(state)) - set(ids(outcome, read))
    assert missing
    assert missing <= set(state.first_ids(gap.since, gap.until))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, b'{"errors":[{"message":"from:linqiu_reads"}]}'), "does not take the question"),
        ((401, {}, b"{}"), f"refuses the token of {KEY}"),
        ((402, {}, b"{}"), "no credits (HTTP 402)"),
        ((403, {}, b'{"reason":"client-not-enrolled"}'), "plan does not include it (HTTP 403)"),
        ((404, {}, b""), "https://api.x.com (HTTP 404)"),
        ((200, {}, b"<html>Just a moment"), "not JSON"),
        ((200, {}, b'{"data": []}'), "no page of posts"),
        ((200, {}, b'{"meta": {"result_count": 1}, "includes": 4}'), "not told as the API tells it"),
        ((200, {}, b'{"meta": {"result_count": 0, "next_token": "a b"}}'), "cannot be sent back"),
    ],
)
def test_what_the_server_refuses_is_told_apart_and_names_neither_the_query_nor_the_token(
    tmp_path: Path, answer: Reply, said: str
) -> None:
    state = X(faults={0: answer})
    outcome, read = crawled_from(state, tmp_path, value="from:linqiu_reads tides")
    gap = gap_of(outcome, read)
    assert said in gap.reason
    assert (gap.since, gap.until) == (WINDOW.since, WINDOW.until)
    assert "linqiu" not in gap.reason + outcome.stderr
    assert BEARER not in gap.reason + outcome.stderr


def test_posts_of_the_month_that_are_used_up_are_told_apart_from_a_limit_of_minutes(tmp_path: Path) -> None:
    for usage, said in (("10000", "in a month are used up"), ("1200", "HTTP 429, still after 1 retries")):
        state = X(faults={0: limited(5), 1: limited(5)}, usage={"project_usage": usage, "project_cap": "10000"})
        outcome, read = crawled_from(state, tmp_path)
        assert said in gap_of(outcome, read).reason


def test_an_account_that_is_not_there_is_a_gap_that_does_not_name_it(tmp_path: Path) -> None:
    outcome, read = crawled_from(X(), tmp_path, "user", "nobody_here")
    assert "no such account" in gap_of(outcome, read).reason
    outcome, read = crawled_from(X(), tmp_path, "user", "../tweets")
    assert "no user name" in gap_of(outcome, read).reason
    assert Source("x", "https://api.x.com", "user", "linqiu_reads").names_account
    for kind in ("search", "archive"):
        for query in ("from:linqiu_reads", "ferry (to:linqiu OR retweets_of:linqiu)", "ferry @linqiu_reads"):
            assert Source("x", "https://api.x.com", kind, query).names_account
        assert not Source("x", "https://api.x.com", kind, "ferry lang:en").names_account


def test_the_token_is_sent_as_a_bearer_and_to_no_other_host_and_not_in_the_open(tmp_path: Path) -> None:
    state = X()
    with x(state) as server:
        read = source(server.url)
        outcome = crawled({read: Counted()}, tmp_path / "stderr", WITH_KEY)
        assert outcome.reason(read) == ""
        assert [each["Authorization"] for each in server.headers] == [f"Bearer {BEARER}"]
        without = crawled({read: Counted()}, tmp_path / "stderr")
        assert f"set {KEY} in the environment" in without.reason(read)
        assert "postsweep import" in without.reason(read)
        assert len(server.asked) == 1
    for url in ("http://api.x.com", "https://api.x.com.example", "https://x.example"):
        read = replace(source(url), allow_private=False)
        with pytest.raises(SourceGapError, match=r"sent to https://api\.x\.com only"):
            bearer(WITH_KEY.environment, read)
    assert bearer(WITH_KEY.environment, replace(source("https://api.x.com"), allow_private=False)) == BEARER


# Rechecks


def known(state: X, native: str) -> Known:
    tweet = next(each for each in state.tweets.values() if native in each["edit_history_tweet_ids"])
    return Known(f"uid{native}", "x", native, None, None, None, tweet["author_id"], None, "post", None)


def rechecked(state: X, posts: list[Known]) -> Kept:
    with x(state) as server:
        return visited(source(server.url), posts, replace(WITH_KEY, retries=0))


def test_each_cause_of_a_post_that_is_not_there_is_told_as_far_as_the_platform_tells_it() -> None:
    state = X()
    natives = [state.post(WINDOW.since + timedelta(minutes=place)) for place in range(8)]
    posts = [known(state, native) for native in natives]
    suspended, left, protected = (user["id"] for user in USERS)
    state.edit(natives[7], WINDOW.since + timedelta(minutes=9), "Low water at 14:20, corrected")
    del state.tweets[natives[4]]
    whole = rechecked(state, posts)
    assert states(whole) == ["alive"] * 4 + ["gone"] + ["alive"] * 3
    edited = whole.found[7].sighting.post
    assert edited is not None
    assert (edited.id, edited.text) == (PostId("x", natives[7]), "Low water at 14:20, corrected")
    state.suspended, state.left, state.protected = {suspended}, {left}, {protected}
    told = {each.sighting.uid: each.state for each in rechecked(state, posts).found}
    expected = {suspended: "removed_by_platform", left: "account_gone", protected: "restricted"}
    assert told == {post.uid: expected[str(post.author_id)] for post in posts}


def test_a_recheck_of_many_posts_asks_once_for_all_and_once_for_the_accounts_of_what_is_gone() -> None:
    state = day(80)
    posts = [known(state, native) for native in everything(state)]
    for native in everything(state)[::9]:
        del state.tweets[native]
    found = rechecked(state, posts)
    assert len(found.found) == 80
    assert states(found).count("gone") == 9
    assert state.requests == 2


@pytest.mark.parametrize("name", ["403", "404", "empty object"])
def test_a_server_that_answers_a_recheck_with_anything_else_removes_nothing(name: str) -> None:
    answer = dict(ANSWERS)[name]
    state = X()
    posts = [known(state, state.post(WINDOW.since)) for _ in range(2)]
    state.faults = dict.fromkeys(range(4), answer)
    assert states(rechecked(state, posts)) == ["unknown", "unknown"]
    state.requests, state.faults = 0, dict.fromkeys(range(1, 4), answer)
    state.tweets.clear()
    assert states(rechecked(state, posts)) == ["unknown", "unknown"]


# Sweeps


def test_a_sweep_of_a_search_and_of_an_account_has_one_row_per_post_and_no_token_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, BEARER)
    state = day(60)
    edited = everything(state)[30]
    state.edit(edited, time_at(edited) + timedelta(minutes=4), "Correction: the ferry leaves at nine (corrected")
    head = one_source("-").partition("[[source]]")[0].replace("[sweep]", "[sweep]\ndelay_seconds = 0.0")
    head = re.sub(r"since = \S+", f"since = {WINDOW.since.isoformat()}", head)
    head = re.sub(r"until = \S+", f"until = {WINDOW.until.isoformat()}", head)
    part = '[[source]]\nplatform = "x"\nurl = "{}"\nkind = "{}"\nvalue = "{}"\nallow_private = true\n'
    with x(state) as server:
        kinds = [("search", "("), ("user", "tideclock")]
        (tmp_path / "sweep.toml").write_text(head + "\n".join(part.format(server.url, *each) for each in kinds))
        done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pl.read_parquet(tmp_path / "archive/posts/**/*.parquet")
    assert rows.height == rows["uid"].n_unique() == len(everything(state)) == 60
    assert rows.filter(pl.col("seen_by").list.len() == 2).height == 20
    assert rows.filter(pl.col("edited_at").is_not_null())["text"].to_list() == [
        "Correction: the ferry leaves at nine (corrected"
    ]
    files = [path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [data for data in files if BEARER.encode() in data]
    assert BEARER not in done.stdout + done.stderr
    assert list((tmp_path / "archive/manifests/sweeps").glob("*.json"))
