"""A loopback server in the shape of 4chan's API: a board's threads, its archive, and what was deleted or dropped."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.loopback import Loopback, Reply, serving

LENGTH = timedelta(hours=3)
"""From the first post of a thread to its last."""


@dataclass
class Board:
    """A board with a thread of nine posts every hour; the newest `live` of them are on the board, the one that was
    answered last first, those before in its archive, which reaches back to the first thread."""

    newest: datetime
    number: int = 60
    live: int = 20
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the thread's request of this number is answered with, once."""
    deleted: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    """Threads that are gone though they are listed."""
    edited: set[int] = field(default_factory=set)
    archive: bool = True
    pinned: bool = False
    """A thread of rules, last changed long ago, stands before all others."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer."""
        with self.lock:
            _, board, *what = path.split("/")
            if board != "news":
                return 404, {}, b""
            if what == ["threads.json"]:
                listed = [900] * self.pinned + self.numbers(True)[::-1]
                threads = [{"no": no, "last_modified": int(self.ended(no).timestamp())} for no in listed]
                pages = [{"page": 1, "threads": threads[:15]}, {"page": 2, "threads": threads[15:]}]
                return _json(pages, {"Last-Modified": format_datetime(self.newest, usegmt=True)})
            if what == ["archive.json"]:
                return _json(self.numbers(False)) if self.archive else (404, {}, b"")
            number, self.requests = self.requests, self.requests + 1
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            thread = int(what[1].removesuffix(".json"))
            known = [*self.numbers(True), *(self.numbers(False) if self.archive else [])]
            if thread not in known or thread in self.dropped:
                return 404, {}, b""
            return _json({"posts": self.posts(thread)})

    def numbers(self, live: bool) -> list[int]:
        """The threads on the board or in the archive, oldest first as an archive lists them."""
        first = 0 if not live else self.number - self.live
        return [1000 + 100 * place for place in range(first, self.number if live else self.number - self.live)]

    def begun(self, thread: int) -> datetime:
        """When a thread's first post was written."""
        place = (thread - 1000) // 100 if thread >= 1000 else -10_000
        return self.newest - timedelta(hours=self.number - place) - LENGTH

    def ended(self, thread: int) -> datetime:
        """When its last one was."""
        return self.begun(thread) + LENGTH

    def written(self) -> dict[str, datetime]:
        """All posts that can be read, by their names, and when they were written."""
        threads = [*self.numbers(True), *(self.numbers(False) if self.archive else [])]
        return {
            f"news/{post['no']}": datetime.fromtimestamp(post["time"], self.newest.tzinfo)
            for thread in threads
            if thread not in self.dropped
            for post in self.posts(thread)
        }

    def posts(self, thread: int) -> list[dict[str, Any]]:
        """The posts of a thread, without those that were deleted."""
        found = []
        for place in range(9):
            no = thread + 11 * place
            told: dict[str, Any] = {"no": no, "resto": thread if place else 0, "name": "Anonymous"}
            told["time"] = int((self.begun(thread) + place * LENGTH / 8).timestamp())
            told["com"] = f"Ferry notice {no}{', corrected' if no in self.edited else ''}: <wbr>no boats after six."
            if place == 0:
                told |= {"sub": f"Harbour thread {thread}", "replies": 8, "images": 0}
                if thread in self.numbers(False):
                    told |= {"archived": 1, "archived_on": int(self.ended(thread).timestamp()) + 60}
            if no not in self.deleted:
                found.append(told)
        return found


def _json(told: object, headers: dict[str, str] | None = None) -> Reply:
    return 200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(told).encode()


@contextmanager
def fourchan(state: Board) -> Iterator[Loopback]:
    """Serves a board until the block ends; a list that did not change since it was last seen is not sent again."""

    def answer(path: str) -> Reply:
        reply = state.answer(path)
        modified = reply[1].get("Last-Modified")
        seen = server.headers[-1]["If-Modified-Since"]
        return (304, {}, b"") if modified is not None and modified == seen else reply

    with serving(answer) as server:
        yield server
