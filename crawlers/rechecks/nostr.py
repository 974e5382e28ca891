"""Nostr: events by their ids, and what their own authors asked of relays: to delete an event (kind 5, NIP-09), or all
of theirs up to a moment (kind 62, NIP-62). A request counts whether the relay heeds it or not, and one by another key
is nothing. An event that is just not there has no cause told.
"""

import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from crawlers.platforms.fields import Record
from crawlers.platforms.nostr import DELETION, VANISH, checked, parse_event
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, gone, unknown
from crawlers.spiders.nostr import Relay

BATCH = 100
STRANGE = "not the event that was asked for"
_EVERY = "ALL_RELAYS"
_KEY = re.compile(r"[0-9a-f]{64}")


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """Three requests for all, and some more where events are missing. Errors: SourceGapError."""
    named = {str(known.global_id): known for known in visit.posts if _KEY.fullmatch(known.global_id or "")}
    for known in visit.posts:
        if known.global_id not in named:
            yield unknown(known, "the post has no id of an event")
    relay = Relay(visit)
    try:
        shown = await _shown(relay, set(named))
        authors = {name: str(known.author_id) for name, known in named.items() if _KEY.fullmatch(known.author_id or "")}
        deleted = await _deleted(relay, authors)
        vanished = await _vanished(relay, set(authors.values()), visit.source.url)
    finally:
        await relay.close()
    for name, known in named.items():
        event, left_at = shown.get(name), vanished.get(authors.get(name, ""))
        if name in deleted:
            yield Sighting(known.uid, "removed_by_author", Evidence(None, f"kind {DELETION}"))
        elif left_at is not None and (event is None or _moment(event) <= left_at):
            yield Sighting(known.uid, "account_gone", Evidence(None, f"kind {VANISH}"))
        else:
            yield gone(known) if event is None else _read(visit, known, event)


def _read(visit: Visit, known: Known, event: Record) -> Sighting:
    try:
        post = parse_event(event, visit.source.authority, datetime.now(UTC))
    except ParseError:
        return unknown(known, STRANGE)
    return Sighting(known.uid, "alive", Evidence(), post)


async def _shown(relay: Relay, ids: set[str]) -> dict[str, Record]:
    """The events that are there. Relays cap what they give at once without a word, so that what is missing is asked for
    until nothing more comes."""
    found: dict[str, Record] = {}
    while missing := ids - found.keys():
        events = await relay.events({"ids": sorted(missing), "limit": len(missing)})
        fresh = {event["id"]: event for event in events if isinstance(event, dict) and str(event.get("id")) in missing}
        if not fresh:
            break
        found |= fresh
    return found


async def _deleted(relay: Relay, authors: dict[str, str]) -> set[str]:
    """Which of the events, given by their ids and authors, their authors asked to delete; asked for as `_shown`."""
    found: set[str] = set()
    while left := authors.keys() - found:
        asked = {"kinds": [DELETION], "authors": sorted({authors[name] for name in left}), "#e": sorted(left)}
        requests = _of_kind(DELETION, await relay.events(asked))
        named = {(name, request["pubkey"]) for request in requests for name in _tagged(request, "e")}
        fresh = {name for name in left if (name, authors[name]) in named}
        if not fresh:
            break
        found |= fresh
    return found


async def _vanished(relay: Relay, authors: set[str], url: str) -> dict[str, int]:
    """Which authors asked this relay, or all, to keep nothing of theirs, and up to which second; asked for as
    `_shown`."""
    found: dict[str, int] = {}
    while left := authors - found.keys():
        asked = {"kinds": [VANISH], "authors": sorted(left)}
        fresh: dict[str, int] = {}
        for request in _of_kind(VANISH, await relay.events(asked)):
            author, meant = request["pubkey"], {each.rstrip("/") for each in _tagged(request, "relay")}
            if author in left and meant & {_EVERY, url.rstrip("/")}:
                fresh[author] = max(request["created_at"], fresh.get(author, 0))
        if not fresh:
            break
        found |= fresh
    return found


def _of_kind(kind: int, events: list[Any]) -> Iterator[Record]:
    """The events that are of a kind, and named by what they say."""
    for event in events:
        with suppress(ParseError):
            if checked(event)["kind"] == kind:
                yield event


def _tagged(event: Record, name: str) -> list[str]:
    return [tag[1] for tag in event["tags"] if len(tag) > 1 and tag[0] == name]


def _moment(event: Record) -> int:
    """When an event claims to be written; of one that does not say, after all requests."""
    told = event.get("created_at")
    return told if type(told) is int else sys.maxsize
