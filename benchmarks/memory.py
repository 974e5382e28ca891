"""Peak memory of a crawl with its sealing, for two sizes: `python benchmarks/memory.py 20000 200000`.

Prints, per size, the largest resident set of any one process of the command, and the ratio of the two. The sample
network that is crawled runs in this process and is not counted.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from pipelines.demo.network import Network, synthetic_posts


def peak(count: int) -> tuple[float, float]:
    """MiB of the largest process, and seconds that the crawl took."""
    with tempfile.TemporaryDirectory() as folder, Network(synthetic_posts(count), faults=False) as network:
        sweep = Path(folder) / "sweep.toml"
        sweep.write_text(network.sweep_file(Path(folder) / "archive", part_rows=50_000))
        command = [str(Path(sys.executable).with_name("postsweep")), "crawl", str(sweep)]
        begun = time.monotonic()
        child = subprocess.Popen(command, env={**os.environ, "POSTSWEEP_KEY": "00" * 32})
        largest = 0
        while child.poll() is None:
            for process in [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]:
                try:
                    largest = max(largest, process.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.05)
        if child.returncode != 0:
            raise SystemExit(f"the crawl of {count} posts ended with code {child.returncode}")
        return largest / 2**20, time.monotonic() - begun


def main() -> None:
    """Measures the sizes given."""
    sizes = [int(argument) for argument in sys.argv[1:]] or [20_000, 200_000]
    peaks = []
    for size in sizes:
        largest, seconds = peak(size)
        peaks.append(largest)
        print(f"{size:,} posts: {largest:.0f} MiB, {seconds:.0f} s")
    print(f"ratio of the last to the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
