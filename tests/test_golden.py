"""Archives of every format that was ever written, read by the code of today."""

from pathlib import Path

import polars as pl
import pytest

from cluster.open import ClusterSpec
from pipelines.archive import FORMAT, read_archive, run_manifests, sweep_manifest
from pipelines.progress import Progress
from pipelines.report.build import build_report
from pipelines.rerun import rerun
from pipelines.sql import open_sql
from pipelines.verify import verify_archive
from tests import small_model
from tests.golden_archive import GOLDEN, unpack
from tests.sweeps import NAMES, SWEEP

FILES = sorted(GOLDEN.glob("format-*.tar.xz"))


@pytest.fixture(params=FILES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    unpack(request.param, tmp_path)
    return tmp_path / "archive"


def test_it_verifies(golden: Path) -> None:
    assert verify_archive(golden, None, Progress()) == []


def test_its_tables_are_read_by_a_plain_glob(golden: Path) -> None:
    posts = pl.read_parquet(golden / "posts/**/*.parquet", hive_partitioning=True)
    scores = pl.read_parquet(golden / "scores/**/*.parquet", hive_partitioning=True)
    assert dict(posts.group_by("platform").len().iter_rows()) == {"mastodon": 60, "bluesky": 20}
    assert posts["uid"].to_list() == scores["uid"].to_list()
    assert scores["scam"].count() == 40


def test_its_manifests_say_what_those_of_today_say(golden: Path) -> None:
    store = read_archive(golden)
    sweep = sweep_manifest(store, SWEEP)
    assert sweep is not None
    assert [source["state"] for source in sweep["sources"]] == ["complete", "complete", "gap"]
    assert sweep["counts"]["posts"] == 80
    (run,) = run_manifests(store)
    assert run["counts"]["flags"]["scam"] == 15
    assert [model["name"] for model in run["models"]] == ["small"]
    assert [(label["name"], label["model"]) for label in run["labels"]][3] == ("scam", "small")


def test_its_report_is_built(golden: Path, tmp_path: Path) -> None:
    store = read_archive(golden)
    sweep = sweep_manifest(store, SWEEP)
    assert sweep is not None
    (run,) = run_manifests(store)
    page = build_report(golden, sweep, run, tmp_path / "report.html").read_text()
    assert "scam" in page
    assert "the server asks for a login" in page


def test_its_tables_are_read_by_sql(golden: Path) -> None:
    with open_sql(golden, restricted=True) as session:
        query = "select count(scam), count(author_handle) from scores join identities using (uid, sweep, platform)"
        assert session.ask(query).table().to_pylist() == [{"count(scam)": 40, "count(author_handle)": 80}]
        query = "select posts, gaps, flags['scam'], thresholds['scam'] from sweeps join runs using (sweep, posts)"
        assert [*session.ask(query).table().to_pylist()[0].values()] == [80, 1, 15, 0.6]


def test_its_run_is_repeated(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    monkeypatch.setenv("POSTSWEEP_CACHE", str(tmp_path / "cache"))
    (run,) = run_manifests(read_archive(golden))
    models = {"small": str(small_model.make(tmp_path / "small"))}
    outcome = rerun(golden, run["run"], models, ClusterSpec(workers=1), Progress())
    assert (outcome.scores, outcome.reread, outcome.flips) == (5 * 40, 0, 0)
    assert outcome.largest < 1e-6  # another processor may give other last bits


def test_the_format_of_today_has_its_archive() -> None:
    assert [path.name for path in FILES] == [f"format-{number}.tar.xz" for number in range(1, FORMAT + 1)]
