"""What a report says of rounds of rechecks."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import CensoredData, ecdf

from pipelines.report import plots
from pipelines.report.build import build_report
from pipelines.report.figures import compute
from pipelines.report.intervals import wilson
from pipelines.report.survival import Curve, Grouping, Survival
from tests.sweeps import NAMES, NOON, SOURCES, page, post, sealed_sweep

COUNT = 40


def round_of(
    root: Path, number: int, days: int, states: dict[int, str], between: timedelta = timedelta(0)
) -> dict[str, Any]:
    """A round of sightings after some days, as one part, with some time between one visit and the next; posts without
    a state are alive."""
    from pipelines.recheck_rounds import SIGHTING_SCHEMA

    rows = []
    for each in range(COUNT):
        at = NOON + timedelta(days=days) + each * between
        state = states.get(each, "alive")
        phrase = "gone, cause not told" if state == "untold" else None
        told = "unknown" if state == "untold" else state
        counted = state not in ("alive", "edited", "unknown")
        row = {"uid": NAMES.post(post(each).id), "state": told, "counted": counted, "visited_at": at, "phrase": phrase}
        rows.append({**row, "first_state": told, "first_visited_at": at})
    path = f"sightings/sweep=d2026-01-01/round={number}/platform=mastodon/part-00000.parquet"
    (root / path).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(sorted(rows, key=lambda row: row["uid"]), schema=SIGHTING_SCHEMA), root / path)
    counts = {"posts": COUNT, "states": dict.fromkeys(("alive", "unknown"), 0), "gone": 0}
    window = {"since": at.isoformat(), "until": at.isoformat()}
    parts = [{"path": path, "platform": "mastodon", "rows": COUNT}]
    return {"round": number, "sweep": "d2026-01-01", "parts": parts, "counts": counts, "gaps": [], "window": window}


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    root = tmp_path / "archive"
    posts = [post(number, lang="en" if number % 2 else "ja") for number in range(COUNT)]
    sweep = sealed_sweep(root, {SOURCES[0]: [page(0, posts, last=True)]})
    first = {0: "removed_by_author", 1: "removed_by_platform", 2: "unknown", 39: "untold"}
    later = {**first, 3: "removed_by_author", 4: "account_gone", 2: "alive", 39: "alive"}
    return root, sweep, [round_of(root, 1, 1, first), round_of(root, 2, 3, {**later, 5: "unknown"})]


def test_posts_are_counted_by_whose_hand_they_went(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    root, sweep, rounds = archive
    survival = compute(root, sweep, None, False, 0, rounds).survival
    assert survival is not None
    whole = survival.whole
    assert (whole.there, whole.author, whole.platform, whole.untold, whole.unknown) == (36, 3, 1, 0, 0)
    by_language = {fate.name: fate.known for grouping in survival.groupings[1:] for fate in grouping.fates}
    assert by_language == {"en": 20, "ja": 20}


def test_the_curve_is_kaplan_and_meiers_with_posts_lost_from_sight(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    root, sweep, rounds = archive
    survival = compute(root, sweep, None, False, 0, rounds).survival
    assert survival is not None
    (curve,) = survival.groupings[0].curves
    assert curve.hours == (0.0, 24.0, 72.0)
    # 2 of 40 went by the first visit; one was last seen then, so of the 37 that were left 2 went by the second.
    assert curve.share == pytest.approx((1.0, 38 / 40, 38 / 40 * 35 / 37))
    bands = zip(curve.low, curve.share, curve.high, strict=True)
    assert all(low < share < high for low, share, high in bands if share < 1)


def surviving(root: Path, sweep: dict[str, Any], *rounds: dict[str, Any]) -> Survival:
    found = compute(root, sweep, None, False, 0, rounds).survival
    assert found is not None
    return found


def test_the_post_that_is_visited_last_does_not_stand_for_all(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, sweep, _ = archive
    last = {COUNT - 1: "removed_by_author"}
    apart = round_of(tmp_path / "archive", 3, 1, last, timedelta(hours=1))
    (curve,) = surviving(root, sweep, apart).groupings[0].curves
    assert curve.hours == (0.0, 24 + 19.5)
    assert curve.share == pytest.approx((1.0, 39 / 40))
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson(39, 40))


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_that_of_scipy_over_rounds(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], seed: int
) -> None:
    root, sweep, _ = archive
    chance = np.random.default_rng(seed)
    states: list[dict[int, str]] = [{}, {}, {}, {}]
    gone, there = [], []
    for each in range(COUNT):
        stays, last = int(chance.integers(0, 8)), 0
        for number in range(4):
            if number >= stays:
                states[number][each] = "removed_by_platform"
            elif chance.random() < 0.3:
                states[number][each] = "unknown"
            else:
                last = number + 1
        if stays < 4:
            gone.append(stays + 1)
        else:
            there += [last] if last else []
    rounds = [round_of(root, number + 3, number + 3, its, timedelta(minutes=9)) for number, its in enumerate(states)]
    (curve,) = surviving(root, sweep, *rounds).groupings[0].curves
    expected = ecdf(CensoredData(uncensored=gone, right=there)).sf
    assert curve.share[1:] == pytest.approx(tuple(expected.evaluate(np.arange(1, len(curve.share)))))
    assert all(low <= share <= high for low, share, high in zip(curve.low, curve.share, curve.high, strict=True))
    assert list(curve.hours) == sorted(curve.hours)


def test_a_post_that_came_back_and_went_again_was_there_in_between(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    root, sweep, _ = archive
    went = {0: "removed_by_author"}
    rounds = [round_of(root, number, number, states) for number, states in ((3, went), (4, {}), (5, went))]
    (curve,) = surviving(root, sweep, *rounds).groupings[0].curves
    assert curve.share == pytest.approx((1.0, 1.0, 1.0, 39 / 40))


def test_the_first_that_is_told_to_have_taken_a_post_away_did(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]],
) -> None:
    root, sweep, _ = archive
    told = {
        3: {0: "removed_by_platform", 1: "untold"},
        4: {0: "account_gone", 1: "removed_by_author"},
        5: {0: "untold", 1: "untold"},
    }
    whole = surviving(root, sweep, *(round_of(root, number, number, its) for number, its in told.items())).whole
    assert (whole.author, whole.platform, whole.untold) == (1, 1, 0)


def test_a_group_of_which_nothing_went_has_a_flat_curve_and_a_band(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, sweep, _ = archive
    survival = surviving(root, sweep, round_of(tmp_path / "archive", 3, 9, {}))
    (curve,) = survival.groupings[0].curves
    assert set(curve.share) == {1.0}
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson(COUNT, COUNT))
    assert plots.survival(survival.groupings[0]) is not None


def test_what_the_last_round_found_is_drawn_with_its_band(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, sweep, _ = archive
    survival = surviving(root, sweep, round_of(tmp_path / "archive", 3, 1, {0: "removed_by_author"}))
    drawn = plots.survival(survival.groupings[0]) or ""
    lines = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--s0\); stroke-width: 1.8', drawn)
    points = [tuple(map(float, point.split())) for point in re.findall(r"[\d.]+ [\d.]+", lines[0])]
    level = [across for across, down in points if down == points[-1][1]]
    assert points[-1][1] > points[0][1]
    assert max(level) - min(level) > 10


def test_the_page_tells_of_rounds_with_shares_and_intervals(
    archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, sweep, rounds = archive
    told = build_report(root, sweep, None, tmp_path / "report.html", rounds=rounds).read_text()
    assert "What became of it" in told
    assert "3 were removed by their authors or went with the accounts, 1 by the platform" in told
    assert "7.5 %" in told
    assert 'aria-label="Posts still there, by language"' in told
    assert "What became of it" not in build_report(root, sweep, None, tmp_path / "without.html").read_text()


def test_one_post_is_told_as_one(archive: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path) -> None:
    root, sweep, _ = archive
    one = {0: "removed_by_author", 1: "untold", 2: "unknown"}
    rounds = [round_of(tmp_path / "archive", 3, 1, {number: one.get(number, "unknown") for number in range(COUNT)})]
    told = build_report(root, sweep, None, tmp_path / "report.html", rounds=rounds).read_text()
    text = " ".join(told.split())
    assert "Of 2 posts of which" in text
    assert "0 are there, 1 was removed by its author or went with the account, 0 by the platform, 1 is gone" in text
    assert "Of 38 nothing could be said; they are in no share." in text


def test_each_group_has_a_panel_of_its_own_with_one_band_and_all_curves() -> None:
    names = ["mastodon", "bluesky", "weibo", "a label of more letters than a panel is wide"]
    curves = [Curve(name, (0.0, 24.0), (1.0, 0.9), (1.0, 0.8), (1.0, 0.95)) for name in names]
    drawn = plots.survival(Grouping("label", [], curves)) or ""
    _, *panels = re.split(r'<g id="\w+-axes_\d+">', drawn)
    assert len(panels) == len(curves)
    for place, panel in enumerate(panels):
        color = re.escape(f"var(--s{place})")
        assert len(re.findall(rf'style="fill: {color}; fill-opacity', panel)) == panel.count("fill-opacity") > 0
        assert len(re.findall(rf"stroke: {color}; stroke-width: 1.8", panel)) == panel.count("stroke-width: 1.8") == 1
    assert "a label of more lett…" in drawn
