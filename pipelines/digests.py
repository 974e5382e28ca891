"""Content digests: what a table says, apart from when and in which order it was fetched and how it is stored.

A row's digest is BLAKE2b-256 of its canonical JSON: keys sorted, times as integer microseconds since 1970 UTC, bytes
as hexadecimal, floats by their IEEE bits, and without the columns that change from fetch to fetch. A part's digest is
BLAKE2b-256 over its row digests in order; a sweep's runs over all its rows, so it does not depend on the part size.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawlers.post import ENGAGEMENT

UNSTABLE = frozenset({"fetched_at", "page", "cursor", "visited_at", "first_visited_at", *ENGAGEMENT})
"""Columns that content digests leave out."""

_BATCH = 4096


def _canonical(column: pa.ChunkedArray) -> list[object]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return pc.cast(column, pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_floating(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return pa.chunked_array([chunk.view(width) for chunk in column.chunks], width).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_binary(kind):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]


def row_digests(table: pa.Table) -> Iterator[bytes]:
    """The digest of each row, in order."""
    names = sorted(name for name in table.column_names if name not in UNSTABLE)
    for start in range(0, table.num_rows, _BATCH):
        batch = table.slice(start, _BATCH)
        columns = [_canonical(batch.column(name)) for name in names]
        for values in zip(*columns, strict=True):
            row = orjson.dumps(dict(zip(names, values, strict=True)), option=orjson.OPT_SORT_KEYS)
            yield hashlib.blake2b(row, digest_size=32).digest()


class Digest:
    """One digest over many row digests, in order; it holds none of them. A part's passes its rows on to the whole's."""

    def __init__(self, whole: "Digest | None" = None) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._whole = whole
        self.rows = 0

    def add(self, row: bytes) -> None:
        """Takes the next row's digest."""
        self._hash.update(row)
        self.rows += 1
        if self._whole is not None:
            self._whole.add(row)

    @property
    def hex(self) -> str:
        """The digest of all rows so far."""
        return self._hash.hexdigest()


def part_rows(path: Path) -> Iterator[bytes]:
    """The row digests of a Parquet file, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from row_digests(file.read_row_group(group))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
