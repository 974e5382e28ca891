"""Erasing and redacting, on a real archive: what is gone, what stays, what does not come back, and kills."""

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pyarrow.parquet as pq
import pytest

from cluster.open import ClusterSpec
from crawlers.post import Account, Post, PostId
from crawlers.sink import Memory, Traffic
from crawlers.source import Source
from pipelines.archive import run_ids, run_manifests, sweep_manifest
from pipelines.classify import RunRequest, classify_sweep
from pipelines.config import load_sweep
from pipelines.crawl import _open_sweep, _seal_settings, crawl_sweep
from pipelines.digests import file_sha256
from pipelines.erasure.erase import Outcome, erase, foresee, resume
from pipelines.erasure.ledger import Doing
from pipelines.erasure.targets import Request
from pipelines.erasure.traces import source_names
from pipelines.errors import ArchiveError, ConfigError, LeaseHeldError, SealedError
from pipelines.lease import Lease, acquire, held
from pipelines.progress import Progress
from pipelines.rerun import rerun
from pipelines.seal import seal
from pipelines.shards import ShardSink, SinkSettings, shards_of
from pipelines.store import Store
from pipelines.verify import verify_archive
from tests.erasable import (
    FEED,
    FERN,
    OPEN,
    OWN,
    PUBLIC,
    SEALED,
    crawl,
    ferns,
    let_go,
    make,
    needles,
    others,
    sweep_file,
)
from tests.golden_archive import GOLDEN, unpack
from tests.sweeps import NAMES, contents, page, post

HANDLE = Request("erase", "author", "@fernhollow@home.example")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
        folder = tmp_path_factory.mktemp("erasable")
        make(folder)
        yield folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The archive and its sweep files, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def archive(folder: Path) -> Path:
    return folder / "archive"


def erased(archive: Path, request: Request = HANDLE) -> Outcome:
    return erase(archive, request, Progress(), lambda _: True)


def found_in(archive: Path, needle: bytes) -> list[str]:
    files = [path for path in archive.rglob("*") if path.is_file()]
    return [str(path) for path in files if needle in contents(path) or needle in str(path).encode()]


def rows(archive: Path, table: str = "posts") -> list[dict[str, Any]]:
    paths = sorted(archive.glob(f"{table}/**/part-*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def test_nothing_that_leads_to_an_erased_author_is_in_any_file(archive: Path) -> None:
    for needle in needles():
        assert found_in(archive, needle), needle  # the search finds what is there
    outcome = erased(archive)
    assert outcome.posts == 2 * (3 + 2) + 6  # hers and reposts of hers, once a sealed sweep; sightings of an open one
    assert outcome.sweeps == 3
    for needle in needles():
        assert found_in(archive, needle) == [], needle
    assert verify_archive(archive, None, Progress()) == []


@pytest.mark.parametrize("name", ["@kitedune.bsky.example", "did:plc:kitedune"])
def test_an_account_is_known_by_what_its_own_source_is_called(folder: Path, name: str) -> None:
    """A repository gives no handle: it is the sweep file that says whose it is."""
    archive = folder / "archive"
    source = Source("bluesky", "https://pds.example", "records", "kitedune.bsky.example")
    path = sweep_file(folder, "d2026-01-04", own=False)
    with path.open("a") as file:
        file.write(f'\n[[source]]\nplatform = "bluesky"\nurl = "{source.url}"\nkind = "records"\n')
        file.write(f'value = "{source.value}"\n')
    kite = {"author": Account("did:plc:kitedune"), "text": "Kites over the dunes", "url": None, "raw": None}
    own = [
        post(3000 + n, "bluesky", "pds.example", id=PostId("bluesky", f"at://did:plc:kitedune/post/{n}"), **kite)
        for n in range(2)
    ]
    other = post(1, raw={"content": "ask kitedune.bsky.example"})
    store = Store(archive, "sweep-d2026-01-04")
    settings = crawl(store, "d2026-01-04", {PUBLIC: [other, post(2)], source: own})
    config = load_sweep(path)
    _open_sweep(store, config, NAMES)
    seal(store, settings.lease, _seal_settings(config, NAMES))
    let_go(store)
    assert foresee(archive, Request("erase", "author", name), Progress()).posts == 2
    assert erased(archive, Request("erase", "author", name)).posts == 2
    for needle in (b"Kites over", b"kitedune", NAMES.source_hash(source).encode()):
        assert found_in(archive, needle) == [], needle
    assert erased(archive, Request("erase", "author", name)).done_before is not None
    with pytest.raises(ConfigError, match="names an account that was erased"):
        crawl_sweep(config, Progress())


@pytest.mark.parametrize("fuller", ["one", "two"])
@pytest.mark.parametrize(
    ("name", "keep_accounts"),
    [
        ("kitedune@far.example", True),
        ("kitedune@far.example", False),
        ("https://far.example/users/kitedune", True),
        (NAMES.author("mastodon", Account("https://far.example/@kitedune")), True),
    ],
    ids=["handle", "handle, without accounts", "id", "pseudonym"],
)
def test_an_account_that_two_servers_tell_by_two_ids_goes_whole(
    folder: Path, fuller: str, name: str, keep_accounts: bool
) -> None:
    """Servers before Mastodon 4.2, and others, give an account no `uri`, so that its address is its id."""
    archive = folder / "archive"
    other = replace(PUBLIC, url="https://two.example")
    path = sweep_file(folder, "d2026-01-04", own=False)
    with path.open("a") as file:
        file.write('\n[[source]]\nplatform = "mastodon"\nurl = "https://two.example"\nkind = "public"\n')
    names = ("kitedune@far.example", "Kite of the Dune", "https://far.example/@kitedune")
    ids = {"one": "https://far.example/@kitedune", "two": "https://far.example/users/kitedune"}

    def seen(through: str, numbers: Iterable[int]) -> list[Post]:
        lang = "en" if through == fuller else None
        return [
            post(
                3000 + n, host=f"{through}.example", lang=lang, text=f"Kites over the dunes, {n}", raw=None,
                id=PostId("mastodon", f"https://far.example/kd/{n}", f"{through}.example", f"{through}-native-{n}"),
                author=Account(ids[through], *names), url=f"https://far.example/@kitedune/{n}",
            )
            for n in numbers
        ]  # fmt: skip

    store = Store(archive, "sweep-d2026-01-04")
    read = {PUBLIC: [*seen("one", range(2)), post(1)], other: [*seen("two", range(2)), post(1)]}
    settings = crawl(store, "d2026-01-04", read, keep_accounts=keep_accounts)
    config = load_sweep(path)
    _open_sweep(store, config, NAMES)
    seal(store, settings.lease, _seal_settings(config, NAMES))
    let_go(store)
    assert erased(archive, Request("erase", "author", name)).posts == 2
    pseudonyms = [NAMES.author("mastodon", Account(id)).encode() for id in ids.values()]
    for needle in (b"Kites over", b"kitedune", b"Kite of", *pseudonyms):
        assert found_in(archive, needle) == [], needle
    crawl(store, "again", {PUBLIC: [*seen("one", [8]), post(1)], other: [*seen("two", [9]), post(1)]})
    assert found_in(archive, b"Kites over") == []


def test_with_the_last_post_goes_the_account_also_under_the_pseudonym_of_another_server(folder: Path) -> None:
    archive = folder / "archive"
    other = replace(PUBLIC, url="https://two.example")
    by_id, by_address = (
        Account(id, "kitedune@far.example", "Kite of the Dune", "https://far.example/@kitedune")
        for id in ("https://far.example/users/kitedune", "https://far.example/@kitedune")
    )
    kite = post(3000, author=by_id, id=PostId("mastodon", "https://far.example/kd/1", "one.example", "native-kd"))
    read = {PUBLIC: [kite, post(1)], other: [replace(kite, host="two.example", author=by_address), post(1)]}
    path = sweep_file(folder, "d2026-01-04", own=False)
    with path.open("a") as file:
        file.write('\n[[source]]\nplatform = "mastodon"\nurl = "https://two.example"\nkind = "public"\n')
    store = Store(archive, "sweep-d2026-01-04")
    settings = crawl(store, "d2026-01-04", read)
    config = load_sweep(path)
    _open_sweep(store, config, NAMES)
    seal(store, settings.lease, _seal_settings(config, NAMES))
    let_go(store)
    assert erased(archive, Request("erase", "post", "https://far.example/kd/1")).posts == 1
    assert found_in(archive, b"Kite of the Dune") == []
    left = {row["author"] for row in rows(archive, "accounts")}
    assert NAMES.author("mastodon", post(1).author or FERN) in left


def test_whoever_names_the_address_of_an_account_elsewhere_is_another_account(archive: Path) -> None:
    address = "https://far.example/@kitedune"
    toot = post(3000, author=Account("https://far.example/users/kitedune", "kitedune@far.example", None, address))
    entry = post(3001, "feed", author=Account(address, None, "Kite of the Dune", address))
    crawl(Store(archive, "sweep-late"), "late", {PUBLIC: [toot, post(1)], FEED: [entry, post(2)]})
    let_go(Store(archive))
    assert erased(archive, Request("erase", "author", "kitedune@far.example")).posts == 1
    assert found_in(archive, b"Kite of the Dune")


def test_who_takes_over_a_handle_is_somebody_else(archive: Path) -> None:
    handle, address = "kitedune.example", "https://bsky.app/profile/kitedune.example"

    def seen(number: int, did: str) -> Post:
        own = PostId("bluesky", f"at://{did}/post/{number}")
        return post(3000 + number, "bluesky", id=own, author=Account(did, handle, None, address), text=f"by {did}")

    source = Source("bluesky", "https://view.example", "search", "dunes")
    crawl(Store(archive, "sweep-late"), "late", {source: [seen(0, "did:plc:before"), post(1)]})
    let_go(Store(archive))
    assert erased(archive, Request("erase", "author", handle)).posts == 1
    crawl(Store(archive, "sweep-again"), "again", {source: [seen(1, "did:plc:after"), seen(2, "did:plc:before")]})
    assert found_in(archive, b"by did:plc:before") == []
    assert found_in(archive, b"by did:plc:after")


def test_what_others_wrote_stays_and_leads_nowhere(archive: Path) -> None:
    before = {row["uid"]: row for row in rows(archive)}
    raws = {row["uid"]: row["raw"] for row in rows(archive, "identities")}
    erased(archive)
    answer, quote, repost, link, plain, reply = (NAMES.post(each.id) for each in others(0))
    after = {row["uid"]: row for row in rows(archive)}
    gone = {NAMES.post(ferns(number + start).id) for number in (0, 7, 10) for start in (0, 100_000)}
    gone |= {NAMES.post(list(others(number + start))[2].id) for number in (0, 10) for start in (0, 100_000)}
    assert before.keys() - after.keys() == gone
    assert repost in gone
    assert (after[answer]["reply_to"], after[quote]["quote_of"]) == (None, None)
    assert after[link]["links"] == ["https://weir.example/map"]
    assert after[plain] == before[plain]
    assert after[reply] == before[reply]
    assert {row["input_digest"] for row in after.values()} <= {row["input_digest"] for row in before.values()}
    kept = {row["uid"]: row["raw"] for row in rows(archive, "identities")}
    assert [kept[uid] for uid in (answer, quote, link)] == [None, None, None]
    assert kept[plain] == raws[plain]
    assert kept[reply] == raws[reply]


def test_a_source_of_the_authors_own_loses_its_name_and_what_it_gave_of_others_stays(archive: Path) -> None:
    store = Store(archive)
    erased(archive)
    passed_on = NAMES.post(post(8).id)
    (row,) = [row for row in rows(archive) if row["uid"] == passed_on]
    assert row["seen_by"] == ["mastodon:one.example:account:erased"]
    sweep = sweep_manifest(store, SEALED[0])
    assert sweep is not None
    assert [each["source"] for each in sweep["sources"]] == [
        "mastodon:one.example:public", "mastodon:one.example:account:erased",
    ]  # fmt: skip
    assert [each["source"] for each in sweep["config"]["source"]] == ["mastodon:one.example:public"]
    for path in archive.glob("identities/sweeps/*.json"):
        assert [each["kind"] for each in json.loads(path.read_text())["source"]] == ["public"]


def test_a_manifest_of_the_next_generation_says_how_many_went_and_of_nobody(archive: Path) -> None:
    store = Store(archive)
    first = sweep_manifest(store, SEALED[0])
    outcome = erased(archive)
    second = sweep_manifest(store, SEALED[0])
    assert first is not None
    assert second is not None
    assert (second["generation"], second["counts"]["posts"]) == (1, first["counts"]["posts"] - 5)
    (told,) = second["erasures"]
    assert told["rows"] == {"posts": 5, "identities": 5, "accounts": 1, "rejects": 0}
    assert told["digest_before"] == first["digest"] != second["digest"]
    assert sorted(path.name for path in (archive / "manifests/sweeps").iterdir()) == [f"{s}.1.json" for s in SEALED]
    assert outcome.receipt is not None
    receipt = json.loads((archive / outcome.receipt).read_text())
    assert [(each["sweep"], each["generation"]) for each in receipt["sweeps"]] == [(sweep, 1) for sweep in SEALED]
    assert receipt["open_sweeps"] == {OPEN: {"posts": 6}}
    assert sorted(each["run"] for each in receipt["runs"]) == sorted(each["run"] for each in run_manifests(store))
    assert [each["rows"] for each in receipt["runs"]] == [5, 5, 5]


def test_runs_are_counted_as_if_the_posts_had_never_been_there(folder: Path) -> None:
    archive = folder / "archive"
    config = load_sweep(sweep_file(folder, SEALED[0], str(folder / "small"), own=False))
    before = {run["run"]: run for run in run_manifests(Store(archive))}
    (archive / f"scores/run=without-a-manifest/sweep={SEALED[0]}").mkdir(parents=True)
    erased(archive)
    after = {run["run"]: run for run in run_manifests(Store(archive))}
    (nightly,) = (run for run in before if run.startswith(f"{SEALED[0]}-small"))
    assert after[nightly]["counts"]["posts"] == before[nightly]["counts"]["posts"] - 5
    assert after.keys() == before.keys()
    assert not (archive / "incoming/run=unfinished").exists()
    assert not (archive / "scores/run=without-a-manifest").exists()

    def noted() -> list[object]:
        parts = sorted(archive.glob(f"scores/run={nightly}/**/*.parquet"))
        return [json.loads(pq.read_metadata(part).metadata[b"postsweep"]) for part in parts]

    rewritten = noted()
    shutil.move(archive / f"scores/run={nightly}", folder / "away")
    (archive / f"manifests/runs/{nightly}.json").unlink()
    assert classify_sweep(RunRequest.of(config), Progress())[0] == nightly
    afresh = {run["run"]: run for run in run_manifests(Store(archive))}[nightly]
    for key in ("counts", "near_threshold", "digest", "generation", "labels"):
        assert after[nightly][key] == afresh[key], key
    assert noted() == rewritten
    assert verify_archive(archive, None, Progress()) == []


def test_a_run_of_the_same_model_is_the_same_run_after_an_erasure(folder: Path) -> None:
    config = load_sweep(sweep_file(folder, SEALED[0], str(folder / "second"), own=False))
    run, _ = classify_sweep(RunRequest.of(config), Progress())
    erased(folder / "archive")
    assert classify_sweep(RunRequest.of(config), Progress())[0] == run


def test_a_crawl_under_another_id_does_not_bring_them_back(archive: Path) -> None:
    erased(archive)
    store = Store(archive, "sweep-again")
    unseen = ferns(99)  # never in this archive
    new = [unseen, *others(99), *(each for start in (0, 10) for each in (ferns(start), *others(start)))]
    settings = crawl(store, "again", {PUBLIC: new})
    told = [
        row["reason"]
        for path in archive.glob("incoming/sweep=again/_rejects/**/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    assert told.count("erased from this archive") == 3 * 2  # hers, and reposts of hers
    for needle in [*needles(), *(str(each).encode() for each in (unseen.id.global_id, NAMES.post(unseen.id)))]:
        assert found_in(archive, needle) == [], needle
    feed = ShardSink(settings, FEED)
    feed.remember(Memory(f"<entry><uri>{FERN.url}/99</uri></entry>".encode(), "tag"))
    feed.page(page(0, [ferns(99)], last=True))
    feed.finish([], Traffic())
    other = ShardSink(settings, replace(FEED, url="https://paper.example/weather.xml"))
    other.remember(Memory(b"<entry>rain</entry>", "tag"))
    other.page(page(0, [post(3000)], last=True))
    other.finish([], Traffic())
    assert (feed.memory(), other.memory()) == (None, Memory(b"<entry>rain</entry>", "tag"))


@pytest.mark.parametrize("doing", ["erase", "redact"])
def test_a_feed_that_still_holds_an_old_entry_of_hers_is_not_remembered(archive: Path, doing: Doing) -> None:
    store = Store(archive, "sweep-late")
    own = [ferns(number, url=f"{FERN.url}/?p={number}&lang=en") for number in (300, 301)]
    crawl(store, "late", {PUBLIC: [*own, post(3000)]})
    let_go(store)
    erased(archive, Request(doing, "author", FERN.id))
    settings = crawl(store, "again", {PUBLIC: [post(3001)]})
    link = str(own[0].url)
    bodies = {
        "plain.xml": link,
        "as-xml.xml": f"<rss><item><link>{link.replace('&', '&amp;')}</link></item></rss>",
        "as-html.xml": f"<content>&lt;a href=&quot;{link.replace('&', '&amp;amp;')}&quot;&gt;</content>",
        "as-json.json": json.dumps({"items": [{"url": link}]}).replace("/", "\\/"),
    }
    for name, body in {**bodies, "other.xml": "<rss>rain</rss>"}.items():
        feed = ShardSink(settings, replace(FEED, url=f"https://paper.example/{name}"))
        feed.remember(Memory(body.encode(), "tag"))
        feed.page(page(0, [post(3002)], last=True))  # the entry itself is older than the window
        feed.finish([], Traffic())
        assert (feed.memory() is None) == (name in bodies), name


def test_json_that_spells_an_address_in_html_goes_too(archive: Path) -> None:
    store = Store(archive, "sweep-late")
    spelled = FERN.url.replace("/", "&#x2F;") if FERN.url else ""
    crawl(store, "late", {PUBLIC: [post(3000, raw={"text": f"as she said: <a href='{spelled}'>here</a>"}), post(3001)]})
    let_go(store)
    assert found_in(archive, spelled.encode())
    erased(archive)
    assert found_in(archive, spelled.encode()) == []


def test_a_crawl_goes_on_after_an_erasure_and_seals_without_them(folder: Path) -> None:
    archive = folder / "archive"
    store = Store(archive, f"sweep-{OPEN}")
    erased(archive)
    config = load_sweep(sweep_file(folder, OPEN, own=False))
    _open_sweep(store, config, NAMES)  # the sweep file without the source is what was begun
    settings = crawl(store, OPEN, {})
    sink = ShardSink(settings, PUBLIC)
    position = sink.position()
    assert position is not None
    assert (position.page, position.cursor) == (2, "cursor-2")
    sink.finish([], Traffic())
    manifest = seal(store, settings.lease, _seal_settings(config, NAMES))
    assert manifest["counts"]["posts"] == 2 * 5 + 30
    assert verify_archive(archive, None, Progress()) == []
    for needle in needles():
        assert found_in(archive, needle) == [], needle


def test_a_sealed_sweep_is_known_by_its_file_without_the_erased_source(folder: Path) -> None:
    erased(folder / "archive")
    with pytest.raises(SealedError, match="cannot change"):
        crawl_sweep(load_sweep(sweep_file(folder, SEALED[0], own=False)), Progress())


def test_a_sealing_that_was_cut_off_is_finished_first(folder: Path) -> None:
    archive = folder / "archive"
    store = Store(archive, f"sweep-{OPEN}")
    config = load_sweep(sweep_file(folder, OPEN))
    settings = crawl(store, OPEN, {})
    for source in (PUBLIC, OWN):
        sink = ShardSink(settings, source)
        sink.position()
        sink.finish([], Traffic())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "move_folder", Mock(side_effect=KeyboardInterrupt))
        seal(store, settings.lease, _seal_settings(config, NAMES))
    let_go(store)
    assert erased(archive).posts == 3 * 5
    assert verify_archive(archive, None, Progress()) == []
    for needle in needles():
        assert found_in(archive, needle) == [], needle


@pytest.mark.parametrize("packed", sorted(GOLDEN.glob("format-*.tar.xz")), ids=lambda path: path.name[:-7])
def test_archives_of_every_format_can_be_erased_from(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    unpack(packed, tmp_path)
    archive = tmp_path / "archive"
    assert erased(archive, Request("erase", "author", "https://home.example/rivermint3")).posts > 5
    assert verify_archive(archive, None, Progress()) == []
    assert found_in(archive, b"home.example/rivermint3") == []
    assert found_in(archive, b"home.example/rivermint4")


def test_a_sweep_file_that_names_an_erased_account_is_refused(folder: Path) -> None:
    erased(folder / "archive")
    path = sweep_file(folder, "d2026-01-04")
    for value in ("@fernhollow@home.example", "FernHollow@home.example"):
        path.write_text(path.read_text().replace("@fernhollow@home.example", value))
        with pytest.raises(ConfigError, match=r"source\[1\]: names an account that was erased") as refused:
            crawl_sweep(load_sweep(path), Progress())
        assert "fernhollow" not in str(refused.value).replace(str(folder), "").casefold()


@pytest.mark.parametrize(
    "request_",
    [
        Request("erase", "author", FERN.id),
        Request("erase", "author", "fernhollow@home.example"),
        Request("erase", "author", "https://home.example/@fernhollow"),
        Request("erase", "url", "https://home.example/@fernhollow"),
        Request("erase", "author", NAMES.author("mastodon", FERN)),
    ],
    ids=["id", "handle", "address", "url", "pseudonym"],
)
def test_an_author_is_known_by_any_name_and_was_erased_only_once(archive: Path, request_: Request) -> None:
    assert foresee(archive, request_, Progress()).posts == 16
    erased(archive)
    again = erased(archive, request_)
    assert again.receipt is None
    assert again.done_before is not None


@pytest.mark.parametrize(
    "value",
    [
        NAMES.post(ferns(0).id),
        f"{FERN.id}/statuses/0",
        f"{FERN.url}/0",
        "fern-native-0",
        "mastodon:one.example:fern-native-0",
    ],
    ids=["uid", "global id", "address", "native id", "whole native name"],
)
def test_one_post_goes_with_its_reposts_and_its_author_stays(archive: Path, value: str) -> None:
    outcome = erased(archive, Request("erase", "post", value))
    assert (outcome.posts, outcome.sweeps) == (2, 1)
    manifests = {path.name for path in (archive / "manifests/sweeps").iterdir()}
    assert manifests == {f"{SEALED[0]}.1.json", f"{SEALED[1]}.0.json"}
    for needle in (NAMES.post(ferns(0).id), f"{FERN.id}/statuses/0", "fern-native-0"):
        assert found_in(archive, needle.encode() + b"'") == [], needle
    assert NAMES.post(ferns(10).id) in {row["uid"] for row in rows(archive)}
    assert NAMES.author("mastodon", FERN) in {row["author"] for row in rows(archive, "accounts")}
    assert verify_archive(archive, None, Progress()) == []
    assert erased(archive, Request("erase", "post", value)).done_before is not None


def test_an_address_means_all_posts_that_have_it_and_a_bare_id_only_one(archive: Path) -> None:
    store = Store(archive, "sweep-late")
    address = "https://paper.example/2026/the-weir"
    twice = [
        post(3000 + number, "feed", host, id=PostId("feed", None, host, "17"), url=address, text=f"Kites over {host}")
        for number, host in enumerate(("paper.example", "mirror.example"))
    ]
    crawl(store, "late", {FEED: [*twice, post(3002)]})
    let_go(store)
    with pytest.raises(ConfigError, match="--post: 2 posts of this archive are called so; give its whole address"):
        erased(archive, Request("erase", "post", "17"))
    assert erased(archive, Request("erase", "url", address)).posts == 2
    assert found_in(archive, b"Kites over") == []


def test_a_repost_of_a_post_that_the_archive_does_not_hold_is_erased_by_that_posts_id(archive: Path) -> None:
    stranger = PostId("mastodon", "https://far.example/users/kite/statuses/9")
    store = Store(archive, "sweep-late")
    repost = post(9000, kind="repost", repost_of=stranger, text="Kites over the dunes")
    crawl(store, "late", {PUBLIC: [post(1), repost]})
    let_go(store)
    assert found_in(archive, b"Kites over")
    assert erased(archive, Request("erase", "post", stranger.global_id or "")).posts == 1
    assert found_in(archive, b"Kites over") == []


def test_everything_before_a_moment_goes_and_stays_away(archive: Path) -> None:
    count = len(rows(archive))
    old = sum(row["created_at"].isoformat() < "2026-01-01T12:05" for row in rows(archive))
    outcome = erased(archive, Request("erase", "before", "2026-01-01T12:05:00Z"))
    assert 0 < old < count
    assert len(rows(archive)) == count - old
    assert verify_archive(archive, None, Progress()) == []
    store = Store(archive, "sweep-again")
    crawl(store, "again", {PUBLIC: [post(1), post(2), post(4000)]})
    assert [shard.meta["posts"] for shard in shards_of(store, "again")] == [0, 1]
    assert outcome.receipt is not None
    assert json.loads((archive / outcome.receipt).read_text())["before"] == "2026-01-01T12:05:00Z"


def test_redacted_posts_keep_their_rows_and_scores_and_lose_their_words(archive: Path) -> None:
    before = {row["uid"]: row for row in rows(archive)}
    scores = rows(archive, "scores")
    erased(archive, Request("redact", "author", "fernhollow@home.example"))
    after = {row["uid"]: row for row in rows(archive)}
    assert after.keys() == before.keys()
    mine = after[NAMES.post(ferns(0).id)]
    words = ("title", "warning", "text", "hashtags", "links", "input_digest")
    assert [mine[name] for name in words] == [None] * len(words)
    assert mine["media"] == [{"type": "image", "alt": None}]
    assert mine["author"] == NAMES.author("mastodon", FERN)
    assert rows(archive, "scores") == scores
    for needle in ("heron", "白鹭", "Weir diary", "long legs"):
        assert found_in(archive, needle.encode()) == [], needle
    assert verify_archive(archive, None, Progress()) == []
    store = Store(archive, "sweep-again")
    crawl(store, "again", {PUBLIC: [ferns(0), ferns(99), *others(0)]})
    assert sum(shard.meta["posts"] for shard in shards_of(store, "again")) == 8
    assert found_in(archive, b"heron at") == []


def test_a_redacted_author_can_be_erased_later(archive: Path) -> None:
    erased(archive, Request("redact", "author", "fernhollow@home.example"))
    assert erased(archive).posts == 16
    for needle in needles():
        assert found_in(archive, needle) == [], needle
    assert verify_archive(archive, None, Progress()) == []
    assert sorted(path.name for path in (archive / "manifests/sweeps").iterdir()) == [f"{s}.2.json" for s in SEALED]


def test_nothing_found_changes_nothing(archive: Path) -> None:
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file() and "leases" not in path.parts}
    outcome = erased(archive, Request("erase", "author", "nobody@nowhere.example"))
    assert (outcome.receipt, outcome.done_before) == (None, None)
    assert erase(archive, HANDLE, Progress(), lambda _: False).declined
    assert before == {path: path.read_bytes() for path in before}
    assert not (archive / "ledger").exists()
    assert not (archive / "identities/erasing").exists()


def test_a_name_that_two_have_is_refused_without_telling_it(archive: Path) -> None:
    store = Store(archive, "sweep-late")
    crawl(store, "late", {PUBLIC: [post(1, author=Account("https://far.example/users/f", "fernhollow")), post(2)]})
    crawl(store, "later", {PUBLIC: [post(1, author=Account("https://far.example/users/g", "fernhollow")), post(2)]})
    with pytest.raises(ConfigError, match="2 accounts of this archive are called so") as told:
        erased(archive, Request("erase", "author", "fernhollow"))
    assert "fernhollow" not in str(told.value)


def test_nobody_writes_or_verifies_while_an_erasure_is_under_way(folder: Path) -> None:
    archive = folder / "archive"
    Store(archive).create("identities/erasing/intent.json", b"{}", private=True)
    with pytest.raises(ArchiveError, match="an erasure is under way; finish it with"):
        crawl_sweep(load_sweep(sweep_file(folder, OPEN)), Progress())
    with pytest.raises(ArchiveError, match="an erasure is under way"):
        classify_sweep(RunRequest.of(load_sweep(sweep_file(folder, SEALED[1], str(folder / "second")))), Progress())
    (run,) = (run for run in run_ids(Store(archive)) if run.startswith(f"{SEALED[1]}-small"))
    with pytest.raises(ArchiveError, match="an erasure is under way"):
        rerun(archive, run, {"small": str(folder / "small")}, ClusterSpec(), Progress())
    with pytest.raises(ArchiveError, match="an erasure is under way"):
        verify_archive(archive, None, Progress())


@pytest.mark.parametrize("name", [f"sweep-{OPEN}", "run-of.a.model.7"])
def test_an_erasure_waits_for_nobody_who_writes(archive: Path, name: str) -> None:
    with held(Store(archive), name), pytest.raises(LeaseHeldError, match="is working on it"):
        erased(archive)
    assert not (archive / "identities/erasing").exists()
    assert erased(archive).posts == 16


def test_a_writer_that_slept_through_an_erasure_writes_nothing(archive: Path) -> None:
    store = Store(archive, "sweep-slow")
    lease = acquire(store, "sweep-slow")
    sink = ShardSink(SinkSettings(store, "slow", lease, NAMES), PUBLIC)
    sink.page(page(0, [ferns(0)], last=True))
    record = orjson.loads((archive / f"leases/sweep-slow.{lease.token}.json").read_bytes())
    (archive / f"leases/sweep-slow.{lease.token}.json").write_bytes(orjson.dumps({**record, "expires": 0}))
    erased(archive)
    with pytest.raises(ArchiveError, match="took over"):
        sink.finish([], Traffic())


@pytest.mark.parametrize("what", ["page", "feed"])
def test_a_writer_that_sleeps_between_its_look_and_its_files_leaves_none(
    archive: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store = Store(archive, "sweep-slow")
    lease = acquire(store, "sweep-slow")
    sink = ShardSink(SinkSettings(store, "slow", lease, NAMES), FEED)
    sink.page(page(0, [ferns(0)], last=True))
    assert not sink._settings.ledger  # read before anything was erased
    held_by = archive / f"leases/sweep-slow.{lease.token}.json"
    look = Lease.check

    def looked_and_slept(self: Lease, at: Store) -> None:
        look(self, at)
        monkeypatch.setattr(Lease, "check", look)
        held_by.write_bytes(orjson.dumps({**orjson.loads(held_by.read_bytes()), "expires": 0}))
        erased(archive)

    monkeypatch.setattr(Lease, "check", looked_and_slept)
    with pytest.raises(ArchiveError, match="took over"):
        sink.finish([], Traffic()) if what == "page" else sink.remember(Memory(b"<rss>fernhollow</rss>", "tag"))
    assert found_in(archive, b"fernhollow") == []


@pytest.mark.parametrize(
    ("table", "start", "end", "told"),
    [("posts", b"PAR1", b"PAR", "cannot be read"), ("scores", b"PAR0", b"PAR1", "not as it was committed")],
)
def test_a_damaged_part_is_told_before_anything_changes(
    archive: Path, table: str, start: bytes, end: bytes, told: str
) -> None:
    part = sorted(archive.glob(f"{table}/**/*.parquet"))[0]
    part.write_bytes(start + part.read_bytes()[4:-4] + end)
    with pytest.raises(ArchiveError, match=told):
        erased(archive)
    assert not (archive / "ledger").exists()
    assert not (archive / "identities/erasing").exists()


def test_a_source_that_a_later_postsweep_wrote_down_is_told_before_anything_changes(archive: Path) -> None:
    path = archive / f"identities/sweeps/{SEALED[1]}.json"
    config = json.loads(path.read_text())
    config["source"][1]["shape"] = "round"
    path.write_text(json.dumps(config))
    with pytest.raises(ArchiveError, match=rf"{SEALED[1]}.json: source\[1\] is none that this postsweep knows") as told:
        erased(archive)
    assert "fernhollow" not in str(told.value)
    assert not (archive / "identities/erasing").exists()


def test_the_intent_is_private_and_tells_no_name(archive: Path) -> None:
    seen: list[bytes] = []

    def look(_: object) -> bool:
        path = archive / "identities/erasing/intent.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        seen.append(path.read_bytes())
        return False

    erase(archive, HANDLE, Progress(), look)
    assert b"fernhollow" not in seen[0]
    assert resume(archive, Progress(), look) is None


def state(archive: Path) -> dict[str, object]:
    """Every file of an archive, but for the erasure's own id and moment, and for leases."""
    found: dict[str, object] = {}
    (ledger,) = archive.glob("ledger/*.parquet")
    (receipt,) = archive.glob("ledger/receipts/*.json")
    own = (ledger.stem, json.loads(receipt.read_text())["at"], file_sha256(ledger))
    for path in archive.rglob("*"):
        name = path.relative_to(archive).as_posix().replace(ledger.stem, "ID")
        if path.is_dir() or name.startswith("leases/"):
            continue
        if path == ledger:
            found[name] = pq.ParquetFile(path).read().column("hash").to_pylist()
        elif path == receipt or name.startswith("manifests/"):
            text = path.read_text()
            for word in own:
                text = text.replace(word, "OWN")
            found["receipt" if path == receipt else name] = {**json.loads(text), "sha256": None}
        else:
            found[name] = path.read_bytes()
    return found


class CutError(BaseException):
    """A kill, as far as one process can play it: nothing in its way takes it for a fault."""


@contextmanager
def cut_before(change: int) -> Iterator[None]:
    """Cuts before a change of the file system, by its number."""
    left = [change]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def cut_here(*args: object, **kwargs: object) -> object:
            if left[0] == 0:
                raise CutError
            left[0] -= 1
            return original(*args, **kwargs)

        return cut_here

    with pytest.MonkeyPatch.context() as patch:
        for name in ("writing", "move_folder", "remove"):
            patch.setattr(Store, name, counted(getattr(Store, name)))
        yield


def test_an_erasure_goes_on_from_every_point_at_which_it_can_be_cut(folder: Path, tmp_path: Path) -> None:
    """Cuts before each change of the file system, in turn, until an erasure comes through undisturbed."""
    one_sealed = without(folder / "archive", SEALED[1])
    whole = Path(shutil.copytree(one_sealed, tmp_path / "whole"))
    erased(whole)
    wanted = state(whole)
    cuts, through = 0, False
    while not through:
        archive = Path(shutil.copytree(one_sealed, tmp_path / f"cut{cuts}"))
        try:
            with cut_before(cuts):
                erased(archive)
            through = True
        except CutError:
            shutil.rmtree(archive / "leases", ignore_errors=True)  # this process lives on, where a killed one is gone
            stands = (archive / "identities/erasing/intent.json").exists()
            outcome = resume(archive, Progress(), lambda _: True) if stands and cuts % 2 else erased(archive)
            assert outcome is not None
            assert outcome.receipt is not None or (outcome.done_before and not stands)
        assert state(archive) == wanted, cuts
        assert not (archive / "identities/erasing").exists()
        assert not list(archive.glob("tmp/*/*"))
        assert not list(archive.glob("identities/tmp/*/*"))
        shutil.rmtree(archive)
        cuts += 1
    assert verify_archive(whole, None, Progress()) == []
    assert cuts > 40


def without(archive: Path, sweep: str) -> Path:
    """The archive without one of its sealed sweeps and its runs."""
    for path in (*archive.glob(f"*/sweep={sweep}"), *archive.glob(f"scores/run={sweep}-*")):
        shutil.rmtree(path)
    for path in archive.glob(f"manifests/*/{sweep}*"):
        path.unlink()
    return archive


def command(*arguments: str, cwd: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `postsweep` under the archive's key."""
    run = [str(Path(sys.executable).with_name("postsweep")), *arguments]
    environment = {**os.environ, "POSTSWEEP_KEY": NAMES.key.hex()}
    return subprocess.run(
        run, cwd=cwd, env=environment, input=said, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_command_says_what_it_did_and_never_what_it_was_asked(folder: Path) -> None:
    foreseen = command("erase", "archive", "--author", "-", "--dry-run", cwd=folder, said="@fernhollow@home.example\n")
    assert (foreseen.returncode, foreseen.stdout) == (
        0, "would erase: 16 posts in 3 sweeps; posts of others that lead to them: 12\n"
    )  # fmt: skip
    unasked = command("erase", "archive", "--author", "-", cwd=folder, said="@fernhollow@home.example\n")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    assert "no terminal to ask on; add --yes" in unasked.stderr
    assert len(unasked.stderr.splitlines()) == 1
    assert found_in(folder / "archive", b"fernhollow")
    done = command("erase", "archive", "--author", "-", "--yes", cwd=folder, said="@fernhollow@home.example\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "erased: 16 posts in 3 sweeps"
    assert done.stdout.splitlines()[1].startswith("receipt: archive/ledger/receipts/")
    assert "reports and exports made before" in done.stdout
    again = command("erase", "archive", "--author", "-", "--yes", cwd=folder, said="@fernhollow@home.example\n")
    assert (again.returncode, again.stdout[:17]) == (0, "erased already on")
    nobody = command("erase", "archive", "--author", "kite@far.example", "--yes", cwd=folder)
    assert (nobody.returncode, nobody.stdout) == (1, "archive: nothing found; nothing was changed\n")
    resumed = command("erase", "archive", "--resume", "--yes", cwd=folder)
    assert resumed.stdout == "nothing to finish: no erasure is under way\n"
    assert command("erase", "archive", cwd=folder).returncode == 2
    assert command("redact", "archive", "--before", "soon", "--yes", cwd=folder).returncode == 2
    for each in (foreseen, unasked, done, again, nobody):
        assert not [word for word in ("fernhollow", "kite") if word in each.stdout + each.stderr]


def standing(archive: Path) -> Path:
    """The intent of an erasure that was cut off before anything was decided."""
    with cut_before(4), suppress(CutError):
        erased(archive)
    shutil.rmtree(archive / "leases")
    intent = archive / "identities/erasing/intent.json"
    assert intent.exists()
    assert not (archive / "ledger").exists()
    return intent


def test_what_cannot_be_resumed_now_can_be_later(archive: Path) -> None:
    intent = standing(archive)
    for once_more in (lambda: resume(archive, Progress(), lambda _: True), lambda: erased(archive)):
        with held(Store(archive), f"sweep-{OPEN}"), pytest.raises(LeaseHeldError, match="run the same command again"):
            once_more()
        assert intent.exists()
    outcome = resume(archive, Progress(), lambda _: True)
    assert outcome is not None
    assert outcome.posts == 16


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--dry-run", "--yes")])
def test_nothing_is_resumed_without_a_yes_or_for_a_dry_run(folder: Path, options: tuple[str, ...]) -> None:
    intent = standing(folder / "archive")
    done = command("erase", "archive", "--resume", *options, cwd=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert intent.exists()
    assert not (folder / "archive/ledger").exists()


@pytest.mark.slow
def test_an_erasure_killed_at_twenty_random_moments_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    archive = make(tmp_path, blocks=20, plain=1500)
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    moments = random.Random(seed)
    asked = ["erase", "archive", "--author", "fernhollow@home.example", "--yes"]

    def begin(cwd: Path) -> "subprocess.Popen[bytes]":
        """Starts the command and returns once its intent stands."""
        run = [str(Path(sys.executable).with_name("postsweep")), *asked]
        child = subprocess.Popen(run, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (cwd / "archive/identities/erasing/intent.json").exists():
            with suppress(subprocess.TimeoutExpired):
                assert child.wait(timeout=0.001) is None
        return child

    whole = tmp_path / "whole"
    shutil.copytree(archive, whole / "archive")
    child = begin(whole)
    begun = time.monotonic()
    assert child.wait() == 0
    length = time.monotonic() - begun
    wanted = state(whole / "archive")
    assert verify_archive(whole / "archive", None, Progress()) == []
    struck = 0
    while struck < 20:
        folder = tmp_path / "killed"
        shutil.copytree(archive, folder / "archive")
        child = begin(folder)
        try:
            child.wait(timeout=moments.uniform(0, length))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            struck += (folder / "archive/identities/erasing/intent.json").exists()
        again = command(*asked, cwd=folder)
        assert again.returncode == 0, again.stderr
        assert state(folder / "archive") == wanted
        shutil.rmtree(folder)
    for needle in needles(20):
        assert found_in(whole / "archive", needle) == [], needle


@pytest.mark.parametrize(
    ("kind", "value"), [("author", "rivermint"), ("search", "by:rivermint flood"), ("search", "author:Rivermint")]
)
def test_a_source_of_hacker_news_that_names_an_account_is_known_by_it(kind: str, value: str) -> None:
    assert "rivermint" in source_names(Source("hackernews", "https://hn.algolia.com", kind, value))
