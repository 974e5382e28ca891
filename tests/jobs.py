"""Runs the command line as people do, against the sample network, under a key of the tests' own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "5a" * 32


def environment() -> dict[str, str]:
    """The environment of a command: a fixed pseudonym key, and nothing else of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTSWEEP_KEY")}
    return {**kept, "POSTSWEEP_KEY": KEY}


def postsweep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [str(Path(sys.executable).with_name("postsweep")), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=300)


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[bytes]":
    """Starts a command in a process group of its own, to be ended whole."""
    command = [str(Path(sys.executable).with_name("postsweep")), *arguments]
    with (cwd / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=log, stderr=log, start_new_session=True)


@contextmanager
def running(*arguments: str, cwd: Path, until: str) -> Iterator["subprocess.Popen[str]"]:
    """Starts a command in a process group of its own and goes on once it has said `until` on standard error."""
    command = [str(Path(sys.executable).with_name("postsweep")), *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as child:  # fmt: skip
        try:
            assert child.stderr is not None
            assert any(until in line for line in child.stderr)
            yield child
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
