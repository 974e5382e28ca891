import os
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipelines.lease
import pipelines.shards
import pipelines.sorting
from crawlers.post import POST_SCHEMA, Account, Post, PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.sink import Memory, Position, Traffic
from pipelines.archive import open_archive, read_archive, sweep_manifest, write_manifest
from pipelines.config import load_sweep
from pipelines.crawl import _open_sweep, crawl_sweep
from pipelines.errors import ArchiveError, Exit, KeyMismatchError, LeaseHeldError
from pipelines.lease import acquire, held
from pipelines.progress import Progress
from pipelines.seal import is_sealing, seal
from pipelines.shards import ShardSink, shards_of
from pipelines.store import Store
from pipelines.verify import verify_archive
from tests.sweeps import (
    GAP,
    NAMES,
    NOON,
    SOURCES,
    SWEEP,
    one_source,
    open_store,
    page,
    post,
    seal_settings,
    sealed_sweep,
    sink_settings,
)

ONE, TWO, AUTHOR = SOURCES


def rows(root: Path, table: str = "posts") -> list[dict[str, object]]:
    parts = sorted(root.glob(f"{table}/sweep=*/platform=*/part-*.parquet"))
    return [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]


def test_a_sealed_sweep_has_each_post_once_sorted_in_even_parts(tmp_path: Path) -> None:
    posts = [post(number) for number in range(25)]
    manifest = sealed_sweep(tmp_path, {ONE: [page(0, posts[:15]), page(1, posts[10:], last=True)]}, part_rows=10)

    assert [part["rows"] for part in manifest["parts"]["posts"]] == [9, 8, 8]
    found = rows(tmp_path)
    assert [row["uid"] for row in found] == sorted(NAMES.post(each.id) for each in posts)
    assert manifest["counts"] == {"posts": 25, "rejects": 0, "duplicates": 5, "platforms": {"mastodon": 25}}
    assert verify_archive(tmp_path, SWEEP, Progress()) == []
    assert not (tmp_path / "incoming" / f"sweep={SWEEP}").exists()


def test_a_post_seen_through_two_sources_is_one_row_that_names_both(tmp_path: Path) -> None:
    sealed_sweep(
        tmp_path, {ONE: [page(0, [post(1)], last=True)], TWO: [page(0, [post(1, host="two.example")], last=True)]}
    )
    (row,) = rows(tmp_path)
    assert row["seen_by"] == ["mastodon:one.example:public", "mastodon:two.example:tag:rain"]
    assert row["host"] == "one.example"


def test_the_newest_version_wins_whatever_came_first(tmp_path: Path) -> None:
    old = post(1)
    new = post(1, text="corrected", edited_at=NOON + timedelta(hours=1))
    digests = set()
    for name, order in (("a", [old, new]), ("b", [new, old])):
        manifest = sealed_sweep(tmp_path / name, {ONE: [page(0, order, last=True)]})
        (row,) = rows(tmp_path / name)
        assert (row["text"], row["version"]) == ("corrected", 1)
        digests.add(manifest["digest"])
    assert len(digests) == 1


def test_a_relation_by_native_id_becomes_the_uid_of_the_post_it_names(tmp_path: Path) -> None:
    parent = post(1)
    reply = post(2, kind="reply", reply_to=PostId("mastodon", None, "one.example", "native1"))
    stray = post(3, kind="reply", reply_to=PostId("mastodon", None, "one.example", "never seen"))
    sealed_sweep(tmp_path, {ONE: [page(0, [parent, reply, stray], last=True)]})
    by_text = {row["text"]: row for row in rows(tmp_path)}
    assert by_text["post number 2"]["reply_to"] == NAMES.post(parent.id)
    assert by_text["post number 3"]["reply_to"] == NAMES.post(stray.reply_to or stray.id)


@pytest.mark.parametrize("held", [1, 3000, 10**9])
def test_relations_are_resolved_whatever_is_held_at_once_and_however_many_name_one_post(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(pipelines.sorting, "HELD_BYTES", held)
    monkeypatch.setattr(pipelines.shards, "FLUSH_ROWS", 25)

    def reply(number: int) -> Post:
        parent = 0 if number % 2 else number // 2
        named = PostId("mastodon", None, "one.example", f"native{parent}")
        quoted = PostId("mastodon", None, "one.example", f"native{number // 3}") if number % 5 == 0 else None
        return post(number, reply_to=named, quote_of=quoted)

    pages = [page(at, [reply(10 * at + number) for number in range(10)], last=at == 19) for at in range(20)]
    sealed_sweep(tmp_path, {ONE: pages})
    found = {row["uid"]: row for row in rows(tmp_path)}
    for number in range(200):
        row = found[NAMES.post(post(number).id)]
        assert row["reply_to"] == NAMES.post(post(0 if number % 2 else number // 2).id)
        assert row["quote_of"] == (NAMES.post(post(number // 3).id) if number % 5 == 0 else None)


def test_what_the_archive_cannot_hold_is_a_reject_and_not_lost(tmp_path: Path) -> None:
    odd = [post(1), post(2, likes=2**70), post(3, text="\ud800"), post(4)]
    manifest = sealed_sweep(tmp_path, {ONE: [page(0, odd, last=True, rejects=2)]})
    assert manifest["counts"]["posts"] == 2
    assert manifest["counts"]["rejects"] == 4
    assert {row["reason"] for row in rows(tmp_path, "rejects")} == {
        "not a string",
        "a value is out of the range that the archive can hold",
    }


def test_nothing_that_leads_back_stands_outside_identities(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store, keep_raw=True)
    sink = ShardSink(settings, AUTHOR)
    sink.page(page(0, [post(1, "bluesky", raw={"handle": "rivermint1"})]))
    sink.page(page(1, [post(2, "bluesky")], last=True))
    sink.remember(Memory(b"rivermint"))

    def leaking() -> list[Path]:
        files = [path for path in tmp_path.rglob("*") if path.is_file() and "identities" not in path.parts]
        assert files
        needles = (b"rivermint", b"home.example", b"native1", b"cursor-1")
        return [path for path in files if any(needle in path.read_bytes() for needle in needles)]

    sink.finish([], Traffic())
    assert leaking() == []
    seal(store, settings.lease, seal_settings(sources=[AUTHOR]))
    assert leaking() == []
    for path in (tmp_path / "identities").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    (first, _) = rows(tmp_path, "identities")
    assert str(first["global_id"]).startswith("https://home.example/posts/")


def test_accounts_are_kept_apart_once_each_and_only_when_asked_for(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store, keep_accounts=True)
    sink = ShardSink(settings, ONE)
    sink.page(page(0, [post(number) for number in range(20)], last=True))
    sink.finish([], Traffic())
    seal(store, settings.lease, seal_settings())
    assert [row["handle"] for row in rows(tmp_path, "accounts")] == sorted(
        (f"rivermint{number}" for number in range(7)),
        key=lambda handle: NAMES.author("mastodon", Account(f"https://home.example/{handle}")),
    )
    assert verify_archive(tmp_path, None, Progress()) == []
    sealed_sweep(tmp_path / "without", {ONE: [page(0, [post(1)], last=True)]})
    assert not (tmp_path / "without/accounts").exists()


def test_a_source_goes_on_after_its_last_kept_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.shards, "FLUSH_ROWS", 2)
    store = open_store(tmp_path)
    settings = sink_settings(store)
    sink = ShardSink(settings, ONE)
    assert sink.position() == Position(0, None)
    for number in range(4):
        sink.page(page(number, [post(2 * number), post(2 * number + 1)]))
    again = ShardSink(settings, ONE)  # the first one is gone, with the page it held back
    assert again.position() == Position(3, "cursor-3")
    again.page(page(3, [post(6), post(7)], last=True))
    again.finish([], Traffic())
    assert ShardSink(settings, ONE).position() is None
    assert seal(store, settings.lease, seal_settings())["counts"]["posts"] == 8


def test_a_page_waits_for_its_commit_as_long_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(pipelines.shards.time, "monotonic", lambda: now)
    store = open_store(tmp_path)
    sink = ShardSink(sink_settings(store), ONE)
    committed = []
    for number, now in enumerate([0.0, 21.0, 22.0, 30.0, 41.5]):  # noqa: B007 - read by the clock
        sink.page(page(number, [post(number)]))
        committed.append([(shard.first, shard.last) for shard in shards_of(store, SWEEP)])
    assert committed == [[], [(0, 0)], [(0, 0)], [(0, 0)], [(0, 0), (1, 3)]]


def test_a_source_that_ended_in_a_gap_is_tried_again_and_the_gap_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store)
    sink = ShardSink(settings, ONE)
    sink.page(page(0, [post(1)]))
    sink.finish([GAP], Traffic())
    again = ShardSink(settings, ONE)
    assert again.position() == Position(1, "cursor-1")
    again.finish([GAP], Traffic())
    assert ShardSink(settings, ONE).position() == Position(2, "cursor-1")
    (source,) = seal(store, settings.lease, seal_settings())["sources"]
    assert source["state"] == "gap"
    assert source["gaps"][0]["reason"] == "the server asks for a login"
    assert (source["pages"], source["posts"]) == (1, 1)


def flushed(sink: ShardSink, numbers: range, last: bool = False) -> None:
    """Reads pages of ten posts and commits them: as a whole source, or as if more followed."""
    for number in numbers:
        sink.page(page(number, [post(10 * number + index) for index in range(10)], last and number == numbers[-1]))
    if last:
        sink.finish([], Traffic())
    else:
        sink._commit("open", [], None)


@pytest.mark.parametrize("second_ends", [range(5), range(1), range(10)])
def test_two_writers_of_one_source_neither_lose_nor_double_a_post(tmp_path: Path, second_ends: range) -> None:
    """As when Dask hands a task to another worker while the first still runs, under the same lease."""
    store = open_store(tmp_path)
    settings = sink_settings(store)
    first, second = ShardSink(settings, ONE), ShardSink(settings, ONE)
    flushed(first, range(3))
    flushed(second, second_ends)
    flushed(first, range(3, 10), last=True)
    assert ShardSink(settings, ONE).position() is None
    assert seal(store, settings.lease, seal_settings())["counts"]["posts"] == 100
    assert verify_archive(tmp_path, SWEEP, Progress()) == []


def test_a_writer_that_lost_its_lease_leaves_the_cursor_of_its_heir_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store)
    late = ShardSink(settings, ONE)
    late.page(page(0, [post(99)]))
    heirs = replace(settings, lease=replace(settings.lease, token=settings.lease.token + 1))
    store.put(f"leases/sweep-{SWEEP}.{heirs.lease.token}.json", b"{}")
    flushed(ShardSink(heirs, ONE), range(1))
    with pytest.raises(ArchiveError, match="took over"):
        late.finish([], Traffic())
    assert ShardSink(heirs, ONE).position() == Position(1, "cursor-1")


def test_a_sweep_with_a_source_that_was_not_read_to_an_end_is_not_sealed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store)
    flushed(ShardSink(settings, ONE), range(2))
    with pytest.raises(ArchiveError, match=r"1 of its sources .*one\.example:public first"):
        seal(store, settings.lease, seal_settings())
    flushed(ShardSink(settings, TWO), range(1), last=True)
    with pytest.raises(ArchiveError, match="2 of its sources"):
        seal(store, settings.lease, seal_settings(sources=[ONE, TWO, AUTHOR]))
    assert not is_sealing(store, SWEEP)


def test_what_a_failed_sealing_staged_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store)
    flushed(ShardSink(settings, ONE), range(2), last=True)

    def full(*_: object) -> None:
        raise ArchiveError("no space left")

    for token in range(1, 4):
        heir = replace(settings.lease, token=token)
        with monkeypatch.context() as patch, pytest.raises(ArchiveError, match="no space left"):
            patch.setattr(Store, "sync_folder", full)
            seal(store, heir, seal_settings())
        assert {path.name for path in tmp_path.glob("**/_sealing*")} == {f"_sealing.{token}"}


def test_what_stands_where_a_sealed_table_should_go_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    store = open_store(tmp_path)
    settings = sink_settings(store)
    flushed(ShardSink(settings, ONE), range(2), last=True)
    stray = tmp_path / f"posts/sweep={SWEEP}/stray.parquet"
    stray.parent.mkdir(parents=True)
    stray.touch()
    with pytest.raises(ArchiveError, match=f"posts/sweep={SWEEP}: something else stands there"):
        seal(store, settings.lease, seal_settings())
    stray.unlink()
    assert seal(store, settings.lease, seal_settings())["counts"]["posts"] == 20


def test_a_sealing_that_waits_is_not_finished_under_another_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    text = one_source("https://one.example")
    (tmp_path / "sweep.toml").write_text(text)
    (tmp_path / "other.toml").write_text(text.replace("until = 2026-01-02", "until = 2026-01-03"))
    store = open_store(tmp_path / "archive")
    settings = sink_settings(store)
    _open_sweep(store, load_sweep(tmp_path / "sweep.toml"), NAMES)
    flushed(ShardSink(settings, ONE), range(1), last=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "move_folder", Mock(side_effect=KeyboardInterrupt))
        seal(store, settings.lease, seal_settings())
    shutil.rmtree(tmp_path / "archive/leases")
    with pytest.raises(ArchiveError, match="begun with another window"):
        crawl_sweep(load_sweep(tmp_path / "other.toml"), Progress())
    assert crawl_sweep(load_sweep(tmp_path / "sweep.toml"), Progress()) == Exit.DONE


def test_which_sighting_wins_does_not_depend_on_its_page(tmp_path: Path) -> None:
    digests = []
    for name, before in (("early", 0), ("late", 1)):
        pages = [page(number, [post(50 + number)]) for number in range(before)]
        pages.append(page(before, [post(1, likes=None)], last=True))
        other = [page(0, [post(7), post(1, host="two.example")], last=True)]
        sealed_sweep(tmp_path / name, {ONE: pages, TWO: other})
        digests.append([row["host"] for row in rows(tmp_path / name) if row["text"] == "post number 1"])
    assert digests[0] == digests[1] == ["one.example"]


def test_many_rejects_of_one_page_are_kept_apart_and_counted(tmp_path: Path) -> None:
    manifest = sealed_sweep(tmp_path, {ONE: [page(0, [post(1)], last=True, rejects=20_000)]}, part_rows=7000)
    assert manifest["counts"]["rejects"] == 20_000
    assert [part["rows"] for part in manifest["parts"]["rejects"]] == [6667, 6667, 6666]
    assert {row["position"] for row in rows(tmp_path, "rejects")} == set(range(20_000))


def test_a_writer_without_the_lease_does_not_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    settings = sink_settings(store)
    sink = ShardSink(settings, ONE)
    sink.page(page(0, [post(1)], last=True))
    store.put(f"leases/sweep-{SWEEP}.{settings.lease.token + 1}.json", b"{}")
    with pytest.raises(ArchiveError, match="took over"):
        sink.finish([], Traffic())
    assert shards_of(store, SWEEP) == []


def test_a_lease_is_held_by_one_and_passes_on_when_it_is_let_go(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with held(store, "sweep-x") as lease, pytest.raises(LeaseHeldError, match=f"process {os.getpid()}"):
        acquire(store, "sweep-x")
    assert acquire(store, "sweep-x").token == lease.token + 1


def test_a_process_is_believed_to_be_gone_only_where_process_ids_mean_the_same(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    lease = acquire(store, "sweep-x")
    name = f"leases/sweep-x.{lease.token}.json"
    gone = {**orjson.loads(store.read(name) or b""), "pid": 2**22 + 1, "started": "1"}
    for machine, holds in (("another boot pid:[1]", True), (None, True), (gone["machine"], False)):
        store.put(name, orjson.dumps({**gone, "machine": machine}))
        if holds:
            with pytest.raises(LeaseHeldError):
                acquire(store, "sweep-x")
    assert acquire(store, "sweep-x").token == lease.token + 1


def test_a_lease_is_renewed_after_a_renewal_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.lease, "TIME_TO_LIVE", 0.03)
    store, renewed = open_store(tmp_path), threading.Event()
    put, failures = Store.put, iter([OSError("no space left")])

    def once_full(self: Store, name: str, data: bytes, **options: bool) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        put(self, name, data, **options)
        renewed.set()

    monkeypatch.setattr(Store, "put", once_full)
    with held(store, "sweep-x"):
        assert renewed.wait(30)


def test_another_pseudonym_key_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path)
    with pytest.raises(KeyMismatchError, match="POSTSWEEP_KEY_FILE"):
        open_archive(tmp_path, "any", Pseudonyms(bytes(32)).fingerprint)


def test_an_archive_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).create("manifests/archive.json", orjson.dumps({"format": 99, "pseudonym_key": ""}))
    with pytest.raises(ArchiveError, match="newer"):
        read_archive(tmp_path)


def test_a_folder_with_other_things_in_it_is_not_taken_for_an_archive(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(ArchiveError, match="not empty"):
        open_store(tmp_path)


def test_an_archive_that_cannot_be_made_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "archive").symlink_to(tmp_path / "disk_that_is_not_mounted")
    with pytest.raises(ArchiveError, match=r"archive: no archive can be made there .*; name another place"):
        open_store(tmp_path / "archive")


def _posts_part(root: Path) -> Path:
    return sorted(root.glob("posts/*/*/*.parquet"))[-1]


def _edit(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def _copy(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(path.read_bytes())
    return to


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILED: dict[str, Callable[[Path], object]] = {
    "cut short": lambda root: _posts_part(root).write_bytes(_posts_part(root).read_bytes()[:300]),
    "missing": lambda root: _posts_part(root).unlink(),
    "a folder instead": lambda root: _folder(_posts_part(root)),
    "a part more": lambda root: _copy(_posts_part(root), _posts_part(root).with_name("part-00009.parquet")),
    "parts exchanged": lambda root: _posts_part(root).write_bytes(sorted(root.glob("posts/*/*/*"))[0].read_bytes()),
    "a sweep without a manifest": lambda root: _copy(_posts_part(root), root / "posts/sweep=other/p.parquet"),
    "a run without a manifest": lambda root: _copy(_posts_part(root), root / "scores/run=r/p.parquet"),
    "a run whose sweep is gone": lambda root: write_manifest(
        Store(root), "manifests/runs/r.json", {"format": 1, "run": "r", "sweep": "gone", "parts": []}
    ),
    "a stray manifest": lambda root: (root / "manifests/sweeps/stray.json").write_bytes(b"{}"),
    "a loose file": lambda root: _copy(_posts_part(root), root / "posts/loose.parquet"),
    "no manifest": lambda root: (root / f"manifests/sweeps/{SWEEP}.0.json").unlink(),
    "an edited count": lambda root: _edit(root / f"manifests/sweeps/{SWEEP}.0.json", b'"posts": 9', b'"posts": 8'),
    "a manifest cut short": lambda root: (root / f"manifests/sweeps/{SWEEP}.0.json").write_bytes(b"{"),
    "an open identity": lambda root: next(root.glob("identities/sweep=*/*/*.parquet")).chmod(0o644),
    "an open folder": lambda root: (root / "identities").chmod(0o755),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_verify_tells_what_was_spoiled(tmp_path: Path, spoil: str) -> None:
    sealed_sweep(tmp_path, {ONE: [page(0, [post(number) for number in range(9)], last=True)]}, part_rows=5)
    assert verify_archive(tmp_path, None, Progress()) == []
    SPOILED[spoil](tmp_path)
    problems = verify_archive(tmp_path, None, Progress())
    assert problems
    assert all("; " in problem or ": missing" in problem or "counts" in problem for problem in problems), problems


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_verify_sees_any_byte_that_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "bytes"
    if not root.exists():
        sealed_sweep(root, {ONE: [page(0, [post(number) for number in range(9)], last=True, rejects=1)]})
    files = sorted(path for path in root.rglob("*.*") if path.is_file() and "leases" not in path.parts)
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    spoiled = bytearray(whole)
    spoiled[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(spoiled)
    try:
        assert verify_archive(root, None, Progress())
    except ArchiveError:
        assert path.name == "archive.json"
    finally:
        path.write_bytes(whole)


def test_sealing_goes_on_from_every_point_at_which_it_can_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cuts before each change of the file system, in turn, until a sealing comes through undisturbed."""
    pages = [page(0, [post(number) for number in range(20)], last=True, rejects=1)]
    whole = sealed_sweep(tmp_path / "whole", {ONE: pages}, part_rows=7)

    class CutError(Exception):
        pass

    cuts = 0
    while True:
        root = tmp_path / f"cut{cuts}"
        store = open_store(root)
        settings = sink_settings(store)
        sink = ShardSink(settings, ONE)
        for each in pages:
            sink.page(each)
        sink.finish([], Traffic())
        left = [cuts]

        def counted(original: object, left: list[int] = left) -> object:
            def cut_here(*args: object, **kwargs: object) -> object:
                if left[0] == 0:
                    raise CutError
                left[0] -= 1
                return original(*args, **kwargs)  # type: ignore[operator]

            return cut_here

        with monkeypatch.context() as patch:
            for name in ("writing", "move_folder", "remove", "create", "put", "sync_folder"):
                patch.setattr(Store, name, counted(getattr(Store, name)))
            try:
                seal(store, settings.lease, seal_settings(7))
                through = True
            except CutError:
                through = False
        heir = replace(settings.lease, token=settings.lease.token + 1)
        store.put(f"leases/sweep-{SWEEP}.{heir.token}.json", b"{}")
        manifest = seal(store, heir, seal_settings(7))
        assert manifest["digest"] == whole["digest"]
        assert list(root.glob("**/_sealing*")) == []
        assert verify_archive(root, SWEEP, Progress()) == []
        assert not is_sealing(store, SWEEP)
        cuts += 1
        if through:
            break
    assert cuts > 15


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_paging_order_and_repetition_gives_the_same_sweep(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    posts = [post(number) for number in range(12)]
    whole = sealed_sweep(tmp_path_factory.mktemp("whole"), {ONE: [page(0, posts, last=True)]})
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    shuffled = data.draw(st.permutations(posts)) + data.draw(st.lists(st.sampled_from(posts), max_size=5))
    pages, start = [], 0
    for number, size in enumerate(sizes):
        end = len(shuffled) if number == len(sizes) - 1 else start + size
        pages.append(page(number, shuffled[start:end], last=number == len(sizes) - 1))
        start = end
    later = [replace(each, fetched_at=NOON + timedelta(hours=1)) for each in pages]
    again = sealed_sweep(tmp_path_factory.mktemp("again"), {ONE: later}, part_rows=5)
    assert again["digest"] == whole["digest"]
    assert again["counts"]["posts"] == 12


def test_the_sealed_posts_have_the_schema_to_the_letter(tmp_path: Path) -> None:
    sealed_sweep(tmp_path, {ONE: [page(0, [post(1)], last=True)]})
    part = next(tmp_path.glob("posts/*/*/*.parquet"))
    assert pq.read_schema(part).remove_metadata().equals(POST_SCHEMA)


def test_a_source_without_a_post_leaves_an_empty_part_that_readers_can_open(tmp_path: Path) -> None:
    manifest = sealed_sweep(tmp_path, {ONE: [page(0, [], last=True)]})
    assert [part["rows"] for part in manifest["parts"]["posts"]] == [0]
    assert sweep_manifest(read_archive(tmp_path), SWEEP) == manifest
