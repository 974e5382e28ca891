"""Reads repositories of AT-proto out of CAR files (ipld.io/specs/transport/car/carv1, atproto.com/specs/repository):
the records of a collection, in order of their keys. Pure but for the file, of which only an index is held in memory.

Every block is checked by the hash in its name. The commit's signature is not: that needs the account's DID document.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import libipld

from crawlers.platforms.fields import Record, record
from crawlers.post import ParseError

MOST_BLOCK = 2 << 20
"""Bytes of a block; those of a repository have 1 MB at most."""
MOST_BLOCKS = 20_000_000
_CBOR, _RAW = b"\x01\x71\x12\x20", b"\x01\x55\x12\x20"
_DEEPEST = 64


class Repository:
    """A repository in a file. Errors: ParseError, here and in what follows, for anything that is no such file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[bytes, tuple[int, int]] = {}
        header = record(_decoded(self._read(_number(file, needed=True))), "header")
        roots = header.get("roots")
        if header.get("version") != 1 or not isinstance(roots, list) or not roots:
            raise ParseError("header", "not of a CAR file of version 1")
        self._index()
        self.commit = record(self._block(roots[0], "roots"), "commit")
        did = self.commit.get("did")
        if not isinstance(did, str) or not did.startswith("did:"):
            raise ParseError("commit.did", "missing")
        self.did = did

    def records(self, collection: str) -> Iterator[Record]:
        """Records as `com.atproto.repo.listRecords` gives them, by ascending key. Errors: ParseError."""
        for key, link in self._leaves():
            if key.startswith(f"{collection}/"):
                value = _plain(self._block(link, "record"))
                yield {"uri": f"at://{self.did}/{key}", "cid": libipld.encode_cid(link), "value": value}

    def _leaves(self) -> Iterator[tuple[str, bytes]]:
        """Keys and links of all records: a walk of the tree that no cycle and no depth can trap."""
        stack: list[tuple[str, Any, int]] = [("node", self.commit.get("data"), 0)]
        seen: set[bytes] = set()
        before = ""
        while stack:
            what, found, depth = stack.pop()
            if what != "node":
                if what <= before:
                    raise ParseError("tree", "its keys are not in order")
                before = what
                yield what, found
                continue
            if found in seen or depth > _DEEPEST:
                raise ParseError("tree", "it goes in circles, or too deep")
            node = record(self._block(found, "tree"), "tree")
            seen.add(found)
            stack += reversed([*_below(node, depth)])

    def _block(self, link: object, place: str) -> Any:
        """What a link leads to, decoded, once its hash agrees."""
        if not isinstance(link, bytes) or len(link) != 36 or not link.startswith((_CBOR, _RAW)):
            raise ParseError(place, "not a link by SHA-256")
        if link not in self._places:
            raise ParseError(place, "a block is missing")
        start, length = self._places[link]
        self._file.seek(start)
        data = self._read(length)
        if hashlib.sha256(data).digest() != link[4:]:
            raise ParseError(place, "a block is not what its hash says")
        return _decoded(data)

    def _index(self) -> None:
        while (length := _number(self._file)) is not None:
            start = self._file.tell()
            if not 36 < length <= MOST_BLOCK + 36:
                raise ParseError("block", "longer than a block may be, or too short for one")
            name = self._read(36)
            self._places[name] = (start + 36, length - 36)
            if len(self._places) > MOST_BLOCKS:
                raise ParseError("block", "more blocks than a repository can have")
            self._file.seek(start + length)

    def _read(self, length: int | None) -> bytes:
        if length is None or length > MOST_BLOCK:
            raise ParseError("block", "longer than a block may be")
        data = self._file.read(length)
        if len(data) != length:
            raise ParseError("file", "cut off")
        return data


def _number(file: BinaryIO, *, needed: bool = False) -> int | None:
    """An unsigned LEB128 number of 9 bytes at most; None at the end of the file."""
    found = 0
    for place in range(9):
        byte = file.read(1)
        if not byte:
            if place or needed:
                raise ParseError("file", "cut off")
            return None
        found |= (byte[0] & 127) << 7 * place
        if byte[0] < 128:
            return found
    raise ParseError("file", "a length of more than nine bytes")


def _below(node: Record, depth: int) -> Iterator[tuple[str, Any, int]]:
    """What a node of the tree holds, in order: nodes below it, and keys with links to records."""
    entries = node.get("e")
    if not isinstance(entries, list):
        raise ParseError("tree", "a node without entries")
    if node.get("l") is not None:
        yield "node", node["l"], depth + 1
    key = b""
    for entry in entries:
        told = record(entry, "tree.e")
        shared, rest = told.get("p"), told.get("k")
        if type(shared) is not int or not 0 <= shared <= len(key) or not isinstance(rest, bytes):
            raise ParseError("tree.e", "an entry without a key")
        key = key[:shared] + rest
        if len(key) > 1024 or b"/" not in key or not key.isascii():
            raise ParseError("tree.e", "not the key of a record")
        yield key.decode(), told.get("v"), depth
        if told.get("t") is not None:
            yield "node", told["t"], depth + 1


def _decoded(data: bytes) -> Any:
    try:
        return libipld.decode_dag_cbor(data)
    except (ValueError, RecursionError):
        raise ParseError("block", "not DAG-CBOR") from None


def _plain(value: Any, depth: int = 0) -> Any:
    """Decoded CBOR in the shapes of JSON (atproto.com/specs/data-model): links and bytes are objects."""
    if depth > _DEEPEST:
        raise ParseError("record", "nested too deep")
    if isinstance(value, bytes):
        if len(value) == 36 and value.startswith((_CBOR, _RAW)):
            return {"$link": libipld.encode_cid(value)}
        return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
    if isinstance(value, dict):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    return [_plain(each, depth + 1) for each in value] if isinstance(value, list) else value
