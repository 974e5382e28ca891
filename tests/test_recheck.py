"""Rounds of rechecks: what is found counts twice, survives kills, and is sealed, verified, queried and erased."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import polars as pl
import pytest

from crawlers.post import PostId
from crawlers.sink import Traffic
from pipelines.archive import open_archive, round_manifest
from pipelines.config import load_sweep
from pipelines.crawl import _open_sweep, _seal_settings
from pipelines.erasure.erase import redact_posts
from pipelines.lease import acquire
from pipelines.progress import Progress
from pipelines.seal import seal
from pipelines.shards import ShardSink, SinkSettings
from pipelines.store import Store
from pipelines.verify import verify_archive
from tests import jobs
from tests.jobs import postsweep
from tests.loopback import Loopback, Reply, serving
from tests.sweeps import NAMES, page
from tests.test_erase import CutError, cut_before

COUNT = 120
SITE = "https://news.ycombinator.com/item?id="

pytestmark = pytest.mark.usefixtures("key")


class Site:
    """Items by id: each says whether it is there, deleted, dead or nothing at all, and it can change while it runs."""

    def __init__(self) -> None:
        self.items: dict[int, Any] = {number: item(number) for number in range(1, COUNT + 1)}
        self.reply: Callable[[str], Reply] | None = None
        self.asked: dict[int, int] = {}
        self.changes: dict[int, Any] = {}
        """What an item is from its second asking on."""

    def __call__(self, path: str) -> Reply:
        return self.of(path) if self.reply is None else self.reply(path)

    def of(self, path: str) -> Reply:
        """What the item of a path is."""
        number = int(urlsplit(path).path.rpartition("/")[2].removesuffix(".json"))
        self.asked[number] = self.asked.get(number, 0) + 1
        again = self.asked[number] > 1 and number in self.changes
        body = orjson.dumps(self.changes[number] if again else self.items.get(number))
        return 200, {"Content-Type": "application/json"}, body


def item(number: int, **changes: Any) -> dict[str, Any]:
    told = {"id": number, "type": "comment", "by": f"rivermint{number % 7}", "time": 1_767_268_800 + number}
    return {**told, "text": f"The ferry was late again, number {number}.", **changes}


@pytest.fixture
def site() -> Iterator[tuple[Site, Loopback]]:
    answer = Site()
    with serving(answer) as running:
        yield answer, running


def sweep_file(folder: Path, url: str, minutes: float = 0, more: str = "", source: str = "") -> Path:
    path = folder / "sweep.toml"
    path.write_text(f"""[sweep]
id = "d2026-01-01"
since = 2026-01-01T00:00:00Z
until = 2026-01-02T00:00:00Z
archive = "archive"
contact = "mailto:operator@example.org"
part_rows = 50
delay_seconds = 0
retries = 0

[recheck]
confirm_after_minutes = {minutes}
{more}

[[recheck.source]]
platform = "hackernews"
url = "{url}"
kind = "items"
allow_private = true

[[source]]
{source or 'platform = "hackernews"'}
kind = "{'public' if source else 'all'}"
""")
    return path


def sealed(folder: Path, url: str, **options: Any) -> Path:
    """A sealed sweep of items that the site shows."""
    path = sweep_file(folder, url, **options)
    config = load_sweep(path)
    store = open_archive(config.archive, f"sweep-{config.id}", NAMES.fingerprint)
    lease = acquire(store, f"sweep-{config.id}")
    settings = SinkSettings(store=store, sweep=config.id, lease=lease, names=NAMES)
    (source,) = config.sources
    sink = ShardSink(settings, source)
    sink.page(page(0, [of_item(number) for number in range(1, COUNT + 1)], last=True))
    sink.finish([], Traffic(requests=1))
    _open_sweep(store, config, NAMES)
    seal(store, lease, _seal_settings(config, NAMES))
    store.remove("leases")
    return path


def of_item(number: int) -> Any:
    from datetime import UTC, datetime

    from crawlers.platforms.hackernews import parse_item

    return parse_item(item(number), "hn.algolia.com", datetime(2026, 1, 1, 12, tzinfo=UTC))


def uid(number: int) -> str:
    return NAMES.post(PostId("hackernews", f"{SITE}{number}"))


def sightings(folder: Path, number: int = 1) -> dict[str, dict[str, Any]]:
    paths = f"{folder}/archive/sightings/sweep=*/round={number}/platform=*/*.parquet"
    table = pl.read_parquet(paths, hive_partitioning=False)
    found = {row["uid"]: row for row in table.iter_rows(named=True)}
    assert len(found) == table.height
    return found


def told(folder: Path, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"archive/manifests/rounds/d2026-01-01.{number}.json").read_text())
    return found


def verified(folder: Path) -> None:
    done = postsweep("verify", "archive", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_what_became_of_each_post_is_found_and_who_took_it_away(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url)
    answer.items |= {1: item(1, deleted=True), 2: item(2, dead=True), 3: None, 4: item(4, text="It came after all.")}
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = sightings(tmp_path)
    assert {number: found[uid(number)]["state"] for number in range(1, 6)} == {
        1: "removed_by_author", 2: "removed_by_platform", 3: "unknown", 4: "edited", 5: "alive",
    }  # fmt: skip
    assert [found[uid(number)]["code"] for number in (1, 2, 3)] == ["deleted", "dead", "null"]
    assert len(found) == COUNT
    assert sum(row["counted"] for row in found.values()) == 3
    assert {number for number, times in answer.asked.items() if times == 2} == {1, 2, 3}
    assert told(tmp_path)["counts"]["gone"] == 1
    assert "removed_by_author 1" in done.stdout
    assert "redacted: 1 post in 1 sweep" in done.stdout
    verified(tmp_path)


def test_a_finding_that_a_second_visit_does_not_share_is_unknown(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url)
    answer.items |= {1: item(1, deleted=True), 2: None, 3: item(3, dead=True)}
    answer.changes = {1: item(1), 2: item(2), 3: item(3, deleted=True)}
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    found = sightings(tmp_path)
    rows = [found[uid(number)] for number in (1, 2, 3)]
    assert [row["state"] for row in rows] == ["unknown"] * 3
    assert [row["counted"] for row in rows] == [False, False, True]
    assert [row["first_state"] for row in rows] == ["removed_by_author", "unknown", "removed_by_platform"]
    assert rows[0]["phrase"] == "the second visit found it again"
    assert rows[2]["phrase"] == "gone, cause not told"


def test_what_the_round_before_found_needs_no_second_visit(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url, more='removed_by_author = "keep"')
    answer.items |= {1: item(1, deleted=True), 2: None}
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    answer.items[3] = item(3, dead=True)
    answer.asked.clear()
    assert postsweep("recheck", "sweep.toml", "--round", "2", cwd=tmp_path).returncode == 0
    assert {number for number, times in answer.asked.items() if times == 2} == {3}
    found = sightings(tmp_path, 2)
    assert [found[uid(number)]["counted"] for number in (1, 2, 3, 4)] == [True, True, True, False]
    verified(tmp_path)
    status = postsweep("status", "sweep.toml", cwd=tmp_path).stdout
    assert "round 1: 120 posts" in status
    assert "round 2: 120 posts" in status


def test_a_second_visit_is_not_made_before_its_time(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url, minutes=60)
    answer.items[1] = item(1, deleted=True)
    with jobs.running("recheck", "sweep.toml", cwd=tmp_path, until="wait: begins") as child:
        child.send_signal(signal.SIGTERM)
        child.wait()
    assert answer.asked[1] == 1
    assert "round 1: open" in postsweep("status", "sweep.toml", cwd=tmp_path).stdout
    sweep_file(tmp_path, running.url, minutes=0)
    verified(tmp_path)


def test_a_round_tells_the_settings_that_it_was_made_with(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    """The file is changed while a round is open: its second visits were planned before, texts are redacted after."""
    answer, running = site
    sealed(tmp_path, running.url)
    answer.items[1] = item(1, deleted=True)
    went_on = threading.Event()

    def reply(path: str) -> Reply:
        found = answer.of(path)
        if answer.asked.get(1, 0) > 1:
            went_on.wait(60)
        return found

    answer.reply = reply
    with jobs.running("recheck", "sweep.toml", cwd=tmp_path, until="visit again: begins") as child:
        child.send_signal(signal.SIGTERM)
        child.wait()
    went_on.set()
    sweep_file(tmp_path, running.url, minutes=60, more='removed_by_author = "keep"')
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    assert told(tmp_path)["config"] == {"confirm_after_minutes": 0.0, "redacts": []}
    assert sightings(tmp_path)[uid(1)]["counted"]
    texts = pl.read_parquet(f"{tmp_path}/archive/posts/**/*.parquet", hive_partitioning=False)
    assert None not in texts["text"].to_list()
    verified(tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        (500, {}, b"broken"),
        (403, {}, b"<html>forbidden</html>"),
        (429, {"Retry-After": "1"}, b"slower"),
        (404, {}, b"<html>not here</html>"),
        (200, {"Content-Type": "text/html"}, b"<html>Are you a person?</html>"),
        (200, {"Content-Type": "application/json"}, b'{"error": "blocked"}'),
    ],
    ids=["500", "403", "429", "404", "block page", "strange JSON"],
)
def test_a_host_that_does_not_answer_removes_nothing(
    tmp_path: Path, site: tuple[Site, Loopback], reply: Reply
) -> None:
    answer, running = site
    sealed(tmp_path, running.url)
    answer.reply = lambda _: reply
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    # A page that is no item is unknown by itself; a host that refuses or fails is a gap, and what is left is unasked.
    ended = reply[0] == 404 or reply[2].startswith(b"{")
    assert done.returncode == (0 if ended else 3), done.stderr
    assert ("gap at" in done.stdout) is not ended
    assert (len(running.asked) < COUNT) is not ended
    found = sightings(tmp_path)
    assert {row["state"] for row in found.values()} == {"unknown"}
    assert not any(row["counted"] for row in found.values())
    assert told(tmp_path)["counts"]["gone"] == 0
    verified(tmp_path)


def test_sightings_are_asked_in_sql_and_go_with_what_is_erased(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url)
    answer.items |= {1: item(1, deleted=True), 2: item(2, text="It came after all.")}
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    query = "select round, state, count(*) from sightings join posts using (uid, sweep, platform) "
    query += "group by all order by state"
    asked = postsweep("sql", "archive", query, "--out", "counts.csv", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert (tmp_path / "counts.csv").read_text().splitlines()[1:] == [
        "1,alive,118", "1,edited,1", "1,removed_by_author,1"
    ]  # fmt: skip
    texts = pl.read_parquet(f"{tmp_path}/archive/posts/**/*.parquet", hive_partitioning=False)
    assert texts.filter(pl.col("uid") == uid(1))["text"].to_list() == [None]
    assert postsweep("erase", "archive", "--post", f"{SITE}2", "--yes", cwd=tmp_path).returncode == 0
    found = sightings(tmp_path)
    assert uid(2) not in found
    assert len(found) == COUNT - 1
    verified(tmp_path)
    assert postsweep("recheck", "sweep.toml", "--round", "1", cwd=tmp_path).returncode == 0
    assert len(sightings(tmp_path)) == COUNT - 1


def test_a_round_that_is_open_while_something_is_erased_begins_anew(
    tmp_path: Path, site: tuple[Site, Loopback]
) -> None:
    answer, running = site
    sealed(tmp_path, running.url, minutes=60)
    answer.items[1] = item(1, deleted=True)
    with jobs.running("recheck", "sweep.toml", cwd=tmp_path, until="wait: begins") as child:
        child.send_signal(signal.SIGTERM)
        child.wait()
    assert postsweep("erase", "archive", "--post", f"{SITE}1", "--yes", cwd=tmp_path).returncode == 0
    assert uid(1).encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.glob("archive/incoming/round=*"))
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    assert len(sightings(tmp_path)) == COUNT - 1
    verified(tmp_path)


def test_a_plan_that_is_lost_is_made_again(tmp_path: Path, site: tuple[Site, Loopback]) -> None:
    answer, running = site
    sealed(tmp_path, running.url, minutes=60)
    answer.items[1] = item(1, deleted=True)
    with jobs.running("recheck", "sweep.toml", cwd=tmp_path, until="wait: begins") as child:
        child.send_signal(signal.SIGTERM)
        child.wait()
    shutil.rmtree(next(tmp_path.glob("archive/identities/incoming/round=*")))
    sweep_file(tmp_path, running.url, minutes=0)
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    found = sightings(tmp_path)
    assert len(found) == COUNT
    assert found[uid(1)]["first_visited_at"] < found[uid(1)]["visited_at"]  # what counts was visited twice
    verified(tmp_path)


def test_a_redaction_that_is_cut_anywhere_is_finished_and_leaves_the_round_whole(
    tmp_path: Path, site: tuple[Site, Loopback], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cuts before each change of the file system, in turn, until an erasure comes through undisturbed."""
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    answer, running = site
    sealed(tmp_path, running.url, more='removed_by_author = "keep"')
    answer.items |= {1: item(1, text="It came after all."), 2: item(2, text="Not at all."), 3: item(3, deleted=True)}
    assert postsweep("recheck", "sweep.toml", cwd=tmp_path).returncode == 0
    whole = shutil.copytree(tmp_path / "archive", tmp_path / "whole")
    redact_posts(whole, [uid(1)], Progress())
    wanted = (round_manifest(Store(whole), "d2026-01-01", 1) or {})["digest"]
    cuts, through = 0, False
    while not through:
        archive = shutil.copytree(tmp_path / "archive", tmp_path / f"cut{cuts}")
        try:
            with cut_before(cuts):
                redact_posts(archive, [uid(1)], Progress())
            through = True
        except CutError:
            Store(archive).remove("leases")  # the process that was cut is this one
            redact_posts(archive, [uid(1)], Progress())
        assert verify_archive(archive, None, Progress()) == []
        assert (round_manifest(Store(archive), "d2026-01-01", 1) or {})["digest"] == wanted, cuts
        cuts += 1
    assert cuts > 10
    paths = f"{whole}/sightings/sweep=*/round=1/platform=*/*.parquet"
    rows = {row["uid"]: row for row in pl.read_parquet(paths, hive_partitioning=False).iter_rows(named=True)}
    assert rows[uid(1)]["input_digest"] is None
    assert rows[uid(2)]["input_digest"] is not None


def test_a_sweep_that_is_not_sealed_and_a_round_ahead_are_refused(
    tmp_path: Path, site: tuple[Site, Loopback]
) -> None:
    _, running = site
    path = sweep_file(tmp_path, running.url)
    config = load_sweep(path)
    open_archive(config.archive, "sweep-x", NAMES.fingerprint)
    done = postsweep("recheck", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "is not sealed; `postsweep crawl` comes first" in done.stderr


@pytest.mark.slow
def test_a_round_that_is_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, site: tuple[Site, Loopback]
) -> None:
    answer, running = site
    kinds: list[Any] = [{"deleted": True}, {"dead": True}, None, {"text": "Edited."}]
    changed = {n: None if kinds[n % 4] is None else item(n, **kinds[n % 4]) for n in range(1, 40)}
    digests = []
    for name, kills in (("whole", 0), ("killed", 20)):
        folder = tmp_path / name
        folder.mkdir()
        sealed(folder, running.url)
        answer.items |= changed
        chance = random.Random(5)
        for _ in range(kills):
            child = jobs.start("recheck", "sweep.toml", "--round", "1", cwd=folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=chance.uniform(0.8, 3.2))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        done = postsweep("recheck", "sweep.toml", "--round", "1", cwd=folder)
        if done.returncode == 1 and "--resume" in done.stderr:  # cut off while it redacted
            assert postsweep("erase", "archive", "--resume", "--yes", cwd=folder).returncode == 0
            done = postsweep("recheck", "sweep.toml", "--round", "1", cwd=folder)
        assert done.returncode == 0, done.stderr
        verified(folder)
        digests.append((told(folder, 1)["digest"], told(folder, 1)["counts"]))
    assert digests[0] == digests[1]


def test_a_sweep_without_a_file_is_visited_by_its_archive_and_its_platforms_own_home(tmp_path: Path) -> None:
    lines = "".join(f'{{"id": "{number}", "text": "Ferry {number}", "at": 1767268800}}\n' for number in range(3))
    (tmp_path / "posts.jsonl").write_text(lines)
    (tmp_path / "map.toml").write_text(
        'platform = "mastodon"\n[columns]\nid = "id"\ntext = "text"\ncreated_at = "at"\n'
    )
    done = postsweep("import", "table", "posts.jsonl", "--map", "map.toml", "--sweep", "h1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for options, said in (
        ((), "name --contact"),
        (("--contact", "me"), "--contact: must be how a server's operator reaches you"),
        (("--contact", "mailto:a@b.example", "--round", "7"), "round 1 of sweep h1 comes first"),
    ):
        refused = postsweep("recheck", "archive", "--sweep", "h1", *options, cwd=tmp_path)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    asked = ("recheck", "archive", "--sweep", "h1", "--contact", "mailto:operator@example.org", "--confirm-after", "0")
    found = postsweep(*asked, cwd=tmp_path)
    assert found.returncode == 3, found.stderr
    assert "round 1: 3 posts; unknown 3" in found.stdout
    assert "nothing says which host to ask" in found.stdout
