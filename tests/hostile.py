"""What a hostile server may make of an answer: wrong types, halves of characters, NULs, bombs, cuts and additions."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

LONG = 10_000_000
"""Characters of a text that no platform sends."""

_SCALARS: list[Any] = [
    None, True, False, 0, -1, 2**63, 2**80, 1e308, float("nan"), float("inf"), "", " ", "\x00", "a\x00b", "\ud800",
    "\udfff\ud800", "9" * 500, "<b>", "<" * 200, "</p>" * 50, "&#xD800;&#0;&boom;", "https://[", "http://a:b@c/",
    "@x@y", "\u202e\u200b\ufeff",
    "2026-13-45T99:99:99Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "1.5万", "100万+", "-", [], {}, [[]], [None], {"": None}, ["\ud800"], [{}], "x" * 5000,
]  # fmt: skip
_PIECES = [
    b"", b"<", b">", b"</", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"&#xD800;", b"&#0;", b"&boom;", b"\x00", b'"', b"'",
    b"<script>", b"</script>", b"<div>" * 300, b"\xff\xfe", b"\xed\xa0\x80", b"{", b"}", b"[" * 200, b"\\u0000",
    b"\\ud800", b"9" * 500, b"\n", b"<p>", b"</div>", b"<style>", b"<svg>", b"\xe4\xb8",
]  # fmt: skip

Draw = Callable[[st.SearchStrategy[Any]], Any]


def altered(payload: Any, draw: Draw) -> Any:
    """A payload with one to four places changed."""
    if isinstance(payload, bytes):
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(payload)))
            end = start + draw(st.sampled_from([0, 0, 1, 7, 60, len(payload)]))
            payload = payload[:start] + draw(st.sampled_from(_PIECES)) + payload[end:]
        return payload
    whole = [copy.deepcopy(payload)]
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(whole))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.booleans()) or not isinstance(holder, dict):
            holder[key] = copy.deepcopy(draw(st.sampled_from(_SCALARS)))
        else:
            del holder[key]
    return whole[0]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a payload, as what holds it and its key there."""
    for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(each, dict | list):
            yield from _places(each)


def hurt(payload: Any) -> Iterator[Any]:
    """A payload with something immense in it: in its longest text, in all texts, or in the middle of a page; and nested
    without end in each of its places."""
    if isinstance(payload, bytes):
        middle = len(payload) // 2
        for bomb in (b"a" * LONG, b"<div>" * (LONG // 50), b"&amp;" * (LONG // 50), b"[" * (LONG // 50)):
            yield payload[:middle] + bomb + payload[middle:]
        return
    whole = [payload]
    texts = [(holder, key, holder[key]) for holder, key in _places(whole) if isinstance(holder[key], str)]
    for holder, key, kept in sorted(texts, key=lambda place: len(place[2]))[-1:]:
        holder[key] = kept + "a" * LONG
        yield whole[0]
        holder[key] = kept
    for holder, key, kept in texts:
        holder[key] = kept + "<a b " * 20_000
    yield whole[0]
    for holder, key, kept in texts:
        holder[key] = kept
    for deep in (nested("list"), nested("object")):
        yield deep
        for holder, key in list(_places(whole))[:40]:
            kept, holder[key] = holder[key], deep
            yield whole[0]
            holder[key] = kept


def nested(kind: str, depth: int = 50_000) -> Any:
    """A value in a value in a value."""
    value: Any = None
    for _ in range(depth):
        value = [value] if kind == "list" else {"reblog": value}
    return value
