"""Sources and windows: what a sweep reads, and for which span of time."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from crawlers.catalogue import PLATFORMS
from crawlers.catalogue.about import Order, SourceKind

_ASKS_FOR_ACCOUNT = re.compile(r"@|\bdid:|\b(?:from|to|mentions|retweets_of|by|author|user|url):", re.IGNORECASE)
_SUBREDDIT_OF_ACCOUNT = re.compile(r"(?:^|[/+:])u_", re.IGNORECASE)


@dataclass(frozen=True)
class Window:
    """The half-open time interval `[since, until)` that a sweep covers; aware UTC datetimes."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise ValueError("the window is empty or backwards: since must be before until")

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in the window."""
        return self.since <= moment < self.until


@dataclass(frozen=True)
class Source:
    """One thing to read. `url` is the server's base address without a final slash (for a feed: the feed's own address).

    `value` is the tag (without #), account, actor or query; None for kinds of source that take none. `urls` are the
    addresses that a list of pages names. `allow_private` lets this source's host resolve to a loopback, link-local or
    private address. `window` is the part of the sweep's window that this source is read for; None: the whole.
    """

    platform: str
    url: str
    kind: str
    value: str | None = None
    allow_private: bool = False
    urls: tuple[str, ...] = ()
    window: Window | None = None

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Source":
        """The source that `dataclasses.asdict` and JSON told."""
        window = told.get("window")
        if window is not None:
            window = Window(*(datetime.fromisoformat(window[key]) for key in ("since", "until")))
        return cls(**{**told, "urls": tuple(told.get("urls", ())), "window": window})

    @property
    def authority(self) -> str:
        """Host, and port unless it is the scheme's own, lower case: the unit of politeness and of scheduling."""
        return authority_of(self.url)

    @property
    def names_account(self) -> bool:
        """Whether the source leads to a person: outside identities it is then named by a keyed hash."""
        kind = self._kind
        asks = kind is not None and kind.query and _ASKS_FOR_ACCOUNT.search(self.value or "") is not None
        owned = self.platform == "reddit" and _SUBREDDIT_OF_ACCOUNT.search(self.value or "") is not None
        return asks or owned or (kind is not None and kind.names_account)

    @property
    def order(self) -> Order:
        """In which order of time it is read."""
        return "none" if self._kind is None else self._kind.order

    @property
    def _kind(self) -> SourceKind | None:
        about = PLATFORMS.get(self.platform)
        return None if about is None else about.kind(self.kind)

    @cached_property
    def canonical(self) -> str:
        """One string per source, the same in every sweep; names accounts, so it stays inside identities."""
        base = self.authority + urlsplit(self.url).path.rstrip("/")
        place, what = (self.authority, self.url) if self.kind == "feed" else (base, self.value)
        if self.urls:
            what = hashlib.sha256("\n".join(sorted(self.urls)).encode()).hexdigest()[:32]
        return ":".join(part for part in (self.platform, place, self.kind, what) if part is not None)

    @property
    def span(self) -> str:
        """How its own window is written in its public name; empty where it has none."""
        if self.window is None:
            return ""
        return f"[{'-'.join(f'{time:%Y%m%dT%H%M%S.%fZ}' for time in (self.window.since, self.window.until))}]"


def authority_of(url: str) -> str:
    """Host, and port unless it is the scheme's own, lower case. Errors: ValueError for what is no address."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    own = {"http": 80, "https": 443, "ws": 80, "wss": 443}.get(parts.scheme)
    return host if parts.port in (None, own) else f"{host}:{parts.port}"
