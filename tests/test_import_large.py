"""A dump of a gigabyte: imported in little memory, killed halfway, and each record is there once."""

import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from backports import zstd

from pipelines.archive import read_archive, sweep_manifest
from pipelines.imports.readers import json_lines
from tests.jobs import environment

GIGABYTE = 1_000_000_000
MOST_MEMORY = 500 * 1024 * 1024
MAP = """platform = "reddit"
host = "reddit.com"

[columns]
id = "name"
text = "body"
created_at = "created_utc"
author = "author"
fetched_at = "retrieved_on"
"""


def write_dump(path: Path) -> int:
    """Writes a dump of at least a gigabyte, compressed, of comments that are hard to compress; says how many."""
    chance, written = random.Random(5), 0
    with zstd.open(path, "wb", level=3) as file:
        while path.stat().st_size < GIGABYTE:
            for _ in range(2000):
                body = base64.b85encode(chance.randbytes(680)).decode().replace("@", " ").replace("<", " ")
                comment = {"name": f"t1_{written:07}", "body": body, "created_utc": 1546300800 + written // 20}
                comment |= {"author": f"reader{written % 5000}", "retrieved_on": 1556300800}
                file.write(json.dumps(comment).encode() + b"\n")
                written += 1
            file.flush()
    return written


def start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("postsweep")), "import", "table", "dump.jsonl.zst"]
    command += ["--map", "map.toml", "--sweep", "h1"]
    return subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL)


def ended(child: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """The exit status and the peak memory in bytes."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, used.ru_maxrss * 1024


@pytest.mark.slow
def test_a_dump_of_a_gigabyte_is_imported_in_little_memory_and_killed_halfway_each_record_once(tmp_path: Path) -> None:
    written = write_dump(tmp_path / "dump.jsonl.zst")
    (tmp_path / "map.toml").write_text(MAP)
    shards = tmp_path / "archive/incoming/sweep=h1/platform=reddit"
    began = time.monotonic()
    child = start(tmp_path)
    while len(list(shards.glob("*.parquet"))) * 2000 < written // 2:
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    code, first = ended(child)
    assert code == -signal.SIGKILL
    code, second = ended(start(tmp_path))
    took = time.monotonic() - began
    assert code == 0
    ids = (
        pl.scan_parquet(tmp_path / "archive/identities/sweep=h1/*/*.parquet").select("native_id").collect()["native_id"]
    )
    assert ids.n_unique() == ids.len() == written
    manifest = sweep_manifest(read_archive(tmp_path / "archive"), "h1")
    assert manifest is not None
    assert (manifest["counts"]["posts"], manifest["counts"]["duplicates"], manifest["counts"]["rejects"]) == (
        written,
        0,
        0,
    )
    told = f"{written:,} records, {written / took:,.0f} a second; peak {first >> 20} and {second >> 20} MiB"
    sys.stderr.write(f"\n{told}\n")
    assert max(first, second) < MOST_MEMORY


def test_a_dump_with_the_largest_window_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dump.zst"
    options = {zstd.CompressionParameter.window_log: 31, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    data = b"".join(json.dumps({"id": number}).encode() + b"\n" for number in range(1000))
    path.write_bytes(compressor.compress(data) + compressor.flush())
    assert [each["id"] for each in json_lines(path, 990)] == list(range(990, 1000))
