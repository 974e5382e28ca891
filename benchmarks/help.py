"""How long `postsweep --help` takes beside its limit of half a second: `python -m benchmarks.help`."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 0.5


def main() -> None:
    """Prints the median of nine, and its ratio to the limit."""
    command = [str(Path(sys.executable).with_name("postsweep")), "--help"]
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    print(f"median {median:.2f} s, {median / LIMIT:.2f} of the limit")


if __name__ == "__main__":
    main()
