"""Accounts that pose as institutions are found by what they call themselves, and of nobody else a word is kept."""

import shutil
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from crawlers.post import ACCOUNT_SCHEMA, Account, Verification, VerifiedAs
from crawlers.sink import Traffic
from crawlers.source import Source
from pipelines.accounts import listed, score_accounts
from pipelines.archive import Manifest, accounts_manifest, read_archive
from pipelines.demo.network import Network, embedded_claimants, embedded_people
from pipelines.lease import held
from pipelines.progress import Progress
from pipelines.report.claims import claim_figures
from pipelines.reporting import report_sweep
from pipelines.seal import seal
from pipelines.shards import ShardSink
from pipelines.verify import verify_archive
from pipelines.vouching import State, standing
from tests import small_model
from tests.golden_archive import GOLDEN, unpack
from tests.jobs import KEY, postsweep
from tests.sweeps import (
    NAMES,
    SOURCES,
    SWEEP,
    contents,
    open_store,
    page,
    post,
    seal_settings,
    sealed_sweep,
    sink_settings,
)

CLAIMANTS = embedded_claimants()
"""The accounts that are planted in the sample network, each with its role."""
WEIBO = Source("weibo", "https://weibo.com", "user", "1904427315")


def names(role: str) -> set[str]:
    return {each["display"] for each in CLAIMANTS if each["role"] == role}


@pytest.fixture(scope="module", autouse=True)
def own_key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTSWEEP_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def posing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the sample network with the planted accounts, and its report. Read it, change nothing."""
    folder = tmp_path_factory.mktemp("posing")
    model = small_model.make(tmp_path_factory.mktemp("model") / "small")  # for the posts, which are not the matter here
    with Network(claimants=True, faults=False) as network:
        classify = f'\n[classify]\nmodel = "{model}"\n'
        (folder / "sweep.toml").write_text(network.sweep_file(folder / "archive") + classify)
        done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copied(posing: Path, tmp_path: Path) -> Path:
    """A copy of its archive, to change."""
    shutil.copytree(posing / "archive", tmp_path / "archive", copy_function=shutil.copy2)
    return tmp_path / "archive"


def scored(archive: Path) -> Manifest:
    found = accounts_manifest(read_archive(archive), SWEEP)
    assert found is not None
    return found


def test_a_sweep_of_the_sample_network_finds_the_posing_accounts_and_no_other(posing: Path) -> None:
    found = list(listed(posing / "archive", scored(posing / "archive")))
    assert {row["display_name"] for row in found} == names("posing")
    assert len(found) == len(names("posing")) == 10
    assert {(row["platform"], row["state"]) for row in found} == {("mastodon", "unknown"), ("bluesky", "unverified")}
    assert {row["type"] for row in found} == {"army", "government", "police_court", "media", "medical", "legal"}
    assert all(row["words"] and row["url"] for row in found)
    assert sum(row["posts"] for row in found) == sum(len(e["posts"]) for e in CLAIMANTS if e["role"] == "posing")


def test_the_manifest_and_the_report_count_them_by_type_platform_and_state(posing: Path) -> None:
    told = scored(posing / "archive")
    states = Counter[str]()
    for each in told["claims"]:
        states[each["state"]] += each["accounts"]
    assert states == {"unknown": 5, "unverified": 5, "verified": len(names("verified"))}
    figures = claim_figures(told)
    assert figures.whole.accounts == 15
    assert {each.name: each.accounts for each in figures.platforms} == {"bluesky": 8, "mastodon": 7}
    assert sum(each.posts.count for each in figures.types) == figures.whole.posts.count == 18
    low, high = figures.whole.unborne.interval
    assert 0 < low < figures.whole.unborne.value == 10 / figures.accounts < high < 1
    page = (posing / "report.html").read_text()
    assert "Accounts that claim to be an institution" in page
    assert f"15 of {figures.accounts} accounts call themselves an institution" in page
    assert "<td>police court</td>" in page


def test_nothing_about_anybody_is_in_the_counts_or_the_report_and_nothing_about_a_private_person_in_the_list(
    posing: Path,
) -> None:
    private = [each for each in CLAIMANTS if each["role"] == "private"]
    others = [{"handle": person.handle, "display": person.display} for person in embedded_people().values()]
    everybody = [*CLAIMANTS, *others]
    counts = (posing / f"archive/manifests/accounts/{SWEEP}.json").read_text()
    page = (posing / "report.html").read_text()
    section = page[page.index('<section id="accounts">') : page.index('<section id="provenance">')]
    for text in (counts, section):
        assert [each["handle"] for each in everybody if each["handle"] in text] == []
        assert [each["display"] for each in CLAIMANTS if each["display"] in text] == []
    rows = str(pl.read_parquet(posing / f"archive/identities/claims/{SWEEP}.parquet").to_dicts())
    assert [each["handle"] for each in [*private, *others] if each["handle"] in rows] == []
    for path in posing.rglob("*"):
        if path.is_file() and not {"identities", "accounts"} & set(path.parts) and path.name != "sweep.toml":
            data = contents(path)
            handles = [each["handle"].partition(".")[0].encode() for each in CLAIMANTS]
            assert [handle for handle in handles if handle in data] == [], path


def test_the_list_is_its_owners_alone_and_verified_with_the_archive(copied: Path) -> None:
    path = copied / f"identities/claims/{SWEEP}.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert verify_archive(copied, None, Progress()) == []
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (problem,) = verify_archive(copied, SWEEP, Progress())
    assert problem.startswith(f"identities/claims/{SWEEP}.parquet: its bytes are not those")
    path.unlink()
    (problem,) = verify_archive(copied, None, Progress())
    assert problem == f"identities/claims/{SWEEP}.parquet: missing; run `postsweep accounts` again"
    (copied / f"manifests/accounts/{SWEEP}.json").unlink()
    assert verify_archive(copied, None, Progress()) == []
    path.write_bytes(b"")
    path.chmod(0o600)
    (problem,) = verify_archive(copied, None, Progress())
    assert problem.endswith("no manifest names it; run `postsweep accounts` again, or remove it")


def test_the_same_again_changes_nothing_and_made_anew_it_is_the_same(copied: Path) -> None:
    files = [copied / f"identities/claims/{SWEEP}.parquet", copied / f"manifests/accounts/{SWEEP}.json"]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    first = score_accounts(copied, SWEEP, Progress())
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    files[1].unlink()
    again = score_accounts(copied, SWEEP, Progress())
    assert files[0].read_bytes() == before[0][0]
    assert {**again, "scored_at": ""} == {**first, "scored_at": ""}


def test_other_words_score_them_anew(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.accounts.gazetteer_digest", lambda: "other words")
    again = score_accounts(copied, SWEEP, Progress())
    assert again["made_with"]["words"] == "other words"
    assert scored(copied) == again


def test_the_command_tells_counts_and_with_list_the_accounts_to_review(posing: Path) -> None:
    told = postsweep("accounts", "archive", "--sweep", SWEEP, cwd=posing)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"sweep {SWEEP}: 15 of ")
    assert "  police court   unverified 0, unknown 2, verified 1; posts of those not verified 4" in lines
    assert lines[-1].endswith("(10 accounts; --list prints them)")
    assert not any(each["display"] in told.stdout for each in CLAIMANTS)
    shown = postsweep("accounts", "sweep.toml", "--list", cwd=posing).stdout
    assert len(shown.splitlines()) == 10
    assert all(name in shown for name in names("posing"))
    assert not any(name in shown for name in names("private") | names("verified"))


def test_erasing_an_account_takes_it_out_of_the_counts_and_the_list(copied: Path) -> None:
    gone = next(each for each in CLAIMANTS if each["key"] == "gongan")
    folder = copied.parent
    address = "https://hearth.example/users/" if "hearth" in handle_home(gone) else "https://lantern.example/users/"
    erased = postsweep("erase", "archive", "--author", address + gone["handle"], "--yes", cwd=folder)
    assert erased.returncode == 0, erased.stderr
    assert accounts_manifest(read_archive(copied), SWEEP) is None
    assert not (copied / f"identities/claims/{SWEEP}.parquet").exists()
    assert verify_archive(copied, None, Progress()) == []
    without = report_sweep(copied, SWEEP, Progress(), run=None, out=folder / "report.html", links=False).read_text()
    assert "claim to be an institution" not in without
    again = score_accounts(copied, SWEEP, Progress())
    assert again["generation"] == 1
    assert {row["display_name"] for row in listed(copied, again)} == names("posing") - {gone["display"]}
    for path in copied.rglob("*"):
        if path.is_file():
            assert gone["handle"].encode() not in contents(path), path
            assert gone["display"].encode() not in contents(path), path


def handle_home(each: dict[str, Any]) -> str:
    with Network(claimants=True) as network:
        return network.people[each["key"]].home


def test_a_report_shows_no_figures_from_before_an_erasure(copied: Path) -> None:
    path = copied / f"manifests/accounts/{SWEEP}.json"
    kept, found = path.read_bytes(), copied / f"identities/claims/{SWEEP}.parquet"
    listed_before = found.read_bytes()
    redacted = postsweep("redact", "archive", "--before", "2026-01-01T08:00:00Z", "--yes", cwd=copied.parent)
    assert redacted.returncode == 0, redacted.stderr
    path.write_bytes(kept)  # as a backup would
    found.write_bytes(listed_before)
    found.chmod(0o600)
    page = report_sweep(copied, SWEEP, Progress(), run=None, out=copied.parent / "r.html", links=False).read_text()
    assert "claim to be an institution" not in page
    (problem,) = verify_archive(copied, None, Progress())
    assert problem.endswith("of another generation than its sweep; run `postsweep accounts` again")


def test_a_sweep_that_kept_no_accounts_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.jobs.KEY", NAMES.key.hex())
    sealed_sweep(tmp_path / "archive", {SOURCES[0]: [page(0, [post(1)], last=True)]})
    told = postsweep("accounts", "archive", "--sweep", SWEEP, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "kept no accounts; set keep_accounts = true under [sweep]" in told.stderr
    unknown = postsweep("accounts", "archive", "--sweep", "d2000-01-01", cwd=tmp_path)
    assert unknown.returncode == 1
    assert unknown.stderr.endswith(f"archive: sweep d2000-01-01 is not sealed; sealed are: {SWEEP}\n")
    nowhere = postsweep("accounts", "elsewhere", "--sweep", SWEEP, cwd=tmp_path)
    assert nowhere.returncode == 2
    assert nowhere.stderr.count("\n") == 1


MARKED: list[tuple[str, bool | None, tuple[VerifiedAs | None, str | None] | None, State | None]] = [
    ("青原县公安局", False, None, "unverified"),
    ("云川市公安局", True, ("government", None), "verified"),
    ("澜海市公安局", True, ("company", "澜海某某文化公司"), "unverified"),
    ("栖霞县公安局", True, ("organisation", "栖霞县公安局"), "verified"),
    ("东陵晚报", True, ("media", "东陵晚报"), "verified"),
    ("刑辩张律师", True, ("person", "执业律师"), "verified"),
    ("劳动法周律师", True, ("person", "美食博主"), "unverified"),
    ("柳溪县人民医院", None, None, "unknown"),
    ("王军", True, ("person", "搞笑博主"), None),
]
"""Accounts as Weibo shows them: name, mark, as what and in which words; and how each claim stands."""


def marked_sweep(root: Path) -> None:
    store = open_store(root)
    settings = sink_settings(store, keep_accounts=True)
    sink = ShardSink(settings, WEIBO)
    posts = [
        post(
            number, "weibo", text="今天的风很大。",
            author=Account(
                str(5_000_000 + number), name, name, f"https://weibo.com/u/{5_000_000 + number}", verified=verified,
                bio="执业律师，劳动仲裁" if "律师" in name else None, verification=mark and Verification(*mark),
            ),
        )
        for number, (name, verified, mark, _) in enumerate(MARKED)
    ]  # fmt: skip
    sink.page(page(0, posts, last=True))
    sink.finish([], Traffic(requests=1))
    seal(store, settings.lease, seal_settings(part_rows=4, sources=[WEIBO]))
    store.remove("leases")


def test_a_mark_bears_a_claim_out_only_where_it_was_given_for_being_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    marked_sweep(tmp_path / "archive")
    told = score_accounts(tmp_path / "archive", SWEEP, Progress())
    found = {row["display_name"]: row["state"] for row in listed(tmp_path / "archive", told)}
    assert found == {name: state for name, _, _, state in MARKED if state not in (None, "verified")}
    claimed = {name: state for name, _, _, state in MARKED if state is not None}
    assert sum(each["accounts"] for each in told["claims"]) == len(claimed)
    assert verify_archive(tmp_path / "archive", None, Progress()) == []


@pytest.mark.parametrize(
    ("kind", "mark", "expected"),
    [
        ("army", (None, None, None, None), "unknown"),
        ("army", (False, None, None, None), "unverified"),
        ("army", (True, None, None, None), "verified"),
        ("army", (True, "paid", None, None), "unverified"),
        ("medical", (True, "company", None, None), "verified"),
        ("police_court", (True, "media", "都市报", None), "unverified"),
        ("government", (None, None, None, ["www.oakford.gov"]), "verified"),
        ("government", (None, None, None, ["health.gov.uk"]), "verified"),
        ("army", (None, None, None, ["www.army.mil"]), "verified"),
        ("education", (None, None, None, ["cs.northgate.edu.cn"]), "verified"),
        ("army", (None, None, None, ["cs.northgate.edu"]), "unknown"),
        ("government", (False, None, None, ["oakford.gov.evil.example", "oakfordgov.example"]), "unverified"),
    ],
)
def test_how_a_claim_stands_hangs_on_the_kind_of_mark_and_on_official_sites(
    kind: str, mark: tuple[Any, ...], expected: State
) -> None:
    assert standing(kind, *mark) == expected


@pytest.mark.parametrize("name", [pytest.param("format-1", marks=pytest.mark.slow), "format-2"])
def test_accounts_of_archives_that_earlier_code_wrote_are_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSWEEP_KEY", NAMES.key.hex())
    unpack(GOLDEN / f"{name}.tar.xz", tmp_path)
    told = score_accounts(tmp_path / "archive", SWEEP, Progress())
    assert sum(told["accounts"].values()) > 0
    assert told["claims"] == []
    assert verify_archive(tmp_path / "archive", None, Progress()) == []


def test_a_sweep_that_earlier_code_began_is_sealed_with_its_accounts(tmp_path: Path) -> None:
    store = open_store(tmp_path / "archive")
    settings = sink_settings(store, keep_accounts=True)
    sink = ShardSink(settings, WEIBO)
    sink.page(page(0, [post(1, "weibo")], last=True))
    sink.finish([], Traffic(requests=1))
    (path,) = (tmp_path / "archive/identities/incoming").rglob("accounts/**/*.parquet")
    table = pq.read_table(path, partitioning=None)
    since = ["bio", "verified_as", "verified_words", "verified_sites"]
    pq.write_table(table.drop_columns(since), path)
    sealed = seal(store, settings.lease, seal_settings(sources=[WEIBO]))
    (part,) = sealed["parts"]["accounts"]
    read = pq.read_table(tmp_path / "archive" / part["path"], partitioning=None)
    assert read.schema.names == ACCOUNT_SCHEMA.names
    assert read.column("bio").to_pylist() == [None]


def test_while_an_account_is_being_scored_the_sweep_has_one_writer(copied: Path) -> None:
    with held(read_archive(copied), f"sweep-{SWEEP}"):
        told = postsweep("accounts", "archive", "--sweep", SWEEP, cwd=copied.parent)
    assert told.returncode == 5, told.stderr
