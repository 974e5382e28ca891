import fcntl
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import dask.dataframe
import duckdb
import pandas as pd
import polars as pl
import psutil
import pyarrow.dataset as ds
import pytest

from crawlers.pseudonyms import Pseudonyms
from pipelines.demo.network import Network
from tests.jobs import KEY, environment, postsweep, running, start
from tests.loopback import Reply, serving
from tests.sweeps import SWEEP, contents, one_source

COLUMNS = ["uid", "platform", "sweep", "text"]


def test_every_post_of_the_window_is_in_the_archive_once(
    swept: Path, network: Network, manifest: dict[str, Any]
) -> None:
    truth = network.truth()
    reposted_out_of_sight = 1  # a Bluesky repost shows in its author's feed only, and not all feeds are swept
    assert manifest["counts"]["platforms"] == {
        "mastodon": len(truth["mastodon"]),
        "bluesky": len(truth["bluesky"]) - reposted_out_of_sight,
        "feed": len(truth["feed"]),
    }
    assert manifest["counts"]["rejects"] == 9
    assert all(source["state"] == "complete" for source in manifest["sources"])


def test_a_post_seen_through_two_hosts_names_both(swept: Path) -> None:
    seen = duckdb.sql(f"select distinct len(seen_by) from '{swept}/archive/posts/**/*.parquet'").fetchall()
    assert max(count for (count,) in seen) >= 3


def test_what_leads_back_stays_in_identities(swept: Path, network: Network) -> None:
    needles = [person.handle.partition(".")[0].encode() for person in network.people.values()]
    needles += [person.did.encode() for person in network.people.values()]
    for path in swept.rglob("*"):
        if path.is_file() and "identities" not in path.parts and path.name != "sweep.toml":
            data = contents(path)
            assert [needle for needle in needles if needle in data] == [], path
    for path in (swept / "archive/identities").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("table", ["posts", "scores"])
def test_every_reader_sees_the_same_rows_by_a_plain_glob(swept: Path, table: str) -> None:
    glob = f"{swept}/archive/{table}/**/*.parquet"
    folder = f"{swept}/archive/{table}"
    columns = ["uid", "platform", "sweep"] + (["run"] if table == "scores" else [])
    listed = ", ".join(columns)
    by_duckdb = sorted(
        tuple(map(str, row))
        for row in duckdb.sql(f"select {listed} from read_parquet('{glob}', hive_partitioning=true)").fetchall()
    )
    assert len(by_duckdb) > 50

    def rows(frame: Any) -> list[tuple[str, ...]]:
        return sorted(tuple(map(str, row)) for row in frame[columns].itertuples(index=False))

    by_polars = pl.scan_parquet(glob, hive_partitioning=True).select(columns).collect().rows()
    assert sorted(tuple(map(str, row)) for row in by_polars) == by_duckdb
    assert rows(pd.read_parquet(folder)) == by_duckdb
    assert rows(ds.dataset(folder, partitioning="hive").to_table().to_pandas()) == by_duckdb
    assert rows(dask.dataframe.read_parquet(folder).compute()) == by_duckdb


def test_a_second_run_changes_nothing_and_verify_finds_no_problem(swept: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (swept / "archive").rglob("*.parquet")}
    again = postsweep("run", "sweep.toml", "-o", "again.html", cwd=swept)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in (swept / "archive").rglob("*.parquet")} == before
    assert "no problem" in postsweep("verify", "archive", cwd=swept).stdout
    crawled = postsweep("crawl", "sweep.toml", cwd=swept)
    assert crawled.returncode == 1
    assert "sealed" in crawled.stderr
    assert len(crawled.stderr.strip().splitlines()) == 1


def scores(archive: Path) -> dict[str, tuple[Any, ...]]:
    """Scores by uid, floats as their bits."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in archive.glob("scores/**/*.parquet"):
        for row in pl.read_parquet(path, hive_partitioning=False).iter_rows():
            found[row[0]] = tuple(value.hex() if isinstance(value, float) else str(value) for value in row)
    return found


def test_scores_are_bit_identical_with_one_worker_and_another_part_size(
    swept: Path, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "sweep.toml").write_text(network.sweep_file(tmp_path / "archive", workers=1, part_rows=1000))
    done = postsweep("run", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "archive") == scores(swept / "archive")
    assert digest(tmp_path) == digest(swept)


def digest(folder: Path) -> str:
    found = json.loads((folder / "archive/manifests/sweeps/d2026-01-01.0.json").read_text())
    return str(found["digest"])


def kill_again_and_again(folder: Path, network: Network, seeds: Iterable[int], whole: Path) -> int:
    """Starts the sweep and kills all of its processes at a moment drawn from each seed, until it ends before one or no
    seed is left; then lets it end. Returns how often it was killed."""
    kills = 0
    (folder / "sweep.toml").write_text(network.sweep_file(folder / "archive", part_rows=12))
    undisturbed = float((whole / "seconds.txt").read_text())
    for seed in seeds:
        moment = random.Random(seed).uniform(0.3, 0.75 * undisturbed)  # a sweep taken up again is done sooner
        child = start("run", "sweep.toml", "-o", "report.html", cwd=folder)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=moment)
            break
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        kills += 1
        stage = (re.findall(r"([a-z ]+): begins", (folder / "log.txt").read_text()) or ["start"])[-1]
        print(f"seed {seed}: killed after {moment:.2f} s of {undisturbed:.2f} s, last begun: {stage}")  # noqa: T201
    done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert digest(folder) == digest(whole)
    assert scores(folder / "archive") == scores(whole / "archive")
    assert "no problem" in postsweep("verify", "archive", cwd=folder).stdout
    return kills


def test_a_sweep_killed_three_times_ends_as_an_undisturbed_one(swept: Path, network: Network, tmp_path: Path) -> None:
    assert kill_again_and_again(tmp_path, network, range(3), swept) > 0


@pytest.mark.slow
def test_sweeps_killed_at_forty_moments_end_as_an_undisturbed_one(
    swept: Path, network: Network, tmp_path: Path
) -> None:
    """Up to four kills a sweep, so that late moments are met as often as early ones."""
    seeds = iter(range(100, 200))
    kills = 0
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        kills += kill_again_and_again(folder, network, islice(seeds, min(4, 40 - kills)), swept)
        if kills == 40:
            break
    assert kills == 40


def belongs_to(group: int, process: psutil.Process) -> bool:
    """Whether a process that still runs is of the group."""
    with suppress(psutil.Error, ProcessLookupError):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("stage", ["crawl", pytest.param("classify", marks=pytest.mark.slow)])
@pytest.mark.parametrize("order", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_order_to_stop_is_one_line_and_leaves_no_process_and_no_lease(
    swept: Path, network: Network, tmp_path: Path, stage: str, order: signal.Signals
) -> None:
    (tmp_path / "sweep.toml").write_text(network.sweep_file(tmp_path / "archive", part_rows=12))
    with running("run", "sweep.toml", "-o", "report.html", cwd=tmp_path, until=f"{stage}: begins") as child:
        # Ctrl-C in a terminal goes to all processes; a supervisor's order to the first one only.
        (os.killpg if order is signal.SIGINT else os.kill)(child.pid, order)
        assert child.stderr is not None
        told = [line for line in child.stderr if not line.startswith("20")]
        assert child.wait() == 128 + order
    assert told == ["interrupted; the same command goes on from here\n"]
    # Python's tracker of shared resources ends by itself once all others have.
    left = [process for process in psutil.process_iter() if belongs_to(child.pid, process)]
    assert psutil.wait_procs(left, timeout=10)[1] == []
    (lease,) = (tmp_path / "archive/leases").glob("run-*.json" if stage == "classify" else "sweep-*.json")
    assert '"released":true' in lease.read_text()
    done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path) == digest(swept)


@pytest.mark.slow
def test_of_two_commands_on_one_sweep_the_second_is_told_who_is_at_work(
    swept: Path, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "sweep.toml").write_text(network.sweep_file(tmp_path / "archive", part_rows=12))
    with running("run", "sweep.toml", "-o", "report.html", cwd=tmp_path, until="crawl: begins") as child:
        second = postsweep("run", "sweep.toml", "-o", "second.html", cwd=tmp_path)
        assert second.returncode == 5
        assert second.stderr.startswith(f"error: sweep-d2026-01-01: process {child.pid} on ")
        assert len(second.stderr.splitlines()) == 1
        assert child.stderr is not None
        child.stderr.read()
        assert child.wait() == 0
    assert digest(tmp_path) == digest(swept)
    assert scores(tmp_path / "archive") == scores(swept / "archive")


def locked(folder: Path) -> list[bool]:
    """Of each lock of a host, whether somebody holds it."""
    found = []
    for path in folder.glob("*.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(False)
            except BlockingIOError:
                found.append(True)
    return found


def test_a_host_is_locked_for_other_sweeps_of_the_archive_while_it_is_read(tmp_path: Path) -> None:
    hosts = tmp_path / "archive/leases/hosts"
    seen: list[list[bool]] = []

    def answer(_: str) -> Reply:
        seen.append(locked(hosts))
        return 200, {}, b"[]"

    with serving(answer) as server:
        (tmp_path / "sweep.toml").write_text(one_source(server.url, allow_private=True))
        assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 0
    assert seen == [[True]]
    assert locked(hosts) == [False]


def test_a_sweep_that_waits_for_a_host_says_so_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    with serving(lambda _: (200, {}, b"[]")) as server:
        (tmp_path / "sweep.toml").write_text(one_source(server.url, allow_private=True))
        assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 0
        (lock,) = (tmp_path / "archive/leases/hosts").glob("*.lock")
        (tmp_path / "sweep.toml").write_text(one_source(server.url, allow_private=True).replace(f'"{SWEEP}"', '"two"'))
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            waits = "waits for another sweep of this archive that reads the same host"
            with running("crawl", "sweep.toml", cwd=tmp_path, until=waits) as child:
                assert len(server.asked) == 1
                fcntl.flock(file, fcntl.LOCK_UN)
                assert child.stderr is not None
                child.stderr.read()
                assert child.wait() == 0
        assert len(server.asked) == 2


@pytest.mark.parametrize("marked", [True, False])
def test_the_demo_takes_no_folder_in_which_it_would_remove_what_it_did_not_make(tmp_path: Path, marked: bool) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    if marked:
        (tmp_path / ".postsweep-demo").touch()
    done = postsweep("demo", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "notes.txt, which no demo made" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_another_window_under_a_sealed_sweep_s_id_is_refused(swept: Path, tmp_path: Path) -> None:
    text = (swept / "sweep.toml").read_text().replace("until = 2026-01-02", "until = 2026-01-03")
    (tmp_path / "sweep.toml").write_text(text)
    done = postsweep("run", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "was sealed with another window" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("[[source]]", '[[source]]\nplatform = "friendster"\nurl = "https://x.example"\n[[source]]'), 2, "friendster"),
        (("until = 2026-01-02", "until = 2025-01-02"), 2, "backwards"),
        (("allow_private = true", "allow_private = false"), 2, "private address not allowed"),
        (("[cluster]", "[cluster]\nworkerz = 3"), 2, "did you mean 'workers'"),
        (('id = "d2026-01-01"', 'id = "2026"'), 2, "must begin with a small letter"),
    ],
)
def test_a_wrong_sweep_file_is_one_clear_line_per_mistake(
    network: Network, tmp_path: Path, change: tuple[str, str], code: int, said: str
) -> None:
    text = network.sweep_file(tmp_path / "archive")
    (tmp_path / "sweep.toml").write_text(text.replace(*change))
    done = postsweep("run", "sweep.toml", cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert all(line.startswith("error: sweep.toml:") for line in done.stderr.strip().splitlines())


def test_an_unreachable_host_is_a_gap_and_the_rest_is_swept(network: Network, tmp_path: Path) -> None:
    source = '\n[[source]]\nplatform = "feed"\nurl = "http://127.0.0.1:9/feed.xml"\nallow_private = true\n'
    head, _, rest = network.sweep_file(tmp_path / "archive").partition("[[source]]")
    first = "[[source]]" + rest.partition("[[source]]")[0]
    (tmp_path / "sweep.toml").write_text(head.replace("[cluster]", "retries = 1\n[cluster]") + first + source)
    done = postsweep("crawl", "sweep.toml", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    told = postsweep("status", "sweep.toml", cwd=tmp_path).stdout
    assert "refuses connections" in told


def test_another_key_is_refused(swept: Path) -> None:
    command = [str(Path(sys.executable).with_name("postsweep")), "classify", "sweep.toml"]
    other = {**environment(), "POSTSWEEP_KEY": "00" * 32}
    done = subprocess.run(command, cwd=swept, env=other, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert Pseudonyms(bytes.fromhex(KEY)).fingerprint in done.stderr
    assert KEY not in done.stderr


def test_a_run_of_the_sample_sweep_repeated_is_exact(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "archive", tmp_path / "archive")
    (run,) = (path.stem for path in (tmp_path / "archive/manifests/runs").iterdir())
    done = postsweep("rerun", run, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["verdict"], outcome["moved"], outcome["causes"]) == ("exact", 0, [])
    assert outcome["scores"] > 1000
