"""Posts of Nostr: events of kinds 1, 6 and 16 (github.com/nostr-protocol/nips), from any relay. Pure.

An event's id is the digest of what it says, and is checked. Its signature is not: that needs a curve which no library
here has, so that a relay could give an event to another author's key.
"""

import hashlib
import json
import re
from datetime import UTC, datetime

from crawlers.platforms.fields import Record, count, record
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId
from crawlers.text import MARK, links_in, mask, read_plain, tidy

PARSER_VERSION = 1
PLATFORM = "nostr"
NOTE, DELETION, REPOST, GENERIC_REPOST, VANISH = 1, 5, 6, 16, 62
KINDS = (NOTE, REPOST, GENERIC_REPOST)
"""The kinds of events that are posts."""

_HEX = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_NAMED = re.compile(
    r"(?:https?://[^\s<>\"']*|(?:web\+)?nostr:|@)?(?<![a-z0-9])(npub|nprofile|nsec|note|nevent|naddr|nrelay)1"
    rf"[{_LETTERS}]{{20,}}(?:[/?#][^\s<>\"']*)?",
    re.IGNORECASE,
)
"""What NIP-19 and NIP-21 name people and posts by, bare or in an address."""
_OLD_MENTION = re.compile(r"#\[(\d{1,3})\]")
_PEOPLE = frozenset({"npub", "nprofile", "nsec"})
_A_POST = "[post]"
"""Stands for a reference to a post, whose name can hold its author's."""


def parse_event(payload: object, host: str, fetched_at: datetime) -> Post:
    """An event of a note or a repost. Errors: ParseError."""
    event = checked(payload)
    if event["kind"] not in KINDS:
        raise ParseError("kind", "neither a note nor a repost")
    return _repost(event, host, fetched_at) if event["kind"] != NOTE else _note(event, host, fetched_at)


def checked(payload: object) -> Record:
    """An event of any kind whose fields have the right shapes and whose id is its digest. Errors: ParseError."""
    event = record(payload, "event")
    for key, shape in (("id", _HEX), ("pubkey", _HEX), ("sig", _SIGNATURE)):
        value = event.get(key)
        if not isinstance(value, str) or shape.fullmatch(value) is None:
            raise ParseError(key, "not hexadecimal digits of the right number")
    for key in ("kind", "created_at"):
        if count(event, key) is None:
            raise ParseError(key, "missing")
    tags = event.get("tags")
    if not isinstance(tags, list) or not all(
        isinstance(tag, list) and all(isinstance(part, str) for part in tag) for tag in tags
    ):
        raise ParseError("tags", "expected lists of strings")
    if not isinstance(event.get("content"), str):
        raise ParseError("content", "expected a string")
    if event["id"] not in _digests(event):
        raise ParseError("id", "not the digest of the event")
    return event


def public_key(value: str) -> str | None:
    """The key that `npub1...` or 64 hexadecimal digits name; None where they name none (NIP-19, BIP-173)."""
    if _HEX.fullmatch(value.lower()):
        return value.lower()
    name, _, letters = value.lower().removeprefix("nostr:").partition("1")
    if name != "npub" or len(letters) != 58 or any(letter not in _LETTERS for letter in letters):
        return None
    values = [_LETTERS.index(letter) for letter in letters]
    if _polymod([ord(each) >> 5 for each in name] + [0] + [ord(each) & 31 for each in name] + values) != 1:
        return None
    bits = 0
    for each in values[:-6]:
        bits = bits << 5 | each
    return (bits >> 4).to_bytes(32, "big").hex()


def _polymod(values: list[int]) -> int:
    """The checksum of BIP-173."""
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            found ^= generator if top >> place & 1 else 0
    return found


def _digests(event: Record) -> set[str]:
    """The digests that an event may be named by: NIP-01 writes control characters as they are, most clients escape
    those that JSON has no short form for."""
    parts = [0, event["pubkey"], event["created_at"], event["kind"], event["tags"], event["content"]]
    written = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    forms = {written}
    if "\\u00" in written:
        forms.add(re.sub(r"(?<!\\)((?:\\\\)*)\\u00([01][0-9a-f])", lambda m: m[1] + chr(int(m[2], 16)), written))
    return {hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest() for form in forms}


def _note(event: Record, host: str, fetched_at: datetime) -> Post:
    tags: list[list[str]] = event["tags"]
    body, mentions = _masked(event["content"], tags)
    title, in_title = _masked(_first(tags, "subject") or "", [])
    reason = _first(tags, "content-warning")
    warning, in_warning = _masked(reason or "", [])
    quoted = _first_id(tags, "q")
    parent = _parent(tags, quoted)
    kind: Kind = "reply" if parent else "quote" if quoted else "post"
    return Post(
        id=PostId(PLATFORM, event["id"]),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=kind,
        author=Account(event["pubkey"]),
        created_at=_moment(event),
        title=title or None,
        warning=warning or None,
        sensitive=True if reason is not None else None,
        text=body,
        lang=next((tag[1] for tag in tags if len(tag) > 2 and tag[0] == "l" and tag[2] == "ISO-639-1"), None),
        reply_to=None if parent is None else PostId(PLATFORM, parent),
        quote_of=None if quoted is None else PostId(PLATFORM, quoted),
        hashtags=_hashtags(tags),
        mention_count=mentions + in_title + in_warning,
        links=links_in(body),
        media=_media(tags),
        raw=event,
    )


def _repost(event: Record, host: str, fetched_at: datetime) -> Post:
    """A repost carries, as its content, the whole event that it reposts, or nothing."""
    inner: Post | None = None
    if event["content"].strip():
        try:
            carried = json.loads(event["content"])
            inner = _note(checked(carried), host, fetched_at) if carried.get("kind") == NOTE else None
        except (ValueError, RecursionError, AttributeError):  # a ParseError too: what is carried may be anything
            inner = None
    target = _first_id(event["tags"], "e") or (None if inner is None else inner.id.global_id)
    if target is None:
        raise ParseError("tags", "a repost that names no event")
    if inner is not None and inner.id.global_id != target:
        inner = None
    return Post(
        id=PostId(PLATFORM, event["id"]),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="repost",
        author=Account(event["pubkey"]),
        created_at=_moment(event),
        repost_of=PostId(PLATFORM, target),
        title=None if inner is None else inner.title,
        warning=None if inner is None else inner.warning,
        sensitive=None if inner is None else inner.sensitive,
        text=None if inner is None else inner.text,
        lang=None if inner is None else inner.lang,
        hashtags=None if inner is None else inner.hashtags,
        mention_count=None if inner is None else inner.mention_count,
        links=None if inner is None else inner.links,
        media=None if inner is None else inner.media,
        raw=event,
    )


def _moment(event: Record) -> datetime:
    try:
        return datetime.fromtimestamp(event["created_at"], UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError("created_at", "not a time") from None


def _first(tags: list[list[str]], name: str) -> str | None:
    """The first tag's value, empty where the tag has none; None without the tag."""
    return next(((tag[1] if len(tag) > 1 else "") for tag in tags if tag and tag[0] == name), None)


def _first_id(tags: list[list[str]], name: str) -> str | None:
    return next((tag[1] for tag in tags if len(tag) > 1 and tag[0] == name and _HEX.fullmatch(tag[1])), None)


def _parent(tags: list[list[str]], quoted: str | None) -> str | None:
    """What a note replies to (NIP-10): the tag marked `reply`, else `root`; without marks the last of the tags."""
    named = [tag for tag in tags if len(tag) > 1 and tag[0] == "e" and _HEX.fullmatch(tag[1])]
    marked = {tag[3]: tag[1] for tag in reversed(named) if len(tag) > 3 and tag[3] in ("reply", "root", "mention")}
    if marked:
        return marked.get("reply") or marked.get("root")
    plain = [tag[1] for tag in named if tag[1] != quoted]
    return plain[-1] if plain else None


def _hashtags(tags: list[list[str]]) -> list[str]:
    found = (read_plain(tag[1].removeprefix("#")) for tag in tags if len(tag) > 1 and tag[0] == "t")
    return list(dict.fromkeys(each.text.casefold() for each in found if each.text and not each.mentions))


def _media(tags: list[list[str]]) -> list[Media]:
    """Attachments by NIP-92: `imeta` holds words and their values."""
    found = []
    for tag in tags:
        if tag and tag[0] == "imeta":
            told = {name: value for name, _, value in (part.partition(" ") for part in tag[1:])}
            kind = told.get("m", "").partition("/")[0]
            alt = _masked(told.get("alt", ""), [])[0] or None
            url = told.get("url") or None
            found.append(Media(kind if kind in ("image", "video", "audio") else "file", alt, url))
    return found


def _masked(source: str, tags: list[list[str]]) -> tuple[str, int]:
    """A text with people replaced by the placeholder, and how many there were; posts become `[post]`."""
    mentions = 0

    def named(found: re.Match[str]) -> str:
        nonlocal mentions
        if found[1].lower() in _PEOPLE:
            mentions += 1
            return MARK
        return _A_POST

    def by_number(found: re.Match[str]) -> str:
        nonlocal mentions
        tag = tags[int(found[1])] if int(found[1]) < len(tags) else []
        if tag[:1] == ["p"]:
            mentions += 1
            return MARK
        return _A_POST if tag[:1] in (["e"], ["a"]) else found[0]

    replaced = _OLD_MENTION.sub(by_number, _NAMED.sub(named, source.replace(MARK, "")))
    masked, others = mask(MARK.join(tidy(piece) for piece in replaced.split(MARK)).strip())
    return masked, mentions + others
