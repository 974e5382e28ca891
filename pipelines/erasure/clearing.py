"""What an erasure or a redaction does to rows: Arrow tables in, tables without what goes out; no files.

The same rules hold for what lies in the archive and for what a sink is handed later. A table that nothing changes in is
given back as it came, which is how a caller knows that its file can stay.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from crawlers.post import Account, Post, PostId
from pipelines.erasure.ledger import Entries, Ledger
from pipelines.erasure.traces import addresses_in, names_in_json, plain_name

RELATIONS = ("reply_to", "repost_of", "quote_of")
TEXTS = ("title", "warning", "text", "hashtags", "links", "input_digest")
"""What a redacted post loses, beside the words for its media: with a digest of its text one could test a guess."""

ERASED = "erased from this archive"
ERASED_SOURCE = ":erased"
"""How the names of erased accounts' own sources end; those of one kind on one host are called alike."""
"""The reason of a reject."""

_DECIDES = ("uid", "author", "kind", "repost_of", "created_at", "server_time", "fetched_at")
_ACCOUNT_SOURCE = re.compile(r"(.+?:(?:account|author|records|search|feed)):")

Row = dict[str, Any]


def going(posts: pa.Table | pa.RecordBatch, entries: Entries) -> list[bool]:
    """For each row of posts whether it is one of the entries."""
    columns = [posts.column(name).to_pylist() for name in _DECIDES]
    return [
        entries.takes(uid, author, kind, repost_of, created or served or fetched)
        for uid, author, kind, repost_of, created, served, fetched in zip(*columns, strict=True)
    ]


def related(posts: pa.Table, ledger: Ledger) -> set[str]:
    """The uids of posts that answer, quote or repost one that goes: their platform's JSON can hold it whole."""
    columns = [posts.column(name).to_pylist() for name in RELATIONS]
    return {
        uid
        for uid, *others in zip(posts.column("uid").to_pylist(), *columns, strict=True)
        if any(_meets(ledger, other) for other in others)
    }


def _meets(ledger: Ledger, uid: str | None) -> bool:
    return ledger.erased.holds("post", uid) or ledger.redacted.holds("post", uid)


def clear_posts(posts: pa.Table, ledger: Ledger) -> pa.Table:
    """Posts without those erased and without what leads to them, redacted ones without their texts."""
    left = _kept(posts, [not gone for gone in going(posts, ledger.erased)])
    for name in RELATIONS:
        left = _mapped(left, name, lambda uid: None if ledger.erased.holds("post", uid) else uid)
    left = _mapped(left, "links", lambda links: _links(links, ledger.erased))
    left = _mapped(left, "source", lambda source: public_source(source, ledger.erased))
    left = _mapped(left, "seen_by", lambda sources: _sources(sources, ledger.erased))
    if ledger.redacted:
        left = _redacted(left, going(left, ledger.redacted))
    return left


def clear_identities(identities: pa.Table, ledger: Ledger, near: set[str]) -> pa.Table:
    """Identities without those erased; `near` are the uids of `related` posts, whose JSON goes."""
    erased, redacted = ledger.erased, ledger.redacted
    left = _kept(identities, [not erased.holds("post", uid) for uid in identities.column("uid").to_pylist()])
    left = _mapped(left, "source", lambda source: _canonical(source, erased))
    raws = left.column("raw")
    if raws.null_count == len(raws):
        return left
    kept = [
        None if raw is None or uid in near or redacted.holds("post", uid) or _names_any(raw, ledger) else raw
        for uid, raw in zip(left.column("uid").to_pylist(), raws.to_pylist(), strict=True)
    ]
    return _with(left, "raw", kept, raws.to_pylist())


def clear_accounts(accounts: pa.Table, ledger: Ledger, gone: set[str]) -> pa.Table:
    """Accounts without those erased; `gone` are others of whom no post is left."""
    authors = accounts.column("author").to_pylist()
    return _kept(accounts, [author not in gone and not ledger.erased.holds("author", author) for author in authors])


def clear_rejects(rejects: pa.Table, ledger: Ledger) -> pa.Table:
    """Rejects without the name of an erased account's own source."""
    return _mapped(rejects, "source", lambda source: public_source(source, ledger.erased))


def clear_scores(scores: pa.Table, ledger: Ledger) -> pa.Table:
    """Scores without those of erased posts; a redacted post keeps its scores."""
    return _kept(scores, [not ledger.erased.holds("post", uid) for uid in scores.column("uid").to_pylist()])


def clear_sightings(sightings: pa.Table, ledger: Ledger) -> pa.Table:
    """Sightings without those of erased posts, of redacted ones without the digest of their text."""
    uids = sightings.column("uid").to_pylist()
    left = _kept(sightings, [not ledger.erased.holds("post", uid) for uid in uids])
    digests = left.column("input_digest").to_pylist()
    redacted = ledger.redacted
    kept = [
        None if redacted.holds("post", uid) else digest
        for uid, digest in zip(left.column("uid").to_pylist(), digests, strict=True)
    ]
    return _with(left, "input_digest", kept, digests)


def clear_sources(manifest: Row, ledger: Ledger) -> Row:
    """A sweep's manifest that names no erased account's source: what was read of it stays told, without its hash."""
    named = [{**source, "source": public_source(source["source"], ledger.erased)} for source in manifest["sources"]]
    config = manifest["config"]
    if "source" in config:
        asked = [each for each in config["source"] if public_source(each["source"], ledger.erased) == each["source"]]
        config = {**config, "source": asked}
    return {**manifest, "sources": named, "config": config}


def clear_new(post: Post, row: Row, identity: Row, ledger: Ledger) -> tuple[Row, Row] | None:
    """The rows of a post that a sink is handed, without what was erased or redacted before; None when it may not come
    back."""
    decides = (row["uid"], row["author"], row["kind"], row["repost_of"])
    time = row["created_at"] or row["server_time"] or row["fetched_at"]
    if ledger.erased.takes(*decides, time) or _by(post, ledger.erased):
        return None
    row, raw = dict(row), identity["raw"]
    for name in RELATIONS:
        if _meets(ledger, row[name]) or _of(getattr(post, name), ledger.erased):
            raw = None
        if ledger.erased.holds("post", row[name]) or _of(getattr(post, name), ledger.erased):
            row[name] = None
    row["links"] = _links(row["links"], ledger.erased)
    if ledger.redacted.takes(*decides, time) or _by(post, ledger.redacted):
        raw = None
        row |= dict.fromkeys(TEXTS)
        row["media"] = _wordless(row["media"])
    if raw is not None and _names_any(raw, ledger):
        raw = None
    return row, {**identity, "raw": raw}


def _by(post: Post, entries: Entries) -> bool:
    """Whether a post is by an account among the entries that another server told by another id, or a pure repost of
    what is by one of them."""
    if not entries:
        return False
    known = post.author is not None and any(entries.holds("asked", plain_name(name)) for name in _lasting(post.author))
    return known or (post.kind == "repost" and _of(post.repost_of, entries))


def _lasting(account: Account) -> list[str]:
    """The names of an account that nobody else can have later: its DID, else its addresses."""
    if account.id.startswith("did:"):
        return [account.id]
    return [name for name in (account.id, account.url) if name and "://" in name]


def _of(post: PostId | None, entries: Entries) -> bool:
    """Whether a post is of an account among the entries, as far as its id tells."""
    return post is not None and bool(entries) and any(entries.holds("author", o) for o in entries.names.owners(post))


def _names_any(raw: str, ledger: Ledger) -> bool:
    return any(entries.names_any(names_in_json(raw)) for entries in (ledger.erased, ledger.redacted))


def _links(links: list[str] | None, erased: Entries) -> list[str] | None:
    return links and [link for link in links if not erased.names_any(addresses_in(link))]


def public_source(source: str, erased: Entries) -> str:
    """A source's public name; an erased account's own ends with a word in place of its hash."""
    before, _, last = source.rpartition(":")
    return f"{before}{ERASED_SOURCE}" if erased.holds("source", last) else source


def _sources(sources: list[str], erased: Entries) -> list[str]:
    return sorted({public_source(source, erased) for source in sources})


def _canonical(source: str, erased: Entries) -> str:
    """The same of the name that a source has in identities."""
    if not erased.hashes or not erased.holds("source", erased.names.canonical_hash(source)):
        return source
    found = _ACCOUNT_SOURCE.match(source)
    return f"{found[1] if found else source.partition(':')[0]}:erased"


def _redacted(posts: pa.Table, which: list[bool]) -> pa.Table:
    if not any(which):
        return posts
    for name in TEXTS:
        values = posts.column(name).to_pylist()
        posts = _with(posts, name, [None if hit else v for hit, v in zip(which, values, strict=True)], values)
    media = posts.column("media").to_pylist()
    return _with(posts, "media", [_wordless(m) if hit else m for hit, m in zip(which, media, strict=True)], media)


def _wordless(media: list[Row] | None) -> list[Row] | None:
    return media and [{**item, "alt": None} for item in media]


def _kept(table: pa.Table, keep: list[bool]) -> pa.Table:
    return table if all(keep) else table.filter(pa.array(keep))


def _mapped(table: pa.Table, name: str, change: Callable[[Any], Any]) -> pa.Table:
    old = table.column(name).to_pylist()
    return _with(table, name, [None if value is None else change(value) for value in old], old)


def _with(table: pa.Table, name: str, values: Iterable[Any], old: list[Any]) -> pa.Table:
    if (new := list(values)) == old:
        return table
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(new, field.type))
