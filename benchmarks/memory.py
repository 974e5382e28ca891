"""Peak memory of a crawl with its sealing, and of a classification: `python -m benchmarks.memory 20000 200000`.

Prints, per command and number of distinct posts, the largest resident set of any one of its processes and the seconds
it took, then the ratio of the last size to the first. The sample network that is crawled runs in this process and is
not counted; a small model classifies, so that the figures are of the pipeline.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pipelines.demo.network import Network, synthetic_posts
from tests.small_model import make

COMMANDS = ("crawl", "classify", "report")


def peak(command: str, sweep: Path) -> tuple[float, float]:
    """MiB of the largest process of a command, and the seconds it took."""
    begun = time.monotonic()
    child = subprocess.Popen(
        [str(Path(sys.executable).with_name("postsweep")), command, str(sweep)],
        cwd=sweep.parent, env={**os.environ, "POSTSWEEP_KEY": "00" * 32},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    largest = 0
    while child.poll() is None:
        try:
            for process in [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]:
                largest = max(largest, process.memory_info().rss)
        except psutil.Error:
            pass
        time.sleep(0.05)
    if child.returncode != 0:
        raise SystemExit(f"{command} ended with code {child.returncode}")
    return largest / 2**20, time.monotonic() - begun


def measure(size: int) -> dict[str, float]:
    """The peaks of all commands over a sweep of that many posts."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder, Network(synthetic_posts(size), faults=False) as network:
        sweep = Path(folder) / "sweep.toml"
        model = make(Path(folder) / "model")
        text = network.sweep_file(Path(folder) / "archive", part_rows=50_000)
        sweep.write_text(f'{text}\n[classify]\nmodel = "{model}"\n')
        for command in COMMANDS:
            peaks[command], seconds = peak(command, sweep)
            print(f"{size:,} posts, {command}: {peaks[command]:.0f} MiB, {seconds:.0f} s", flush=True)
    return peaks


def main() -> None:
    """Measures the sizes given."""
    peaks = [measure(size) for size in [int(argument) for argument in sys.argv[1:]] or [20_000, 200_000]]
    for command in COMMANDS:
        print(f"{command}: ratio of the last to the first {peaks[-1][command] / peaks[0][command]:.2f}")


if __name__ == "__main__":
    main()
