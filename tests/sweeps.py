"""Makes posts, pages and small sealed sweeps for the tests, through the project's own sinks and sealing."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from crawlers.post import Account, Media, Post, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Gap, Page, Reject, Traffic
from crawlers.source import Source
from pipelines.archive import Manifest, open_archive
from pipelines.lease import acquire
from pipelines.seal import SealSettings, seal
from pipelines.shards import ShardSink, SinkSettings
from pipelines.store import Store

NAMES = Pseudonyms(bytes(range(32)))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SWEEP = "d2026-01-01"
SOURCES = (
    Source("mastodon", "https://one.example", "public"),
    Source("mastodon", "https://two.example", "tag", "rain"),
    Source("bluesky", "https://view.example", "author", "rivermint.example"),
)


def post(number: int, platform: str = "mastodon", host: str = "one.example", **changes: object) -> Post:
    """A post that is the same for the same number, whichever host it is seen on."""
    values: dict[str, object] = {
        "id": PostId(platform, f"https://home.example/posts/{number}", host, f"native{number}"),
        "host": host,
        "fetched_at": NOON,
        "parser_version": 1,
        "author": Account(f"https://home.example/rivermint{number % 7}", f"rivermint{number % 7}"),
        "url": f"https://home.example/@rivermint{number % 7}/{number}",
        "created_at": NOON + timedelta(seconds=number),
        "text": f"post number {number}",
        "links": [],
        "media": [Media("image", "a field", f"https://home.example/media/{number}.jpg")],
        "likes": number,
    }
    return Post(**{**values, **changes})  # type: ignore[arg-type]


def page(number: int, posts: list[Post], last: bool = False, rejects: int = 0) -> Page:
    """A page of posts; its cursors are made of its number."""
    return Page(
        number=number,
        cursor=f"cursor-{number}" if number else None,
        next_cursor=None if last else f"cursor-{number + 1}",
        posts=posts,
        rejects=[Reject(index, "content", "not a string") for index in range(rejects)],
        fetched_at=NOON,
    )


def open_store(root: Path) -> Store:
    """An archive under the tests' key."""
    return open_archive(root, f"sweep-{SWEEP}", NAMES.fingerprint)


def sink_settings(store: Store, **changes: object) -> SinkSettings:
    """Sinks' settings with a lease of their own."""
    values: dict[str, object] = {"store": store, "sweep": SWEEP, "lease": acquire(store, f"sweep-{SWEEP}")}
    return SinkSettings(**{**values, "names": NAMES, **changes})  # type: ignore[arg-type]


def seal_settings(part_rows: int = 100, sources: Iterable[Source] = SOURCES[:1]) -> SealSettings:
    """What the manifest of the tests' sweep says."""
    return SealSettings(
        sweep=SWEEP,
        window={"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        config={"sweep": {"id": SWEEP}},
        sources=[NAMES.source(source) for source in sources],
        fingerprint=NAMES.fingerprint,
        part_rows=part_rows,
    )


def sealed_sweep(root: Path, pages: dict[Source, list[Page]], part_rows: int = 100) -> Manifest:
    """Reads the pages into an archive and seals it."""
    store = open_store(root)
    settings = sink_settings(store)
    for source, read in pages.items():
        sink = ShardSink(settings, source)
        for each in read:
            sink.page(each)
        sink.finish([], Traffic(requests=len(read)))
    return seal(store, settings.lease, seal_settings(part_rows, pages))


GAP = Gap(NOON - timedelta(hours=12), NOON, "the server asks for a login")


def contents(path: Path) -> bytes:
    """A file's bytes, and a Parquet file's rows in the clear, as its pages are compressed."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        data += str(pl.read_parquet(path, hive_partitioning=False).to_dicts()).encode()
    return data


def one_source(url: str, allow_private: bool = False) -> str:
    """A sweep file of the tests' sweep that reads one public timeline."""
    return f"""[sweep]
id = "{SWEEP}"
since = 2026-01-01T00:00:00Z
until = 2026-01-02T00:00:00Z
archive = "archive"
contact = "mailto:operator@example.org"

[[source]]
platform = "mastodon"
url = "{url}"
kind = "public"
allow_private = {str(allow_private).lower()}
"""
