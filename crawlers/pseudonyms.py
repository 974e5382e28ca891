"""Keyed pseudonyms: the one place where a platform's ids become hashes, and where rows are made of a post.

BLAKE2b (RFC 7693) in keyed mode, 128 bits, with a personalisation per kind of thing, so that a post and an account
with the same id never share a hash. Whoever lacks the key can neither recompute a pseudonym nor test a guess.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crawlers.post import Account, Post, PostId, input_digest
from crawlers.source import Source


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Keyed hashes under one key of 32 bytes. The key never appears in a repr, a log or an error."""

    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) != 32:
            raise ValueError("a pseudonym key has 32 bytes")

    def _hash(self, kind: bytes, name: str) -> str:
        data = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16, key=self.key, person=kind).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Names the key without revealing it; stands in every manifest."""
        return self._hash(b"fingerprint", "")[:16]

    def post(self, post: PostId) -> str:
        """The uid of a post."""
        return self._hash(b"post", post.key)

    def alias(self, post: PostId) -> str | None:
        """The hash of a post's native name: what a relation holds until the post's global id is known."""
        return None if post.alias is None else self._hash(b"post", post.alias)

    def author(self, platform: str, account: Account) -> str:
        """The pseudonym of an account."""
        return self._hash(b"author", f"{platform}:{account.id}")

    def link(self, url: str) -> str:
        """A short keyed name for an address that names an account."""
        return self._hash(b"link", url)[:16]

    def source(self, source: Source) -> str:
        """The public name of a source: plain, but for what names an account, which is hashed."""
        if not source.names_account:
            return source.canonical + source.span
        return f"{source.platform}:{source.authority}:{source.kind}{source.span}:{self.source_hash(source)}"

    def source_hash(self, source: Source) -> str:
        """16 hexadecimal digits that name a source, whatever part of a window it is read for."""
        return self.canonical_hash(source.canonical)

    def file_hash(self, source: Source) -> str:
        """16 hexadecimal digits that name a source and its own window in file names."""
        return self.canonical_hash(source.canonical + source.span)

    def canonical_hash(self, canonical: str) -> str:
        """The same, by the one string that names the source."""
        return self._hash(b"source", canonical)[:16]

    def named_post(self, key: str) -> str:
        """The uid of the post whose `PostId.key` this is."""
        return self._hash(b"post", key)

    def owners(self, post: PostId) -> Iterator[str]:
        """Pseudonyms that the author of a post may have, out of its global id: where that begins with the account's id
        (ActivityPub) or holds it between slashes (AT uris)."""
        if post.global_id is None:
            return
        for place, letter in enumerate(post.global_id):
            if letter in "/#":
                yield self._hash(b"author", f"{post.platform}:{post.global_id[:place]}")
        for piece in post.global_id.split("/"):
            yield self._hash(b"author", f"{post.platform}:{piece}")

    def ledger(self, kind: str, name: str) -> bytes:
        """What the ledger of erasures holds in place of a pseudonym or a name: a hash that occurs nowhere else."""
        data = f"{kind}:{name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16, key=self.key, person=b"ledger").digest()


def post_row(post: Post, source: str, page: int, cursor: str | None, names: Pseudonyms) -> dict[str, Any]:
    """One row of the `posts` table (`POST_SCHEMA`); `source` is the source's public name, `cursor` already hashed."""

    def uid(other: PostId | None) -> str | None:
        return None if other is None else names.post(other)

    return {
        "uid": names.post(post.id),
        "host": post.host,
        "source": source,
        "seen_by": [source],
        "author": None if post.author is None else names.author(post.id.platform, post.author),
        "created_at": post.created_at,
        "server_time": post.server_time,
        "edited_at": post.edited_at,
        "version": 0,
        "fetched_at": post.fetched_at,
        "kind": post.kind,
        "title": post.title,
        "warning": post.warning,
        "sensitive": post.sensitive,
        "text": post.text,
        "truncated": post.truncated,
        "lang": post.lang,
        "reply_to": uid(post.reply_to),
        "repost_of": uid(post.repost_of),
        "quote_of": uid(post.quote_of),
        "hashtags": post.hashtags,
        "mention_count": post.mention_count,
        "links": post.links,
        "media": None if post.media is None else [{"type": item.type, "alt": item.alt} for item in post.media],
        "likes": post.likes,
        "reposts": post.reposts,
        "replies": post.replies,
        "views": post.views,
        "platform_labels": post.platform_labels,
        "input_digest": input_digest(post.title, post.warning, post.text),
        "page": page,
        "cursor": cursor,
        "parser_version": post.parser_version,
    }


def identity_row(post: Post, source: Source, names: Pseudonyms, keep_raw: bool) -> dict[str, Any]:
    """One row of the restricted `identities` table (`IDENTITY_SCHEMA`)."""
    author = post.author
    return {
        "uid": names.post(post.id),
        "alias": names.alias(post.id),
        "author": None if author is None else names.author(post.id.platform, author),
        "global_id": post.id.global_id,
        "authority": post.id.authority,
        "native_id": post.id.native_id,
        "url": post.url,
        "author_id": author and author.id,
        "author_handle": author and author.handle,
        "author_url": author and author.url,
        "media_urls": None if post.media is None else [item.url for item in post.media if item.url],
        "source": source.canonical,
        "raw": _json(post.raw) if keep_raw and post.raw is not None else None,
        "fetched_at": post.fetched_at,
    }


def _json(raw: dict[str, Any]) -> str | None:
    """JSON as text where UTF-8 can hold it, with escapes where a string holds half a character; None for what is
    nested deeper than can be written, which no platform sends."""
    try:
        told = json.dumps(raw, ensure_ascii=False, sort_keys=True, default=str)
    except RecursionError:
        return None
    try:
        told.encode()
    except UnicodeEncodeError:
        return json.dumps(raw, sort_keys=True, default=str)
    return told


def account_row(post: Post, names: Pseudonyms) -> dict[str, Any] | None:
    """One row of the restricted `accounts` table (`ACCOUNT_SCHEMA`), or None for a post without an author."""
    account = post.author
    if account is None:
        return None
    return {
        "author": names.author(post.id.platform, account),
        "account_id": account.id,
        "handle": account.handle,
        "display_name": account.display_name,
        "url": account.url,
        "bot": account.bot,
        "verified": account.verified,
        "created_at": account.created_at,
        "fetched_at": post.fetched_at,
        "bio": account.bio,
        "verified_as": account.verification and account.verification.kind,
        "verified_words": account.verification and account.verification.words,
        "verified_sites": account.verification and list(account.verification.sites),
    }
