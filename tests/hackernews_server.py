"""A server on loopback in the shape of Hacker News: its search by time, which shows no more than 1,000 hits of what it
found, and its items by id. Both show one and the same state, which may grow while it is read.

What is in the state is written as an item is (`Item`); a hit is made of it. Deleted and dead items are not found by the
search, and an id without an item is null.
"""

import json
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

CEILING = 1000
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
START = 46_400_001
"""The first id of the state. The ids before it are comments of the years since the site opened."""
_OPENED = datetime(2006, 10, 9, 18, tzinfo=UTC)

Item = dict[str, Any]

_SUBJECTS = ("Show HN: a parser for tide tables", "Ask HN: how do you back up a house?", "Postgres without the pager")
_SUBJECTS += ("A bakery that runs on cron", "Why our bridge sensors lied", "Notes on a two-line scheduler")
_OPENINGS = ("We ran this for a winter", "I would not call it settled", "The paper measures something else")
_OPENINGS += ("Our team tried both", "That is the part I never understood", "Small correction")
_MIDDLES = ("the disks were the easy part", "nobody reads the second graph", "it works until the clock moves")
_MIDDLES += ("the vendor changed the firmware", "our users never asked for it", "the older version was kinder")
_NAMES = ("oakfern", "mill_race", "tinplate", "harrow-9", "quietquay", "LarkSpur", "dovetail2")


@dataclass
class HackerNews:
    """The state, and how the server misbehaves."""

    items: dict[int, Item] = field(default_factory=dict)
    per_page: int = CEILING
    """Hits of a page at most, whatever is asked for."""
    hidden: frozenset[int] = frozenset()
    """Counted by the search, yet never shown."""
    estimates_over: int | None = None
    """From so many hits on their number is told by half; the real search, too, calls all its numbers estimates."""
    faults: dict[int, int] = field(default_factory=dict)
    """The status that the request with this number fails with, once."""
    arrivals: dict[int, list[Item]] = field(default_factory=dict)
    """What comes into the state just before the request with this number is answered."""
    latecomers: list[Item] = field(default_factory=list)
    """What comes into the state just before a question is answered that was asked before."""
    asked: set[str] = field(default_factory=set)
    breaks: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What is done in place of an answer to the request with this number."""
    blanks: dict[int, int] = field(default_factory=dict)
    """How often an id is still null before its item shows."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, items: Iterable[Item]) -> None:
        """Takes items into the state."""
        self.items |= {item["id"]: item for item in items}

    def answer(self, path: str) -> Reply:
        """One answer; a path may begin with `/again<n>`, so that one server is several sources."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.add(self.arrivals.pop(number, []))
            if (broken := self.breaks.pop(number, None)) is not None:
                broken()
            if (status := self.faults.pop(number, None)) is not None:
                return status, {"Retry-After": "0"} if status == 429 else {}, b"try later"
            asked = urlsplit(re.sub(r"^/again\d+", "", path))
            if path in self.asked:
                self.add(self.latecomers)
                self.latecomers = []
            self.asked.add(path)
            if asked.path == "/api/v1/search_by_date":
                return _json(self._search({key: values[0] for key, values in parse_qs(asked.query).items()}))
            if asked.path == "/v0/maxitem.json":
                return _json(max(self.items))
            if found := re.fullmatch(r"/v0/item/(\d+)\.json", asked.path):
                return _json(self._item(int(found[1])))
            return 404, {}, b"not here"

    def _item(self, native: int) -> Item | None:
        if self.blanks.get(native, 0) > 0:
            self.blanks[native] -= 1
            return None
        if 0 < native < START:
            return comment(native, _OPENED + timedelta(seconds=13 * native))
        found = self.items.get(native)
        return None if found is None or "type" not in found else found

    def _search(self, query: dict[str, str]) -> Item:
        low, high = re.fullmatch(r"created_at_i>=(\d+),created_at_i<(\d+)", query["numericFilters"]).groups()  # type: ignore[union-attr]
        types, _, author = query["tags"].removeprefix("(").partition(")")
        wanted, name = set(types.split(",")), author.removeprefix(",author_")
        found = [
            item
            for item in self.items.values()
            if item.get("type") in wanted
            and not (item.get("deleted") or item.get("dead"))
            and int(low) <= item["time"] < int(high)
            and name in ("", item["by"])
            and query.get("query", "").lower() in f"{item.get('title')} {item.get('text')}".lower()
        ]
        found.sort(key=lambda item: (item["time"], item["id"]), reverse=True)
        size, page = min(int(query["hitsPerPage"]), self.per_page), int(query["page"])
        exact = self.estimates_over is None or len(found) < self.estimates_over
        shown = [item for item in found if item["id"] not in self.hidden][:CEILING]
        return {
            "hits": [as_hit(item) for item in shown[page * size : (page + 1) * size]],
            "nbHits": len(found) if exact else len(found) // 2,
            "page": page,
            "nbPages": -(-min(len(found), CEILING) // size),
            "hitsPerPage": size,
            "exhaustive": {"nbHits": False, "typo": False},
            "exhaustiveNbHits": False,
            "query": query.get("query", ""),
        }


@contextmanager
def hackernews(state: HackerNews) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def _json(value: object) -> Reply:
    return 200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()


def as_hit(item: Item) -> Item:
    """An item as the search shows it."""
    reply, moment = item["type"] == "comment", datetime.fromtimestamp(item["time"], UTC)
    return {
        "objectID": str(item["id"]),
        "created_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "created_at_i": item["time"],
        "author": item["by"],
        "title": item.get("title"),
        "url": item.get("url"),
        "points": item.get("score"),
        "story_text": None if reply else item.get("text", ""),
        "comment_text": item.get("text") if reply else None,
        "num_comments": item.get("descendants"),
        "story_id": item["id"] if item["type"] == "story" else START,
        "updated_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "parent_id": item.get("parent", item.get("poll")),
        "_tags": [item["type"], f"author_{item['by']}", f"story_{item['id']}"],
        "_highlightResult": {"author": {"value": item["by"], "matchLevel": "none", "matchedWords": []}},
    }


def story(native: int, moment: datetime, **fields: Any) -> Item:
    """A story with a link."""
    chance = random.Random(native)
    return {
        "id": native,
        "type": "story",
        "by": chance.choice(_NAMES),
        "time": int(moment.timestamp()),
        "title": chance.choice(_SUBJECTS),
        "url": f"https://notes{native % 17}.example/{native}",
        "score": chance.randrange(1, 400),
        "descendants": chance.randrange(0, 90),
        **fields,
    }


def comment(native: int, moment: datetime, **fields: Any) -> Item:
    """A comment; the id before its own is what it replies to."""
    chance = random.Random(native)
    words = f"{chance.choice(_OPENINGS)}: {chance.choice(_MIDDLES)}, and so is number {native}."
    return {
        "id": native,
        "type": "comment",
        "by": chance.choice(_NAMES),
        "time": int(moment.timestamp()),
        "text": escape(words, quote=True).replace(": ", ":<p>"),
        "parent": native - 1,
        **fields,
    }


def posts_at(moments: Iterable[datetime], first: int = START) -> list[Item]:
    """A post for each moment, with ids in the order of the moments: every seventh a story, the others comments."""
    return [
        story(native, moment) if native % 7 == 0 else comment(native, moment)
        for native, moment in enumerate(moments, first)
    ]


def busy_day() -> HackerNews:
    """A day of 3,600 posts, 1,100 of them in one minute and 320 in one second, and some of the days around it."""
    chance = random.Random(2026)
    minute, second = SINCE + timedelta(hours=14, minutes=5), SINCE + timedelta(hours=14, minutes=5, seconds=30)
    moments = [SINCE + timedelta(seconds=chance.randrange(86_400)) for _ in range(2_497)]
    moments += [SINCE, SINCE, SINCE + timedelta(days=1, seconds=-1)]
    moments += [minute + timedelta(seconds=chance.randrange(60)) for _ in range(780)] + [second] * 320
    moments += [SINCE - timedelta(minutes=each) for each in range(1, 81)]
    moments += [SINCE + timedelta(days=1, minutes=each) for each in range(80)]
    state = HackerNews()
    state.add(posts_at(sorted(moments)))
    return state


def ids_in(state: HackerNews, since: datetime, until: datetime) -> list[str]:
    """The addresses of the posts of a window, sorted: what a crawl must find, each once."""
    low, high = since.timestamp(), until.timestamp()
    return sorted(
        f"https://news.ycombinator.com/item?id={item['id']}"
        for item in state.items.values()
        if "type" in item and not (item.get("deleted") or item.get("dead")) and low <= item["time"] < high
    )
