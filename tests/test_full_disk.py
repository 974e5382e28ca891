import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.demo.network import Network
from tests.jobs import postsweep
from tests.test_sweep import digest, scores


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, at first of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False).returncode != 0:
        pytest.skip("mounting takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_each_time_and_with_more_space_the_sweep_ends_as_an_undisturbed_one(
    small_disk: Path, swept: Path, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "sweep.toml").write_text(network.sweep_file(small_disk / "archive", part_rows=12))

    def stage_that_is_told(kilobytes: int) -> str:
        resize(small_disk, kilobytes)
        done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        told = [line for line in done.stderr.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT\S+ [a-z ]+: ", line)]
        assert len(told) == 1, done.stderr
        assert "no space left; free some and run the same command again" in told[0]
        return str(re.findall(r"(\w+): begins", done.stderr)[-1])

    assert [stage_that_is_told(kilobytes) for kilobytes in (64, 256, 640, 900)] == ["crawl", "crawl", "seal", "seal"]
    resize(small_disk, 65536)
    assert postsweep("crawl", "sweep.toml", cwd=tmp_path).returncode == 0
    used = shutil.disk_usage(small_disk).used // 1024
    assert {stage_that_is_told(used + 8), stage_that_is_told(used + 100)} == {"classify"}
    resize(small_disk, 65536)
    assert postsweep("run", "sweep.toml", "-o", "report.html", cwd=tmp_path).returncode == 0
    assert digest(tmp_path / "disk") == digest(swept)
    assert scores(small_disk / "archive") == scores(swept / "archive")
    assert "no problem" in postsweep("verify", "sweep.toml", cwd=tmp_path).stdout
