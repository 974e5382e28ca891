"""A Discourse forum on loopback: pages in the older manner or the newer one, private posts in between, topics
by their ids, posts by their number, edits and deletions between two requests, and limits told in JSON."""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
Record = dict[str, Any]
BUSY: Reply = (
    429,
    {"Content-Type": "application/json"},
    b'{"errors": ["You have performed this action too many times."], "error_type": "rate_limit", '
    b'"extras": {"wait_seconds": 0.01, "time_left": "a moment"}}',
)
MEMBERS: Reply = (
    403,
    {"Content-Type": "application/json"},
    b'{"errors": ["You need to be logged in to do that."], "error_type": "not_logged_in"}',
)
_NAMES = ("tidewell", "oak_fern", "LarkSpur", "mill-race", "harrow9")


def post(number: int, moment: datetime, topic: int, place: int, **changes: Any) -> Record:
    """A post as the forum shows it to visitors."""
    chance = random.Random(number)
    name = chance.choice(_NAMES)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{number % 1000:03d}Z"
    return {
        "id": number, "name": name.title(), "username": name, "created_at": stamp, "updated_at": stamp,
        "cooked": f"<p>The tide table of pier {number} is wrong by {number % 7} minutes.</p>",
        "raw": f"The tide table of pier {number} is wrong by {number % 7} minutes.",
        "post_number": place, "post_type": 1, "reply_count": 0, "reply_to_post_number": None, "quote_count": 0,
        "reads": 3, "score": 0.6, "topic_id": topic, "topic_slug": "tide-tables", "topic_title": "Tide tables",
        "category_id": 3 + topic % 2, "version": 1, "actions_summary": [{"id": 2, "count": 1}], "user_id": 40,
        "hidden": False, "trust_level": 1, "deleted_at": None, "user_deleted": False, "wiki": False, **changes,
    }  # fmt: skip


@dataclass
class Discourse:
    """The state, and how the server misbehaves."""

    posts: dict[int, Record] = field(default_factory=dict)
    newer: bool = True
    """Whether a page holds the fifty newest public posts, rather than those of the fifty ids below the asked one."""
    private: frozenset[int] = frozenset()
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the request with this number is answered, once."""
    turns: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens just before the request with this number is answered."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def public(self) -> list[Record]:
        """What visitors are shown, newest first."""
        return [self.posts[number] for number in sorted(self.posts, reverse=True) if number not in self.private]

    def answer(self, path: str) -> Reply:
        """One answer. A path may begin with `/again<n>`, so that one server is several sources."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.turns.pop(number, lambda: None)()
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            asked = urlsplit(re.sub(r"^/again\d+", "", path))
            query = parse_qs(asked.query)
            if asked.path == "/posts.json":
                return _json({"latest_posts": self._latest(int(query.get("before", ["0"])[0]))})
            if found := re.fullmatch(r"/t/(\d+)(/posts)?\.json", asked.path):
                return self._topic(int(found[1]), {int(each) for each in query.get("post_ids[]", [])})
            if found := re.fullmatch(r"/posts/(\d+)\.json", asked.path):
                shown = [each for each in self.public() if each["id"] == int(found[1])]
                return _json(shown[0]) if shown else _missing()
            return (200, {}, b"<html>about</html>") if asked.path == "/about" else _missing()

    def _latest(self, before: int) -> list[Record]:
        top = before if before > 0 else max(self.posts)
        bottom = 0 if self.newer else top - 50
        return [each for each in self.public() if bottom < each["id"] <= top][:50]

    def _topic(self, topic: int, asked: set[int]) -> Reply:
        posts = [each for each in reversed(self.public()) if each["topic_id"] == topic]
        if not posts:
            return _missing()
        bare = [{key: value for key, value in each.items() if key != "topic_title"} for each in posts]
        shown = [each for each in bare if each["id"] in asked] if asked else bare[:20]
        stream: Record = {"posts": shown} if asked else {"posts": shown, "stream": [each["id"] for each in bare]}
        return _json({"id": topic, "title": "Tide tables", "post_stream": stream})


def _json(value: object) -> Reply:
    return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()


def _missing() -> Reply:
    told = {"errors": ["The requested URL or resource could not be found."], "error_type": "not_found"}
    return 404, {"Content-Type": "application/json"}, json.dumps(told).encode()


@contextmanager
def discourse(state: Discourse) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def forum(**manner: Any) -> Discourse:
    """Three and a half days with a post every ten minutes in four topics, a hundred private ids in their middle, and
    now and then a note of the forum, or a post that was hidden."""
    state = Discourse(**manner)
    places = dict.fromkeys(range(11, 15), 0)
    number = 900
    for step in range(500):
        topic = 11 + (step * 7) % 4
        places[topic] += 1
        number += 101 if step == 300 else 1
        moment = SINCE - timedelta(hours=48) + timedelta(minutes=10 * step)
        state.posts[number] = post(number, moment, topic, places[topic])
        if step % 50 == 49:
            state.posts[number] |= {"post_type": 3, "cooked": "", "raw": ""}
        if step % 50 == 33:
            state.posts[number] |= {"hidden": True, "cooked": "<p>This post was flagged and is hidden.</p>"}
    return state
