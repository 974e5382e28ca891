"""Progress of a job on standard error: a bar on a terminal, plain log lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

LINE_SECONDS = 5.0
"""The least time between two log lines of one stage."""


class Stage(Protocol):
    """One stage of a job while it runs."""

    def advance(self, count: int) -> None:
        """So many more are done, in the unit of the stage's total."""

    def note(self, text: str) -> None:
        """A few words beside the bar; written by the program, never by a stranger."""


class Progress:
    """Shows nothing: for use as a library. `TerminalProgress` and `LogProgress` show it to people."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Opens a stage for the time of a `with` block; `total` is None when it is not known."""
        yield _Silent()


class _Silent:
    def advance(self, count: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass
class _Lines:
    name: str
    total: int | None
    done: int = 0
    text: str = ""
    said: float = field(default_factory=time.monotonic)

    def advance(self, count: int) -> None:
        self.done += count
        self._maybe()

    def note(self, text: str) -> None:
        self.text = text
        self._maybe()

    def _maybe(self) -> None:
        if time.monotonic() - self.said >= LINE_SECONDS:
            self.said = time.monotonic()
            self.say("")

    def say(self, word: str) -> None:
        counted = "" if self.total is None else f"{self.done:,} of {self.total:,}"
        told = ", ".join(part for part in (word, counted, self.text) if part)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{stamp} {self.name}{': ' if told else ''}{told}", file=sys.stderr, flush=True)  # noqa: T201


class LogProgress(Progress):
    """Plain lines with times: for log files."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """See `Progress`."""
        lines = _Lines(name, total)
        lines.say("begins")
        begun = time.monotonic()
        yield lines
        lines.say(f"done in {time.monotonic() - begun:.1f} s")


class TerminalProgress(Progress):
    """Bars that stay when they are full (rich)."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """See `Progress`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = [SpinnerColumn(finished_text="✓"), TextColumn(f"{name:<14}"), BarColumn(bar_width=24)]
        counted = [] if total is None else [MofNCompleteColumn()]
        bars = Bars(
            *columns, *counted, TimeElapsedColumn(), TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )  # fmt: skip
        with bars:
            task = bars.add_task(name, total=total, note="")

            class Shown:
                def advance(self, count: int) -> None:
                    bars.advance(task, count)

                def note(self, text: str) -> None:
                    bars.update(task, note=text)

            yield Shown()
            done = bars.tasks[0].completed if total is None else total
            bars.update(task, total=done or 1, completed=done or 1)


def open_progress() -> Progress:
    """Bars when standard error is a terminal, else lines."""
    return TerminalProgress() if sys.stderr.isatty() else LogProgress()
