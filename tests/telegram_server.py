"""The previews of Telegram channels on loopback: 20 messages a page, by `before`; albums that take several ids, service
messages, deletions and edits between two requests, channels without a preview, robots.txt, and failures."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Reply, serving

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
PER_PAGE = 20


@dataclass(frozen=True)
class Message:
    """A message; `inner` is markup that stands before its text. An album takes the ids after its own too."""

    number: int
    moment: datetime
    text: str = ""
    inner: str = ""
    service: bool = False
    takes: int = 1
    views: str = "1.2K"
    edited: bool = False


def markup(channel: str, message: Message, title: str = "Harbour notes") -> str:
    """A message as the preview shows it."""
    address = f"https://t.me/{channel}/{message.number}"
    text = f'<div class="tgme_widget_message_text js-message_text" dir="auto">{message.text}</div>'
    views = f'<span class="tgme_widget_message_views">{message.views}</span><span class="copyonly"> views</span>'
    return f"""<div class="tgme_widget_message_wrap js-widget_message_wrap"><div class="tgme_widget_message \
text_not_supported_wrap{" service_message" * message.service} js-widget_message" data-post="{channel}/{message.number}">
<div class="tgme_widget_message_bubble">
<div class="tgme_widget_message_author accent_color"><a class="tgme_widget_message_owner_name" \
href="https://t.me/{channel}"><span dir="auto">{escape(title)}</span></a></div>
{message.inner}{text if message.text else ""}
<div class="tgme_widget_message_footer compact js-message_footer"><div class="tgme_widget_message_info short">
{"" if message.service else views}<span class="tgme_widget_message_meta">{"edited " * message.edited}\
<a class="tgme_widget_message_date" href="{address}"><time datetime="{message.moment:%Y-%m-%dT%H:%M:%S+00:00}" \
class="time">{message.moment:%H:%M}</time></a></span></div></div></div></div></div>
"""


@dataclass
class Telegram:
    """The state, and how the server misbehaves."""

    channels: dict[str, dict[int, Message]] = field(default_factory=dict)
    no_preview: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    robots: str = "User-agent: *\nDisallow: /login\n"
    faults: dict[int, Reply] = field(default_factory=dict)
    """What the request with this number is answered, once."""
    turns: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens just before the request with this number is answered."""
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Reply:
        """One answer; robots.txt is not counted. A path may begin with `/again<n>`, so that one server is several
        sources."""
        asked = urlsplit(re.sub(r"^/again\d+", "", path))
        if asked.path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, self.robots.encode()
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            self.turns.pop(number, lambda: None)()
            if (fault := self.faults.pop(number, None)) is not None:
                return fault
            query = parse_qs(asked.query)
            if found := re.fullmatch(r"/s/(\w+)", asked.path):
                return self._history(found[1], int(query["before"][0]) if "before" in query else None)
            if found := re.fullmatch(r"/(\w+)/(\d+)", asked.path):
                return self._embedded(found[1], int(found[2]))
            return _page('<div class="tgme_page"><div class="tgme_page_title">Telegram</div></div>')

    def _history(self, channel: str, before: int | None) -> Reply:
        if channel in self.no_preview or channel not in self.channels:
            return 302, {"Location": f"/{channel}"}, b""
        if channel in self.blocked:
            return _page(
                '<main class="tgme_main"><section class="tgme_channel_history js-message_history">'
                '<div class="tme_no_messages_found">This channel can’t be displayed because it violated the terms of '
                "service.</div></section></main>"
            )
        below = [each for number, each in sorted(self.channels[channel].items()) if before is None or number < before]
        shown = below[-PER_PAGE:]
        link = ""
        if len(below) > len(shown):
            link = f'<a class="tme_messages_more" href="/s/{channel}" data-before="{shown[0].number}"></a>'
        inner = "".join(markup(channel, each) for each in shown) or '<div class="tme_no_messages_found">No posts</div>'
        return _page(
            f'<main class="tgme_main" data-url="/{channel}"><section class="tgme_channel_history js-message_history">'
            f"{link}{inner}</section></main>"
        )

    def _embedded(self, channel: str, number: int) -> Reply:
        for message in self.channels.get(channel, {}).values():
            if message.number <= number < message.number + message.takes:
                return _page(markup(channel, message))
        return _page('<div class="tgme_widget_message_error">Post not found</div>')


def _page(inner: str) -> Reply:
    text = f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>Telegram</title></head><body>{inner}</body></html>'
    return 200, {"Content-Type": "text/html; charset=utf-8"}, text.encode()


@contextmanager
def telegram(state: Telegram) -> Iterator[Loopback]:
    """Serves a state until the block ends."""
    with serving(state.answer) as server:
        yield server


def harbour() -> dict[int, Message]:
    """A channel of three days: a message every half hour, now and then a service message, an album of four ids, or
    what is no id any more."""
    messages: dict[int, Message] = {}
    number = 1
    for step in range(140):
        moment = SINCE - timedelta(hours=30) + timedelta(minutes=30 * step)
        if step % 17 == 5:
            messages[number] = Message(number, moment, "Channel photo updated", service=True)
        elif step % 13 == 7:
            messages[number] = Message(number, moment, f"四张照片，第{step}组", takes=4)
            number += 3
        else:
            messages[number] = Message(number, moment, f"Ferry {step} left on time.<br/>Wind {step % 9} knots.")
        number += 2 if step % 19 == 11 else 1
    return messages
