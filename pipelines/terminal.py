"""What a terminal is given to show: texts that cannot steer it, and tables that fit it."""

import sys
from collections.abc import Iterable, Sequence

CELL = 60
"""Characters of a cell that a table shows."""


def plain(text: str) -> str:
    """A text that cannot steer a terminal: every character that acts or is not seen is written by its number."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shortened(text: str, length: int) -> str:
    """The beginning of a text, whole when it is no longer than `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def print_table(names: Sequence[str], rows: Iterable[Sequence[str | None]], right: Sequence[bool]) -> None:
    """Prints rows under their columns' names, long cells shortened; None is an empty cell.

    `right`: which columns are set to the right, as numbers are. On a terminal the table is as wide as that at most.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, numeric in zip(names, right, strict=True):
        table.add_column(Text(_cell(name)), justify="right" if numeric else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(_cell(value or "")) for value in row))
    Console(width=None if sys.stdout.isatty() else 100_000, highlight=False).print(table)


def _cell(text: str) -> str:
    return shortened(plain(text[: CELL + 1]), CELL)
