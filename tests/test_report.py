import math
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipelines.errors import ArchiveError
from pipelines.report.build import build_report, visible, web_link
from pipelines.report.figures import compute, wilson
from tests.sweeps import NOON, SOURCES, page, post, sealed_sweep

NASTY = "<script>alert('x')</script> \"quotes\" \u202eright to left\u202c bell\x07 and <img src=https://x.example/p.png>"


def archive(root: Path, count: int = 12) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sealed sweep of numbered posts, and a run whose scores are their numbers in twentieths."""
    posts = [post(n, text=f"{NASTY} {n}", created_at=NOON + timedelta(hours=n % 3)) for n in range(count)]
    sweep = sealed_sweep(root, {SOURCES[0]: [page(0, posts, last=True, rejects=2)]})
    parts = []
    for part in sweep["parts"]["posts"]:
        read = pq.ParquetFile(root / part["path"]).read(["uid", "text"]).to_pylist()
        rows = []
        for row in read:
            score = int(row["text"].rpartition(" ")[2]) / 20
            flags = ["rumor"] if score >= 0.5 else []
            rows.append({"uid": row["uid"], "lang": "en", "windows": 1, "rumor": score, "flags": flags})
        path = root / f"scores/run=r1/{part['path'].removeprefix('posts/')}"
        path.parent.mkdir(parents=True)
        fields = [("uid", pa.string()), ("lang", pa.string()), ("windows", pa.int32()), ("rumor", pa.float32())]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*fields, ("flags", pa.list_(pa.string()))])), path)
        parts.append({"path": path.relative_to(root).as_posix()})
    model = {"name": "default", "digest": "d", "languages": ["en"]}
    model |= {"labels": [{"name": "rumor", "definition": "what it means", "threshold": 0.5}]}  # type: ignore[dict-item]
    run = {"run": "r1", "finished_at": "2026-01-03T00:00:00Z", "model": model, "engine": "e", "device": "cpu"}
    run |= {"dtype": "float32", "exactness": "exact", "digest": "x", "parts": parts}
    run |= {"counts": {"posts": count, "scored": count, "empty": 0, "unsupported": 0}}
    return sweep, run


def test_the_figures_are_those_of_a_count_by_hand(tmp_path: Path) -> None:
    sweep, run = archive(tmp_path)
    (label,) = compute(tmp_path, sweep, run, False, 6).labels
    assert (label.scored, label.flagged, label.authors) == (12, 2, 2)
    assert label.expected == pytest.approx(0.5 + 0.55)
    assert label.spread == pytest.approx(1.96 * math.sqrt(0.25 + 0.55 * 0.45), rel=1e-3)
    assert sum(label.histogram) == 12
    assert label.platforms == [("mastodon", 12, 2, 2)]
    figures = compute(tmp_path, sweep, run, False, 6)
    assert [count for _, _, count in figures.hours] == [4, 4, 4]
    assert figures.rejects == [(sweep["sources"][0]["source"], "not a string", "content", 2)]


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_is_wilsons(hits: int, more: int) -> None:
    total = hits + more
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_what_strangers_wrote_is_shown_and_does_nothing(tmp_path: Path) -> None:
    sweep, run = archive(tmp_path)
    text = build_report(tmp_path, sweep, run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert" in text
    assert "\u202e" not in text
    assert "[U+202E]" in text
    assert "\x07" not in text
    assert "home.example" not in text
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    assert all(target.startswith(("#", "data:")) for target in loaded)
    linked = build_report(tmp_path, sweep, run, tmp_path / "linked.html", links=True).read_text(encoding="utf-8")
    assert 'rel="noreferrer noopener nofollow"' in linked


@given(st.text())
def test_no_visible_text_acts(text: str) -> None:
    assert not set(visible(text)) & {"\u202e", "\u2066", "\x00", "\x1b", "\r", "\u2028"}


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", None, "http://[", "//x.example"])
def test_only_web_addresses_are_linked(url: str | None) -> None:
    assert web_link(url) is None


def test_a_sweep_without_a_post_and_without_a_run_has_a_report(tmp_path: Path) -> None:
    sweep = sealed_sweep(tmp_path, {SOURCES[0]: [page(0, [], last=True)]})
    text = build_report(tmp_path, sweep, None, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No post lies in the window" in text


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    sweep = sealed_sweep(tmp_path, {SOURCES[0]: [page(0, [], last=True)]})
    with pytest.raises(ArchiveError, match="cannot be written"):
        build_report(tmp_path, sweep, None, tmp_path / "nowhere/report.html")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_the_report_fits_its_window_in_a_browser(tmp_path: Path, width: int) -> None:
    sweep, run = archive(tmp_path)
    report = build_report(tmp_path, sweep, run, tmp_path / "report.html")
    probe = tmp_path / "probe.html"
    frame = f'<iframe id=f width={width} height=2000 src="report.html"></iframe>'
    script = "f.onload=()=>{document.title=[f.contentDocument.documentElement.scrollWidth,f.contentWindow.innerWidth,"
    script += "[...f.contentDocument.querySelectorAll('svg')].every(s=>s.getBoundingClientRect().height>50)].join()}"
    probe.write_text(f"<!doctype html>{frame}<script>{script}</script>")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, check=False, timeout=60
    )
    assert report.exists()
    found = re.search(r"<title>(\d+),(\d+),(\w+)</title>", done.stdout)
    assert found is not None, done.stdout[:500]
    assert int(found[1]) <= int(found[2])
    assert found[3] == "true"
    assert "CONSOLE" not in done.stderr


def test_scores_of_a_whole_sweep_are_in_its_report(swept: Path) -> None:
    text = (swept / "report.html").read_text(encoding="utf-8")
    run = orjson.loads(next((swept / "archive/manifests/runs").iterdir()).read_bytes())
    flags = pl.read_parquet(f"{swept}/archive/scores/**/*.parquet", hive_partitioning=False).explode("flags")["flags"]
    counted = {row["flags"]: row["count"] for row in flags.drop_nulls().value_counts().iter_rows(named=True)}
    assert {name: count for name, count in run["counts"]["flags"].items() if count} == counted
    for name, count in run["counts"]["flags"].items():
        assert f'<td>{name}</td><td class="n">{count}</td>' in text
