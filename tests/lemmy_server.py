"""A loopback server in the shape of Lemmy's API, version 3 or 4: pages by a cursor, comments of version 3 by number."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving


@dataclass
class Lemmy:
    """A server with a post and a comment every half hour, newest first."""

    newest: datetime
    version: int = 3
    number: int = 160
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the list's request of this number is answered with, once."""
    deleted: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer."""
        with self.lock:
            asked = urlsplit(path)
            _, _, version, *what = asked.path[asked.path.index("/api/") :].split("/")
            if version != f"v{self.version}":
                return _json({"error": "not_found"}, 404)
            if what == ["site"]:
                languages = [{"id": 0, "code": "und"}, {"id": 37, "code": "en"}, {"id": 174, "code": "zh"}]
                return _json({"version": "0.19.8", "all_languages": languages})
            number, self.requests = self.requests, self.requests + 1
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            return _json(self._list(what[0], query))

    def _list(self, what: str, query: dict[str, str]) -> dict[str, Any]:
        size, by_number = int(query["limit"]), self.version == 3 and what == "comment"
        start = size * (int(query.get("page", "1")) - 1) if by_number else int(query.get("page_cursor", "P0")[1:])
        views = [self._view(what, place) for place in range(start, min(start + size, self.number))]
        follows = {} if by_number or start + size >= self.number else {"next_page": f"P{start + size}"}
        return {f"{what}s": views, **follows}

    def _view(self, what: str, place: int) -> dict[str, Any]:
        native, late = self.number - place, self.version == 4
        written = (self.newest - timedelta(minutes=30 * place)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told = {"id": native, "language_id": 37, "deleted": native in self.deleted, "removed": native in self.removed}
        told |= {"ap_id": self.name(what, native), "published_at" if late else "published": written}
        counts = {"upvotes": native % 9, "comments": 1, "child_count": 0}
        creator = {"name": "mill_race", "ap_id" if late else "actor_id": "https://orchard.example/u/mill_race"}
        post = {**told, "name": f"Ferry notice {native}", "body": "See the **pier**.", "nsfw": False}
        post["ap_id"] = self.name("post", native)
        view: dict[str, Any] = {"post": post, "creator": creator}
        if what == "comment":
            view["comment"] = {**told, "content": f"I asked again, {native}.", "path": f"0.{native}"}
        (view[what].update if late else view.setdefault("counts", {}).update)(counts)
        return view

    @staticmethod
    def name(what: str, native: int) -> str:
        """The address that names a post or a comment everywhere."""
        return f"https://orchard.example/{what}/{native}"


def _json(told: object, status: int = 200) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(told).encode()


@contextmanager
def lemmy(state: Lemmy) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server
