"""Checkers: one module per platform, each with `BATCH` (the most posts of a visit) and `check` (`sighting.Checker`)."""

from collections.abc import Callable
from dataclasses import dataclass

from crawlers.catalogue.reddit import ABOUT as REDDIT
from crawlers.catalogue.tumblr import HOME as TUMBLR
from crawlers.catalogue.youtube import API as YOUTUBE
from crawlers.rechecks import (
    bluesky,
    discourse,
    douyin,
    feed,
    fourchan,
    hackernews,
    lemmy,
    mastodon,
    nostr,
    reddit,
    telegram,
    tumblr,
    wechat,
    weibo,
    x,
    youtube,
)
from crawlers.sighting import Checker


@dataclass(frozen=True)
class Recheck:
    """How a platform's posts are visited again. `home` is the address that is asked wherever the posts were read, None
    where it is the host that showed them."""

    check: Checker
    batch: int
    home: str | None = None
    sequence: Callable[[str, str], tuple[str, int] | None] | None = None
    """Where ids of a kind of source follow on each other: what stands before a post's number, and the number."""
    probe: Checker | None = None
    """Asks for ids that are missing in such a sequence."""


RECHECKS: dict[str, Recheck] = {
    "mastodon": Recheck(mastodon.check, mastodon.BATCH),
    "bluesky": Recheck(bluesky.check, bluesky.BATCH),
    "feed": Recheck(feed.check, feed.BATCH),
    "hackernews": Recheck(hackernews.check, hackernews.BATCH, hackernews.HOME),
    "x": Recheck(x.check, x.BATCH, x.HOME),
    "lemmy": Recheck(lemmy.check, lemmy.BATCH),
    "reddit": Recheck(reddit.check, reddit.BATCH, REDDIT.home),
    "youtube": Recheck(youtube.check, youtube.BATCH, YOUTUBE),
    "fourchan": Recheck(fourchan.check, fourchan.BATCH, fourchan.HOME),
    "telegram": Recheck(telegram.check, telegram.BATCH, sequence=telegram.sequence, probe=telegram.probe),
    "discourse": Recheck(discourse.check, discourse.BATCH, sequence=discourse.sequence, probe=discourse.check),
    "tumblr": Recheck(tumblr.check, tumblr.BATCH, TUMBLR),
    "weibo": Recheck(weibo.check, weibo.BATCH, weibo.HOME),
    "nostr": Recheck(nostr.check, nostr.BATCH),
    "wechat": Recheck(wechat.check, wechat.BATCH, wechat.HOME),
    "douyin": Recheck(douyin.check, douyin.BATCH, douyin.HOME),
}
"""One line per platform."""
