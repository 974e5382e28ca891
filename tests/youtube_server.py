"""A server on loopback in the shape of YouTube: the feed of a channel, which shows its 15 newest videos, and the lists
of its Data API. Both show one state. Whoever asks the API without the key is refused, and so is who used up the quota.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from tests.loopback import Loopback, Reply, serving

CHANNEL = "UCq7Tn0dKx3v5rLw9JbZy2Hg"
VIDEO = "Zk3_pT-9aWq"
KEY = "AIzaTide9secretKey0of5the7operator"

Item = dict[str, Any]

_WORDS = (
    "The gate was still shut at six",
    "谁知道下一班几点",
    "I was on that platform",
    "这个说法没有来源",
    "Sound is off at the end",
)


@dataclass
class YouTube:
    """The state, and how the server misbehaves."""

    videos: list[tuple[str, datetime]] = field(default_factory=list)
    threads: list[tuple[str, datetime, list[tuple[str, datetime]]]] = field(default_factory=list)
    """Comments, the newest first, each with the answers below it, the newest first."""
    per_page: int = 100
    shown: int = 5
    """Answers that a thread shows of itself."""
    quota: int = 1_000_000
    refusal: tuple[int, str] | None = None
    faults: dict[int, int] = field(default_factory=dict)
    """The status that the request with this number fails with, once."""
    before: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens just before the request with this number is answered."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer; a path may begin with `/again<n>`, so that one server is several sources."""
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            if (happens := self.before.pop(number, None)) is not None:
                happens()
            if (status := self.faults.pop(number, None)) is not None:
                return status, {"Retry-After": "0"} if status == 429 else {}, b"try later"
            asked = urlsplit(path)
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            if asked.path.endswith("/feeds/videos.xml"):
                return self._feed() if query.get("channel_id") == CHANNEL else (404, {}, b"")
            return self._api(asked.path.rpartition("/")[2], query)

    def _feed(self) -> Reply:
        entries = "".join(map(_entry, sorted(self.videos, key=lambda each: each[1], reverse=True)[:15]))
        names = 'xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns:media="http://search.yahoo.com/mrss/"'
        body = f'<?xml version="1.0"?><feed {names} xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'
        return 200, {"Content-Type": "text/xml; charset=UTF-8"}, body.encode()

    def _api(self, what: str, query: dict[str, str]) -> Reply:
        if query.get("key") != KEY:
            return _error(400, "keyInvalid", f"API key not valid: {query.get('key')}")
        if self.quota <= 0:
            return _error(403, "quotaExceeded", "The request cannot be completed because you have exceeded your quota.")
        self.quota -= 1
        if self.refusal is not None:
            return _error(*self.refusal, f"refused: {query}")
        if what == "playlistItems" and query["playlistId"] == "UU" + CHANNEL[2:]:
            listed = sorted(self.videos, key=lambda each: each[1], reverse=True)
            return self._page([{"contentDetails": {"videoId": native}} for native, _ in listed], query)
        if what == "videos":
            times = dict(self.videos)
            found = [as_video(native, times[native]) for native in query["id"].split(",") if native in times]
            return _json({"items": found})
        if what == "commentThreads" and query["videoId"] == VIDEO:
            return self._page([self._thread(*each) for each in self.threads], query)
        if what == "comments":
            answers = [each[2] for each in self.threads if each[0] == query["parentId"]]
            return self._page([as_comment(*each, query["parentId"]) for each in (answers or [[]])[0]], query)
        return _error(404, "videoNotFound", "The video cannot be found.")

    def _thread(self, native: str, moment: datetime, answers: list[tuple[str, datetime]]) -> Item:
        snippet = {"videoId": VIDEO, "topLevelComment": as_comment(native, moment), "totalReplyCount": len(answers)}
        shown = [as_comment(*each, native) for each in answers[: self.shown]]
        return {"id": native, "snippet": snippet, **({"replies": {"comments": shown}} if shown else {})}

    def _page(self, items: list[Item], query: dict[str, str]) -> Reply:
        """A token names the item that a page begins with, so that what comes before it moves nothing."""
        names = [str(item.get("id") or item["contentDetails"]["videoId"]) for item in items]
        start = names.index(query["pageToken"]) if "pageToken" in query else 0
        end = start + min(self.per_page, int(query["maxResults"]))
        return _json({"items": items[start:end], **({"nextPageToken": names[end]} if end < len(items) else {})})


@contextmanager
def youtube(state: YouTube) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def as_video(native: str, moment: datetime) -> Item:
    """A video as the API gives it."""
    snippet = {
        "publishedAt": _iso(moment),
        "channelId": CHANNEL,
        "channelTitle": "潮汐慢行",
        "title": f"Ferry log {native}",
    }
    return {"id": native, "snippet": {**snippet, "description": ""}, "statistics": {"viewCount": "7"}}


def as_comment(native: str, moment: datetime, parent: str | None = None) -> Item:
    """A comment as the API gives it; answers come without the video's id."""
    chance = random.Random(native)
    snippet = {
        "textDisplay": f"{chance.choice(_WORDS)} ({native[-4:]})",
        "authorDisplayName": "@mossgate",
        "authorChannelId": {"value": "UCd2WfPq8sVn4yRt6LmXc0Ke"},
        "likeCount": chance.randrange(90),
        "publishedAt": _iso(moment),
        "updatedAt": _iso(moment),
    }
    return {"id": native, "snippet": {**snippet, **({"parentId": parent} if parent else {"videoId": VIDEO})}}


def comments_of(start: datetime, hours: int, answers: int) -> list[tuple[str, datetime, list[tuple[str, datetime]]]]:
    """A comment an hour, the newest first; every ninth has as many answers, some of them days after it."""
    found = []
    for hour in range(hours):
        native, moment = f"UgyTide{hour:06d}AaABAg", start + timedelta(hours=hour, minutes=hour % 60)
        below = [(f"{native}.A{place:04d}", moment + timedelta(hours=5 * place)) for place in range(answers)]
        found.append((native, moment, below[::-1] if hour % 9 == 0 else []))
    return found[::-1]


def _entry(video: tuple[str, datetime]) -> str:
    native, moment = video
    return (
        f"<entry><yt:videoId>{native}</yt:videoId><yt:channelId>{CHANNEL}</yt:channelId>"
        f"<title>{escape(f'Ferry log {native}')}</title><author><name>潮汐慢行</name></author>"
        f"<published>{moment.isoformat()}</published></entry>"
    )


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: object) -> Reply:
    return 200, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(value).encode()


def _error(status: int, reason: str, message: str) -> Reply:
    told = {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return status, {"Content-Type": "application/json"}, json.dumps(told).encode()
