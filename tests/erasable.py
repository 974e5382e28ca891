"""Makes an archive to erase from: two sealed sweeps, three runs and an open sweep, and somebody who is all over it.

`python -m tests.erasable FOLDER` makes one by itself.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from crawlers.post import Account, Media, Post, PostId
from crawlers.sink import Memory, Traffic
from crawlers.source import Source
from pipelines.archive import incoming
from pipelines.classify import RunRequest, classify_sweep
from pipelines.config import load_sweep
from pipelines.crawl import _open_sweep, _seal_settings
from pipelines.lease import acquire
from pipelines.progress import Progress
from pipelines.seal import seal
from pipelines.shards import ShardSink, SinkSettings
from pipelines.store import Store
from tests import small_model
from tests.sweeps import NAMES, NOON, open_store, page, post

FERN = Account(
    "https://home.example/users/fernhollow",
    "fernhollow@home.example",
    "Fern of the Hollow",
    "https://home.example/@fernhollow",
)
SEALED = ("d2026-01-01", "d2026-01-02")
OPEN = "d2026-01-03"
PUBLIC = Source("mastodon", "https://one.example", "public")
OWN = Source("mastodon", "https://one.example", "account", "fernhollow@home.example")
FEED = Source("feed", "https://paper.example/news.xml", "feed")
TEXTS = ("The heron at the weir stood on one leg, number {}.", "河边的白鹭今天又来了，第{}次。", "")


def ferns(number: int, **changes: object) -> Post:
    """A post of Fern's, as it looks wherever it is seen."""
    text = TEXTS[number % 3].format(number) or None
    return post(
        number,
        **{  # type: ignore[arg-type]
            "author": FERN,
            "id": PostId("mastodon", f"{FERN.id}/statuses/{number}", "one.example", f"fern-native-{number}"),
            "url": f"{FERN.url}/{number}",
            "text": text,
            "title": f"Weir diary {number}",
            "warning": "long legs",
            "hashtags": ["heronwatch"],
            "links": [f"https://weir.example/heron/{number}"],
            "media": [Media("image", f"a heron, plate {number}", f"https://home.example/media/fern-{number}.jpg")],
            "raw": {"uri": f"{FERN.id}/statuses/{number}", "account": {"acct": FERN.handle}, "content": text},
            **changes,
        },
    )


def others(first: int) -> Iterator[Post]:
    """What other people write of Fern's post of that number: an answer by its native id, a quote, a repost, a link; and
    one that has nothing to do with it."""
    fern = ferns(first)
    raw = {"id": "native", "account": {"acct": "rivermint1"}}
    yield post(
        first + 1, kind="reply", raw={**raw, "in_reply_to_id": fern.id.native_id},
        reply_to=PostId("mastodon", None, "one.example", fern.id.native_id),
    )  # fmt: skip
    yield post(first + 2, kind="quote", quote_of=fern.id, raw={**raw, "quote": fern.raw})
    yield post(first + 3, kind="repost", repost_of=fern.id, text=fern.text, media=fern.media, raw={"reblog": fern.raw})
    yield post(
        first + 4, raw={**raw, "content": f"look, <a href='{fern.url}'>here</a>"},
        links=["https://weir.example/map", f"{fern.url}"],
    )  # fmt: skip
    yield post(first + 5, raw={**raw, "content": "the ferry is late"}, links=["https://ferry.example/times"])
    yield post(first + 6, kind="reply", reply_to=post(first + 5).id, raw={**raw, "in_reply_to_id": "native5"})


def pages_of(start: int, blocks: int, plain: int) -> list[Post]:
    """Posts of one source: Fern's in blocks with what others make of them, then of people who never met her."""
    found: list[Post] = []
    for block in range(blocks):
        first = start + 10 * block
        found += [ferns(first), *others(first)]
    return found + [post(start + 5000 + number) for number in range(plain)]


def sweep_file(folder: Path, sweep: str, model: str = "default", own: bool = True) -> Path:
    """The sweep file of one of its sweeps, with Fern's own timeline among the sources or without."""
    start = NOON.replace(hour=0) + timedelta(days=int(sweep[-2:]) - 1)
    path = folder / f"{sweep}{'' if own else '-without'}.toml"
    path.write_text(f"""[sweep]
id = "{sweep}"
since = {start:%Y-%m-%dT%H:%M:%SZ}
until = {start + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}
archive = "archive"
contact = "mailto:operator@example.org"
keep_raw = true
keep_accounts = true
part_rows = 40

[classify]
model = "{model}"

[[source]]
platform = "mastodon"
url = "https://one.example"
kind = "public"
""")
    if own:
        with path.open("a") as file:
            file.write(f'\n[[source]]\nplatform = "mastodon"\nurl = "{OWN.url}"\nkind = "account"\n')
            file.write(f'value = "@{OWN.value}"\n')
    return path


def crawl(
    store: Store, sweep: str, read: dict[Source, list[Post]], end: bool = True, keep_accounts: bool = True
) -> SinkSettings:
    """Reads posts into a sweep, in two pages a source."""
    lease = acquire(store, f"sweep-{sweep}")
    settings = SinkSettings(store, sweep, lease, NAMES, keep_raw=True, keep_accounts=keep_accounts)
    for source, posts in read.items():
        sink = ShardSink(settings, source)
        half = len(posts) // 2
        sink.page(page(0, posts[:half], rejects=1))
        sink._commit("open", [], None)
        sink.page(page(1, posts[half:], last=end))
        if end:
            sink.finish([], Traffic(requests=2))
        else:
            sink._commit("open", [], None)
    return settings


def make(folder: Path, blocks: int = 2, plain: int = 30) -> Path:
    """Makes the archive in a folder (the tests' key must be in POSTSWEEP_KEY) and returns its place."""
    archive = folder / "archive"
    store = open_store(archive)
    model, second = (str(small_model.make(folder / name)) for name in ("small", "second"))
    described = small_model.describe_heads()
    del described["calibration"]["zh"]
    small_model.write_heads(folder / "second", described)
    small_model.write_description(folder / "second")
    for place, sweep in enumerate(SEALED):
        start = 100_000 * place
        read = {PUBLIC: pages_of(start, blocks, plain), OWN: [ferns(start), ferns(start + 7), post(start + 8)]}
        config = load_sweep(sweep_file(folder, sweep, model))
        settings = crawl(store, sweep, read)
        ShardSink(settings, FEED).remember(Memory(b"<rss>Fern of the Hollow</rss>", "tag"))
        _open_sweep(store, config, NAMES)
        seal(store, settings.lease, _seal_settings(config, NAMES))
        let_go(store)
        classify_sweep(RunRequest.of(config), Progress())
    classify_sweep(RunRequest.of(load_sweep(sweep_file(folder, SEALED[0], second))), Progress())
    config = load_sweep(sweep_file(folder, OPEN, model))
    _open_sweep(store, config, NAMES)
    crawl(store, OPEN, {PUBLIC: pages_of(200_000, blocks, plain), OWN: [ferns(200_000), ferns(200_007)]}, end=False)
    let_go(store)
    (store.path(incoming(OPEN)) / "_rejects").mkdir(exist_ok=True)
    (archive / "incoming/run=unfinished" / f"sweep={SEALED[0]}").mkdir(parents=True)
    return archive


def let_go(store: Store) -> None:
    """Lets go of the leases that this process holds."""
    for path in store.path("leases").glob("sweep-*.json"):
        path.unlink()


def needles(blocks: int = 2) -> list[bytes]:
    """Byte sequences that lead to Fern, and must be nowhere once she is erased."""
    numbers = [100_000 * place + 10 * block for place in range(3) for block in range(blocks)]
    numbers += [7, 100_007, 200_007]
    posts = [ferns(number) for number in numbers]
    found: set[str | None] = {FERN.id, FERN.handle, FERN.display_name, FERN.url, "fernhollow", "heron", "白鹭"}
    found |= {"Weir diary", "long legs", NAMES.author("mastodon", FERN), NAMES.source_hash(OWN)}
    for each in posts:
        found |= {NAMES.post(each.id), NAMES.alias(each.id), each.id.global_id, each.id.native_id, each.url, each.text}
        found |= {media.url for media in each.media or []}
    return sorted(needle.encode() for needle in found if needle)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
