"""A small network on loopback that speaks like the real ones: for the demonstration and for tests.

Five hosts: two Mastodon-API servers that federate (one pages by `Link`, one by `max_id` alone), a Bluesky PDS, an
AppView over the same posts, and a host of feeds. It limits rates, fails once in a while and holds some broken records,
yet what it finally answers is always the same. Ids of posts do not depend on the ports. The PDS takes one login, for
search, whose sessions end after some requests.
"""

import hashlib
import html
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import orjson

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)
HOSTS = ("hearth", "lantern", "pds", "view", "press")
"""The hosts: two Mastodon-API servers, a PDS, an AppView, and the feeds."""

_MENTION = re.compile(r"\{@(\w+)\}")
_FAIL_EVERY = 7
"""With faults, the first try of every seventh address is answered by 503, of two of them by 429."""
_MOST_LIMITED = 2
_LIMITED_SECONDS = 1
"""What a 429 asks to wait: the least that can be said in whole seconds, so that a demonstration stays quick."""
IDENTIFIER, APP_PASSWORD = "operator.example", "abcd-efgh-ijkl-mnop"
"""The one login that the PDS takes."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One post of the sample, as `posts.jsonl` has it."""

    id: str
    account: str
    platform: str
    lang: str
    minute: int
    text: str
    title: str | None = None
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    reply_to: str | None = None
    quote_of: str | None = None
    repost_of: str | None = None
    warning: str | None = None
    media: tuple[Json, ...] = ()

    @property
    def time(self) -> datetime:
        """When it was written; posts of one minute differ by their ids."""
        second = int.from_bytes(hashlib.blake2b(self.id.encode(), digest_size=2).digest()) % 60
        return SINCE + timedelta(minutes=self.minute, seconds=second)


@dataclass(frozen=True)
class Person:
    """An account of the sample."""

    key: str
    platform: str
    handle: str
    display: str
    bio: str = ""
    site: str | None = None
    is_verified: bool = False

    @property
    def did(self) -> str:
        """Its DID on Bluesky: 24 characters of base 32."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=15).digest()
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        bits = int.from_bytes(digest)
        return "did:plc:" + "".join(letters[bits >> shift & 31] for shift in range(0, 120, 5))

    @property
    def home(self) -> str:
        """Its address on the Mastodon-API server where it lives."""
        return f"https://{'hearth' if self.number % 2 else 'lantern'}.example/users/{self.handle}"

    @property
    def number(self) -> int:
        """A number that is its own."""
        return int.from_bytes(hashlib.blake2b(self.key.encode(), digest_size=6).digest())


def embedded_posts() -> list[Sample]:
    """The posts written for the demonstration."""
    lines = resources.files("pipelines.demo").joinpath("posts.jsonl").read_bytes().splitlines()
    return [_sample(orjson.loads(line)) for line in lines if line.strip()]


def embedded_people() -> dict[str, Person]:
    """Their authors."""
    found = orjson.loads(resources.files("pipelines.demo").joinpath("accounts.json").read_bytes())
    return {key: Person(key, each["platform"], each["handle"], each["display"]) for key, each in found.items()}


def embedded_claimants() -> list[Json]:
    """Accounts that pose as institutions, real ones, and private persons whose names tempt (`role`), with posts."""
    found: list[Json] = orjson.loads(resources.files("pipelines.demo").joinpath("claimants.json").read_bytes())
    return found


def _claimant(each: Json) -> tuple[Person, list[Sample]]:
    key, platform = each["key"], each["platform"]
    person = Person(
        key, platform, each["handle"], each["display"], each["bio"], each.get("site"), each.get("verified", False)
    )
    posts = [
        Sample(f"c-{key}-{place}", key, platform, lang, minute, text)
        for place, (lang, minute, text) in enumerate(each["posts"])
    ]
    return person, posts


def synthetic_posts(count: int) -> "SyntheticPosts":
    """Any number of distinct posts on the first server, made as they are asked for."""
    return SyntheticPosts(count)


@dataclass(frozen=True)
class SyntheticPosts(Sequence[Sample]):
    """Posts that are made when they are read: as many as asked for, none of them held."""

    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.size))]
        if not 0 <= index < self.size:
            raise IndexError(index)
        digest = hashlib.blake2b(str(index).encode(), digest_size=16).hexdigest()
        words = " ".join(_WORDS[int(pair, 16) % len(_WORDS)] for pair in re.findall("..", digest))
        minute = index * 1440 // self.size
        return Sample(f"s{index:08d}", "synthetic", "mastodon", "en", minute, f"{words} number {index}")


_WORDS = (
    *("rain", "river", "bread", "train", "street", "garden", "market", "window", "letter", "bridge", "morning"),
    *("evening", "coffee", "school", "ticket", "mountain", "kitchen", "harbour", "library", "station", "village"),
    *("theatre", "orchard", "candle", "blanket", "lantern", "compass", "harvest", "pencil", "ferry", "carpet", "stove"),
)


def _sample(row: Json) -> Sample:
    values = {key: value for key, value in row.items() if key != "topic"}
    return Sample(**{**values, **{key: tuple(row.get(key) or ()) for key in ("tags", "links", "media")}})


@dataclass
class Network:
    """The network, running inside a `with` block. `first_port` fixes the ports (five in a row); 0 takes free ones.
    `claimants` adds accounts that claim to be an institution, and some that only seem to.

    A search gives no cursor that leads beyond `search_depth` hits, and a session is good for `session_requests`.
    """

    posts: Sequence[Sample] | None = None
    faults: bool = True
    first_port: int = 0
    search_depth: int = 10_000
    session_requests: int = 1_000
    claimants: bool = False
    requests: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.people = {"synthetic": Person("synthetic", "mastodon", "synthia_quartz", "Synthia")}
        if self.posts is None:
            self.people |= embedded_people()
            self.posts = embedded_posts()
        if self.claimants:
            made = [_claimant(each) for each in embedded_claimants()]
            self.people |= {person.key: person for person, _ in made}
            self.posts = [*self.posts, *(post for _, posts in made for post in posts)]
        self._servers: list[ThreadingHTTPServer] = []
        self._seen: Counter[str] = Counter()
        self._sessions: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        for offset, host in enumerate(HOSTS):
            handler = type("Handler", (_Handler,), {"network": self, "host": host})
            server = ThreadingHTTPServer(("127.0.0.1", self.first_port + offset if self.first_port else 0), handler)
            server.daemon_threads = True
            self.hosts[host] = f"http://127.0.0.1:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self._servers.append(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def sweep_file(self, archive: Path, workers: int = 2, part_rows: int = 100) -> str:
        """A sweep file that reads all of it, and keeps accounts where some claim to be an institution."""
        quoted = json.dumps(str(archive))
        head = f"""[sweep]
id = "d2026-01-01"
since = 2026-01-01T00:00:00Z
until = 2026-01-02T00:00:00Z
archive = {quoted}
contact = "mailto:operator@example.org"
part_rows = {part_rows}
delay_seconds = 0
{"keep_accounts = true" if self.claimants else ""}
[cluster]
kind = "local"
workers = {workers}
"""
        sources = "".join(
            f'\n[[source]]\nplatform = "{platform}"\nurl = "{self.hosts[host]}{path}"\nkind = "{kind}"\n'
            + (f'value = "{value}"\n' if value else "")
            + "allow_private = true\n"
            for platform, host, path, kind, value in self._sources()
        )
        return head + sources

    def _sources(self) -> Iterator[tuple[str, str, str, str, str]]:
        yield "mastodon", "hearth", "", "public", ""
        if isinstance(self.posts, SyntheticPosts):
            return
        yield "mastodon", "hearth", "", "tag", "news"
        yield "mastodon", "lantern", "", "local", ""
        there = [person for person in self.people.values() if person.home.startswith("https://lantern")]
        first = next(person for person in there if person.platform == "mastodon" and person.key in embedded_people())
        yield "mastodon", "lantern", "", "account", first.handle
        blue = [person for person in embedded_people().values() if person.platform == "bluesky"]
        for person in blue:
            yield "bluesky", "pds", "", "records", person.handle
        for person in blue[:2]:
            yield "bluesky", "view", "", "author", person.handle
        for person in self.people.values():
            if person.platform == "bluesky" and person not in blue:
                yield "bluesky", "view", "", "author", person.handle
        for name in ("news.rss", "news.atom", "news.json"):
            yield "feed", "press", f"/{name}", "feed", ""

    @cached_property
    def by_id(self) -> dict[str, Sample]:
        """The posts by their ids."""
        return {post.id: post for post in self.posts or ()}

    def timeline(self, platform: str) -> Sequence[Sample]:
        """A platform's posts, the newest first."""
        if isinstance(self.posts, SyntheticPosts):
            return self.posts if platform == "mastodon" else []
        if platform not in self._timelines:
            found = [post for post in self.posts or () if post.platform == platform]
            self._timelines[platform] = sorted(found, key=lambda post: (post.time, post.id), reverse=True)
        return self._timelines[platform]

    @cached_property
    def _timelines(self) -> dict[str, Sequence[Sample]]:
        return {}

    def truth(self) -> dict[str, set[str]]:
        """The ids of the sample's posts that the sweep file's window and sources hold, by platform."""
        return {
            platform: {post.id for post in self.timeline(platform) if SINCE <= post.time < UNTIL}
            for platform in ("mastodon", "bluesky", "feed")
        }

    def fault(self, host: str, path: str) -> int | None:
        """Counts a request; says with which status it must fail, if it must: only the first try of an address does."""
        with self._lock:
            self.requests[host] += 1
            if not self.faults:
                return None
            address = f"{host}{path}"
            self._seen[address] += 1
            number = len(self._seen)
            if self._seen[address] > 1 or number % _FAIL_EVERY:
                return None
            return 429 if number // _FAIL_EVERY in range(1, 2 * _MOST_LIMITED, 2) else 503

    def log_in(self) -> str:
        """The token of a new session."""
        with self._lock:
            token = f"session-{len(self._sessions) + 1}"
            self._sessions[token] = self.session_requests
        return token

    def refusal(self, authorization: str | None) -> tuple[int, Json] | None:
        """Counts a request of a session; says how it is refused, if it is."""
        with self._lock:
            token = (authorization or "").removeprefix("Bearer ")
            left = self._sessions.get(token)
            if left is None:
                return 401, {"error": "AuthMissing", "message": "Authentication Required"}
            self._sessions[token] = left - 1
        return None if left > 0 else (400, {"error": "ExpiredToken", "message": "Token has expired"})


class _Handler(BaseHTTPRequestHandler):
    """Answers for one host."""

    network: Network
    host: str
    body: bytes
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent apart, and the second would wait for an answer

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: request lines would fill the terminal."""

    def do_GET(self) -> None:
        """Answers a GET."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answers a POST."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        self.body = body
        parts = urlsplit(self.path)
        status = self.network.fault(self.host, self.path)
        if status == 429:
            limits = {"Retry-After": str(_LIMITED_SECONDS), **_limits(self.host, 0, _LIMITED_SECONDS)}
            self._send(status, {"error": "Too many requests"}, limits)
            return
        if status is not None:
            self._send(status, {"error": "Try again"})
            return
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        kind = {"hearth": _mastodon, "lantern": _mastodon, "pds": _bluesky, "view": _bluesky, "press": _feeds}
        kind[self.host](self, unquote(parts.path), query)

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None, kind: str = "") -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _limits(host: str, left: int, seconds: int) -> dict[str, str]:
    """Headers on the rate limit in the dialect of a host; that of the feeds has none."""
    reset = datetime.now(UTC) + timedelta(seconds=seconds)
    if host in ("hearth", "lantern"):
        values = {"Limit": "300", "Remaining": str(left), "Reset": _iso(reset)}
        return {f"X-RateLimit-{name}": value for name, value in values.items()}
    if host in ("pds", "view"):
        values = {"Limit": "3000", "Remaining": str(left), "Reset": str(ceil(reset.timestamp()))}
        return {f"RateLimit-{name}": value for name, value in values.items()}
    return {}


def _mastodon(handler: _Handler, path: str, query: dict[str, str]) -> None:
    network, host = handler.network, handler.host
    timeline = network.timeline("mastodon")
    if path == "/api/v1/accounts/lookup":
        found = [person for person in network.people.values() if person.handle == query.get("acct")]
        handler._send(200, _account(found[0], host)) if found else handler._send(404, {"error": "Record not found"})
        return
    if path == "/api/v1/timelines/public":
        local = query.get("local") == "true"
        chosen = [post for post in timeline if _home(network, post) == host] if local else timeline
    elif path.startswith("/api/v1/timelines/tag/"):
        tag = path.rpartition("/")[2].casefold()
        chosen = [post for post in timeline if tag in (each.casefold() for each in post.tags)]
    elif found_id := re.fullmatch(r"/api/v1/accounts/(\d+)/statuses", path):
        chosen = [post for post in timeline if str(network.people[post.account].number) == found_id[1]]
    else:
        handler._send(404, {"error": "Record not found"})
        return
    _mastodon_page(handler, path, query, chosen)


def _mastodon_page(handler: _Handler, path: str, query: dict[str, str], chosen: Sequence[Sample]) -> None:
    limit = min(40, int(query.get("limit", "20")))
    start = 0
    if query.get("max_id"):
        start = 1 + _find(chosen, query["max_id"])
    page = chosen[start : start + limit]
    statuses: list[Any] = [_status(handler.network, post, handler.host) for post in page]
    if handler.network.faults and path == "/api/v1/timelines/public" and start == 0:
        statuses[3:3] = [_broken(statuses[0], number) for number in range(4)]
    headers = _limits(handler.host, 299, 300)
    if handler.host == "hearth" and start + limit < len(chosen):
        last = _native(page[-1])
        headers["Link"] = f'<{handler.network.hosts["hearth"]}{path}?max_id={last}>; rel="next"'
    handler._send(200, statuses, headers)


def _find(chosen: Sequence[Sample], native: str) -> int:
    """The place of the post with a native id; posts that are made when read are numbered in order."""
    if isinstance(chosen, SyntheticPosts):
        return int(native) - 10_000_000
    return next((place for place, post in enumerate(chosen) if _native(post) == native), len(chosen))


def _native(post: Sample) -> str:
    if post.account == "synthetic":
        return str(10_000_000 + int(post.id[1:]))
    return str(110_000_000_000 + int.from_bytes(hashlib.blake2b(post.id.encode(), digest_size=4).digest()))


def _home(network: Network, post: Sample) -> str:
    return urlsplit(network.people[post.account].home).netloc.partition(".")[0]


def _broken(status: Json, number: int) -> Any:
    """Records as they come out of servers that have trouble."""
    without = {key: value for key, value in status.items() if key != "uri"}
    return [without, {**status, "created_at": None}, {**status, "content": ["not", "text"]}, "a string"][number]


def _status(network: Network, post: Sample, host: str) -> Json:
    person = network.people[post.account]
    reposted = network.by_id.get(post.repost_of) if post.repost_of else None
    quoted = network.by_id.get(post.quote_of) if post.quote_of else None
    replied = network.by_id.get(post.reply_to) if post.reply_to else None
    mentions = [network.people[key] for key in _MENTION.findall(post.text) if key in network.people]
    time = _iso(post.time)
    return {
        "id": _native(post),
        "uri": f"{person.home}/statuses/{_native(post)}",
        "url": f"{person.home.replace('/users/', '/@')}/{_native(post)}",
        "account": _account(person, host),
        "created_at": time,
        "edited_at": None,
        "content": _markup(network, post),
        "spoiler_text": post.warning or "",
        "sensitive": post.warning is not None,
        "language": post.lang,
        "visibility": "public",
        "in_reply_to_id": None if replied is None else _native(replied),
        "in_reply_to_account_id": None if replied is None else str(network.people[replied.account].number),
        "reblog": None if reposted is None else _status(network, reposted, host),
        "quote": None if quoted is None else {"state": "accepted", "quoted_status": _status(network, quoted, host)},
        "tags": [{"name": tag, "url": f"https://{host}.example/tags/{tag}"} for tag in post.tags],
        "mentions": [
            {"id": str(each.number), "username": each.handle, "acct": each.handle, "url": each.home}
            for each in mentions
        ],
        "media_attachments": [
            {
                "id": str(place),
                "type": item["type"],
                "url": f"{person.home}/media/{place}",
                "description": item.get("alt"),
            }
            for place, item in enumerate(post.media)
        ],
        "card": None,
        "poll": None,
        "favourites_count": person.number % 17,
        "reblogs_count": person.number % 5,
        "replies_count": 0,
    }


def _account(person: Person, host: str) -> Json:
    home = urlsplit(person.home).netloc
    return {
        "id": str(person.number),
        "username": person.handle,
        "acct": person.handle if home.startswith(host) else f"{person.handle}@{home}",
        "display_name": person.display,
        "uri": person.home,
        "url": person.home.replace("/users/", "/@"),
        "bot": False,
        "created_at": "2024-03-01T00:00:00.000Z",
        "note": f"<p>{html.escape(person.bio)}</p>" if person.bio else "",
        "fields": [] if person.site is None else [_field(person.site)],
    }


def _field(site: str) -> Json:
    """A link that the server found to lead back to the account."""
    link = f'<a href="https://{site}/" rel="me nofollow noopener" target="_blank">{site}</a>'
    return {"name": "Website", "value": link, "verified_at": "2025-11-03T09:00:00.000Z"}


def _markup(network: Network, post: Sample) -> str:
    def mention(match: re.Match[str]) -> str:
        person = network.people.get(match[1])
        if person is None:
            return match[0]
        return (
            f'<span class="h-card"><a href="{person.home.replace("/users/", "/@")}" class="u-url mention">'
            f"@<span>{person.handle}</span></a></span>"
        )

    body = _MENTION.sub(mention, html.escape(post.text, quote=False))
    body += "".join(f' <a href="{html.escape(link)}" rel="nofollow">{html.escape(link)}</a>' for link in post.links)
    paragraphs = [part.replace("\n", "<br />") for part in body.split("\n\n") if part.strip()]
    return "".join(f"<p>{part}</p>" for part in paragraphs)


def _bluesky(handler: _Handler, path: str, query: dict[str, str]) -> None:
    network = handler.network
    method = path.removeprefix("/xrpc/")
    if handler.host == "pds" and method == "com.atproto.server.createSession":
        _log_in(handler)
        return
    if handler.host == "pds" and method == "app.bsky.feed.searchPosts":
        _search(handler, query)
        return
    asked = query.get("handle") or query.get("repo") or query.get("actor") or ""
    person = next((each for each in network.people.values() if asked in (each.handle, each.did)), None)
    if person is None:
        handler._send(400, {"error": "InvalidRequest", "message": "Profile not found"})
        return
    if method == "com.atproto.identity.resolveHandle":
        handler._send(200, {"did": person.did})
        return
    own = [post for post in network.timeline("bluesky") if post.account == person.key]
    limit = min(100, int(query.get("limit", "50")))
    if handler.host == "pds":
        limit = min(limit, 10)
    start = int(query.get("cursor") or 0)
    page = own[start : start + limit]
    cursor = {"cursor": str(start + limit)} if page else {}
    headers = _limits(handler.host, 2999, 300)
    if method == "com.atproto.repo.getRecord":
        handler._send(400, {"error": "RecordNotFound", "message": "Could not locate record"}, headers)
    elif method == "com.atproto.repo.listRecords":
        records = [{"uri": _at(network, post), "cid": _cid(post), "value": _record(network, post)} for post in page]
        handler._send(200, {"records": [each for each in records if each["value"] is not None], **cursor}, headers)
    elif method == "app.bsky.feed.getAuthorFeed":
        handler._send(200, {"feed": [_item(network, post) for post in page], **cursor}, headers)
    else:
        handler._send(501, {"error": "MethodNotImplemented"})


def _log_in(handler: _Handler) -> None:
    try:
        given = orjson.loads(handler.body)
    except ValueError:
        given = {}
    if given != {"identifier": IDENTIFIER, "password": APP_PASSWORD}:
        handler._send(401, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"})
        return
    token = handler.network.log_in()
    handler._send(200, {"handle": IDENTIFIER, "accessJwt": token, "refreshJwt": f"{token}-refresh", "active": True})


def _search(handler: _Handler, query: dict[str, str]) -> None:
    """Posts that hold all the words asked for, the newest first; `until` is exclusive."""
    network = handler.network
    if refusal := network.refusal(handler.headers.get("Authorization")):
        handler._send(*refusal)
        return
    since, until = query.get("since", _iso(SINCE - timedelta(days=1))), query.get("until", _iso(UNTIL))
    words = query.get("q", "").casefold().split()
    hits = [
        post
        for post in network.timeline("bluesky")
        if not post.repost_of
        and since <= _iso(post.time) < until
        and all(word in f"{post.text} {' '.join(post.tags)}".casefold() for word in words)
    ]
    limit, start = min(10, int(query.get("limit", "25"))), int(query.get("cursor") or 0)
    page = hits[: network.search_depth][start : start + limit]
    more = len(page) == limit and start + limit < network.search_depth
    cursor = {"cursor": str(start + limit)} if more else {}
    answer = {"posts": [_item(network, post)["post"] for post in page], **cursor}
    handler._send(200, answer, _limits(handler.host, 2999, 300))


def _at(network: Network, post: Sample) -> str:
    return f"at://{network.people[post.account].did}/app.bsky.feed.post/{_key(post)}"


def _key(post: Sample) -> str:
    letters = "234567abcdefghijklmnopqrstuvwxyz"
    bits = int.from_bytes(hashlib.blake2b(post.id.encode(), digest_size=8).digest()) >> 1
    return "".join(letters[bits >> shift & 31] for shift in range(60, -1, -5))


def _cid(post: Sample) -> str:
    return "bafyrei" + hashlib.blake2b(post.id.encode(), digest_size=26).hexdigest()


def _record(network: Network, post: Sample) -> Json | None:
    """The record of a post; a repost is no post record, it shows in author feeds only."""
    if post.repost_of:
        return None
    text, facets = b"", []

    def add(part: str, feature: Json | None = None) -> None:
        nonlocal text
        start = len(text)
        text += part.encode()
        if feature is not None:
            facets.append({"index": {"byteStart": start, "byteEnd": len(text)}, "features": [feature]})

    for place, piece in enumerate(_MENTION.split(post.text)):
        person = network.people.get(piece) if place % 2 else None
        if person is not None:
            add(f"@{person.handle}", {"$type": "app.bsky.richtext.facet#mention", "did": person.did})
        else:
            add(piece)
    for link in post.links:
        add(" ")
        add(link.removeprefix("https://")[:24] + "...", {"$type": "app.bsky.richtext.facet#link", "uri": link})
    for tag in post.tags:
        add(" ")
        add(f"#{tag}", {"$type": "app.bsky.richtext.facet#tag", "tag": tag})
    record: Json = {
        "$type": "app.bsky.feed.post",
        "text": text.decode(),
        "createdAt": _iso(post.time),
        "langs": [post.lang],
        "facets": facets,
    }
    if post.reply_to in network.by_id:
        parent = network.by_id[str(post.reply_to)]
        named = {"uri": _at(network, parent), "cid": _cid(parent)}
        record["reply"] = {"root": named, "parent": named}
    if post.quote_of in network.by_id:
        quoted = network.by_id[str(post.quote_of)]
        named = {"uri": _at(network, quoted), "cid": _cid(quoted)}
        record["embed"] = {"$type": "app.bsky.embed.record", "record": named}
    elif post.media:
        images = [{"alt": item.get("alt") or "", "image": {"$type": "blob"}} for item in post.media]
        record["embed"] = {"$type": "app.bsky.embed.images", "images": images}
    return record


def _item(network: Network, post: Sample) -> Json:
    shown = network.by_id.get(post.repost_of or "", post)
    item: Json = {
        "post": {
            "uri": _at(network, shown),
            "cid": _cid(shown),
            "author": _profile(network.people[shown.account]),
            "record": _record(network, shown),
            "indexedAt": _iso(shown.time + timedelta(seconds=2)),
            "replyCount": 0,
            "repostCount": 1,
            "likeCount": 3,
            "quoteCount": 0,
            "labels": [],
        }
    }
    if shown is not post:
        by = _profile(network.people[post.account])
        item["reason"] = {"$type": "app.bsky.feed.defs#reasonRepost", "by": by, "indexedAt": _iso(post.time)}
    return item


def _profile(person: Person) -> Json:
    shown: Json = {"did": person.did, "handle": person.handle, "displayName": person.display, "labels": []}
    if person.is_verified:
        shown["verification"] = {"verifications": [], "verifiedStatus": "valid", "trustedVerifierStatus": "none"}
    return shown


def _feeds(handler: _Handler, path: str, _: dict[str, str]) -> None:
    posts = [post for post in handler.network.timeline("feed") if _feed_of(post) == path.rpartition("/")[2]]
    make = {"/news.rss": _rss, "/news.atom": _atom, "/news.json": _json_feed}.get(path)
    if make is None:
        handler._send(404, {"error": "not found"})
        return
    kind, body = make(handler.network, posts)
    etag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    modified = max((post.time for post in posts), default=SINCE)
    validators = {"ETag": etag, "Last-Modified": format_datetime(modified, usegmt=True)}
    asked = handler.headers
    # Where both are sent, the entity tag alone decides (RFC 9110 section 13.2.2).
    if "If-None-Match" in asked:
        unchanged = asked["If-None-Match"] == etag
    else:
        unchanged = "If-Modified-Since" in asked and parsedate_to_datetime(asked["If-Modified-Since"]) >= modified
    if unchanged:
        handler._send(304, b"", validators)
    else:
        handler._send(200, body, validators, kind)


def _feed_of(post: Sample) -> str:
    return ("news.rss", "news.atom", "news.json")[hashlib.blake2b(post.id.encode(), digest_size=1).digest()[0] % 3]


def _xml(text: str) -> str:
    """Escaped for XML, which has no place for control characters at all."""
    return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text))


def _rss(network: Network, posts: Sequence[Sample]) -> tuple[str, bytes]:
    items = "".join(
        f"<item><title>{_xml(post.title or '')}</title><link>https://press.example/{post.id}</link>"
        f'<guid isPermaLink="false">press:{post.id}</guid><pubDate>{format_datetime(post.time)}</pubDate>'
        f"<dc:creator>{_xml(network.people[post.account].display)}</dc:creator><dc:language>{post.lang}</dc:language>"
        f"<description>{_xml(f'<p>{html.escape(post.text)}</p>')}</description></item>"
        for post in posts
    )
    broken = "<item><title>an item without a name</title></item>" if network.faults else ""
    return "application/rss+xml", (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>'
        f"<title>Press</title><link>https://press.example/</link><description>News</description>{items}{broken}"
        "</channel></rss>"
    ).encode()


def _atom(network: Network, posts: Sequence[Sample]) -> tuple[str, bytes]:
    entries = "".join(
        f'<entry xml:lang="{post.lang}"><id>press:{post.id}</id><title>{_xml(post.title or "")}</title>'
        f'<link href="https://press.example/{post.id}"/><published>{_iso(post.time)}</published>'
        f"<updated>{_iso(post.time)}</updated><author><name>{_xml(network.people[post.account].display)}</name></author>"
        f'<content type="html">{_xml(f"<p>{html.escape(post.text)}</p>")}</content></entry>'
        for post in posts
    )
    return "application/atom+xml", (
        '<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Press</title>'
        f"<id>press:all</id><updated>{_iso(SINCE)}</updated>{entries}</feed>"
    ).encode()


def _json_feed(network: Network, posts: Sequence[Sample]) -> tuple[str, bytes]:
    items = [
        {
            "id": f"press:{post.id}",
            "url": f"https://press.example/{post.id}",
            "title": post.title,
            "content_text": post.text,
            "date_published": _iso(post.time),
            "language": post.lang,
            "authors": [{"name": network.people[post.account].display}],
        }
        for post in posts
    ]
    document = {"version": "https://jsonfeed.org/version/1.1", "title": "Press", "items": items}
    return "application/feed+json", orjson.dumps(document)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
