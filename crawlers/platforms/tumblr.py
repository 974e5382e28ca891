"""Posts of Tumblr's API, version 2 (github.com/tumblr/docs), in its block format (NPF) and in the older one, to posts.

A reblog that adds nothing has the text of its whole trail; one that adds something has its own words, and quotes the
end of the trail. Ranges of the block format count code points.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from urllib.parse import parse_qs, urlsplit

from crawlers.platforms.fields import Record, count, needed_text, optional_record, record, records, text, texts
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId
from crawlers.text import (
    END,
    MARK,
    account_words,
    clean,
    is_web,
    links_in,
    mask,
    names_account,
    part_addresses,
    read_html,
    read_plain,
    shows_address,
    tidy,
)

PARSER_VERSION = 1
PLATFORM = "tumblr"

_ID = re.compile(r"[1-9][0-9]{0,19}")
_LATEST = 1 << 33
_LISTED = frozenset({"ordered-list-item", "unordered-list-item"})
_REDIRECT = "t.umblr.com"


@dataclass
class _Content:
    """What a post or an item of its trail shows."""

    lines: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    mentions: int = 0
    media: list[Media] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its lines."""
        return "\n".join(line for line in self.lines if line)

    @property
    def empty(self) -> bool:
        """Whether it shows nothing."""
        return not self.text and not self.links and not self.media

    def linked(self, address: str | None) -> None:
        """Takes an address that is no account's."""
        if address and is_web(address) and not names_account(address):
            self.links.append(address)

    def plain(self, told: str | None) -> None:
        """Takes a plain text."""
        reading = read_plain(told or "")
        self.lines.append(reading.text)
        self.links += reading.links
        self.mentions += reading.mentions

    def html(self, told: str | None) -> None:
        """Takes a text in HTML."""
        reading = read_html(told or "")
        self.lines.append(reading.text)
        self.links += [*reading.links, *links_in(reading.text)]
        self.mentions += reading.mentions


def parse_post(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of a blog or of a tag. Errors: ParseError."""
    given = record(payload, "post")
    native = text(given, "id_string") or str(count(given, "id") or "")
    trail = records(given, "trail") or []
    blocks = given.get("content") is not None
    earlier = [item for item in trail if item.get("is_current_item") is not True]
    own = _blocks(given, "") if blocks else _older(given, trail, reblogs=bool(earlier))
    parent = _parent(given, earlier)
    reblogs = bool(earlier) or parent is not None
    shown = [_blocks(item, "trail.") if blocks else _older_item(item) for item in earlier]
    pure = reblogs and own.empty
    content = _joined(shown) if pure else own
    title = None if reblogs or blocks else text(given, "title")
    tags = texts(given, "tags")
    return Post(
        id=PostId(PLATFORM, _native(native, "id")),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(reblogs, pure),
        author=_account(given),
        url=text(given, "post_url"),
        created_at=_moment(given),
        title=None if title is None else read_html(title).text or None,
        text=content.text or None,
        repost_of=parent if pure else None,
        quote_of=None if pure else parent,
        hashtags=None if tags is None else [mask(clean(tag))[0].casefold() for tag in tags],
        mention_count=content.mentions,
        links=list(dict.fromkeys(content.links)),
        media=content.media,
        raw=given,
    )


def _kind(reblogs: bool, pure: bool) -> Kind:
    if not reblogs:
        return "post"
    return "repost" if pure else "quote"


def _native(told: str, place: str) -> str:
    if _ID.fullmatch(told) is None:
        raise ParseError(place, "missing or not the number of a post")
    return told


def _moment(given: Record) -> datetime:
    seconds = count(given, "timestamp")
    if seconds is None or seconds >= _LATEST:
        raise ParseError("timestamp", "missing or not a time")
    return datetime.fromtimestamp(seconds, UTC)


def _account(given: Record) -> Account:
    """A blog keeps its `uuid` when it is renamed."""
    blog = optional_record(given, "blog") or {}
    name = text(blog, "name", "blog.") or needed_text(given, "blog_name")
    return Account(
        id=text(blog, "uuid", "blog.") or name,
        handle=name,
        display_name=text(blog, "title", "blog.") or None,
        url=text(blog, "url", "blog.") or f"https://{name}.tumblr.com/",
    )


def _parent(given: Record, earlier: list[Record]) -> PostId | None:
    """The end of the trail, else the post that was reblogged; None where neither is told, as of one that is broken."""
    post = optional_record(earlier[-1], "post", "trail.") if earlier else None
    told = None if post is None else post.get("id")
    known = (str(each) for each in (told, given.get("reblogged_from_id")) if isinstance(each, int | str))
    native = next((each for each in known if _ID.fullmatch(each)), None)
    return None if native is None else PostId(PLATFORM, native)


def _joined(shown: list[_Content]) -> _Content:
    return _Content(
        ["\n\n".join(each.text for each in shown if each.text)],
        [link for each in shown for link in each.links],
        sum(each.mentions for each in shown),
        [medium for each in shown for medium in each.media],
    )


# The block format


def _blocks(parent: Record, place: str) -> _Content:
    found = _Content()
    for block in records(parent, "content", place) or []:
        kind = text(block, "type", f"{place}content.")
        if kind == "text":
            _text_block(block, found, f"{place}content.")
        elif kind == "link":
            _link_block(block, found, f"{place}content.")
        elif kind == "poll":
            found.plain(text(block, "question", f"{place}content."))
            for answer in records(block, "answers", f"{place}content.") or []:
                found.plain(f"- {text(answer, 'answer_text', f'{place}content.answers.') or ''}")
        elif kind in ("image", "audio", "video"):
            found.plain(text(block, "caption", f"{place}content."))
            found.media.append(_medium(block, kind, f"{place}content."))
            if kind != "image":
                found.linked(text(block, "url", f"{place}content."))
    return found


def _link_block(block: Record, found: _Content, place: str) -> None:
    """A page and what it is about; the title of a blog's is often its name."""
    target, title = _target(text(block, "url", place)), text(block, "title", place)
    if target is not None and names_account(target):
        masked, mentions = mask(account_words(tidy(title or ""), target))
        found.lines.append(masked)
        found.mentions += 1 + mentions
    else:
        found.plain(title)
        found.linked(target)
    found.plain(text(block, "description", place))


def _text_block(block: Record, found: _Content, place: str) -> None:
    """A paragraph, with mentions replaced and links written out."""
    # These two stand for marks; another control character, which is dropped later, keeps the ranges.
    told = (text(block, "text", place) or "").replace(MARK, "\x02").replace(END, "\x02")
    parts, at = [], 0
    for kind, start, end, target in sorted(_ranges(block, place), key=lambda each: each[1]):
        if not at <= start < end <= len(told):
            continue  # ranges that overlap, or that end beyond the text
        shown = told[start:end]
        if kind == "mention":
            found.mentions, whole = found.mentions + 1, MARK
        elif names_account(target):
            found.mentions, whole = found.mentions + 1, account_words(shown, target)
        elif is_web(target):
            found.linked(target)
            whole = target + END if shows_address(shown, target) else f"{shown} ({target})"
        else:
            continue
        parts += [told[at:start], whole]
        at = end
    told = "".join([*parts, told[at:]])
    pieces = part_addresses(told).split(MARK)
    masked, mentions = mask(MARK.join(tidy(piece) for piece in pieces).strip())
    for link in links_in(masked):
        found.linked(link)
    found.mentions += mentions
    listed = masked and text(block, "subtype", place) in _LISTED
    found.lines.append(f"- {masked}" if listed else masked)


def _ranges(block: Record, place: str) -> Iterator[tuple[str, int, int, str]]:
    """Mentions, and links that lie over none: kind, first code point and the one after the last, and the address."""
    found, inner = [], f"{place}formatting."
    for each in records(block, "formatting", place) or []:
        kind, start, end = text(each, "type", inner), count(each, "start", inner), count(each, "end", inner)
        if kind in ("mention", "link") and start is not None and end is not None:
            found.append((kind, start, end, _target(text(each, "url", inner)) or ""))
    mentions = sorted((start, end) for kind, start, end, _ in found if kind == "mention")
    starts, reach = [start for start, _ in mentions], list(accumulate((end for _, end in mentions), max))
    for kind, start, end, target in found:
        before = bisect_left(starts, end)
        if kind == "mention" or before == 0 or reach[before - 1] <= start:
            yield kind, start, end, target


def _target(address: str | None) -> str | None:
    """Where an address leads that goes through Tumblr's own server."""
    if address is None or _REDIRECT not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    told = parse_qs(parts.query, max_num_fields=20).get("z") if parts.hostname == _REDIRECT else None
    return told[0] if told else address


def _medium(block: Record, kind: str, place: str) -> Media:
    """An image lists its sizes, the widest first; anything else has one file, or an address elsewhere."""
    held = block.get("media")
    sizes = held if isinstance(held, list) else [held]
    url = text(sizes[0], "url", f"{place}media.") if sizes and isinstance(sizes[0], dict) else None
    alt = text(block, "alt_text", place)
    return Media(kind, read_plain(alt).text or None if alt else None, url or text(block, "url", place))


# The older format


def _older(given: Record, trail: list[Record], *, reblogs: bool) -> _Content:
    """The fields of the kinds of posts; of a reblog what it adds itself, as the fields repeat the whole trail."""
    if reblogs:
        current = next((item for item in trail if item.get("is_current_item") is True), None)
        return _Content() if current is None else _older_item(current)
    found = _Content()
    if text(given, "type") == "chat":
        found.plain(text(given, "body"))
    else:
        for key in ("text", "source", "caption", "description", "question", "answer", "body"):
            found.html(text(given, key))
    found.linked(_target(text(given, "url")))
    for photo in records(given, "photos") or []:
        sizes = records(photo, "alt_sizes", "photos.") or []
        largest = optional_record(photo, "original_size", "photos.") or (sizes[0] if sizes else {})
        caption = text(photo, "caption", "photos.")
        found.media.append(
            Media("image", read_plain(caption).text or None if caption else None, text(largest, "url", "photos."))
        )
    for key, kind in (("video_url", "video"), ("audio_url", "audio")):
        if url := text(given, key):
            found.media.append(Media(kind, url=url))
    return found


def _older_item(item: Record) -> _Content:
    found = _Content()
    found.html(text(item, "content", "trail.") or text(item, "content_raw", "trail."))
    return found
