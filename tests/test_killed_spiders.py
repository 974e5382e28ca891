"""Each spider's crawl is killed twice on its way, and the same crawl goes on: every post is there, and once.

Every page is a shard of its own here, so that what goes on does so from a cursor in the middle of the source.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlers.catalogue.reddit import CLIENT_ID, CLIENT_SECRET
from crawlers.catalogue.tumblr import KEY as TUMBLR_KEY
from crawlers.catalogue.youtube import KEY as YOUTUBE_KEY
from crawlers.run import crawl
from crawlers.sink import Page
from crawlers.source import Source
from crawlers.spiders.weibo import COOKIE as WEIBO_COOKIE
from crawlers.spiders.x import KEY as X_KEY
from pipelines import shards
from pipelines.archive import Manifest
from pipelines.lease import Lease, acquire
from pipelines.seal import seal
from pipelines.shards import ShardSink, SinkSettings
from tests import (
    discourse_server,
    fourchan_server,
    lemmy_server,
    reddit_server,
    telegram_server,
    tumblr_server,
    wechat_server,
    weibo_server,
    x_server,
    youtube_server,
)
from tests.jetstream_server import streaming
from tests.loopback import serving
from tests.nostr_server import relaying
from tests.sweeps import NAMES, SWEEP, open_store, seal_settings
from tests.test_crawlers_spiders import SETTINGS, WINDOW
from tests.test_douyin import IDS
from tests.test_douyin import answer as douyin_answer
from tests.test_jetstream import busy as busy_stream
from tests.test_nostr import busy as busy_relay
from tests.test_wechat import MIDS
from tests.test_wechat import state as articles
from tests.test_youtube import busy_video

ENVIRONMENT = {
    CLIENT_ID: reddit_server.CLIENT,
    CLIENT_SECRET: reddit_server.SECRET,
    YOUTUBE_KEY: youtube_server.KEY,
    WEIBO_COOKIE: weibo_server.COOKIE,
    X_KEY: x_server.BEARER,
    TUMBLR_KEY: tumblr_server.KEY,
}
KILLED_AT = (3, 2)
"""Which page that a crawl read is its last: of the first crawl, and of the one that goes on."""


@dataclass(frozen=True)
class Case:
    """A source, and what serves it; `urls` makes the addresses of a list out of the server's own."""

    platform: str
    kind: str
    server: Callable[[], AbstractContextManager[Any]]
    value: str | None = None
    urls: Callable[[str], list[str]] = lambda _: []


def posts_of_x() -> x_server.X:
    state = x_server.X(page_size=20)
    for place in range(150):
        state.post(WINDOW.since + timedelta(minutes=9 * place), author_id=x_server.USERS[1]["id"])
    return state


def lemmy_of(version: int) -> Callable[[], AbstractContextManager[Any]]:
    newest = WINDOW.until + timedelta(hours=30)
    return lambda: lemmy_server.lemmy(lemmy_server.Lemmy(newest, version=version, number=300))


def reddit_of() -> AbstractContextManager[Any]:
    newest = WINDOW.until + timedelta(hours=10)
    return reddit_server.reddit(reddit_server.Reddit(reddit_server.links_every(5, 700, newest)))


def telegram_of() -> AbstractContextManager[Any]:
    return telegram_server.telegram(telegram_server.Telegram({"harbour_notes": telegram_server.harbour()}))


def youtube_of() -> AbstractContextManager[Any]:
    return youtube_server.youtube(replace(busy_video(), per_page=20))


def tumblr_of() -> AbstractContextManager[Any]:
    return tumblr_server.tumblr(tumblr_server.Tumblr(WINDOW.until + timedelta(hours=1)))


def weibo_of() -> AbstractContextManager[Any]:
    return weibo_server.weibo(weibo_server.day_of(WINDOW.since))


def mids(_: str) -> list[str]:
    return [each["mid"] for each in weibo_server.day_of(WINDOW.since).mblogs]


CASES = (
    Case("lemmy", "posts", lemmy_of(4)),
    Case("lemmy", "local", lemmy_of(3)),
    Case("lemmy", "community", lemmy_of(3), "orchard"),
    Case("lemmy", "comments", lemmy_of(3)),
    Case("reddit", "subreddit", reddit_of, "harbourtown"),
    Case("reddit", "comments", reddit_of, "harbourtown"),
    Case("reddit", "user", reddit_of, "reader3"),
    Case("reddit", "search", reddit_of, "ferry"),
    Case("telegram", "channel", telegram_of, "harbour_notes"),
    Case("discourse", "posts", lambda: discourse_server.discourse(discourse_server.forum())),
    Case("discourse", "topic", lambda: discourse_server.discourse(discourse_server.forum()), "12"),
    Case("youtube", "comments", youtube_of, youtube_server.VIDEO),
    Case("x", "archive", lambda: x_server.x(posts_of_x()), "("),
    Case("x", "user", lambda: x_server.x(posts_of_x()), "linqiu_reads"),
    Case("tumblr", "blog", tumblr_of, tumblr_server.BLOG),
    Case("tumblr", "tag", tumblr_of, "Ferry"),
    Case("fourchan", "board", lambda: fourchan_server.fourchan(fourchan_server.Board(WINDOW.until)), "news"),
    Case("nostr", "notes", lambda: relaying(busy_relay())),
    Case("bluesky", "jetstream", lambda: streaming(busy_stream())),
    Case(
        "wechat", "articles", lambda: wechat_server.wechat(articles()),
        urls=lambda base: [wechat_server.address(base, mid) for mid in MIDS],
    ),
    Case(
        "douyin", "videos", lambda: serving(douyin_answer),
        urls=lambda base: [f"{base}/share/video/{native}/" for native in IDS],
    ),
    Case("weibo", "user", weibo_of, str(weibo_server.USER)),
    Case("weibo", "search", weibo_of, "。"),
    Case("weibo", "posts", weibo_of, urls=mids),
)  # fmt: skip


class Mortal(ShardSink):
    """Kills its own process at a page, in place of keeping it."""

    def __init__(self, settings: SinkSettings, source: Source, dies_at: int) -> None:
        super().__init__(settings, source)
        self._left = dies_at

    def page(self, page: Page) -> None:
        """See `Sink`."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().page(page)


def _crawl(root: Path, lease: Lease, source: Source, dies_at: int) -> None:
    shards.FLUSH_ROWS = 0  # a shard a page
    settings = SinkSettings(store=open_store(root), sweep=SWEEP, lease=lease, names=NAMES)
    with Path(os.devnull).open("w") as quiet:
        os.dup2(quiet.fileno(), 2)
    crawl([source], WINDOW, replace(SETTINGS, environment=ENVIRONMENT), lambda each: Mortal(settings, each, dies_at))


def swept(root: Path, source: Source, killed_at: tuple[int, ...]) -> Manifest:
    """The sealed sweep of a source, whose crawl was killed at these pages."""
    store = open_store(root)
    lease = acquire(store, f"sweep-{SWEEP}")
    for dies_at in (*killed_at, 0):
        child = multiprocessing.get_context("spawn").Process(target=_crawl, args=(root, lease, source, dies_at))
        child.start()
        child.join(50)
        assert child.exitcode == (-signal.SIGKILL if dies_at else 0)
    return seal(store, lease, seal_settings(sources=(source,)))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.platform}-{case.kind}")
def test_a_crawl_that_is_killed_twice_ends_with_the_posts_of_an_undisturbed_one(case: Case, tmp_path: Path) -> None:
    with case.server() as server:
        urls = tuple(case.urls(server.url))
        source = Source(case.platform, server.url, case.kind, case.value, allow_private=True, urls=urls)
        whole = swept(tmp_path / "whole", source, ())
        killed = swept(tmp_path / "killed", source, KILLED_AT)
    assert [each["gaps"] for each in (*whole["sources"], *killed["sources"])] == [[], []]
    assert killed["digest"] == whole["digest"]
    for counted in ("posts", "rejects"):
        assert killed["counts"][counted] == whole["counts"][counted]
    assert whole["counts"]["posts"] > 2
