"""A loopback server in the shape of Tumblr's API: a blog's posts in the block format, a tag's in the older one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

KEY = "tumblrKey0nLoopback1234567890abcdefghij"
BLOG, UUID = "mill-race-notes", "t:Rk3vP0cWq1Yx8uTz5Lb7Ng"


@dataclass
class Tumblr:
    """Posts newest first, each a step older than the one before; the first `crowd` of the day share a second."""

    newest: datetime
    number: int = 150
    step: timedelta = timedelta(minutes=20)
    crowd: int = 0
    pinned: bool = False
    """The oldest post stands before all others."""
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the request of this number is answered with, once."""
    deleted: set[int] = field(default_factory=set)
    edited: set[int] = field(default_factory=set)
    refusal: tuple[int, dict[str, Any]] | None = None
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer."""
        with self.lock:
            asked = urlsplit(path)
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            number, self.requests = self.requests, self.requests + 1
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            if query.get("api_key") != KEY:
                return _told(401, [], [{"title": "Unauthorized", "code": 1016, "detail": "Unable to authorize"}])
            if self.refusal is not None:
                return _told(self.refusal[0], [], [self.refusal[1]])
            what = asked.path[asked.path.index("/v2/") :]
            if what == "/v2/tagged":
                return _told(200, [self.post(each, older=True) for each in self._page(query)])
            if what.removeprefix("/v2/blog/") in (f"{BLOG}/posts", f"{UUID}/posts", f"t%3A{UUID[2:]}/posts"):
                if "id" in query:
                    native = int(query["id"]) - 790_000_000_000
                    there = 0 <= native < self.number and native not in self.deleted
                    return _told(200, {"posts": [self.post(native)]}) if there else _told(404, [])
                shown = self._page(query)
                if self.pinned and "before" not in query:
                    shown = [0, *shown[:-1]]
                return _told(200, {"posts": [self.post(each) for each in shown], "total_posts": self.number})
            return _told(404, [])

    def _page(self, query: dict[str, str]) -> list[int]:
        before = int(query.get("before", 1 << 33))
        shown = [each for each in range(self.number - 1, -1, -1) if self.at(each).timestamp() < before]
        return [each for each in shown if each not in self.deleted][: int(query["limit"])]

    def at(self, native: int) -> datetime:
        """When a post was written."""
        place = self.number - 1 - native
        return self.newest - self.step * (0 if place < self.crowd else place)

    def written(self) -> dict[str, datetime]:
        """The posts that can be read, by their names."""
        return {str(790_000_000_000 + each): self.at(each) for each in range(self.number) if each not in self.deleted}

    def post(self, native: int, *, older: bool = False) -> dict[str, Any]:
        """A post, in the block format or in the older one."""
        told = f"Ferry notice {native}{', corrected' if native in self.edited else ''}: no boats after six."
        number = 790_000_000_000 + native
        blog = {"name": BLOG, "title": "Mill Race Notes", "url": f"https://{BLOG}.tumblr.com/", "uuid": UUID}
        post: dict[str, Any] = {"id": number, "id_string": str(number), "blog_name": BLOG, "blog": blog}
        post |= {"tags": ["Ferry"]}
        post |= {"timestamp": int(self.at(native).timestamp()), "post_url": f"https://www.tumblr.com/{BLOG}/{number}"}
        if older:
            return {**post, "type": "text", "title": None, "body": f"<p>{told}</p>", "trail": []}
        return {**post, "type": "blocks", "content": [{"type": "text", "text": told}], "layout": [], "trail": []}


def _told(status: int, response: object, errors: list[dict[str, Any]] | None = None) -> Reply:
    told = {"meta": {"status": status, "msg": "OK" if status == 200 else "Not so"}, "response": response}
    body = json.dumps({**told, **({"errors": errors} if errors else {})}).encode()
    return status, {"Content-Type": "application/json"}, body


@contextmanager
def tumblr(state: Tumblr) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server
