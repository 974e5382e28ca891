import math
import re
import shutil
import subprocess
from collections.abc import Callable
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

from crawlers.post import Post
from pipelines.errors import ArchiveError
from pipelines.report.build import build_report, visible, web_link
from pipelines.report.figures import Share, compute
from pipelines.report.intervals import wilson
from tests.sweeps import NOON, SOURCES, page, post, sealed_sweep

NASTY = "<script>alert('x')</script> \"quotes\" \u202eright to left\u202c bell\x07 and <img src=https://x.example/p.png>"


def twentieths(text: str) -> float | None:
    """A score: the number that ends the text, in twentieths, in the middle of its bar."""
    return (int(text.rpartition(" ")[2]) + 0.5) / 20


def archive(
    root: Path,
    posts: list[Post] | None = None,
    score: Callable[[str], float | None] = twentieths,
    name: str = "rumor",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sealed sweep of numbered posts, and a run of one label over it."""
    if posts is None:
        posts = [post(n, text=f"{NASTY} {n}", created_at=NOON + timedelta(hours=n % 3)) for n in range(12)]
    count = len(posts)
    sweep = sealed_sweep(root, {SOURCES[0]: [page(0, posts, last=True, rejects=2)]})
    parts, scored = [], 0
    for part in sweep["parts"]["posts"]:
        read = pq.ParquetFile(root / part["path"]).read(["uid", "text"]).to_pylist()
        rows = []
        for row in read:
            value = score(row["text"])
            flags = [name] if value is not None and value >= 0.5 else []
            rows.append({"uid": row["uid"], "lang": "en", "windows": 1, name: value, "flags": flags})
            scored += value is not None
        path = root / f"scores/run=r1/{part['path'].removeprefix('posts/')}"
        path.parent.mkdir(parents=True)
        fields = [("uid", pa.string()), ("lang", pa.string()), ("windows", pa.int32()), (name, pa.float32())]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*fields, ("flags", pa.list_(pa.string()))])), path)
        parts.append({"path": path.relative_to(root).as_posix(), "platform": part["platform"]})
    label = {"name": name, "definition": "what it means", "threshold": 0.5, "of": name}
    model = {"name": "default", "model": "default", "digest": "d", "files": {"heads.json": "f"}, "languages": ["en"]}
    model |= {"labels": [label], "engine": "e", "device": "cpu", "dtype": "float32", "exactness": "exact"}
    run = {"run": "r1", "finished_at": "2026-01-03T00:00:00Z", "models": [model], "labels": [label]}
    run |= {"exactness": "exact", "digest": "x", "parts": parts}
    run |= {"counts": {"posts": count, "scored": scored, "empty": 0, "unsupported": count - scored}}
    return sweep, run


def test_the_figures_are_those_of_a_count_by_hand(tmp_path: Path) -> None:
    sweep, run = archive(tmp_path)
    figures = compute(tmp_path, sweep, run, False, 6)
    (label,) = figures.labels
    assert label.total == Share("rumor", scored=12, flagged=2, authors=2)
    assert label.total.value == pytest.approx(2 / 12)
    assert label.expected == pytest.approx(0.525 + 0.575)
    assert label.spread == pytest.approx(1.96 * math.sqrt(0.525 * 0.475 + 0.575 * 0.425), rel=1e-3)
    assert label.histogram == [1] * 12 + [0] * 8
    assert label.platforms == [Share("mastodon", 12, 2, 2)]
    assert label.days == [Share("2026-01-01", 12, 2, 2)]
    assert figures.hours == [(f"2026-01-01T{hour}:00Z", "mastodon", 4) for hour in (12, 13, 14)]
    assert figures.platforms == [("mastodon", 12)]
    assert figures.languages == [("mastodon", "not given", 12)]
    assert figures.detected == [("en", 12)]
    assert figures.undated == 0
    assert figures.rejects == [(sweep["sources"][0]["source"], "not a string", "content", 2)]


def test_examples_are_the_highest_flagged_then_those_by_the_threshold(tmp_path: Path) -> None:
    sweep, run = archive(tmp_path)
    examples = compute(tmp_path, sweep, run, False, 6).labels[0].examples
    assert [int((each.scores["rumor"] or 0) * 20) for each in examples] == [11, 10, 9, 8, 7]
    assert [each.why for each in examples] == ["highest"] * 2 + ["near the threshold"] * 3
    assert examples == compute(tmp_path, sweep, run, False, 6).labels[0].examples


def test_no_text_is_shown_twice_and_no_author_more_than_twice(tmp_path: Path) -> None:
    same = [post(n, text="said by many") for n in range(3)]
    busy = [post(7 * n, text=f"said by one, {n}") for n in range(10, 16)]
    sweep, run = archive(tmp_path, posts=[*same, *busy], score=lambda _: 0.75)
    examples = compute(tmp_path, sweep, run, False, 9).labels[0].examples
    assert len([each for each in examples if each.texts == ("said by many",)]) == 1
    # The author of number 0 is the one of all multiples of 7.
    assert len([each for each in examples if each.texts[0].startswith("said by one")]) in (1, 2)
    uids = [each.uid for each in examples if each.why == "highest"]
    assert uids == sorted(uids)


def test_unscored_and_undated_posts_are_counted_and_not_drawn(tmp_path: Path) -> None:
    posts = [post(n, created_at=None) for n in range(4)]
    sweep, run = archive(tmp_path, posts=posts, score=lambda _: None)
    figures = compute(tmp_path, sweep, run, False, 6)
    assert (figures.undated, figures.hours, figures.labels[0].examples) == (4, [], [])
    assert figures.labels[0].total == Share("rumor", 0, 0, 0)
    text = build_report(tmp_path, sweep, run, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0 of 4 posts were scored" in text
    assert "No post was scored" in text
    assert "No post gives its time" in text


def test_a_label_may_have_any_name(tmp_path: Path) -> None:
    name = "it's \"odd\" <b>$x$</b>"
    sweep, run = archive(tmp_path, name=name)
    assert compute(tmp_path, sweep, run, False, 6).labels[0].total.flagged == 2
    assert "<b>$x$" not in build_report(tmp_path, sweep, run, tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["lang=en/platform=zz", "a*b", "what?[1]", "it's {a,b}"])
def test_folders_above_the_archive_have_no_part_in_the_figures(tmp_path: Path, name: str) -> None:
    sweep, run = archive(tmp_path / "plain")
    plain = compute(tmp_path / "plain", sweep, run, True, 6)
    (tmp_path / "aXb").symlink_to(tmp_path / "plain")
    above = tmp_path / name
    above.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tmp_path / "plain", above)
    assert compute(above, sweep, run, True, 6) == plain


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    sweep, run = archive(tmp_path)
    (tmp_path / run["parts"][0]["path"]).unlink()
    with pytest.raises(ArchiveError, match="cannot be read"):
        build_report(tmp_path, sweep, run, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("hits", "total", "low", "high"), [(0, 10, 0, 0.27753), (1, 10, 0.01788, 0.40415)])
def test_the_interval_of_few_posts_is_that_of_the_formula(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=1e-5)


def test_gaps_are_shown_with_their_reason(tmp_path: Path) -> None:
    sweep, _ = archive(tmp_path)
    gap = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T12:00:00Z", "reason": "asks <b>for</b> a login"}
    sweep["sources"][0] |= {"state": "gap", "gaps": [gap]}
    text = build_report(tmp_path, sweep, None, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Gap 2026-01-01T00:00:00Z to 2026-01-01T12:00:00Z" in text
    assert "asks &lt;b&gt;for" in text


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
    assert (tmp_path / "linked.html").stat().st_mode & 0o077 == 0
    again = build_report(tmp_path, sweep, run, tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == text


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
