"""Kinds of captures: for each tool how its files are read and how a record becomes posts. One entry a tool in `KINDS`.

Parsers of records are pure and lie in `crawlers/platforms/` and, where the shape is a tool's own, `crawlers/captures/`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crawlers.post import Post
from crawlers.sink import Reject
from pipelines.imports.readers import Reader


@dataclass(frozen=True)
class Capture:
    """What is known of a file beside its records: when it was captured, where a record does not say so itself, and its
    name without endings, which some tools put something into (it may name an account, so it goes nowhere else)."""

    fetched_at: datetime
    name: str


Parsed = Post | list[Post] | tuple[list[Post], list[Reject]]
Parse = Callable[[Any, Capture], Parsed]
"""Makes posts of a record. Errors: ParseError for one that is none; it becomes a reject."""


@dataclass(frozen=True)
class ImportKind:
    """One kind of capture. `about` is a line for help and docs.

    `read` gives the reader of a file by its name in lower case; None for a name that is none of the kind's. `platforms`
    are those that a file can be of; where there are several, `platform_of` tells a record's, and a file is imported
    once for each platform that it has. `check` refuses a file before anything of it is kept (ConfigError).
    """

    name: str
    about: str
    platforms: tuple[str, ...]
    read: Callable[[str], Reader | None]
    parse: Parse
    platform_of: Callable[[Any], str | None] | None = None
    check: Callable[[Path], None] | None = None


def by_ending(**readers: Reader) -> Callable[[str], Reader | None]:
    """Readers by the ending of a file's name, which may be followed by one of a compression."""
    packed = (".gz", ".zst", ".zstd", ".bz2", ".xz")

    def reader(name: str) -> Reader | None:
        plain = next((name.removesuffix(each) for each in packed if name.endswith(each)), name)
        return readers.get(plain.rpartition(".")[2])

    return reader
