"""Messages of Telegram channels, out of the previews that t.me shows to visitors (t.me/s/<channel>), to posts. Pure.

A message is named by its address, with the channel's name in lower case. What the channel tells of itself (created,
renamed, a new picture) is no post: it is a reject of a reason of its own. An album is one message, under its first id.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lxml import etree, html

from crawlers.platforms.counts import approximate
from crawlers.platforms.fields import parse_time
from crawlers.post import Account, Kind, Media, ParseError, Post, PostId
from crawlers.sink import Reject
from crawlers.text import Reading, clean, is_web, names_account, read_html, read_plain, well_formed

PARSER_VERSION = 1
PLATFORM = "telegram"
SERVICE = "a message of the channel about itself, no post"
"""The reason of a reject."""

_SITE = "https://t.me"
_POST = re.compile(r"(?P<channel>\w{1,64})/(?P<number>[1-9][0-9]{0,17})", re.ASCII)
_ADDRESS = re.compile(rf"https?://t\.me/(?:s/)?{_POST.pattern}(?:[/?#]|\Z)", re.ASCII | re.IGNORECASE)
_PICTURE = re.compile(r"background-image:\s*url\('([^']+)'\)")
_USER = re.compile(r'(<a\b[^<>]*?)\shref="tg://user\b')
"""A mention of somebody without a public name, whose shown name is all that there is."""
_TAG = "?q=%23"
_BEFORE = re.compile(r"[1-9][0-9]{0,17}")
_MEDIA = {
    "tgme_widget_message_photo_wrap": "image",
    "tgme_widget_message_video_player": "video",
    "tgme_widget_message_roundvideo_player": "video",
    "tgme_widget_message_voice_player": "audio",
    "tgme_widget_message_document_wrap": "document",
    "tgme_widget_message_sticker_wrap": "sticker",
    "tgme_widget_message_location_wrap": "location",
    "tgme_widget_message_contact_wrap": "contact",
}

Classes = dict[str, list[Any]]
"""The elements of a message, by each of their classes."""


@dataclass(frozen=True)
class Preview:
    """A page, taken apart. `messages` are elements for `parse_message`, oldest first; `before` is the id that the page
    before is asked with, None where there is none. `history`: it is a channel's page; `errors` are its refusals."""

    messages: list[Any]
    before: str | None
    history: bool
    errors: list[str]


def open_preview(body: bytes) -> Preview:
    """Takes a page of a channel apart, or one that embeds a single message."""
    parser = html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True)
    try:
        root = html.document_fromstring(body.decode("utf-8", "replace").replace("\0", "").encode(), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):  # of nothing at all
        return Preview([], None, False, [])
    found = _by_class(root)
    messages = [each for each in found["tgme_widget_message"] if each.get("data-post") is not None]
    befores = [each.get("data-before") for each in found["tme_messages_more"] if each.get("data-before")]
    return Preview(
        messages=messages,
        before=next((each for each in befores if _BEFORE.fullmatch(each)), None),
        history=bool(messages or found["tgme_channel_history"] or found["tme_no_messages_found"]),
        errors=[_words(each) for each in found["tgme_widget_message_error"] + found["tme_no_messages_found"]],
    )


def parse_preview(payload: bytes, host: str, fetched_at: datetime) -> tuple[list[Post], list[Reject]]:
    """All messages of a page."""
    posts, rejects = [], []
    for position, message in enumerate(open_preview(payload).messages):
        try:
            posts.append(parse_message(message, host, fetched_at))
        except ParseError as error:
            rejects.append(Reject(position, error.place, error.reason))
    return posts, rejects


def parse_message(message: Any, host: str, fetched_at: datetime) -> Post:
    """One message of a `Preview`. Errors: ParseError."""
    found = _by_class(message)
    named = _POST.fullmatch(message.get("data-post") or "")
    if named is None:
        raise ParseError("data-post", "not the name of a message")
    if "service_message" in _classes(message):
        raise ParseError("service_message", SERVICE)
    reading, hashtags = _text(found)
    reply_to = _first_id(found["tgme_widget_message_reply"])
    forwarded = bool(found["tgme_widget_message_forwarded_from"])
    return Post(
        id=_id(named),
        host=host,
        fetched_at=fetched_at,
        parser_version=PARSER_VERSION,
        kind=_kind(forwarded, bool(found["tgme_widget_message_reply"])),
        author=_channel(named["channel"], found),
        url=f"{_SITE}/{named['channel']}/{named['number']}",
        created_at=_moment(found),
        text=reading.text or None,
        truncated=True if _shown_in_the_app_only(found) else None,
        reply_to=reply_to,
        repost_of=_first_id(found["tgme_widget_message_forwarded_from_name"]) if forwarded else None,
        hashtags=hashtags,
        mention_count=reading.mentions,
        links=_links(reading, found),
        media=[_medium(each, name) for each, name in _media(message)],
        likes=_reactions(found["tgme_reaction"]),
        views=next((approximate(_words(each)) for each in found["tgme_widget_message_views"]), None),
        raw={"html": well_formed(etree.tostring(message, encoding="unicode", with_tail=False))},
    )


def _by_class(root: Any) -> Classes:
    found: Classes = defaultdict(list)
    for element in root.iter(etree.Element):
        for name in _classes(element):
            found[name].append(element)
    return found


def _classes(element: Any) -> list[str]:
    return (element.get("class") or "").split()


def _words(element: Any) -> str:
    return clean(" ".join(element.text_content().split()))


def _id(named: re.Match[str]) -> PostId:
    return PostId(PLATFORM, f"{_SITE}/{named['channel'].lower()}/{named['number']}")


def _first_id(anchors: list[Any]) -> PostId | None:
    """What the first of the anchors leads to, where that is a message of a public channel."""
    named = _ADDRESS.match(anchors[0].get("href") or "") if anchors else None
    return None if named is None else _id(named)


def _kind(forwarded: bool, replies: bool) -> Kind:
    return "repost" if forwarded else "reply" if replies else "post"


def _channel(name: str, found: Classes) -> Account:
    """The channel. Who signed a message is not told apart: it is a name without an account."""
    shown = next((_words(each) for each in found["tgme_widget_message_owner_name"]), None)
    return Account(f"{_SITE}/{name.lower()}", handle=name, display_name=shown or None, url=f"{_SITE}/{name}")


def _moment(found: Classes) -> datetime:
    """The time of the footer: durations of media are in `time` elements too."""
    for anchor in found["tgme_widget_message_date"]:
        for element in anchor.iter("time"):
            if told := element.get("datetime"):
                return parse_time(told, "time")
    raise ParseError("time", "missing")


def _text(found: Classes) -> tuple[Reading, list[str]]:
    """Text, captions and poll, with the tags in them."""
    texts = found["js-message_text"]
    whole = [each for each in texts if not any(outer in texts for outer in each.iterancestors())]
    readings = [_read(each) for each in whole]
    readings += [_read(each) for each in found["tgme_widget_message_poll_question"]]
    options = [_read(each) for each in found["tgme_widget_message_poll_option_text"]]
    lines = [each.text for each in readings] + [f"- {each.text}" for each in options]
    anchors = (anchor for each in whole for anchor in each.iter("a"))
    tags = [_words(anchor) for anchor in anchors if (anchor.get("href") or "").startswith(_TAG)]
    return Reading(
        "\n".join(line for line in lines if line),
        [link for each in readings for link in each.links],
        sum(each.mentions for each in readings + options),
    ), list(dict.fromkeys(tag.removeprefix("#").casefold() for tag in tags if tag.startswith("#")))


def _read(element: Any) -> Reading:
    markup = etree.tostring(element, encoding="unicode", method="html", with_tail=False)
    return read_html(_USER.sub(r'\1 class="mention" href="tg://user', markup), base=f"{_SITE}/")


def _links(reading: Reading, found: Classes) -> list[str]:
    """Those of the text, the page that is previewed, and the buttons below."""
    anchors = found["tgme_widget_message_link_preview"] + found["tgme_widget_message_inline_button"]
    addresses = [clean(anchor.get("href") or "") for anchor in anchors]
    return list(
        dict.fromkeys([*reading.links, *(each for each in addresses if is_web(each) and not names_account(each))])
    )


def _media(message: Any) -> list[tuple[Any, str]]:
    """The attachments in their order, those of an album too."""
    return [(each, name) for each in message.iter(etree.Element) for name in _classes(each) if name in _MEDIA]


def _medium(element: Any, name: str) -> Media:
    inner = _by_class(element)
    titles = [_words(each) for each in inner["tgme_widget_message_document_title"]]
    kind = _MEDIA[name]
    if any("audio" in _classes(each) for each in inner["tgme_widget_message_document_icon"]):
        kind = "audio"
    if kind == "location":
        return Media(kind, url=clean(element.get("href") or "") or None)
    sources = (each.get("src") or each.get("data-webp") for each in element.iter("video", "audio", "i"))
    address = next((clean(each) for each in sources if each), None)
    if address is None and kind in ("image", "sticker"):
        styles = " ".join(each.get("style") or "" for each in element.iter(etree.Element))
        address = clean(picture[1]) if (picture := _PICTURE.search(styles)) else None
    return Media(kind, read_plain(titles[0]).text if titles else None, address)


def _shown_in_the_app_only(found: Classes) -> bool:
    """Whether there is more to the message than the preview shows. The same words stand in each player, for browsers
    that cannot play."""
    players = set(_MEDIA)
    return any(
        not any(players & set(_classes(outer)) for outer in each.iterancestors())
        for each in found["message_media_not_supported"]
    )


def _reactions(chips: list[Any]) -> int | None:
    """All reactions together, whatever they say; stars that were paid are none."""
    counted = [
        number
        for chip in chips
        if "tgme_reaction_paid" not in _classes(chip)
        and (number := approximate("".join([chip.text or "", *(each.tail or "" for each in chip)]))) is not None
    ]
    return min(sum(counted), (1 << 63) - 1) if counted else None
