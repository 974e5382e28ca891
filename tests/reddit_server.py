"""A server on loopback in the shape of Reddit's API: tokens for an application, listings that end after 1,000 records
and go on after a name, an answer of nothing after a name that is gone, and a count of requests left that is a float.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

CLIENT, SECRET = "harbour-reader", "s3cret-of-the-app"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
_SUBJECTS = (
    "Ferry timetable for the winter",
    "桥上的传感器又坏了",
    "Bakery on Mill Street closes",
    "Who else lost power?",
)


def link(number: int, moment: datetime, **fields: Any) -> dict[str, Any]:
    """A link as the API shows it."""
    native = f"1q{number:05d}"
    return {
        "id": native, "name": f"t3_{native}", "subreddit": "harbourtown", "author": f"reader{number % 7}",
        "title": f"{_SUBJECTS[number % 4]} ({number})", "selftext": f"Seen at the pier, number {number}.",
        "is_self": True, "permalink": f"/r/harbourtown/comments/{native}/seen/", "url": "", "edited": False,
        "created_utc": moment.timestamp(), "score": number % 90, "num_comments": number % 5, "over_18": False, **fields,
    }  # fmt: skip


def links_every(minutes: float, number: int, newest: datetime) -> list[dict[str, Any]]:
    """Links, newest first."""
    return [link(number - place, newest - timedelta(minutes=minutes * place)) for place in range(number)]


@dataclass
class Reddit:
    """The links of a subreddit, newest first, and how the server misbehaves."""

    links: list[dict[str, Any]]
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the listing's request of this number is answered with, once."""
    taken_away: dict[int, int] = field(default_factory=dict)
    """Which link (by place) goes just before the listing's request of this number."""
    left: list[str] = field(default_factory=list)
    """What `x-ratelimit-remaining` says of the next answers."""
    tokens: int = 0
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, authorization: str) -> Reply:
        """One answer."""
        with self.lock:
            asked = urlsplit(path)
            if asked.path.endswith("/api/v1/access_token"):
                return self._token(authorization)
            if authorization not in {f"Bearer token{place}" for place in range(1, self.tokens + 1)}:
                return _json({"message": "Unauthorized", "error": 401}, 401)
            number, self.requests = self.requests, self.requests + 1
            if (gone := self.taken_away.pop(number, None)) is not None:
                del self.links[gone]
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            query = {key: values[0] for key, values in parse_qs(asked.query).items()}
            if asked.path == "/api/info":
                wanted = query["id"].split(",")
                return _json(_listing([each for each in self.links if each["name"] in wanted], None))
            return self._page(query)

    def _token(self, authorization: str) -> Reply:
        if authorization != f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}":
            return _json({"message": "Unauthorized", "error": 401}, 401)
        self.tokens += 1
        return _json({"access_token": f"token{self.tokens}", "token_type": "bearer", "expires_in": 86400})

    def _page(self, query: dict[str, str]) -> Reply:
        shown = self.links[:1000]
        names = [each["name"] for each in shown]
        start = 0
        if (after := query.get("after")) is not None:
            start = names.index(after) + 1 if after in names else len(shown)
        page = shown[start : start + int(query["limit"])]
        more = start + len(page) < len(shown) and bool(page)
        left = self.left.pop(0) if self.left else "99.0"
        headers = {"x-ratelimit-remaining": left, "x-ratelimit-used": "1", "x-ratelimit-reset": "1"}
        return _json(_listing(page, page[-1]["name"] if more else None), headers=headers)


def _listing(things: list[dict[str, Any]], after: str | None) -> dict[str, Any]:
    children = [{"kind": "t3", "data": each} for each in things]
    return {"kind": "Listing", "data": {"after": after, "before": None, "dist": len(things), "children": children}}


def _json(told: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return status, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}, json.dumps(told).encode()


@contextmanager
def reddit(state: Reddit) -> Iterator[Loopback]:
    """Serves a state until the block ends."""

    def answer(path: str) -> Reply:
        return state.answer(path, server.headers[-1].get("Authorization", ""))

    with serving(answer) as server:
        yield server
