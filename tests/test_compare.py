import json
import math
import re
from collections import Counter
from datetime import timedelta
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multinomial
from sklearn.metrics import cohen_kappa_score

from crawlers.sink import Gap
from crawlers.source import Source
from pipelines.archive import sweep_manifest, sweep_manifest_name, write_manifest
from pipelines.compare import QUANTILES, LabelChange, RunsCompared, SweepsCompared, as_json, compare
from pipelines.compare_text import lines
from pipelines.errors import ConfigError
from pipelines.paired import Pairs
from pipelines.report.comparison import build_comparison
from tests.jobs import postsweep
from tests.runs import DAY, run_of, sweep_of
from tests.sweeps import NAMES, NOON, SOURCES, open_store, page, post

BLUESKY = Source("bluesky", "https://view.example", "tag", "rain")
NASTY = "\x1b[2J\u202e<script>alert(1)</script>"
ODD = 'it\'s "odd"'


def number(text: str) -> int:
    return int(text.rpartition(" ")[2])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 24 posts of two platforms and four runs over it. Read it, change nothing."""
    root = tmp_path_factory.mktemp("compare") / "archive"
    toots = [post(n, text=f"{NASTY} {n}") for n in range(16)]
    skies = [post(n, "bluesky", "view.example", text=f"boats {n}") for n in range(16, 24)]
    pages = {SOURCES[0]: [page(0, toots, last=True)], BLUESKY: [page(0, skies, last=True)]}
    sweep = sweep_of(root, "d2026-01-01", pages)
    run_of(root, sweep, "first", {"rumor": lambda text: number(text) / 24, ODD: lambda _: 0.75, "scam": lambda _: 0.1})
    bent = {
        # A quarter more for multiples of 3; nothing for the last two.
        "rumor": lambda text: (
            None if number(text) > 21 else number(text) / 24 + 0.25 * (number(text) % 3 == 0) * (number(text) < 18)
        ),
        ODD: lambda text: None if number(text) > 21 else 0.75,
        "spam": lambda text: None if number(text) > 21 else 0.9,
    }
    run_of(root, sweep, "second", bent)
    run_of(root, sweep, "stricter", {"rumor": lambda text: number(text) / 24}, threshold=0.75)
    other = sweep_of(root, "d2026-01-02", {SOURCES[0]: [page(0, toots[:4], last=True)]})
    run_of(root, other, "elsewhere", {"rumor": lambda _: 0.5})
    return root


@pytest.fixture(scope="module")
def runs(root: Path) -> RunsCompared:
    found = compare(root, "first", "second")
    assert isinstance(found, RunsCompared)
    return found


def label(runs: RunsCompared, name: str) -> LabelChange:
    return next(each for each in runs.labels if each.name == name)


def test_flags_are_counted_by_who_gave_them(runs: RunsCompared) -> None:
    # At a half, 12 and over are flagged; with a quarter more also 6 and 9, of which 15 is the last that gets it.
    rumor = label(runs, "rumor")
    assert rumor.total == Pairs("rumor", both=10, first=0, second=2, neither=10)
    assert rumor.platforms == [Pairs("bluesky", 6, 0, 0, 0), Pairs("mastodon", 4, 0, 2, 10)]
    assert runs.scored == {"both": 22, "first": 2, "second": 0, "neither": 0}
    assert label(runs, ODD).total == Pairs(ODD, 22, 0, 0, 0)


def test_flips_are_shown_with_what_the_scores_were(runs: RunsCompared) -> None:
    rumor = label(runs, "rumor")
    assert [(number(flip.text), flip.old, flip.new) for flip in rumor.gained] == [
        (n, pytest.approx(n / 24, abs=1e-6), pytest.approx(n / 24 + 0.25, abs=1e-6))
        for n in sorted((6, 9), key=lambda n: uid(rumor, n))
    ]
    assert rumor.lost == []


def uid(change: LabelChange, n: int) -> str:
    return next(flip.uid for flip in change.gained if number(flip.text) == n)


def test_score_shifts_are_those_of_a_count_by_hand(runs: RunsCompared) -> None:
    shifts = sorted([0.25 * (n % 3 == 0) * (n < 18) for n in range(22)])
    shift = label(runs, "rumor").shift
    assert shift is not None
    assert shift.changed == 6
    assert shift.mean == pytest.approx(sum(shifts) / 22, abs=1e-6)
    assert shift.quantiles == {at: pytest.approx(shifts[math.ceil(at * 22) - 1], abs=1e-4) for at in QUANTILES}
    assert shift.largest == pytest.approx(0.25, abs=1e-6)


def test_labels_of_one_run_alone_are_told_with_their_shares(runs: RunsCompared) -> None:
    assert [(share.name, share.scored, share.flagged, share.authors) for share in runs.only_first] == [
        ("scam", 24, 0, 0)
    ]
    assert [(share.name, share.scored, share.flagged, share.authors) for share in runs.only_second] == [
        ("spam", 22, 22, 13)
    ]


def test_the_causes_are_those_of_the_manifests(root: Path, runs: RunsCompared) -> None:
    assert [cause.text for cause in runs.causes] == [
        "label scam: from model default, then not there",
        "label spam: not there, then from model default",
    ]
    found = compare(root, "first", "stricter")
    assert isinstance(found, RunsCompared)
    assert "threshold of label rumor: 0.5, then 0.75" in [cause.text for cause in found.causes]
    assert label(found, "rumor").total == Pairs("rumor", both=6, first=6, second=0, neither=12)
    assert label(found, "rumor").shift.changed == 0  # type: ignore[union-attr]


def test_what_is_gained_one_way_is_lost_the_other(root: Path, runs: RunsCompared) -> None:
    back = compare(root, "second", "first")
    assert isinstance(back, RunsCompared)
    here, there = label(runs, "rumor"), label(back, "rumor")
    assert [flip.uid for flip in there.lost] == [flip.uid for flip in here.gained]
    assert there.total.difference == -here.total.difference
    assert there.total.interval == pytest.approx(tuple(-end for end in here.total.interval[::-1]))


def test_no_text_is_shown_twice_and_no_author_more_than_twice(tmp_path: Path) -> None:
    same = [post(n, text="said by many 1") for n in range(3)]
    busy = [post(7 * n, text=f"said by one {n}") for n in range(10, 16)]
    sweep = sweep_of(tmp_path, "d1", {SOURCES[0]: [page(0, [*same, *busy], last=True)]})
    run_of(tmp_path, sweep, "none", {"rumor": lambda _: 0.1})
    run_of(tmp_path, sweep, "all", {"rumor": lambda _: 0.9})
    found = compare(tmp_path, "none", "all")
    assert isinstance(found, RunsCompared)
    shown = Counter(flip.text.rpartition(" ")[0] for flip in found.labels[0].gained)
    assert shown == {"said by many": 1, "said by one": shown["said by one"]}
    assert 1 <= shown["said by one"] <= 2


def test_runs_without_a_common_post_or_label_are_compared_all_the_same(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "d1", {SOURCES[0]: [page(0, [post(1), post(2)], last=True)]})
    run_of(tmp_path, sweep, "none", {"rumor": lambda _: None})
    run_of(tmp_path, sweep, "all", {"rumor": lambda _: 0.9})
    run_of(tmp_path, sweep, "other", {"scam": lambda _: 0.9})
    found = compare(tmp_path, "none", "all")
    assert isinstance(found, RunsCompared)
    assert (found.scored, found.labels[0].total.total) == ({"both": 0, "first": 0, "second": 2, "neither": 0}, 0)
    assert "no post was scored by both" in "\n".join(lines(found))
    without = compare(tmp_path, "all", "other")
    assert isinstance(without, RunsCompared)
    assert without.labels == []
    assert "a label of the second run only; 2 of 2 flagged" in "\n".join(lines(without))


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("first", "nothing", "no finished run and no sealed sweep nothing; there are runs: elsewhere, first,"),
        ("first", "d2026-01-01", "a run and a sweep"),
        ("first", "first", "named twice"),
        (
            "first",
            "elsewhere",
            "compare two runs of one sweep, or the sweeps: `postsweep compare d2026-01-01 d2026-01-02`",
        ),
    ],
)
def test_what_cannot_be_compared_says_what_to_do(root: Path, first: str, second: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        compare(root, first, second)
    done = postsweep("compare", first, second, "--archive", str(root), cwd=root)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_text_says_all_and_cannot_steer_a_terminal(root: Path) -> None:
    done = postsweep("compare", "first", "second", "--archive", "archive", cwd=root.parent)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "22 posts scored by both, 2 by the first only, 0 by the second only, 0 by neither" in text
    assert "  label scam: from model default, then not there" in text
    assert re.search(r"all +22 +45.45 % +54.55 % +\+9.09 points  ", text)
    assert re.search(r"bluesky +6 +100.00 % +100.00 % +\+0.00 points", text)
    assert "same flag for 90.91 % of posts, Cohen's kappa 0.820" in text
    assert "newly flagged: 2, such as" in text
    assert "0.250 -> 0.500" in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert not re.search(r"rivermint|native\d|home\.example", text)


def test_json_holds_all_of_it(root: Path, runs: RunsCompared) -> None:
    done = postsweep("compare", "first", "second", "--archive", str(root), "--json", cwd=root)
    told = json.loads(done.stdout)
    assert told == json.loads(json.dumps(as_json(runs)))
    assert told["compared"] == "runs"
    assert told["labels"][0]["total"]["kappa"] == pytest.approx(0.8196, abs=1e-4)
    assert told["causes"][0]["what"] == "label scam"


def test_a_page_and_json_are_not_asked_for_at_once(root: Path, tmp_path: Path) -> None:
    done = postsweep("compare", "first", "second", "-a", str(root), "--json", "-o", "page.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --json prints, --out writes a page; give one of them\n"
    assert not list(tmp_path.iterdir())


def test_the_page_opens_offline_and_holds_no_strangers_markup(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = postsweep("compare", "first", "second", "--archive", str(root), "-o", str(out), cwd=root)
    assert done.stdout == f"comparison: {out}\n", done.stderr
    page = out.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 6" in page
    assert "label scam: from model default, then not there" in page
    assert '<td>all</td><td class="n">22</td><td class="n">45.45 %</td><td class="n">54.55 %</td>' in page
    assert "A label of the second run only: 22 of 22 flagged" in page
    assert not re.search(r"<script|\x1b|\u202e|https?://|rivermint|native\d", page)
    done = postsweep("compare", "first", "second", "--archive", str(root), "-o", "no/page.html", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 3)


def test_the_page_of_two_sweeps_says_what_the_text_says(tmp_path: Path) -> None:
    gap = Gap(NOON - timedelta(hours=1), NOON + timedelta(seconds=1), "the server asks for a login")
    found = moved(tmp_path, ("2026-01-01T12:00:01Z", "2026-01-02T12:00:00Z"), [gap])
    page = build_comparison(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<td class="n">5</td><td class="n">1</td><td class="n">2</td><td class="n">2</td>' in page
    assert page.count('<p class="gap">') == len(found.cautions)
    assert not re.search(r"boats|ships|rivermint", page)


def moved(root: Path, window: tuple[str, str] = DAY, gaps: list[Gap] | None = None) -> SweepsCompared:
    """Two sweeps, of which the second misses 0 and 1, has 2 with another text, and has 8 and 9 more."""
    first = [post(n, text=f"boats {n}") for n in range(8)]
    second = [post(n, text=f"boats {n}") for n in range(3, 10)] + [post(2, text="ships 2", edited_at=NOON)]
    sweep_of(root, "d1", {SOURCES[0]: [page(0, first, last=True)], SOURCES[1]: [page(0, [], last=True)]})
    sweep_of(root, "d2", {SOURCES[0]: [page(0, second, last=True)], BLUESKY: [page(0, [], last=True)]}, window, gaps)
    found = compare(root, "d1", "d2")
    assert isinstance(found, SweepsCompared)
    return found


def test_two_sweeps_are_compared_by_platform_and_source(tmp_path: Path) -> None:
    found = moved(tmp_path)
    (source,) = found.sources
    assert (source.platform, source.source) == ("mastodon", NAMES.source(SOURCES[0]))
    assert (source.same, source.edited, source.new, source.gone) == (5, 1, 2, 2)
    assert found.only_first == [NAMES.source(SOURCES[1])]
    assert found.only_second == [NAMES.source(BLUESKY)]
    assert found.cautions == []
    uids = {text: uid for uid, text in pl.read_parquet(tmp_path / "posts/**/*.parquet").select("uid", "text").rows()}
    assert found.examples == {
        "edited": [uids["ships 2"]],
        "new": sorted([uids["boats 8"], uids["boats 9"]]),
        "gone": sorted([uids["boats 0"], uids["boats 1"]]),
    }


def test_an_edit_that_the_first_sweep_saw_itself_is_none_between_the_two(tmp_path: Path) -> None:
    edited = [post(n, text=f"ships {n}", edited_at=NOON) for n in range(2)]
    photo = post(2, text="boats 2", edited_at=NOON)  # another picture under the same text
    before = [post(n, text=f"boats {n}") for n in range(3)]
    sweep_of(tmp_path, "d1", {SOURCES[0]: [page(0, before), page(1, edited, last=True)]})
    sweep_of(tmp_path, "d2", {SOURCES[0]: [page(0, [*edited, photo], last=True)]})
    found = compare(tmp_path, "d1", "d2")
    assert isinstance(found, SweepsCompared)
    (source,) = found.sources
    assert (source.same, source.edited, source.new, source.gone) == (2, 1, 0, 0)


def test_windows_that_differ_and_gaps_are_told(tmp_path: Path) -> None:
    gap = Gap(NOON - timedelta(hours=1), NOON + timedelta(seconds=1), "the server asks for a login")
    found = moved(tmp_path, ("2026-01-01T12:00:01Z", "2026-01-02T12:00:00Z"), [gap])
    (source,) = found.sources
    assert (source.gone_outside, source.gone_in_gap, source.new_outside, source.new_in_gap) == (1, 1, 0, 0)
    windows, *gaps = found.cautions
    assert windows.startswith("the windows differ: d1 covers 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z, d2 covers")
    assert windows.endswith("0 of the new and 1 of the gone posts lie outside the other's window")
    assert "1 posts counted as gone lie in a gap of this source" in gaps[0]
    text = "\n".join(lines(found))
    assert f"caution: {windows}" in text
    assert "only a recheck says whether it was removed" in text
    assert not re.search(r"boats|ships|rivermint", text + json.dumps(as_json(found)))


def test_sweeps_without_a_common_source_are_not_compared(tmp_path: Path) -> None:
    sweep_of(tmp_path, "d1", {SOURCES[0]: [page(0, [post(1)], last=True)]})
    sweep_of(tmp_path, "d2", {SOURCES[1]: [page(0, [post(1)], last=True)]})
    with pytest.raises(ConfigError, match="no source is in both"):
        compare(tmp_path, "d1", "d2")


def test_sources_of_erased_accounts_are_not_taken_for_one(tmp_path: Path) -> None:
    """Each sweep read the timeline of another account of one host, and both accounts were erased."""
    gap = Gap(NOON - timedelta(hours=1), NOON + timedelta(hours=1), "the server asks for a login")
    timelines = [Source("mastodon", "https://one.example", "account", name) for name in ("kitedune", "fernhollow")]
    for number, timeline in enumerate(timelines):
        for sweep, more in ((f"own{number}", {}), (f"both{number}", {SOURCES[0]: [page(0, [post(9)], last=True)]})):
            sweep_of(tmp_path, sweep, {timeline: [page(0, [post(number)], last=True)], **more}, gaps=[gap])
            call_erased(tmp_path, sweep, NAMES.source(timeline))
    with pytest.raises(ConfigError, match="no source is in both"):
        compare(tmp_path, "own0", "own1")
    found = compare(tmp_path, "both0", "both1")
    assert isinstance(found, SweepsCompared)
    assert found.only_first == found.only_second == ["mastodon:one.example:account:erased"]
    assert sum(each.new_in_gap for each in found.sources) == 0
    assert found.cautions[0].startswith("mastodon:one.example:account:erased: sources of erased accounts")


def call_erased(root: Path, sweep: str, source: str) -> None:
    """Gives a source of a sealed sweep and its posts the name that an erasure leaves of it."""
    erased = f"{source.rpartition(':')[0]}:erased"
    store = open_store(root)
    manifest = sweep_manifest(store, sweep)
    assert manifest is not None
    store.remove(sweep_manifest_name(sweep, 0))
    names = {source: erased}
    sources = [{**each, "source": names.get(each["source"], each["source"])} for each in manifest["sources"]]
    write_manifest(store, sweep_manifest_name(sweep, 0), {**manifest, "sources": sources})
    for path in root.glob(f"posts/sweep={sweep}/**/*.parquet"):
        posts = pl.read_parquet(path, hive_partitioning=False)
        posts.with_columns(pl.col("source").replace(source, erased)).write_parquet(path)


def test_an_interval_of_paired_shares_is_that_of_the_literature() -> None:
    """An example of R. G. Newcombe, Statistics in Medicine 17 (1998), by method 10; there the first share leads."""
    pairs = Pairs("rumor", both=20, first=12, second=2, neither=16)
    assert -pairs.difference == pytest.approx(0.2)
    assert [-end for end in pairs.interval[::-1]] == pytest.approx([0.0562, 0.3292], abs=6e-5)


def test_intervals_hold_the_true_difference_as_often_as_they_say() -> None:
    n = 20
    tables = [(a, b, c, n - a - b - c) for a, b, c in product(range(n + 1), repeat=3) if a + b + c <= n]
    for chances in [(0.2, 0.1, 0.1, 0.6), (0.1, 0.2, 0.05, 0.65), (0.02, 0.05, 0.08, 0.85), (0.4, 0.02, 0.1, 0.48)]:
        true = chances[2] - chances[1]
        law = multinomial(n, chances)
        held = sum(law.pmf(table) for table in tables if inside(Pairs("x", *table).interval, true))
        assert 0.93 < held < 0.995, chances


def inside(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


@given(st.tuples(*[st.integers(0, 60)] * 4))
def test_agreement_is_that_of_another_implementation(counts: tuple[int, int, int, int]) -> None:
    pairs = Pairs("rumor", *counts)
    first, second = [1, 1, 0, 0], [1, 0, 1, 0]
    low, high = pairs.interval
    assert -1 - 1e-9 <= low <= pairs.difference + 1e-9
    assert pairs.difference - 1e-9 <= high <= 1 + 1e-9
    if pairs.kappa is not None:
        expected = cohen_kappa_score(first, second, sample_weight=counts, labels=[0, 1])
        assert pairs.kappa == pytest.approx(expected)
        assert pairs.agreement == pytest.approx((counts[0] + counts[3]) / sum(counts))
