"""Nostr: events by their ids, and the deletion requests (kind 5, NIP-09) that their own authors left at the relay. A
request by another key is nothing; an event that is just not there has no cause told.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from crawlers.platforms.fields import Record
from crawlers.platforms.nostr import DELETION, checked, parse_event
from crawlers.post import ParseError
from crawlers.sighting import Evidence, Known, Sighting, Visit, gone, unknown
from crawlers.spiders.nostr import Relay

BATCH = 100
STRANGE = "not the event that was asked for"
_KEY = re.compile(r"[0-9a-f]{64}")


async def check(visit: Visit) -> AsyncIterator[Sighting]:
    """Two requests for all, and some more where events are missing. Errors: SourceGapError."""
    named = {str(known.global_id): known for known in visit.posts if _KEY.fullmatch(known.global_id or "")}
    for known in visit.posts:
        if known.global_id not in named:
            yield unknown(known, "the post has no id of an event")
    relay = Relay(visit)
    try:
        shown = await _shown(relay, set(named))
        deleted = await _deleted(relay, {name: str(known.author_id) for name, known in named.items()})
    finally:
        await relay.close()
    for name, known in named.items():
        if name in deleted:
            yield Sighting(known.uid, "removed_by_author", Evidence(None, f"kind {DELETION}"))
        elif name not in shown:
            yield gone(known)
        else:
            yield _read(visit, known, shown[name])


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
        keys = sorted({authors[name] for name in left if _KEY.fullmatch(authors[name])})
        if not keys:
            break
        events = await relay.events({"kinds": [DELETION], "authors": keys, "#e": sorted(left)})
        fresh = {
            name for event in events for name in _named(event) if name in left and authors[name] == event["pubkey"]
        }
        if not fresh:
            break
        found |= fresh
    return found


def _named(request: object) -> list[str]:
    """The events that a deletion request names."""
    try:
        event = checked(request)
    except ParseError:
        return []
    return [tag[1] for tag in event["tags"] if len(tag) > 1 and tag[0] == "e"] if event["kind"] == DELETION else []
