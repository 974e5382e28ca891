"""Checkers, each in a process of its own, against a real server on loopback that answers as the platform documents."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crawlers.catalogue.tumblr import KEY as TUMBLR_KEY
from crawlers.platforms.mastodon import parse_status
from crawlers.post import input_digest
from crawlers.rechecks import RECHECKS
from crawlers.rechecks.bluesky import DIRECTORY
from crawlers.rechecks.mastodon import KEY
from crawlers.revisit import revisit
from crawlers.settings import CrawlSettings
from crawlers.sighting import GONE, REMOVALS, Batch, Known, Seen
from crawlers.source import Source
from tests.loopback import Loopback, Reply, serving
from tests.sweeps import NOON

SETTINGS = CrawlSettings("mailto:operator@example.org", "0", delay_seconds=0, retries=0, environment={})
ANSWERS: list[tuple[str, Reply]] = [
    ("500", (500, {}, b"broken")),
    ("403", (403, {}, b"<html>forbidden</html>")),
    ("429", (429, {"Retry-After": "1"}, b"slower")),
    ("404", (404, {}, b"<html>no such page</html>")),
    ("410", (410, {}, b"<html>this domain is for sale</html>")),
    ("block page", (200, {"Content-Type": "text/html"}, b"<html>Are you a person?</html>")),
    ("empty list", (200, {"Content-Type": "application/json"}, b"[]")),
    ("empty object", (200, {"Content-Type": "application/json"}, b"{}")),
    ("error in JSON", (400, {"Content-Type": "application/json"}, b'{"error": "InvalidRequest"}')),
]

ALIKE = [
    pytest.param(answer, id=name, marks=() if name in ("500", "403", "429", "404", "block page") else pytest.mark.slow)
    for name, answer in ANSWERS
]
"""Each as a case of its own; the rarer ones are slow, as each starts a process."""


@dataclass
class Kept:
    """The posts to visit, and what was found of them."""

    posts: list[Known]
    found: list[Seen] = field(default_factory=list)
    gap: str | None = None

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self.posts), size):
            yield Batch(self.posts[start : start + size])

    def keep(self, found: Sequence[Seen]) -> None:
        self.found += found

    def finish(self, gap: str | None, requests: int) -> None:
        self.gap = gap


def _child(connection: Any, kept: dict[Source, Kept], settings: CrawlSettings) -> None:
    revisit(list(kept), settings, kept.__getitem__, lambda _: True)
    connection.send(kept)


def visited(source: Source, posts: list[Known], settings: CrawlSettings = SETTINGS) -> Kept:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, {source: Kept(posts)}, settings))
    child.start()
    there.close()
    try:
        found: dict[Source, Kept] = here.recv()
    finally:
        child.join()
    return found[source]


def states(kept: Kept) -> list[str]:
    """What was found, `gone` for what is gone without a cause."""
    return ["gone" if each.sighting.evidence.phrase == GONE else each.state for each in kept.found]


def reply(told: Any, status: int = 200) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(told).encode()


def status_of(base: str, number: int, author: str = "rivermint", **changes: Any) -> dict[str, Any]:
    account = {"id": "7", "acct": author, "url": f"{base}/@{author}", "uri": f"{base}/users/{author}"}
    told = {"id": str(number), "uri": f"{base}/users/{author}/statuses/{number}", "url": f"{base}/@{author}/{number}"}
    told |= {"created_at": "2026-01-01T12:00:00Z", "content": f"<p>The ferry was late, {number}.</p>"}
    return {**told, "account": account, "mentions": [], "tags": [], "media_attachments": [], **changes}


def of_status(base: str, status: dict[str, Any]) -> Known:
    post = parse_status(status, urlsplit(base).netloc, NOON)
    assert post.author is not None
    return Known(
        f"uid{post.id.native_id}", "mastodon", post.id.global_id, post.id.authority, post.id.native_id, post.url,
        post.author.id, post.author.handle, post.kind, input_digest(post.title, post.warning, post.text),
    )  # fmt: skip


class Mastodon:
    """A server of the API: with or without the question for many statuses, of which it shows those that are there."""

    def __init__(self, bulk: bool = True) -> None:
        self.base = ""
        self.bulk = bulk
        self.statuses: dict[str, Any] = {}
        self.accounts: dict[str, Reply] = {}
        self.actors: dict[str, Reply] = {}

    def __call__(self, path: str) -> Reply:
        parts = urlsplit(path)
        query, last = parse_qs(parts.query), parts.path.rpartition("/")[2]
        if parts.path == "/api/v1/instance":
            return reply({"uri": "here", "version": "4.3.0"})
        if parts.path == "/api/v1/statuses" and self.bulk:
            return reply([self.statuses[each] for each in query.get("id[]", []) if each in self.statuses])
        if parts.path.startswith("/api/v1/statuses/") and last in self.statuses:
            return reply(self.statuses[last])
        if parts.path == "/api/v1/accounts/lookup":
            return self.accounts.get(query["acct"][0], reply({"error": "Record not found"}, 404))
        return self.actors.get(parts.path, reply({"error": "Record not found"}, 404))


@pytest.mark.parametrize("bulk", [True, False], ids=["4.3 and later", "earlier"])
def test_a_mastodon_server_is_asked_for_statuses_and_for_the_authors_of_those_that_are_gone(bulk: bool) -> None:
    server = Mastodon(bulk)
    with serving(server) as running:
        base = running.url
        authors = ("rivermint", "rivermint", "rivermint", "heronfield", "oldweir", "sandbar")
        statuses = [status_of(base, number, author) for number, author in enumerate(authors, 1)]
        posts = [of_status(base, status) for status in statuses]
        server.statuses = {"1": statuses[0], "2": {**statuses[1], "content": "<p>It came after all.</p>"}}
        server.accounts = {
            "rivermint": reply({"id": "7", "acct": "rivermint"}),
            "heronfield": reply({"id": "8", "acct": "heronfield", "suspended": True}),
            "sandbar": reply({"id": "9", "acct": "sandbar", "suspended": True}),
        }
        server.actors = {f"/users/{name}": reply({"error": "Gone"}, 410) for name in ("oldweir", "sandbar")}
        found = visited(Source("mastodon", base, "public", allow_private=True), posts)
    assert states(found) == ["alive", "edited", "gone", "removed_by_platform", "account_gone", "account_gone"]
    assert found.gap is None
    asked = [path for path in running.asked if path.startswith("/api/v1/statuses/")]
    assert len(asked) == (4 if bulk else 6)


def test_a_status_of_another_server_is_unknown_where_this_one_has_no_id_of_it() -> None:
    with serving(Mastodon()) as running:
        known = replace(of_status(running.url, status_of(running.url, 1)), authority="elsewhere.example")
        known = replace(known, global_id="https://elsewhere.example/users/rivermint/statuses/1")
        found = visited(Source("mastodon", running.url, "public", allow_private=True), [known])
    assert states(found) == ["unknown"]


DID = "did:plc:aaaabbbbccccddddeeee2222"


def of_record(key: str, did: str = DID, text: str = "The ferry was late.") -> Known:
    uri = f"at://{did}/app.bsky.feed.post/{key}"
    return Known(f"uid{key}", "bluesky", uri, None, None, None, did, None, "post", input_digest(None, None, text))


def view(key: str, text: str = "The ferry was late.", did: str = DID, **changes: Any) -> dict[str, Any]:
    record = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-01T12:00:00.000Z"}
    uri = f"at://{did}/app.bsky.feed.post/{key}"
    author = {"did": did, "handle": "rivermint.example"}
    return {"uri": uri, "cid": "c", "author": author, "record": record, "indexedAt": "2026-01-01T12:00:01Z", **changes}


def test_an_appview_is_asked_for_25_at_once_and_then_for_the_accounts() -> None:
    takendown, deactivated = "did:plc:taken22222222222222222222", "did:plc:off2222222222222222222222"
    posts = [of_record(f"3k{number:03d}") for number in range(26)]
    posts += [of_record("3ktaken", takendown), of_record("3koff", deactivated)]
    posts += [of_record("3kwarn"), of_record("3kgone")]
    shown = {known.global_id: view(f"3k{n:03d}", "Edited." if n == 3 else "The ferry was late.")
             for n, known in enumerate(posts[:26])}  # fmt: skip
    shown[posts[28].global_id] = view("3kwarn", labels=[{"val": "!takedown", "src": "did:plc:x", "uri": "x"}])
    profiles = {takendown: "AccountTakedown", deactivated: "AccountDeactivated"}

    def answer(path: str) -> Reply:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        if parts.path.endswith("getPosts"):
            assert len(query["uris"]) <= 25
            return reply({"posts": [shown[uri] for uri in query["uris"] if uri in shown]})
        if parts.path.endswith("getProfile"):
            (actor,) = query["actor"]
            return reply({"error": profiles[actor]}, 400) if actor in profiles else reply({"did": actor})
        return reply({"message": "DID not registered"}, 404)

    with serving(answer) as running:
        settings = replace(SETTINGS, environment={DIRECTORY: running.url})
        found = visited(Source("bluesky", running.url, "author", allow_private=True), posts, settings)
    assert states(found) == [
        *("edited" if n == 3 else "alive" for n in range(26)),
        "removed_by_platform", "account_gone", "removed_by_platform", "gone",
    ]  # fmt: skip


def test_an_account_that_moved_to_another_server_is_not_gone() -> None:
    def answer(path: str) -> Reply:
        if "getRepoStatus" in path:
            return reply({"did": DID, "active": False, "status": "deactivated"})
        if path.startswith("/did:"):
            service = {"type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://new.example"}
            return reply({"id": DID, "service": [service]})
        return reply({"error": "RepoNotFound"}, 400)

    with serving(answer) as running:
        settings = replace(SETTINGS, environment={DIRECTORY: running.url})
        found = visited(Source("bluesky", running.url, "records", allow_private=True), [of_record("3k1")], settings)
    assert states(found) == ["unknown"]


def with_token(told: str) -> tuple[Kept, Loopback]:
    """What is found of a server that shows the first post to `Bearer abc` alone, hides the second from it alone, and
    lost the third. `told` is the variable's value, `{host}` in it the server's."""
    server = Mastodon(bulk=False)

    def answer(path: str) -> Reply:
        token, last = running.headers[-1].get("Authorization"), path.rpartition("/")[2]
        if token not in (None, "Bearer abc"):
            return reply({"error": "The access token is invalid"}, 401)
        if (token is None and last == "1") or (token is not None and last == "2"):
            return reply({"error": "not for you"}, 401 if token is None else 404)
        return server(path)

    with serving(answer) as running:
        server.statuses = {"1": status_of(running.url, 1, content="It came after all."), "2": status_of(running.url, 2)}
        posts = [of_status(running.url, status_of(running.url, number)) for number in (1, 2, 3)]
        settings = replace(SETTINGS, environment={KEY: told.format(host=urlsplit(running.url).netloc)})
        return visited(Source("mastodon", running.url, "public", allow_private=True), posts, settings), running


def test_a_token_shows_what_is_there_and_never_that_something_is_gone() -> None:
    kept, _ = with_token("other.example=xyz {host}=abc")
    assert states(kept) == ["edited", "alive", "gone"]


def test_a_token_is_sent_to_its_own_host_alone() -> None:
    kept, asked = with_token("other.example=abc")
    assert not [headers for headers in asked.headers if "Authorization" in headers]
    assert "edited" not in states(kept)


@pytest.mark.parametrize(("told", "gap"), [
    ("{host}=old", f"the server does not take its token of {KEY} (HTTP 401): make a new one there"),
    ("abc", f"{KEY} is not as host=token, with blanks between"),
])  # fmt: skip
def test_a_token_that_is_no_good_is_a_gap(told: str, gap: str) -> None:
    kept, _ = with_token(told)
    assert kept.gap == gap
    assert states(kept) == ["unknown"] * 3


def test_an_entry_that_a_feed_shows_no_more_is_no_removal() -> None:
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "t"}
    feed |= {"items": [{"id": "https://one.example/1", "content_text": "The ferry was late."}]}  # type: ignore[dict-item]

    with serving(lambda _: reply(feed)) as running:
        posts = [
            Known(f"uid{n}", "feed", None, urlsplit(running.url).netloc, f"https://one.example/{n}", None, None, None,
                  "article", input_digest(None, None, "The ferry was late."))
            for n in (1, 2)
        ]  # fmt: skip
        found = visited(Source("feed", f"{running.url}/feed.json", "feed", allow_private=True), posts)
    assert states(found) == ["alive", "unknown"]


SITE = "https://news.ycombinator.com"
BOARDS = "https://boards.4chan.org"
KNOWN: dict[str, Callable[[str], list[Known]]] = {
    "mastodon": lambda base: [of_status(base, status_of(base, number)) for number in (1, 2, 3)],
    "bluesky": lambda _: [of_record("3k1"), of_record("3k2")],
    "hackernews": lambda _: [
        Known("uid1", "hackernews", f"{SITE}/item?id=1", None, None, None, None, None, "post", None),
    ],
    "feed": lambda base: [Known("uid1", "feed", None, urlsplit(base).netloc, "1", None, None, None, "article", None)],
    "telegram": lambda _: [
        Known("uid1", "telegram", "https://t.me/harbour_notes/7", None, None, None, None, None, "post", None),
    ],
    "discourse": lambda base: [
        Known("uid1", "discourse", f"{base}/p/7", urlsplit(base).netloc, "5/1", None, None, None, "post", None),
    ],
    "fourchan": lambda _: [
        Known(f"uid{number}", "fourchan", f"news/{number}", None, None, f"{BOARDS}/news/thread/7#p{number}", None, None,
              "reply", None)
        for number in (8, 9)
    ],
    "tumblr": lambda _: [
        Known("uid1", "tumblr", "790112233445560007", None, None, None, "t:Rk3vP0cWq1Yx8uTz5Lb7Ng", None, "post", None),
    ],
}  # fmt: skip


@pytest.mark.parametrize("answer", ALIKE)
@pytest.mark.parametrize(("platform", "kind"), [
    ("mastodon", "public"), ("bluesky", "author"), ("bluesky", "records"), ("hackernews", "items"), ("feed", "feed"),
    ("telegram", "channel"), ("discourse", "posts"), ("fourchan", "board"), ("tumblr", "blog"),
])  # fmt: skip
def test_a_server_that_answers_everything_alike_removes_nothing(platform: str, kind: str, answer: Reply) -> None:
    with serving(lambda _: answer) as running:
        settings = replace(SETTINGS, environment={DIRECTORY: running.url, TUMBLR_KEY: "k3y"})
        posts = KNOWN[platform](running.url)
        found = visited(Source(platform, running.url, kind, allow_private=True), posts, settings)
    assert len(found.found) == len(posts)
    assert not {each.state for each in found.found} & REMOVALS
    assert {each.state for each in found.found} == {"unknown"}
    assert "gone" not in states(found)


def test_every_platform_of_the_registry_is_one_that_can_be_read() -> None:
    from crawlers.catalogue import PLATFORMS

    assert set(RECHECKS) <= set(PLATFORMS)
