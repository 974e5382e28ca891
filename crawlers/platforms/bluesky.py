"""Posts of Bluesky: views from an AppView (app.bsky.feed.defs), records from a PDS (app.bsky.feed.post) and commits of
a Jetstream. Pure."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from crawlers.platforms.fields import (
    Record,
    count,
    needed_text,
    needed_time,
    optional_record,
    profile_text,
    record,
    records,
    text,
    texts,
    time,
)
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId, Verification
from crawlers.text import (
    END,
    MARK,
    account_words,
    is_web,
    links_in,
    mask,
    names_account,
    part_addresses,
    read_plain,
    shows_address,
    tidy,
)

PARSER_VERSION = 2
PLATFORM = "bluesky"
POST = "app.bsky.feed.post"
_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,2048}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
_TIME_KEY = re.compile(rf"[234567abcdefghij][{_DIGITS}]{{12}}")


def parse_feed_item(payload: object, host: str, fetched_at: datetime) -> Post:
    """One item of an author feed: a post, or somebody's repost of it. Errors: ParseError."""
    item = record(payload, "item")
    post = parse_view(item.get("post"), host, fetched_at)
    reason = optional_record(item, "reason")
    if reason is None or not _type(reason).endswith("#reasonRepost"):
        return post
    by = record(reason.get("by"), "reason.by")
    indexed = needed_time(reason, "indexedAt", "reason.")
    reposter = _account(by, "reason.by.")
    # The repost record's own uri is given by newer AppViews; its author and post name it where it is not.
    uri = text(reason, "uri", "reason.") or f"{post.id.global_id}#reposted-by={reposter.id}"
    return replace(
        post,
        id=PostId(PLATFORM, uri),
        kind="repost",
        author=reposter,
        url=None,
        created_at=indexed,
        server_time=indexed,
        reply_to=None,
        quote_of=None,
        repost_of=post.id,
        likes=None,
        reposts=None,
        replies=None,
        platform_labels=None,
        raw=item,
    )


def parse_view(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post view of an AppView. Errors: ParseError."""
    view = record(payload, "post")
    author = record(view.get("author"), "post.author")
    labels = records(view, "labels", "post.")
    return _post(
        uri=needed_text(view, "uri", "post."),
        value=record(view.get("record"), "post.record"),
        account=_account(author, "post.author."),
        host=host,
        fetched_at=fetched_at,
        server_time=time(view, "indexedAt", "post."),
        labels=None if labels is None else [_label(label) for label in labels if not label.get("neg")],
        shown=optional_record(view, "embed", "post."),
        counts=tuple(count(view, f"{each}Count", "post.") for each in ("like", "repost", "reply")),
        raw=view,
    )


def parse_record(payload: object, did: str, host: str, fetched_at: datetime) -> Post:
    """One record of `com.atproto.repo.listRecords`; it carries no counts, no handle and no server time.

    Errors: ParseError.
    """
    item = record(payload, "record")
    uri = needed_text(item, "uri")
    if not uri.startswith(f"at://{did}/"):
        raise ParseError("uri", "not of this repository")
    return _post(
        uri=uri,
        value=record(item.get("value"), "value"),
        account=Account(did),
        host=host,
        fetched_at=fetched_at,
        raw=item,
    )


def parse_commit(payload: object, host: str, fetched_at: datetime) -> Post:
    """A commit of a Jetstream: a post that was written or changed; a deletion is none. Errors: ParseError."""
    event = record(payload, "event")
    did, commit = needed_text(event, "did"), record(event.get("commit"), "commit")
    if _DID.fullmatch(did) is None:
        raise ParseError("did", "not a DID")
    key, operation = needed_text(commit, "rkey", "commit."), needed_text(commit, "operation", "commit.")
    if needed_text(commit, "collection", "commit.") != POST or _KEY.fullmatch(key) is None:
        raise ParseError("commit", "not of a post")
    if operation == "delete":
        raise ParseError("commit.operation", "deleted by its author")
    if operation not in ("create", "update"):
        raise ParseError("commit.operation", "not a known operation")
    moment = count(event, "time_us")
    if moment is None or moment >= 1 << 52:
        raise ParseError("time_us", "missing or not a time")
    server_time = _EPOCH + timedelta(microseconds=moment)
    post = _post(
        uri=f"at://{did}/{POST}/{key}",
        value=record(commit.get("record"), "commit.record"),
        account=Account(did),
        host=host,
        fetched_at=fetched_at,
        server_time=server_time,
        raw=event,
    )
    return replace(post, edited_at=server_time) if operation == "update" else post


def written_at(key: str) -> datetime:
    """The time in a record's key (atproto.com/specs/tid), by the author's clock. Errors: ParseError."""
    if _TIME_KEY.fullmatch(key) is None:
        raise ParseError("rkey", "not made of a time")
    found = 0
    for letter in key:
        found = found << 5 | _DIGITS.index(letter)
    micros = found >> 10
    if micros >= 1 << 52:
        raise ParseError("rkey", "not made of a time")
    return _EPOCH + timedelta(microseconds=micros)


def _post(
    *,
    uri: str,
    value: Record,
    account: Account,
    host: str,
    fetched_at: datetime,
    server_time: datetime | None = None,
    labels: list[str] | None = None,
    shown: Record | None = None,
    counts: tuple[int | None, ...] = (None, None, None),
    raw: Record,
) -> Post:
    if not uri.startswith("at://"):
        raise ParseError("uri", "not an AT uri")
    if text(value, "$type") not in (POST, None):
        raise ParseError("$type", "not a post record")
    facets = list(_features(value))
    body, mentions = _body(value, facets)
    embeds = _embeds(optional_record(value, "embed"))
    links = [link for kind, _, _, link in facets if kind == "link"]
    externals = [external for embed in embeds if (external := optional_record(embed, "external", "embed."))]
    links += [link for external in externals if (link := text(external, "uri", "embed.external."))]
    reply = optional_record(value, "reply")
    parent = None if reply is None else needed_text(record(reply.get("parent"), "reply.parent"), "uri", "reply.parent.")
    quoted = _quoted(embeds)
    tags = [tag for kind, _, _, tag in facets if kind == "tag"] + (texts(value, "tags") or [])
    langs = texts(value, "langs")
    self_labels = optional_record(value, "labels")
    if self_labels is not None:  # a repository has no labels but those that an author gives to the post
        labels = [*(labels or []), *(_label(label) for label in records(self_labels, "values", "labels.") or [])]
    return Post(
        id=PostId(PLATFORM, uri),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(parent, quoted),
        author=account,
        url=_web_address(uri),
        created_at=needed_time(value, "createdAt"),
        server_time=server_time,
        text=body,
        lang=langs[0] if langs else None,
        reply_to=None if parent is None else PostId(PLATFORM, parent),
        quote_of=quoted,
        hashtags=list(dict.fromkeys(tag.casefold() for tag in tags)),
        mention_count=mentions,
        links=[link for link in dict.fromkeys([*links, *links_in(body)]) if is_web(link) and not names_account(link)],
        media=list(_media(embeds, _media_urls(_embeds(shown)))),
        likes=counts[0],
        reposts=counts[1],
        replies=counts[2],
        platform_labels=None if labels is None else list(dict.fromkeys(labels)),
        raw=raw,
    )


def _account(author: Record, place: str) -> Account:
    handle = text(author, "handle", place)
    is_own = handle is not None and not handle.endswith(_GIVEN)
    return Account(
        id=needed_text(author, "did", place),
        handle=handle,
        display_name=text(author, "displayName", place),
        url=None if handle is None else f"https://bsky.app/profile/{handle}",
        created_at=time(author, "createdAt", place),
        verified=_is_verified(author),
        bio=profile_text(author, "description"),
        verification=Verification(sites=(str(handle).lower(),)) if is_own else None,
    )


_GIVEN = (".bsky.social", ".invalid")
"""Handles that the platform gives, and what it shows in place of a broken one. Any other is a domain that the account
was found to own."""


def _is_verified(author: Record) -> bool:
    """AppViews tell of an account's verification only where there is one, valid or not."""
    told = author.get("verification")
    states = [told.get(key) for key in ("verifiedStatus", "trustedVerifierStatus")] if isinstance(told, dict) else []
    return "valid" in states


def _type(value: Record) -> str:
    """What a union's member calls itself; empty for anything but a name."""
    named = value.get("$type")
    return named if isinstance(named, str) else ""


def _label(label: Record) -> str:
    return needed_text(label, "val", "labels.")


def _features(value: Record) -> Iterator[tuple[str, int, int, str]]:
    """Kind, first and last byte, and what it leads to, of each facet; a facet of an unknown kind is left as text."""
    for facet in records(value, "facets") or []:
        index = record(facet.get("index"), "facets.index")
        start, end = count(index, "byteStart", "facets.index."), count(index, "byteEnd", "facets.index.")
        for feature in records(facet, "features", "facets.") or []:
            kind = _type(feature).rpartition("#")[2]
            key = {"mention": "did", "link": "uri", "tag": "tag"}.get(kind)
            if key is not None and start is not None and end is not None:
                yield kind, start, end, needed_text(feature, key, "facets.features.")


def _body(value: Record, facets: list[tuple[str, int, int, str]]) -> tuple[str, int]:
    """The text with mentions replaced and shortened links written out; facets count bytes of UTF-8."""
    # These two stand for marks; another control character, which is dropped later, keeps the offsets.
    source = (text(value, "text") or "").replace(MARK, "\x02").replace(END, "\x02").encode("utf-8", "replace")
    parts: list[str] = []  # from the end of the text to its start
    mentions, following = 0, len(source)
    for kind, start, end, target in sorted(facets, key=lambda facet: (-facet[1], facet[0] != "mention")):
        if not start < end <= following or not (_begins(source, start) and _begins(source, end)):
            continue  # facets that overlap, or that cut a character, were counted wrongly
        shown = source[start:end].decode("utf-8", "replace")
        if kind == "mention":
            mentions, whole = mentions + 1, MARK
        elif kind == "link" and names_account(target):
            mentions, whole = mentions + 1, account_words(shown, target)
        elif kind == "link" and is_web(target):
            whole = target + END if shows_address(shown, target) else f"{shown} ({target})"
        else:
            continue
        parts += [source[end:following].decode(), whole]
        following = start
    told = "".join(reversed([*parts, source[:following].decode()]))
    pieces = part_addresses(told).split(MARK)
    masked, count_masked = mask(MARK.join(tidy(piece) for piece in pieces).strip())
    return masked, mentions + count_masked


def _begins(source: bytes, place: int) -> bool:
    """Whether a character begins at a byte, or the text ends there."""
    return place == len(source) or source[place] & 0xC0 != 0x80


def _embeds(embed: Record | None) -> list[Record]:
    """The embed, and the two halves of one that is a record with media."""
    if embed is None:
        return []
    halves = [half for key in ("media", "record") if isinstance(half := embed.get(key), dict)]
    return [embed, *halves] if _type(embed).startswith("app.bsky.embed.recordWithMedia") else [embed]


def _quoted(embeds: list[Record]) -> PostId | None:
    for embed in embeds:
        if (_type(embed) or "app.bsky.embed.record").split("#")[0] == "app.bsky.embed.record":
            target = optional_record(embed, "record", "embed.")
            uri = None if target is None else text(target, "uri", "embed.record.")
            if uri is not None and f"/{POST}/" in uri:
                return PostId(PLATFORM, uri)
    return None


def _kind(parent: str | None, quoted: PostId | None) -> Kind:
    if parent is not None:
        return "reply"
    return "post" if quoted is None else "quote"


def _media(embeds: list[Record], urls: list[str | None]) -> Iterator[Media]:
    """The media of a record, with the addresses that an AppView gives them, in the same order."""
    for embed in embeds:
        found = [("image", image) for image in records(embed, "images", "embed.") or []]
        if _type(embed).startswith("app.bsky.embed.video"):
            found.append(("video", embed))
        for kind, item in found:
            alt = read_plain(text(item, "alt", "embed.") or "").text or None
            yield Media(kind, alt, urls.pop(0) if urls else None)


def _media_urls(shown: list[Record]) -> list[str | None]:
    found = [image for embed in shown for image in records(embed, "images", "post.embed.") or []]
    urls = [text(image, "fullsize", "post.embed.images.") for image in found]
    return urls + [text(embed, "playlist", "post.embed.") for embed in shown if "playlist" in embed]


def _web_address(uri: str) -> str | None:
    did, _, rest = uri.removeprefix("at://").partition("/")
    collection, _, key = rest.partition("/")
    return f"https://bsky.app/profile/{did}/post/{key}" if collection == POST else None
