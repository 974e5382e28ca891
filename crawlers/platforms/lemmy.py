"""Lemmy: posts and comments of its API, versions 3 (0.19) and 4 (1.0), and of ActivityPub, to posts. Pure.

A post is named by its `ap_id`, which is the same on every server that shows it; ids of the API are a server's own.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crawlers.platforms.fields import (
    Record,
    count,
    flag,
    needed_text,
    needed_time,
    optional_record,
    profile_text,
    record,
    records,
    text,
    time,
)
from crawlers.platforms.markdown import read_markdown
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import Reading, is_web, names_account, read_html, read_plain, well_formed

PARSER_VERSION = 1
PLATFORM = "lemmy"

_DELETED, _REMOVED = "the author deleted it", "moderators removed it"
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif")


def parse_view(payload: object, host: str, fetched_at: datetime, languages: Mapping[str, str] | None = None) -> Post:
    """A post or a comment as a server lists it. `languages` are the codes of its table by their ids. One that was
    deleted or removed is no post; the reason says by whom. Errors: ParseError."""
    view = record(payload, "view")
    comment = optional_record(view, "comment")
    place = "post." if comment is None else "comment."
    shown = record(view.get("post"), "post") if comment is None else comment
    if flag(shown, "deleted", place):
        raise ParseError(f"{place}deleted", _DELETED)
    if flag(shown, "removed", place):
        raise ParseError(f"{place}removed", _REMOVED)
    title = None if comment is not None else read_plain(needed_text(shown, "name", place))
    body = read_markdown(text(shown, "body" if comment is None else "content", place) or "")
    link = text(shown, "url", place) if comment is None else None
    counts = optional_record(view, "counts") or shown
    address = needed_text(shown, "ap_id", place)
    return Post(
        id=PostId(PLATFORM, address, host, f"{place[:-1]}/{_native(shown, place)}"),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if comment is None else "reply",
        author=_account(record(view.get("creator"), "creator")),
        url=address if is_web(address) else None,
        created_at=time(shown, "published_at", place) or needed_time(shown, "published", place),
        edited_at=time(shown, "updated_at", place) or time(shown, "updated", place),
        title=None if title is None else title.text or None,
        sensitive=flag(shown, "nsfw", place),
        text=body.text or None,
        lang=_language(shown, languages or {}),
        reply_to=None if comment is None else _parent(view, comment, host),
        mention_count=body.mentions + (0 if title is None else title.mentions),
        links=_links(link, title, body),
        media=None if comment is not None else _media(shown, link),
        likes=count(counts, "upvotes"),
        replies=count(counts, "child_count" if comment is not None else "comments"),
        raw=view,
    )


def parse_activity(payload: object, host: str, fetched_at: datetime) -> Post:
    """A page or a note as ActivityPub tells it. Notes that Mastodon writes into a community have an address beside
    their name, and their language as the key of a text. Errors: ParseError, for a tombstone too."""
    shown = record(payload, "object")
    kind = needed_text(shown, "type")
    if kind == "Tombstone":
        raise ParseError("type", "it is gone, and by whom is not told")
    if kind not in ("Page", "Note"):
        raise ParseError("type", "neither a post nor a comment")
    address = needed_text(shown, "id")
    author = needed_text(shown, "attributedTo")
    tags = [tag for tag in records(shown, "tag") or [] if tag.get("type") == "Mention"]
    accounts = frozenset(href for tag in tags if isinstance(href := tag.get("href"), str) and href)
    title = read_plain(text(shown, "name") or "", accounts)
    source = shown.get("source")
    written = text(source, "content", "source.") if isinstance(source, dict) else None
    body = read_markdown(written, accounts) if written else read_html(text(shown, "content") or "", accounts)
    attached = records(shown, "attachment") or []
    linked = next((href for each in attached if (href := text(each, "href", "attachment."))), None)
    replied = text(shown, "inReplyTo")
    beside = shown.get("url")  # others write a list of addresses there
    shown_at = beside if isinstance(beside, str) and is_web(beside) else address
    return Post(
        id=PostId(PLATFORM, address),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="reply" if replied else "post",
        author=Account(author, url=author if is_web(author) else None),
        url=well_formed(shown_at) if is_web(shown_at) else None,
        created_at=needed_time(shown, "published"),
        edited_at=time(shown, "updated"),
        title=title.text or None,
        sensitive=flag(shown, "sensitive"),
        text=body.text or None,
        lang=_language_told(shown),
        reply_to=PostId(PLATFORM, replied) if replied else None,
        mention_count=title.mentions + body.mentions,
        links=_links(linked, title, body),
        media=None
        if kind == "Note"
        else [
            Media("image", text(each, "name", "attachment."), text(each, "url", "attachment."))
            for each in attached
            if each.get("type") == "Image"
        ],
        raw=shown,
    )


def _language_told(shown: Record) -> str | None:
    """The language of an object: named, or the only one that its text is given in."""
    language, texts = optional_record(shown, "language"), optional_record(shown, "contentMap") or {}
    if language is not None:
        return text(language, "identifier", "language.")
    return well_formed(next(iter(texts))) if len(texts) == 1 else None


def language_table(payload: object) -> dict[str, str]:
    """The codes of a server's languages by their ids, out of its answer about itself; 0 is no language. Errors:
    ParseError."""
    told = records(record(payload, "site"), "all_languages") or []
    return {str(each.get("id")): needed_text(each, "code", "all_languages.") for each in told if each.get("id") != 0}


def _native(shown: Record, place: str) -> str:
    native = count(shown, "id", place)
    if native is None:
        raise ParseError(f"{place}id", "missing")
    return str(native)


def _account(creator: Record) -> Account:
    address = text(creator, "ap_id", "creator.") or needed_text(creator, "actor_id", "creator.")
    return Account(
        address,
        handle=text(creator, "name", "creator."),
        display_name=text(creator, "display_name", "creator."),
        url=address if is_web(address) else None,
        bot=flag(creator, "bot_account", "creator."),
        created_at=time(creator, "published_at", "creator.") or time(creator, "published", "creator."),
        bio=profile_text(creator, "bio"),
    )


def _language(shown: Record, languages: Mapping[str, str]) -> str | None:
    found: Any = shown.get("language_id")
    return languages.get(str(found)) if isinstance(found, int) else None


def _parent(view: Record, comment: Record, host: str) -> PostId | None:
    """The comment or post above: of `0.12.34` the comment 12 holds 34. A comment is named there by a server's own id
    only, which joins it through that server; the post is whole in the answer."""
    above = (text(comment, "path", "comment.") or "").split(".")[:-1]
    if len(above) > 1 and above[-1].isdecimal():
        return PostId(PLATFORM, None, host, f"comment/{above[-1]}")
    post = optional_record(view, "post")
    return None if post is None else PostId(PLATFORM, needed_text(post, "ap_id", "post."))


def _links(link: str | None, title: Reading | None, body: Reading) -> list[str]:
    own = [link] if link and is_web(link) and not names_account(link) else []
    return list(dict.fromkeys([*own, *(title.links if title is not None else []), *body.links]))


def _media(post: Record, link: str | None) -> list[Media]:
    alt = text(post, "alt_text", "post.")
    found = [Media("image", alt, link)] if link and link.lower().split("?")[0].endswith(_IMAGES) else []
    video = text(post, "embed_video_url", "post.")
    return [*found, Media("video", None, video)] if video else found
