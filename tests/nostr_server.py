"""A Nostr relay on loopback, as NIP-01 tells it: caps what it gives at once, refuses, forgets and hangs up as told."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def event(author: str, second: int, content: str, kind: int = 1, tags: list[list[str]] | None = None) -> dict[str, Any]:
    """An event with its right id; its signature is none."""
    parts = [0, key(author), second, kind, tags or [], content]
    written = json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()
    name = hashlib.sha256(written).hexdigest()
    return {
        "id": name, "pubkey": key(author), "created_at": second, "kind": kind, "tags": tags or [], "content": content,
        "sig": name * 2,
    }  # fmt: skip


@dataclass
class Relay:
    """What a relay holds, and how it behaves: `faults` names what it does to which request instead of answering it,
    `refusals` the statuses with which it answers the first handshakes."""

    events: list[dict[str, Any]] = field(default_factory=list)
    cap: int = 100
    faults: dict[int, str] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    requests: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    agents: list[str | None] = field(default_factory=list)
    url: str = ""

    def found(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """Newest first, no more than the cap."""
        hits = [each for each in self.events if _matches(each, wanted)]
        hits.sort(key=lambda each: (-each["created_at"], each["id"]))
        return hits[: min(self.cap, wanted.get("limit", self.cap))]


def _matches(each: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return (
        wanted.get("since", 0) <= each["created_at"] <= wanted.get("until", 1 << 60)
        and each["kind"] in wanted.get("kinds", [each["kind"]])
        and each["pubkey"] in wanted.get("authors", [each["pubkey"]])
        and each["id"] in wanted.get("ids", [each["id"]])
        and all(
            any(tag[:1] == [name[1:]] and tag[1] in values for tag in each["tags"])
            for name, values in wanted.items()
            if name.startswith("#")
        )
    )


@contextmanager
def relaying(state: Relay) -> Iterator[Relay]:
    """Serves on a free port until the block ends."""

    def process(connection: ServerConnection, request: Request) -> Response | None:
        state.agents.append(request.headers.get("User-Agent"))
        if not state.refusals:
            return None
        refused = connection.respond(HTTPStatus(state.refusals.pop(0)), "no")
        refused.headers["Retry-After"] = "0"
        return refused

    def talk(connection: ServerConnection) -> None:
        try:
            connection.send(json.dumps(["AUTH", "a challenge"]))
            for told in connection:
                _told(state, connection, json.loads(told))
        except ConnectionClosed:
            pass

    with serve(talk, "127.0.0.1", 0, process_request=process) as server:
        state.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _told(state: Relay, connection: ServerConnection, message: list[Any]) -> None:
    if message[0] != "REQ":
        return
    _, name, wanted = message
    fault = state.faults.get(state.requests)
    state.requests += 1
    state.asked.append(wanted)
    found = state.found(wanted)
    match fault:
        case "hang up":
            for each in found[: len(found) // 2]:
                connection.send(json.dumps(["EVENT", name, each]))
            connection.close()
        case "notice":
            connection.send(json.dumps(["NOTICE", "rate-limited: slow down there chief"]))
        case "silence":
            pass
        case "huge":
            connection.send(json.dumps(["NOTICE", "0" * (2 << 20)]))
        case None:
            connection.send("no json at all")
            connection.send(json.dumps(["NOTICE", "welcome"]))
            for each in found:
                connection.send(json.dumps(["EVENT", name, each]))
            connection.send(json.dumps(["EOSE", name]))
        case refusal:
            connection.send(json.dumps(["CLOSED", name, refusal]))
