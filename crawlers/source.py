"""Sources and windows: what a sweep reads, and for which span of time."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

Platform = Literal["mastodon", "bluesky", "feed", "hackernews"]

KINDS: dict[str, tuple[str, ...]] = {
    "mastodon": ("public", "local", "tag", "account"),
    "bluesky": ("author", "records", "search"),
    "feed": ("feed",),
    "hackernews": ("all", "stories", "comments", "search", "author", "items"),
}
"""What can be read of each platform. A Bluesky `author` is a feed from an AppView, `records` a repository on a PDS; of
Hacker News `items` are read by id, all others from its search."""

_NAMES_ACCOUNT = {"account", "author", "records", "feed"}
_ASKS_FOR_ACCOUNT = re.compile(r"@|\bdid:|\b(?:from|to|mentions|by|author):", re.IGNORECASE)


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

    `value` is the tag (without #), account, actor or query; None for kinds of source that take none.
    `allow_private` lets this source's host resolve to a loopback, link-local or private address.
    """

    platform: Platform
    url: str
    kind: str
    value: str | None = None
    allow_private: bool = False

    @property
    def authority(self) -> str:
        """Host, and port unless it is the scheme's own, lower case: the unit of politeness and of scheduling."""
        parts = urlsplit(self.url)
        host = (parts.hostname or "").rstrip(".")
        host = f"[{host}]" if ":" in host else host
        own = {"http": 80, "https": 443}.get(parts.scheme)
        return host if parts.port in (None, own) else f"{host}:{parts.port}"

    @property
    def names_account(self) -> bool:
        """Whether the source leads to a person: outside identities it is then named by a keyed hash."""
        asks = self.kind == "search" and _ASKS_FOR_ACCOUNT.search(self.value or "") is not None
        return asks or self.kind in _NAMES_ACCOUNT

    @property
    def canonical(self) -> str:
        """One string per source, the same in every sweep; names accounts, so it stays inside identities."""
        base = self.authority + urlsplit(self.url).path.rstrip("/")
        place, what = (self.authority, self.url) if self.kind == "feed" else (base, self.value)
        return ":".join(part for part in (self.platform, place, self.kind, what) if part is not None)
