"""Reddit: links and comments (reddit.com/dev/api), to posts. Pure.

One parser reads what the API answers, with `raw_json` or without, and what dumps hold of it since 2005 (Pushshift,
Arctic Shift): payloads without `name`, with times as strings, with `&lt;` for `<`. A post is named by its fullname
(`t3_...` a link, `t1_...` a comment), so that a dump and the API show one post.
"""

import re
from datetime import UTC, datetime
from typing import Any, Literal

from crawlers.platforms.fields import Record, count, flag, needed_text, optional_record, record, records, text
from crawlers.platforms.markdown import read_markdown
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import is_web, names_account, read_plain

PARSER_VERSION = 1
PLATFORM = "reddit"
SITE = "https://www.reddit.com"

Remover = Literal["author", "moderators", "platform", "nobody told"]

_DELETED, _REMOVED = "[deleted]", "[removed]"
_BY_REDDIT = "[ removed by reddit"
_REMOVERS: dict[str, Remover] = {
    "deleted": "author",
    "author": "author",
    "moderator": "moderators",
    "automod_filtered": "moderators",
    "reddit": "platform",
    "anti_evil_ops": "platform",
    "community_ops": "platform",
    "legal_operations": "platform",
    "content_takedown": "platform",
    "copyright_takedown": "platform",
}
"""Values of `removed_by_category`."""
_SAID: dict[Remover, str] = {
    "author": "the author deleted it",
    "moderators": "moderators removed it",
    "platform": "the platform removed it",
    "nobody told": "it was removed, and by whom is not told",
}
NAME = re.compile(r"t[13]_[0-9a-z]{1,16}")
"""What names a link (`t3`) or a comment."""
_ID = re.compile(r"[0-9a-z]{1,16}")
_ENTITY = re.compile("&(?:lt|gt|amp);")
_ESCAPED = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_LABELS = ("spoiler", "quarantine")


def parse_thing(payload: object, host: str, fetched_at: datetime) -> Post:
    """A link or a comment, bare or in its wrapper of `kind` and `data`. One that was deleted or removed is no post; the
    reason says by whom. Errors: ParseError."""
    thing = thing_in(payload)
    name = fullname(thing)
    if (remover := removed_by(thing)) is not None:
        raise ParseError("removed_by_category" if thing.get("removed_by_category") else "text", _SAID[remover])
    comment = name.startswith("t1_")
    shared = None if comment else _shared(thing)
    shown = shared[1] if shared and shared[1] is not None else thing
    title = None if comment else read_plain(_plain(text(shown, "title")))
    body = read_markdown(_plain(text(shown, "body" if comment else "selftext")))
    body.text = "\n".join(part for part in [body.text, *_options(shown)] if part)
    url, own = _plain(text(shown, "url")), flag(shown, "is_self")
    linked = [url] if not comment and not own and is_web(url) and not _is_own(url) and not names_account(url) else []
    repost = shared is not None and shared[1] is not None
    if not (body.text or (title is not None and title.text) or linked):
        raise ParseError("text", "neither a text nor a title nor a link")
    hidden = flag(thing, "score_hidden") or flag(thing, "hide_score")
    return Post(
        id=PostId(PLATFORM, name),
        host=host,
        fetched_at=_moment(thing, "retrieved_on") or fetched_at,
        parser_version=PARSER_VERSION,
        kind="reply" if comment else "post" if shared is None else "repost" if repost else "quote",
        author=_account(thing),
        url=_address(thing, name),
        created_at=_needed_moment(thing, "created_utc"),
        edited_at=None if isinstance(thing.get("edited"), bool) else _moment(thing, "edited"),
        title=title.text or None if title is not None else None,
        sensitive=flag(thing, "over_18"),
        text=body.text or None,
        reply_to=_parent(thing) if comment else None,
        repost_of=shared[0] if shared is not None and repost else None,
        quote_of=shared[0] if shared is not None and not repost else None,
        mention_count=body.mentions + (title.mentions if title is not None else 0),
        links=list(dict.fromkeys([*linked, *(title.links if title is not None else []), *body.links])),
        media=_media(shown, comment),
        likes=None if hidden else _score(thing, "score"),
        reposts=None if comment else _score(thing, "num_crossposts"),
        replies=None if comment else _score(thing, "num_comments"),
        views=None if comment else _score(thing, "view_count"),
        platform_labels=_labels(thing),
        raw=thing,
    )


def thing_in(payload: object) -> Record:
    """The link or comment itself, out of its wrapper where it has one. Errors: ParseError."""
    found = record(payload, "thing")
    if "data" not in found:
        return found
    kind = found.get("kind")
    if kind not in ("t1", "t3"):
        raise ParseError("kind", "neither a link nor a comment")
    inner = record(found["data"], "data")
    return inner if "name" in inner else {**inner, "name": f"{kind}_{needed_text(inner, 'id', 'data.')}"}


def fullname(thing: Record) -> str:
    """What names a link or comment; old payloads have only its id, and are told apart by what they hold. Errors:
    ParseError."""
    name = text(thing, "name")
    if name is None:
        native = needed_text(thing, "id")
        if _ID.fullmatch(native) is None:
            raise ParseError("id", "not an id")
        name = f"{'t1' if 'body' in thing or 'link_id' in thing else 't3'}_{native}"
    if NAME.fullmatch(name) is None:
        raise ParseError("name", "neither a link nor a comment")
    return name


def removed_by(thing: Record) -> Remover | None:
    """Who took a link or comment away; None while it is there. Errors: ParseError."""
    category = text(thing, "removed_by_category")
    if category is not None:
        return _REMOVERS.get(category, "nobody told")
    said = (text(thing, "body") or text(thing, "selftext") or "").strip()
    meta = optional_record(thing, "_meta") or {}
    if (said == _DELETED and thing.get("author") in (_DELETED, None)) or meta.get("removal_type") == "deleted":
        return "author"
    if said.casefold().startswith(_BY_REDDIT):
        return "platform"
    if said == _REMOVED or thing.get("banned_by"):
        return "moderators"
    return None


def created_of(payload: object) -> datetime | None:
    """When a link or comment was written, also one that is no post; None where it does not say."""
    try:
        return _moment(thing_in(payload), "created_utc")
    except ParseError:
        return None


def _shared(thing: Record) -> tuple[PostId, Record | None] | None:
    """What a crosspost shares, and that itself where the crosspost adds no title of its own and shows it."""
    parents = thing.get("crosspost_parent_list")
    parent = parents[0] if isinstance(parents, list) and parents else None
    name = text(thing, "crosspost_parent")
    if parent is not None:
        shown = record(parent, "crosspost_parent_list[0]")
        name = fullname(shown)
        same = shown.get("title") == thing.get("title") and removed_by(shown) is None
        return PostId(PLATFORM, name), shown if same else None
    return (PostId(PLATFORM, name), None) if name and NAME.fullmatch(name) else None


def _account(thing: Record) -> Account | None:
    name = text(thing, "author")
    return Account(name, handle=name, url=f"{SITE}/user/{name}/") if name and name != _DELETED else None


def _address(thing: Record, name: str) -> str:
    permalink = text(thing, "permalink")
    if permalink is not None and permalink.startswith("/r"):
        return SITE + permalink
    native, link = name[3:], (text(thing, "link_id") or "").removeprefix("t3_")
    return f"{SITE}/comments/{link}/_/{native}/" if name.startswith("t1_") and link else f"{SITE}/comments/{native}/"


def _parent(thing: Record) -> PostId | None:
    """Some dumps of early years tell a parent by a number, which names nothing: the link is what is known then."""
    for key in ("parent_id", "link_id"):
        value = thing.get(key)
        if isinstance(value, str) and NAME.fullmatch(value):
            return PostId(PLATFORM, value)
    return None


def _media(thing: Record, comment: bool) -> list[Media] | None:
    found: list[Media] = []
    held = optional_record(thing, "media_metadata")
    captions = _captions(thing)
    for key, item in (held or {}).items():
        if isinstance(item, dict) and item.get("status") == "valid":
            source = optional_record(item, "s", "media_metadata.") or {}
            address = text(source, "u", "media_metadata.s.") or text(source, "gif", "media_metadata.s.")
            kind = {"Image": "image", "AnimatedImage": "image", "RedditVideo": "video"}.get(
                str(item.get("e")), "unknown"
            )
            found.append(Media(kind, captions.get(key), _plain(address) or None))
    if comment:
        return found if held is not None else None
    url = _plain(text(thing, "url"))
    media = optional_record(thing, "secure_media") or optional_record(thing, "media") or {}
    video = optional_record(media, "reddit_video", "media.")
    if video is not None or flag(thing, "is_video"):
        found.append(Media("video", None, _plain(text(video or {}, "fallback_url", "media.")) or url or None))
    elif not found and (thing.get("post_hint") == "image" or url.startswith("https://i.redd.it/")):
        found.append(Media("image", None, url or None))
    return found


def _captions(thing: Record) -> dict[str, str]:
    gallery = optional_record(thing, "gallery_data") or {}
    items = gallery.get("items")
    told: dict[str, str] = {}
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and isinstance(item.get("media_id"), str) and (said := text(item, "caption")):
            told[item["media_id"]] = read_plain(_plain(said)).text
    return told


def _options(thing: Record) -> list[str]:
    poll = optional_record(thing, "poll_data") or {}
    return [
        f"- {read_plain(_plain(text(option, 'text', 'poll_data.options.'))).text}"
        for option in records(poll, "options", "poll_data.") or []
    ]


def _labels(thing: Record) -> list[str] | None:
    told = {name: flag(thing, name) for name in _LABELS}
    return None if all(value is None for value in told.values()) else [name for name, value in told.items() if value]


def _is_own(url: str) -> bool:
    """Whether an address is one of the site's own pages of media, which `media` tells."""
    return url.startswith(("https://i.redd.it/", "https://v.redd.it/", f"{SITE}/gallery/", f"{SITE}/r/u_"))


def _plain(value: str | None) -> str:
    """A text as it was written: without `raw_json` three characters come escaped, once."""
    if not value or "&" not in value:
        return value or ""
    return _ENTITY.sub(lambda found: _ESCAPED[found[0]], value)


def _needed_moment(thing: Record, key: str) -> datetime:
    found = _moment(thing, key)
    if found is None:
        raise ParseError(key, "missing")
    return found


def _moment(thing: Record, key: str) -> datetime | None:
    """Seconds since 1970 as a number or, in dumps, as a string of one."""
    value: Any = thing.get(key)
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            raise ParseError(key, "not a time") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParseError(key, "not a time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ParseError(key, "not a time") from None


def _score(thing: Record, key: str) -> int | None:
    """A score that votes took below zero is no count of likes."""
    value: Any = thing.get(key)
    return None if type(value) is int and value < 0 else count(thing, key)
