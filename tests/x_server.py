"""A server on loopback in the shape of X's API v2: its searches, an account's posts, and posts and accounts by id.

Posts have ids that tell their time, as the real ones have. An edit makes a new id and a new time, and the searches show
the newest version alone. What a page includes stands beside it, each thing once.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

BEARER = "AAAAAAAAAAAAAAAAAAAAAtest%2Fbearer%3Dof0the0tests"
REACH = timedelta(days=7)

Json = dict[str, Any]

USERS: tuple[Json, ...] = tuple(
    {"id": str(2_288_114_590 + place), "username": name, "name": shown, "verified": False, "protected": False,
     "created_at": "2014-03-11T07:20:31.000Z"}
    for place, (name, shown) in enumerate(
        [("harbour_notes", "Harbour Notes"), ("linqiu_reads", "林秋"), ("tideclock", "潮汐钟")]
    )
)  # fmt: skip
_TEXTS = (
    "The ferry stops at the fish market again",
    "渡轮又改到鱼市码头了",
    "Low water at 14:10 &amp; the mudflats are open",
    "谁知道东码头几号开放？",
    "Divers at the east pier, bring a coat 🌊",
)


def id_at(moment: datetime, low: int) -> str:
    """The id of a post of a moment; `low` tells posts of one millisecond apart."""
    return str((round(moment.timestamp() * 1000) - 1_288_834_974_657 << 22) + low)


def time_at(native: str) -> datetime:
    """When the post with an id was made."""
    return datetime.fromtimestamp(((int(native) >> 22) + 1_288_834_974_657) / 1000, UTC)


@dataclass
class X:
    """The state, and how the server misbehaves."""

    tweets: dict[str, Json] = field(default_factory=dict)
    """Posts as they are shown, by the id of their newest version."""
    older: dict[str, Json] = field(default_factory=dict)
    """Versions that were edited since, by their own ids: by id they are shown, as they were, as long as the post is."""
    page_size: int = 100
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the request with this number is answered instead."""
    between: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens just before the request with this number is answered."""
    suspended: set[str] = field(default_factory=set)
    """Accounts that are suspended, by their ids."""
    left: set[str] = field(default_factory=set)
    """Accounts that are not there any more."""
    protected: set[str] = field(default_factory=set)
    usage: Json = field(default_factory=lambda: {"project_usage": "1200", "project_cap": "10000"})
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, moment: datetime, **fields: Any) -> str:
        """Adds a post; returns its id."""
        place = len(self.tweets)
        native = id_at(moment, place)
        author = USERS[place % len(USERS)]
        self.tweets[native] = {
            "id": native,
            "edit_history_tweet_ids": [native],
            "author_id": author["id"],
            "created_at": _iso(moment),
            "lang": "en",
            "possibly_sensitive": False,
            "text": f"{_TEXTS[place % len(_TEXTS)]} ({place})",
            "public_metrics": {"like_count": place, "retweet_count": 1, "reply_count": 0, "impression_count": 90},
            **fields,
        }
        return native

    def edit(self, native: str, moment: datetime, text: str) -> str:
        """Makes a new version of a post; returns its id."""
        old = self.tweets.pop(native)
        newer = id_at(moment, len(self.tweets))
        history = [*old["edit_history_tweet_ids"], newer]
        self.tweets[newer] = {
            **old, "id": newer, "edit_history_tweet_ids": history, "created_at": _iso(moment), "text": text,
        }  # fmt: skip
        self.older |= {each: {**self.older.get(each, old), "edit_history_tweet_ids": history} for each in history[:-1]}
        return newer

    def first_ids(self, since: datetime, until: datetime) -> list[str]:
        """The names of the posts of a window: the ids of their first versions, sorted."""
        firsts = [tweet["edit_history_tweet_ids"][0] for tweet in self.tweets.values()]
        return sorted(first for first in firsts if since <= time_at(first) < until)

    def answer(self, path: str) -> Reply:
        """One answer, without a look at who asks; a path may begin with `/again<n>`, so that one server is several
        sources."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            if (happens := self.between.pop(number, None)) is not None:
                happens()
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            asked = urlsplit(path)
            place = "/2/" + asked.path.partition("/2/")[2]
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            if place in ("/2/tweets/search/recent", "/2/tweets/search/all"):
                words = query["query"]
                return self._page(query, lambda tweet: words in tweet["text"], place.endswith("recent"))
            if place.startswith("/2/users/by/username/"):
                return self._named(place.rpartition("/")[2])
            if place.startswith("/2/users/"):
                native = place.split("/")[3]
                return self._page(query, lambda tweet: tweet["author_id"] == native, recent=False)
            if place == "/2/tweets":
                return self._by_ids(query["ids"].split(","))
            if place == "/2/users":
                return self._users(query["ids"].split(","))
            if place == "/2/usage/tweets":
                return _json({"data": self.usage})
            return 404, {}, b'{"title":"Not Found","status":404}'

    def _page(self, query: dict[str, str], matches: Callable[[Json], bool], recent: bool) -> Reply:
        since, until = (datetime.fromisoformat(query[name]) for name in ("start_time", "end_time"))
        now = datetime.now(UTC)
        if since >= until or until > now - timedelta(seconds=10) or (recent and since < now - REACH):
            return _json({"title": "Invalid Request", "errors": [{"message": "Invalid 'start_time'"}]}, 400)
        token = query.get("next_token") or query.get("pagination_token")
        below = int(token.removeprefix("b26v")) if token else 1 << 63
        found = [
            tweet
            for native, tweet in sorted(self.tweets.items(), key=lambda item: int(item[0]), reverse=True)
            if int(native) < below and since <= time_at(native) < until and matches(tweet)
        ]
        size = min(int(query["max_results"]), self.page_size)
        shown = found[:size]
        if not shown:
            return _json({"meta": {"result_count": 0}})
        meta: Json = {"newest_id": shown[0]["id"], "oldest_id": shown[-1]["id"], "result_count": len(shown)}
        if len(found) > size:
            meta["next_token"] = f"b26v{shown[-1]['id']}"
        return _json({"data": shown, "includes": self._includes(shown), "meta": meta})

    def _includes(self, shown: list[Json]) -> Json:
        named = [each["id"] for tweet in shown for each in tweet.get("referenced_tweets", [])]
        tweets = [self.tweets[native] for native in dict.fromkeys(named) if native in self.tweets]
        authors = {tweet["author_id"] for tweet in [*shown, *tweets]}
        includes: Json = {"users": [user for user in USERS if user["id"] in authors]}
        return {**includes, "tweets": tweets} if tweets else includes

    def _named(self, name: str) -> Reply:
        found = next((user for user in USERS if user["username"].lower() == name.lower()), None)
        if found is None or found["id"] in self.suspended | self.left:
            return _json({"errors": [_problem("resource-not-found", f"Could not find user with username: [{name}].")]})
        return _json({"data": found})

    def _by_ids(self, ids: list[str]) -> Reply:
        data, errors = [], []
        for native in ids:
            tweet = self.tweets.get(native, self.older.get(native))
            if tweet is not None and tweet["edit_history_tweet_ids"][-1] not in self.tweets:
                tweet = None
            if tweet is None or tweet["author_id"] in self.suspended | self.left:
                errors.append(_problem("resource-not-found", f"Could not find tweet with ids: [{native}].", native))
            elif tweet["author_id"] in self.protected:
                told = f"Sorry, you are not authorized to see the Tweet with ids: [{native}]."
                errors.append(_problem("not-authorized-for-resource", told, native))
            else:
                data.append(tweet)
        return _json({**({"data": data, "includes": self._includes(data)} if data else {}), "errors": errors})

    def _users(self, ids: list[str]) -> Reply:
        data, errors = [], []
        for native in ids:
            found = next((user for user in USERS if user["id"] == native), None)
            if native in self.suspended:
                errors.append(_problem("resource-not-found", f"User has been suspended: [{native}].", native))
            elif found is None or native in self.left:
                errors.append(_problem("resource-not-found", f"Could not find user with ids: [{native}].", native))
            else:
                data.append({**found, "protected": native in self.protected})
        return _json({"data": data, "errors": errors})


def limited(remaining: int = 0) -> Reply:
    """A 429 in the platform's dialect, whose reset is over at once."""
    reset = str(int(datetime.now(UTC).timestamp()))
    headers = {"x-rate-limit-limit": "450", "x-rate-limit-remaining": str(remaining), "x-rate-limit-reset": reset}
    return 429, headers, b'{"title":"Too Many Requests","detail":"Too Many Requests","status":429}'


@contextmanager
def x(state: X) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def _problem(kind: str, detail: str, native: str = "") -> Json:
    return {
        "type": f"https://api.twitter.com/2/problems/{kind}",
        "title": "Not Found Error" if kind == "resource-not-found" else "Authorization Error",
        "detail": detail,
        "value": native,
        "resource_id": native,
        "parameter": "ids",
    }


def _json(value: object, status: int = 200) -> Reply:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
