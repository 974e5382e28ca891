"""Repositories as CAR files: read whole and in order, and refused where a hash, a length or the tree is wrong."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import libipld
import pytest

from crawlers.platforms.bluesky import POST, parse_record
from crawlers.platforms.car import Repository
from crawlers.post import ParseError
from crawlers.sink import Position
from crawlers.source import Source
from tests.jetstream_server import time_key
from tests.loopback import Reply, serving
from tests.shared_data import SHARED
from tests.test_crawlers import NOW
from tests.test_crawlers_spiders import Counted, crawled
from tests.test_recordings import HOST, RECORDINGS, agree, expected_record, things

DID = "did:plc:k7h2q5w3n4m6x2y7"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PREFIX = b"\x01\x71\x12\x20"


def head(kind: int, number: int) -> bytes:
    """The first bytes of a CBOR item, as DAG-CBOR writes them."""
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([kind << 5 | 24 + (1, 2, 4, 8).index(size)]) + number.to_bytes(size, "big")


class Link(bytes):
    """A link, to be told from bytes."""


def cbor(value: Any) -> bytes:
    if isinstance(value, Link):
        return b"\xd8\x2a" + head(2, len(value) + 1) + b"\x00" + value
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key), key))
        return head(5, len(keys)) + b"".join(cbor(key) + cbor(value[key]) for key in keys)
    return b"\xf6" if value is None else head(0, value)


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


class Car:
    """Writes a repository."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}

    def block(self, value: Any) -> Link:
        data = value if isinstance(value, bytes) else cbor(value)
        name = Link(PREFIX + hashlib.sha256(data).digest())
        self.blocks[name] = data
        return name

    def node(self, keys: dict[str, Link], left: Link | None = None, right: Link | None = None) -> Link:
        """A node whose keys share what they can; `left` lies before its keys, `right` after the last one."""
        entries, before = [], b""
        for place, key in enumerate(sorted(keys)):
            told = key.encode()
            shared = next(end for end in range(len(told), -1, -1) if before.startswith(told[:end]))
            below = right if place == len(keys) - 1 else None
            entries.append({"p": shared, "k": told[shared:], "v": keys[key], "t": below})
            before = told
        return self.block({"l": left, "e": entries})

    def file(self, data: Link) -> bytes:
        root = self.block({"did": DID, "version": 3, "data": data, "rev": "3m", "prev": None, "sig": b"0"})
        start = cbor({"version": 1, "roots": [root]})
        return varint(len(start)) + start + b"".join(
            varint(len(name) + len(told)) + name + told for name, told in self.blocks.items()
        )


def posts(count: int) -> dict[str, Any]:
    moments = [NOON + timedelta(seconds=20 * place) for place in range(count)]
    return {
        f"{POST}/{time_key(moment)}": {"$type": POST, "createdAt": moment.isoformat(), "text": f"渡轮晚点 {place}"}
        for place, moment in enumerate(moments)
    }


def repository(count: int = 30) -> bytes:
    """A tree of three nodes, and a record of another collection."""
    car, told = Car(), posts(count)
    links = {key: car.block(value) for key, value in told.items()}
    links["app.bsky.feed.like/3m"] = car.block({"$type": "app.bsky.feed.like"})
    keys = sorted(links)
    third = len(keys) // 3
    left = car.node({key: links[key] for key in keys[:third]})
    right = car.node({key: links[key] for key in keys[2 * third :]})
    return car.file(car.node({key: links[key] for key in keys[third : 2 * third]}, left, right))


def test_every_record_of_a_collection_comes_once_in_order_of_its_key() -> None:
    found = list(Repository(BytesIO(repository())).records(POST))
    assert [each["uri"] for each in found] == [f"at://{DID}/{key}" for key in sorted(posts(30))]
    assert [each["value"] for each in found] == [posts(30)[key] for key in sorted(posts(30))]


def test_a_file_that_is_cut_anywhere_is_refused_and_no_byte_of_a_post_can_be_changed() -> None:
    whole = repository(3)
    for end in range(len(whole)):
        with pytest.raises(ParseError):
            list(Repository(BytesIO(whole[:end])).records(POST))
    place = whole.index("渡轮".encode())
    with pytest.raises(ParseError, match="a block is not what its hash says"):
        list(Repository(BytesIO(whole[:place] + b"x" + whole[place + 1 :])).records(POST))


def test_trees_out_of_order_repeated_or_endless_and_lengths_and_depths_without_end_are_refused() -> None:
    car = Car()
    record = car.block({"$type": POST})
    again = car.node({f"{POST}/b": record})
    double = car.node({f"{POST}/a": record}, again, again)
    deep = Car()
    link = deep.node({f"{POST}/a": deep.block({"$type": POST})})
    for _ in range(100):
        link = deep.block({"l": link, "e": []})
    nested = Car()
    bomb = nested.block(b"\x81" * 100_000 + b"\x00")
    for data in (
        car.file(double), deep.file(link), nested.file(nested.node({f"{POST}/a": bomb})),
        b"\xff" * 20, b"\x80" * 20, b"", varint(1 << 40) + b"x",
    ):  # fmt: skip
        with pytest.raises(ParseError):
            list(Repository(BytesIO(data)).records(POST))


@pytest.mark.skipif(SHARED is None, reason="the recordings are not here")
def test_a_recorded_record_of_cbor_is_a_post() -> None:
    """The same post as its JSON, which another reading of the bytes tells."""
    name = "feedpost_record.cbor"
    value = libipld.decode_dag_cbor((RECORDINGS / "bluesky" / name).read_bytes())
    ((_, told),) = things(name)
    did = told["uri"].split("/")[2]
    post = parse_record({"uri": told["uri"], "value": value}, did, HOST, NOW)
    assert replace(post, raw=None) == replace(parse_record(told, did, HOST, NOW), raw=None)
    agree(post, expected_record(told["uri"], told["value"]), "the record as CBOR")


def test_a_repository_is_read_page_by_page_and_goes_on_from_each(tmp_path: Path) -> None:
    body = repository(2_000)

    def answer(path: str) -> Reply:
        if "getRepo" in path:
            return 200, {}, body if "broken" not in urlsplit(path).path else body[:-9]
        return 200, {}, json.dumps({"did": DID}).encode()

    with serving(answer) as server:
        whole, rest, broken = (
            Source("bluesky", server.url + end, "repo", "mill.example", allow_private=True)
            for end in ("", "/rest", "/broken")
        )
        key = f"at://{DID}/{sorted(posts(2_000))[999]}"
        sinks = {whole: Counted(), rest: Counted(start=Position(1, key)), broken: Counted()}
        outcome = crawled(sinks, tmp_path / "stderr")
    expected = [f"at://{DID}/{each}" for each in sorted(posts(2_000))]
    assert (outcome.ids(whole), outcome.reason(whole)) == (expected, "")
    assert (outcome.ids(rest), outcome.reason(rest)) == (expected[1000:], "")
    assert outcome.reason(broken) == "the repository cannot be read: file: cut off"
