"""The post: what every platform's parser returns, and the Arrow schemas of the tables it becomes.

A parser fills `Post` with the platform's own ids. `pseudonyms.py` turns it into rows that carry only keyed hashes,
apart from the identities row, which leads back. Storage is left to the sink (`sink.py`).
"""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["post", "reply", "repost", "quote", "article"]
VerifiedAs = Literal["government", "media", "organisation", "company", "person", "paid"]
"""As what a platform says that it verified an account."""


@dataclass(frozen=True)
class PostId:
    """What names one post: the platform's global id where it has one, else authority and native id.

    `key` is the string that the uid is a keyed hash of: `platform:<global id>` or `platform:<authority>:<native id>`.
    """

    platform: str
    global_id: str | None = None
    authority: str | None = None
    native_id: str | None = None

    def __post_init__(self) -> None:
        if self.global_id is None and (self.authority is None or self.native_id is None):
            raise ValueError(f"{self.platform}: a post id needs a global id, or an authority and a native id")

    @property
    def key(self) -> str:
        """The string that names this post; equal for the same post seen through different hosts."""
        if self.global_id is not None:
            return f"{self.platform}:{self.global_id}"
        return f"{self.platform}:{self.authority}:{self.native_id}"

    @property
    def alias(self) -> str | None:
        """The native name beside a global one: how replies name their parent on hosts that give only native ids."""
        if self.authority is None or self.native_id is None:
            return None
        return f"{self.platform}:{self.authority}:{self.native_id}"


@dataclass(frozen=True)
class Account:
    """The author as the platform shows it. `id` is the same through whichever host the account is seen."""

    id: str
    handle: str | None = None
    display_name: str | None = None
    url: str | None = None
    bot: bool | None = None
    verified: bool | None = None
    created_at: datetime | None = None
    bio: str | None = None
    verification: "Verification | None" = None


@dataclass(frozen=True)
class Verification:
    """What a platform says of an account's mark besides that it has one: as what it was verified, in which words, and
    which sites it was found to own (their hosts). A mark of kind `paid` was bought and says nothing of who has it."""

    kind: VerifiedAs | None = None
    words: str | None = None
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """One attachment. `url` can name the author, so it is kept in the identities table only."""

    type: str
    alt: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Post:
    """One public post as seen at one moment, with the platform's own ids (never stored like this).

    A value that the platform does not give is None, never a default; None for a list means "not given", an empty list
    means "given, and none". Times are aware UTC datetimes. `text`, `title` and `warning` are plain NFC text with markup
    removed and mentions replaced (see `text.py`); a pure repost carries the text of what it reposts.
    """

    id: PostId
    host: str
    fetched_at: datetime
    parser_version: int
    kind: Kind = "post"
    author: Account | None = None
    url: str | None = None
    created_at: datetime | None = None
    server_time: datetime | None = None
    edited_at: datetime | None = None
    title: str | None = None
    warning: str | None = None
    sensitive: bool | None = None
    text: str | None = None
    truncated: bool | None = None
    lang: str | None = None
    reply_to: PostId | None = None
    repost_of: PostId | None = None
    quote_of: PostId | None = None
    hashtags: list[str] | None = None
    mention_count: int | None = None
    links: list[str] | None = None
    media: list[Media] | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    views: int | None = None
    platform_labels: list[str] | None = None
    raw: dict[str, Any] | None = field(default=None, repr=False)


def model_input(title: str | None, warning: str | None, text: str | None) -> str | None:
    """What a model reads of a post, defined once: title, warning and text in that order, one line break between.

    Returns None when there is nothing to read (no letter, digit or symbol in any of them).
    """
    parts = [part.strip() for part in (title, warning, text) if part]
    joined = "\n".join(part for part in parts if part)
    return joined if any(unicodedata.category(char)[0] in "LNSP" for char in joined) else None


def input_digest(title: str | None, warning: str | None, text: str | None) -> bytes | None:
    """BLAKE2b-128 of the UTF-8 model input; None when there is none. Equal inputs are scored once."""
    joined = model_input(title, warning, text)
    if joined is None:
        return None
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


_TIME = pa.timestamp("us", tz="UTC")
_COUNT = pa.int64()
_TEXTS = pa.list_(pa.string())

POST_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("seen_by", _TEXTS, nullable=False),
        pa.field("author", pa.string()),
        pa.field("created_at", _TIME),
        pa.field("server_time", _TIME),
        pa.field("edited_at", _TIME),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("fetched_at", _TIME, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("warning", pa.string()),
        pa.field("sensitive", pa.bool_()),
        pa.field("text", pa.string()),
        pa.field("truncated", pa.bool_()),
        pa.field("lang", pa.string()),
        pa.field("reply_to", pa.string()),
        pa.field("repost_of", pa.string()),
        pa.field("quote_of", pa.string()),
        pa.field("hashtags", _TEXTS),
        pa.field("mention_count", pa.int32()),
        pa.field("links", _TEXTS),
        pa.field("media", pa.list_(pa.struct([("type", pa.string()), ("alt", pa.string())]))),
        pa.field("likes", _COUNT),
        pa.field("reposts", _COUNT),
        pa.field("replies", _COUNT),
        pa.field("views", _COUNT),
        pa.field("platform_labels", _TEXTS),
        pa.field("input_digest", pa.binary()),
        pa.field("page", pa.int32(), nullable=False),
        pa.field("cursor", pa.string()),
        pa.field("parser_version", pa.int32(), nullable=False),
    ]
)
"""The `posts` table. `platform` and `sweep` are partition columns: they live in the path only. uids and authors are
keyed hashes (32 hexadecimal digits); relations are uids."""

ENGAGEMENT = ("likes", "reposts", "replies", "views")
"""Counts that change from one minute to the next; content digests leave them out."""

IDENTITY_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("alias", pa.string()),
        pa.field("author", pa.string()),
        pa.field("global_id", pa.string()),
        pa.field("authority", pa.string()),
        pa.field("native_id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("author_id", pa.string()),
        pa.field("author_handle", pa.string()),
        pa.field("author_url", pa.string()),
        pa.field("media_urls", _TEXTS),
        pa.field("source", pa.string(), nullable=False),
        pa.field("raw", pa.string()),
        pa.field("fetched_at", _TIME, nullable=False),
    ]
)
"""The `identities` table: what leads back to people, apart and restricted. `alias` is the keyed hash of the native
name, `raw` the platform's own JSON, kept only when the sweep file says so."""

ACCOUNT_SCHEMA = pa.schema(
    [
        pa.field("author", pa.string(), nullable=False),
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("handle", pa.string()),
        pa.field("display_name", pa.string()),
        pa.field("url", pa.string()),
        pa.field("bot", pa.bool_()),
        pa.field("verified", pa.bool_()),
        pa.field("created_at", _TIME),
        pa.field("fetched_at", _TIME, nullable=False),
        pa.field("bio", pa.string()),
        pa.field("verified_as", pa.string()),
        pa.field("verified_words", pa.string()),
        pa.field("verified_sites", _TEXTS),
    ]
)
"""The `accounts` table, kept only when the sweep file says so; restricted like identities. In parts of earlier
code `fetched_at` is the last column."""

REJECT_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("page", pa.int32(), nullable=False),
        pa.field("position", pa.int32()),
        pa.field("place", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("fetched_at", _TIME, nullable=False),
    ]
)
"""The `rejects` table: records that could not be parsed. Never holds a byte of the record itself."""


class ParseError(ValueError):
    """A record that cannot become a post: `place` is where (a field path), the message says why, without its value."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason
