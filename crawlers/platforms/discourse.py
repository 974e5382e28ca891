"""Posts of Discourse forums (docs.discourse.org), to posts. Pure.

A post is named by its short address, which holds its number in the forum. Beside it stands its place, `<topic>/<number
in the topic>`: that is how replies name what they reply to.
"""

import re
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

from lxml import etree, html

from crawlers.platforms.fields import Record, count, flag, needed_text, needed_time, record, records, text, time
from crawlers.post import Account, Media, ParseError, Post, PostId
from crawlers.text import Reading, clean, is_web, names_account, read_html, read_plain

PARSER_VERSION = 1
PLATFORM = "discourse"

_LIKE = 2
_SMALL_ACTION, _WHISPER = 3, 4
_FOREIGN = frozenset({"quote", "onebox"})
"""Other people's words, and a preview of another page."""
_UNSHOWN = _FOREIGN | {"lightbox", "lightbox-wrapper", "meta", "poll-info"}
"""No words of a post either: a picture with the name of its file, and the buttons of a poll."""
_UNPICTURED = frozenset({"emoji", "avatar", "site-icon", "thumbnail"})
_QUOTED = re.compile(r"\[quote=.*?\[/quote\]", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def parse_post(payload: object, host: str, fetched_at: datetime) -> Post:
    """A post of `/posts.json`, of a topic, or one by its number. One that was deleted or is hidden, or that the forum
    itself wrote to say what was done to a topic, is no post of a sweep. Errors: ParseError."""
    post = record(payload, "post")
    _refuse(post)
    native, topic, place = _number(post, "id"), _number(post, "topic_id"), _number(post, "post_number")
    base = f"https://{host}"
    starts = place == 1
    answered = None if starts else count(post, "reply_to_post_number") or 1
    markup = text(post, "cooked")
    tree = _tree(markup or "")
    reading = _text(post, markup, base)
    title = text(post, "topic_title") if starts else None
    created_at, updated_at = needed_time(post, "created_at"), time(post, "updated_at")
    edited = (count(post, "version") or 1) > 1 and updated_at is not None and updated_at > created_at
    boxes = [clean(each.get("data-onebox-src") or "") for each in _of_class(tree, "onebox")]
    links = [each for each in boxes if is_web(each) and not names_account(each)]
    slug = text(post, "topic_slug")
    return Post(
        id=PostId(PLATFORM, f"{base}/p/{native}", host, f"{topic}/{place}"),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind="post" if starts else "reply",
        author=_author(post, host),
        url=f"{base}/t/{slug or '-'}/{topic}/{place}",
        created_at=created_at,
        edited_at=updated_at if edited else None,
        title=read_plain(title).text if title else None,
        text=reading.text or None,
        lang=(text(post, "locale") or "").replace("_", "-") or None,
        reply_to=None if answered in (None, place) else PostId(PLATFORM, None, host, f"{topic}/{answered}"),
        quote_of=_quoted(tree, host),
        mention_count=reading.mentions,
        links=list(dict.fromkeys([*reading.links, *links])),
        media=None if markup is None else _media(tree, base),
        likes=_likes(post),
        replies=count(post, "reply_count"),
        views=count(post, "reads"),
        raw=post,
    )


def _refuse(post: Record) -> None:
    if flag(post, "user_deleted"):
        raise ParseError("user_deleted", "the author deleted it")
    if text(post, "deleted_at") is not None:
        raise ParseError("deleted_at", "the platform removed it")
    if flag(post, "hidden"):
        raise ParseError("hidden", "the platform hides it, after flags")
    if count(post, "post_type") in (_SMALL_ACTION, _WHISPER):
        raise ParseError("post_type", "a note of the forum about a topic, no post")


def _number(post: Record, key: str) -> int:
    found = count(post, key)
    if not found:
        raise ParseError(key, "missing")
    return found


def _author(post: Record, host: str) -> Account:
    """By the number of the account, as its name can change; the forum's own accounts have numbers below zero."""
    name, number = needed_text(post, "username"), post.get("user_id")
    known = type(number) is int and abs(number) < 1 << 63
    return Account(
        id=f"{host}:{number}" if known else f"{host}:{name.casefold()}",
        handle=name,
        display_name=text(post, "name") or None,
        url=f"https://{host}/u/{name}",
    )


def _text(post: Record, markup: str | None, base: str) -> Reading:
    if markup is not None:
        return read_html(markup, base=f"{base}/", unshown=_UNSHOWN)
    written = text(post, "raw")
    if written is None:
        raise ParseError("cooked", "missing")
    return read_plain(_QUOTED.sub("", written))


def _tree(markup: str) -> Any:
    try:
        parser = html.HTMLParser(no_network=True, huge_tree=True)
        return html.fragment_fromstring(clean(markup) or "<p></p>", create_parent="div", parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return html.Element("div")


def _classes(element: Any) -> frozenset[str]:
    return frozenset((element.get("class") or "").split())


def _of_class(tree: Any, name: str) -> list[Any]:
    return [each for each in tree.iter("aside") if name in _classes(each)]


def _quoted(tree: Any, host: str) -> PostId | None:
    """What the first quotation in it is of."""
    for aside in _of_class(tree, "quote"):
        topic, place = aside.get("data-topic") or "", aside.get("data-post") or ""
        if _NUMBER.fullmatch(topic) and _NUMBER.fullmatch(place):
            return PostId(PLATFORM, None, host, f"{topic}/{place}")
    return None


def _media(tree: Any, base: str) -> list[Media]:
    """Pictures, videos and sounds of its own: none of what it quotes or links to."""
    found = []
    kinds = {"img": "image", "video": "video", "audio": "audio"}
    for element in tree.iter(*kinds):
        if _UNPICTURED & _classes(element) or any(_FOREIGN & _classes(outer) for outer in element.iterancestors()):
            continue
        source = element.get("src") or next((each.get("src") for each in element.iter("source")), None)
        alt = read_plain(element.get("alt") or "").text
        found.append(Media(kinds[element.tag], alt or None, _joined(base, clean(source)) if source else None))
    return found


def _joined(base: str, address: str) -> str | None:
    try:
        return urljoin(f"{base}/", address)
    except ValueError:
        return None


def _likes(post: Record) -> int | None:
    """An action without a count, or none at all in the list, is one that nobody did."""
    actions = records(post, "actions_summary")
    if actions is None:
        return None
    return next((count(each, "count", "actions_summary.") or 0 for each in actions if each.get("id") == _LIKE), 0)
