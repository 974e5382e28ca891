import re
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


def test_a_full_disk_is_one_line_each_time_and_with_more_space_the_sweep_ends_as_an_undisturbed_one(
    small_disk: Path, swept: Path, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "sweep.toml").write_text(network.sweep_file(small_disk / "archive", part_rows=12))
    stages = set()
    for kilobytes in (64, 256, 512, 704, 896, 1088, 1280, 1408, 1536, 1792, 2048, 65536):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", small_disk], check=True)
        done = postsweep("run", "sweep.toml", "-o", "report.html", cwd=tmp_path)
        if done.returncode == 0:
            break
        assert done.returncode == 1, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, done.stderr
        assert "no space left; free some and run the same command again" in lines[0]
        assert "Traceback" not in done.stderr
        stages.add(re.findall(r"(\w+): begins", done.stderr)[-1])
    assert kilobytes < 65536
    assert {"crawl", "classify"} <= stages
    assert digest(small_disk.parent / "disk") == digest(swept)
    assert scores(small_disk / "archive") == scores(swept / "archive")
    assert "no problem" in postsweep("verify", "sweep.toml", cwd=tmp_path).stdout
