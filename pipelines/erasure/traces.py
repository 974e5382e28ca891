"""What a post, an account or a source may be called in what others wrote: one spelling for each name.

Erasing looks for these names in the platforms' own JSON, in links and in sweep files. Pure, and without any storage.
"""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from crawlers.source import Source

_PIECE = re.compile(r"[^\s\"'<>(){}\[\]|\\^`]+")
_SPELLINGS = 3
"""A text as it stands, as HTML, and as HTML that was written into XML."""
_AROUND = " \t\r\n@/.,;:!?，。；：！？、…"
_FEED_ENDING = re.compile(r"(\.(?:rss|atom|xml|json)|/(?:feed|rss|atom)(?:\.xml)?)$", re.IGNORECASE)
_SEARCH_WORD = re.compile(r"^\W*(?:from|to|mentions|retweets_of|by|author|user):", re.IGNORECASE)


def plain_name(name: str) -> str:
    """One spelling of a handle, an id or an address: case, a leading @ and what a sentence puts around it are gone."""
    return name.strip(_AROUND).casefold().removeprefix("acct:").strip(_AROUND)


def account_names(account_id: str | None, handle: str | None, url: str | None) -> set[str]:
    """What an account is called: its id, its addresses, and its handle alone and with its server's host."""
    names = {plain_name(name) for name in (account_id, handle, url) if name}
    local = plain_name(handle or "")
    if local and "@" not in local:
        hosts = (urlsplit(address).netloc for address in (url, account_id) if address and "://" in address)
        names |= {f"{local}@{host.casefold()}" for host in hosts if host}
    return names - {""}


def source_names(source: Source) -> set[str]:
    """The accounts that a source may name, as `account_names` calls them; empty for one that names none."""
    if not source.names_account:
        return set()
    if source.kind == "feed":
        found = {source.url, _FEED_ENDING.sub("", source.url)}
        return {plain_name(each) for each in found | set(_beginnings(source.url)) if urlsplit(each).path.strip("/")}
    words = [_SEARCH_WORD.sub("", word) for word in (source.value or "").split()]
    names = {plain_name(word) for word in words} - {""}
    if source.platform == "mastodon":
        names = {name if "@" in name or "/" in name else f"{name}@{source.authority}" for name in names}
    return names


def names_in(text: str) -> Iterator[str]:
    """Every name that a text may hold: the whole of it, its pieces, and of an address its beginnings and its parts;
    also as markup spells them (`&amp;`), and markup within markup."""
    for _ in range(_SPELLINGS):
        yield plain_name(text)
        for piece in _PIECE.findall(text):
            yield from addresses_in(piece)
            if "/" in piece:
                yield from map(plain_name, piece.split("/"))
        if (spelled := unescape(text)) == text:
            return
        text = spelled


def addresses_in(link: str) -> Iterator[str]:
    """The address that a link is, and those that it begins with."""
    yield plain_name(link)
    yield from map(plain_name, _beginnings(link))


def _beginnings(address: str) -> Iterator[str]:
    start = address.find("://") + 3 if "://" in address else 0
    for place in range(start, len(address)):
        if address[place] in "/#?":
            yield address[:place]


def names_in_json(raw: str) -> Iterator[str]:
    """The same of every string in a JSON text, and of the text where it is no JSON."""
    try:
        waiting: list[Any] = [json.loads(raw)]
    except (ValueError, RecursionError):
        waiting = [raw]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield from names_in(each)
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, int):
            yield str(each)
