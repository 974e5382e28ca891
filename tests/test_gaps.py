"""What is missing of a sweep: told to the moment everywhere, and read later, that alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from crawlers.pseudonyms import Pseudonyms
from crawlers.run import NOT_OVER
from crawlers.source import Source, Window
from tests.jobs import postsweep
from tests.loopback import Loopback, Reply, serving

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=10)
POSTS = 144
DIES_AFTER = 60


def written(number: int) -> datetime:
    return SINCE + number * STEP


def status(number: int) -> dict[str, Any]:
    uri = f"https://hearth.example/users/oakfern/statuses/{number}"
    account = {"id": "7", "acct": "oakfern", "url": "https://hearth.example/@oakfern"}
    content = f"<p>The ferry of {written(number):%H:%M} is full.</p>"
    return {
        "id": f"{number}",
        "uri": uri,
        "created_at": written(number).isoformat(),
        "content": content,
        "account": account,
    }


@contextmanager
def dying() -> Iterator[tuple[Loopback, list[bool]]]:
    """A timeline of a day that refuses visitors after so many posts, until it is told that it is well."""
    well = [False]

    def answer(path: str) -> Reply:
        asked = parse_qs(urlsplit(path).query)
        if "lookup" in path:
            return 200, {}, b'{"id": "7"}'
        above = int(asked.get("max_id", [str(POSTS)])[0])
        if not well[0] and above <= POSTS - DIES_AFTER:
            return 403, {}, b"{}"
        return 200, {}, json.dumps([status(number) for number in range(above - 1, max(-1, above - 21), -1)]).encode()

    with serving(answer) as server:
        yield server, well


def sweep_file(
    folder: Path, url: str, kind: str, since: datetime = SINCE, until: datetime = SINCE + 144 * STEP
) -> None:
    value = 'value = "oakfern"\n' if kind == "account" else ""
    (folder / "sweep.toml").write_text(
        f'[sweep]\nid = "d1"\nsince = {SINCE.isoformat()}\nuntil = {until.isoformat()}\narchive = "archive"\n'
        f'contact = "mailto:operator@example.org"\ndelay_seconds = 0.0\nretries = 0\n\n[cluster]\nworkers = 1\n\n'
        f'[[source]]\nplatform = "mastodon"\nurl = "{url}"\nkind = "{kind}"\n{value}allow_private = true\n'
    )


def times(folder: Path, sweep: str) -> list[datetime]:
    found = pl.read_parquet(folder / f"archive/posts/sweep={sweep}/*/*.parquet", hive_partitioning=False)
    return sorted(found["created_at"].to_list())


@pytest.mark.parametrize("kind", ["public", "account"])
def test_a_source_that_died_is_a_gap_to_the_moment_and_that_gap_alone_is_read_later(tmp_path: Path, kind: str) -> None:
    died = written(POSTS - 20 * (DIES_AFTER // 20) + 19)  # the newest post of the last page that was read
    with dying() as (server, well):
        sweep_file(tmp_path, server.url, kind)
        first = postsweep("crawl", "sweep.toml", cwd=tmp_path)
        assert first.returncode == 3, first.stderr
        assert "with gaps: `postsweep status` tells which" in first.stdout
        (manifest,) = (tmp_path / "archive/manifests/sweeps").glob("d1.*.json")
        (gap,) = json.loads(manifest.read_text())["sources"][0]["gaps"]
        assert (gap["since"], gap["until"]) == ("2026-01-01T00:00:00Z", f"{died:%Y-%m-%dT%H:%M:%SZ}")
        told = postsweep("status", "sweep.toml", cwd=tmp_path)
        assert f"gap {gap['since']} to {gap['until']}: the server refuses visitors (HTTP 403)" in told.stdout
        postsweep("report", "sweep.toml", "--out", "report.html", cwd=tmp_path)
        report = (tmp_path / "report.html").read_text()
        assert gap["since"][:16].replace("T", " ") in report.replace("T", " ")
        assert gap["until"][:16].replace("T", " ") in report.replace("T", " ")

        well[0] = True
        filled = postsweep("crawl", "sweep.toml", "--fill-gaps", cwd=tmp_path)
        assert filled.returncode == 0, filled.stderr
        again = postsweep("crawl", "sweep.toml", "--fill-gaps", cwd=tmp_path)
        told = postsweep("status", "sweep.toml", cwd=tmp_path)
        verified = postsweep("verify", "archive", cwd=tmp_path)
    assert "d1-fill1" in filled.stdout
    assert all(SINCE <= moment < died for moment in times(tmp_path, "d1-fill1"))
    assert sorted({*times(tmp_path, "d1"), *times(tmp_path, "d1-fill1")}) == [
        written(number) for number in range(POSTS)
    ]
    assert (again.returncode, "nothing to fill" in again.stdout) == (0, True)
    assert "gaps read as sweep d1-fill1" in told.stdout
    assert "no problem" in verified.stdout
    (manifest,) = (tmp_path / "archive/manifests/sweeps").glob("d1-fill1.*.json")
    kept = json.loads(manifest.read_text())
    assert kept["config"]["sweep"]["fills"] == "d1"
    assert "oakfern" not in manifest.read_text()


def test_an_erased_account_goes_out_of_the_sweep_that_filled_gaps_and_cannot_be_filled_again(tmp_path: Path) -> None:
    with dying() as (server, well):
        sweep_file(tmp_path, server.url, "account")
        postsweep("crawl", "sweep.toml", cwd=tmp_path)
        well[0] = True
        postsweep("crawl", "sweep.toml", "--fill-gaps", cwd=tmp_path)
        erased = postsweep("erase", "archive", "--author", "oakfern", "--yes", cwd=tmp_path)
        refused = postsweep("crawl", "sweep.toml", "--fill-gaps", cwd=tmp_path)
    assert f"{POSTS + 19} posts in 2 sweeps" in erased.stdout, erased.stderr  # the last page lies in both
    assert times(tmp_path, "d1-fill1") == []
    assert (refused.returncode, "was erased" in refused.stderr or "nothing to fill" in refused.stdout) in (
        (2, True),
        (0, True),
    )


def test_gaps_are_filled_of_a_sealed_sweep_only(tmp_path: Path) -> None:
    sweep_file(tmp_path, "http://127.0.0.1:9", "public")
    absent = postsweep("crawl", "sweep.toml", "--fill-gaps", cwd=tmp_path)
    assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
    assert "no archive here" in absent.stderr


def test_a_window_that_is_not_over_is_a_gap_from_the_first_request_on(tmp_path: Path) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    with serving(lambda _: (200, {}, b"[]")) as server:
        sweep_file(tmp_path, server.url, "public", until=until)
        before = datetime.now(UTC)
        crawled = postsweep("crawl", "sweep.toml", cwd=tmp_path)
        after = datetime.now(UTC)
    assert crawled.returncode == 3
    (manifest,) = (tmp_path / "archive/manifests/sweeps").glob("d1.*.json")
    (gap,) = json.loads(manifest.read_text())["sources"][0]["gaps"]
    assert before <= datetime.fromisoformat(gap["since"]) <= after
    assert (datetime.fromisoformat(gap["until"]), gap["reason"]) == (until, NOT_OVER)


def test_a_part_of_a_window_has_a_name_of_its_own_and_an_account_keeps_its_hash() -> None:
    names = Pseudonyms(bytes(32))
    window = Window(SINCE, SINCE + STEP)
    for kind, value in (("public", None), ("account", "oakfern")):
        whole, part = (Source("mastodon", "https://one.example", kind, value, window=each) for each in (None, window))
        assert names.source(whole) != names.source(part)
        assert names.file_hash(whole) != names.file_hash(part)
        assert names.source_hash(whole) == names.source_hash(part)
        assert names.source(whole).rpartition(":")[2] in names.source(part)
