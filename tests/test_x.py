"""X: what its parsers must not get wrong, and that a crawl misses no post of the window, whatever happens."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

import pytest
import yaml

from crawlers.platforms.x import joined, parse_captured
from crawlers.post import Account, Media, PostId
from tests.shared_data import SHARED
from tests.test_crawlers import NOW
from tests.test_recordings import NOTHING, RECORDINGS, agree, moment

HOST = "api.x.com"
Json = dict[str, Any]

# Recordings

RECORDED = {
    "normalization-payload-search.json": 1,
    "payload-v2-geo.json": 2,
    "payload-v2-singletweet.json": 1,
    "payload-v2-video.json": 1,
    "payload-v2.json": 10,
    "test_asyncclient_search_recent_tweets.yaml": 10,
    "test_client_get_list_tweets.yaml": 97,
    "test_client_get_quote_tweets.yaml": 9,
    "test_client_search_recent_tweets.yaml": 10,
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
    """A post for which no field was asked for: the id tells the time. Names in the text are found by a plain rule."""
    made = datetime.fromtimestamp(((int(tweet["id"]) >> 22) + 1_288_834_974_657) / 1000, UTC)
    return NOTHING | {
        "id": PostId("x", tweet["edit_history_tweet_ids"][0]),
        "host": HOST,
        "kind": "post",
        "url": f"https://x.com/i/status/{tweet['id']}",
        "created_at": made,
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
def test_every_recording_is_read_here() -> None:
    assert {path.name for path in (RECORDINGS / "twitter_x").iterdir()} == set(RECORDED)


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
                told = unescape(tweet["text"])
                assert (post.text or "").count("@user") == post.mention_count == told.count("@"), tweet["id"]
                assert [part for part in (post.text or "").split() if "@" not in part] == [
                    part for part in told.split() if "@" not in part
                ]
                expected |= {key: getattr(post, key) for key in ("text", "mention_count", "links")}
            agree(post, expected, f"{name}, {posts}")
            posts += 1
    assert posts == RECORDED[name]
