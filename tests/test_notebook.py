import doctest
import re
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from pipelines import notebook
from pipelines.errors import ArchiveError, ConfigError
from pipelines.notebook import Archive, score
from tests import small_model
from tests.runs import run_of, sweep_of
from tests.sweeps import SOURCES, page, post


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of two sweeps, and two runs over the first. Read it, change nothing."""
    folder = tmp_path_factory.mktemp("notebook")
    root = folder / "archive"
    posts = [post(n, text=f"boats {n}") for n in range(12)]
    sweep = sweep_of(root, "d2026-01-01", {SOURCES[0]: [page(0, posts, last=True)]})
    sweep_of(root, "d2026-01-02", {SOURCES[0]: [page(0, posts[2:], last=True)]})
    rules = {"rumor": lambda text: int(text.split()[1]) / 12}
    run_of(root, sweep, "first", rules)
    run_of(root, sweep, "second", rules, threshold=0.75)
    return folder


@pytest.fixture
def archive(folder: Path) -> Archive:
    return Archive(folder / "archive")


def test_the_examples_of_the_module_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    failed, tried = doctest.testmod(notebook)
    assert (failed, tried) == (0, 11)


def test_tables_are_datasets_with_their_partitions_as_columns(archive: Archive) -> None:
    posts, scores = archive.posts("d2026-01-01"), archive.scores("second")
    assert (
        posts.to_table(columns=["sweep", "platform"]).to_pylist()
        == [{"sweep": "d2026-01-01", "platform": "mastodon"}] * 12
    )
    flagged = scores.to_table(filter=ds.field("rumor") >= 0.75, columns=["run", "uid", "flags"]).to_pylist()
    assert [row["flags"] for row in flagged] == [["rumor"]] * 3
    assert {row["run"] for row in flagged} == {"second"}
    assert {row["uid"] for row in flagged} < set(posts.to_table(columns=["uid"]).column("uid").to_pylist())


def test_folders_above_the_archive_have_no_part_in_its_tables(folder: Path, tmp_path: Path) -> None:
    above = tmp_path / "sweep=other/platform=zz"
    above.mkdir(parents=True)
    (above / "archive").symlink_to(folder / "archive")
    table = Archive(above / "archive").posts("d2026-01-02").to_table(columns=["sweep", "platform"])
    assert table.to_pylist() == [{"sweep": "d2026-01-02", "platform": "mastodon"}] * 10


def test_what_is_not_there_is_one_line(archive: Archive, tmp_path: Path) -> None:
    for ask, told in [
        (lambda: Archive(tmp_path), "no archive here"),
        (lambda: archive.posts("d2026-01-03"), "no sealed sweep d2026-01-03; there are: d2026-01-01, d2026-01-02"),
        (lambda: archive.scores("third"), "no finished run third; there are: first, second"),
        (lambda: archive.manifest("third"), "no finished run and no sealed sweep third"),
    ]:
        with pytest.raises(ArchiveError, match=re.escape(told)):
            ask()
    with pytest.raises(ConfigError, match="--restricted"):
        archive.sql("from identities")
    assert archive.sql("from identities", restricted=True).num_rows == 22
    assert archive.manifest("d2026-01-02")["counts"]["posts"] == 10


def test_texts_are_scored_by_any_model(tmp_path: Path) -> None:
    scores = score(["今天的雪下得很大，路车停开。", ""], str(small_model.make(tmp_path / "small")))
    assert scores.column_names == ["lang", "windows", "rumor", "hate", "abuse", "scam", "clickbait", "flags"]
    assert scores.column("scam").is_valid().to_pylist() == [True, False]
