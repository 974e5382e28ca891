"""A Jetstream on loopback: plays what it holds from a cursor on, a little out of order, and hangs up as told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

POST = "app.bsky.feed.post"
LETTERS = "234567abcdefghijklmnopqrstuvwxyz"


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def time_key(moment: datetime) -> str:
    """A record's key, as clients make it of the time."""
    value = micros(moment) << 10
    return "".join(LETTERS[value >> shift & 31] for shift in range(60, -1, -5))


def commit(did: str, moment: datetime, words: str, operation: str = "create", key: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"operation": operation, "collection": POST, "rkey": key or time_key(moment), "rev": "3m"}
    if operation != "delete":
        created = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told["record"] = {"$type": POST, "createdAt": created, "text": words, "langs": ["en"]}
    return {"did": did, "time_us": micros(moment), "kind": "commit", "commit": told}


@dataclass
class Jetstream:
    """`hang_ups`: after how many events each of the first connections is cut. `held_from`: the oldest that is held.
    `bomb` are zeros sent as one message. `dies`: no further connection is accepted once `hang_ups` is used up."""

    events: list[dict[str, Any]] = field(default_factory=list)
    hang_ups: list[int] = field(default_factory=list)
    held_from: int = 0
    bomb: int = 0
    junk: int = 0
    """Messages that are no events, sent before those that are."""
    dies: bool = False
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def streaming(state: Jetstream) -> Iterator[Jetstream]:
    """Serves on a free port until the block ends."""
    over = threading.Event()

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(HTTPStatus.FORBIDDEN, "no") if state.dies and not state.hang_ups else None

    def talk(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        query = parse_qs(urlsplit(request.path).query)
        state.asked.append(query)
        begins = max(int(query["cursor"][0]), state.held_from)
        most = state.hang_ups.pop(0) if state.hang_ups else 1 << 60
        try:
            if state.bomb:
                connection.send("0" * state.bomb)
            for _ in range(state.junk):
                connection.send('{"kind": "junk"}')
            for event in [each for each in state.events if each["time_us"] >= begins][:most]:
                connection.send(json.dumps(event))
            if most == 1 << 60:
                over.wait()
        except ConnectionClosed:
            pass

    with serve(talk, "127.0.0.1", 0, process_request=refuse) as server:
        state.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            over.set()
            server.shutdown()
            thread.join()
