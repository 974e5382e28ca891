"""Sorting more rows than memory holds, by a key that is a hash.

Hashes spread evenly, so rows are dealt to files by their key's leading bits, and each file is sorted by itself: what is
in memory is bounded whatever the number of rows. (DuckDB's sort and its hash joins, held to 128 MB, ran out of memory
from 1,000,000 posts on.)
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

HELD_BYTES = 8 * 1024 * 1024
"""Rows that are dealt or sorted at once, in bytes of Arrow; some copies of them are made."""

_BITS = 6
"""Bits of the key that choose a file: at most 64 files are open at once."""
_ALL_BITS = 32
"""Bits of the key that are looked at: rows that agree in all of them are most likely of one key."""

Keys = Sequence[tuple[str, str]]


def sort_by_hash(tables: Iterator[pa.Table], keys: Keys, scratch: Path) -> Iterator[pa.Table]:
    """Yields all rows sorted by `keys` (name, `ascending` or `descending`; nulls last), in tables that hold all rows of
    each value of the first key.

    That key is a column of hexadecimal digits, at least 8 of them, evenly spread and never null. Rows that are equal in
    all keys stay in the order in which they came. `scratch` is a folder for temporary files.
    """
    for piece in _pieces(tables, keys[0][0], scratch, 0, _BITS):
        yield _ordered(pa.concat_tables(piece), keys)


def group_by_hash(tables: Iterator[pa.Table], key: str, scratch: Path) -> Iterator[pa.Table]:
    """Yields all rows, each table sorted by `key` and after the one before it, but for a value that so many rows have
    that they do not fit into one table: then the tables that share its first 32 bits overlap. Arguments as above."""
    for piece in _pieces(tables, key, scratch, 0, _BITS):
        for table in piece:
            yield _ordered(table, [(key, "ascending")])


def _ordered(table: pa.Table, keys: Keys) -> pa.Table:
    return table.take(pc.sort_indices(table, sort_keys=list(keys))).combine_chunks()


def _pieces(
    tables: Iterator[pa.Table], key: str, scratch: Path, past: int, bits: int
) -> Iterator[Iterator[pa.Table]]:
    """Deals rows that agree in the first `past` bits of their key by the next `bits`, and so on, until a piece is one
    block or its rows agree in all bits. Yields the pieces in the order of those bits, each as its blocks."""
    blocks = _blocks(tables)
    first = next(blocks, None)
    second = next(blocks, None)
    if first is None:
        return
    if second is None or past >= _ALL_BITS:
        yield chain([first], [] if second is None else [second], blocks)
        return
    with TemporaryDirectory(dir=scratch) as folder:
        past += bits
        for path, size in _deal(chain([first, second], blocks), key, Path(folder), past, bits):
            # As many files again as make pieces of half of what is held: a thousand tiny ones would take far longer.
            wanted = max(1, (2 * size // HELD_BYTES).bit_length())
            yield from _pieces(_read(path), key, scratch, past, min(wanted, _BITS, _ALL_BITS - past) or 1)
            path.unlink()


def _blocks(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of about `HELD_BYTES`: dealing and reading many small ones takes far longer."""
    held: list[pa.Table] = []
    so_far = 0
    for table in tables:
        if not table.num_rows:
            continue
        held.append(table)
        so_far += table.nbytes
        if so_far >= HELD_BYTES:
            yield pa.concat_tables(held).combine_chunks()
            held, so_far = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _deal(tables: Iterator[pa.Table], key: str, folder: Path, past: int, bits: int) -> list[tuple[Path, int]]:
    """Deals rows to files by the last `bits` of the first `past` bits of their key; returns the files in the order of
    those bits, each with its rows' size in bytes."""
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    sizes = [0] * (1 << bits)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        for table in tables:
            places = _leading(table.column(key)) >> (_ALL_BITS - past) & (len(sizes) - 1)
            dealt = table.take(np.argsort(places, kind="stable"))
            at = 0
            for place, count in enumerate(np.bincount(places, minlength=len(sizes)).tolist()):
                if count:
                    if place not in writers:
                        path = folder / f"{place}.arrow"
                        writers[place] = pa.ipc.new_stream(str(path), table.schema, options=options)
                    piece = dealt.slice(at, count)
                    writers[place].write_table(piece)
                    sizes[place] += piece.nbytes
                at += count
    finally:
        for writer in writers.values():
            writer.close()
    return [(folder / f"{place}.arrow", sizes[place]) for place in sorted(writers)]


def _leading(key: pa.ChunkedArray) -> NDArray[np.int64]:
    """The first 32 bits of each key."""
    digits = "".join(pc.utf8_slice_codeunits(key, 0, 8).to_pylist())
    return np.frombuffer(bytes.fromhex(digits), ">u4").astype(np.int64)


def _read(path: Path) -> Iterator[pa.Table]:
    with pa.ipc.open_stream(str(path)) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def firsts(table: pa.Table, key: str) -> NDArray[np.int64]:
    """Where each value of a sorted column begins: the rows that come first of their key."""
    column = table.column(key)
    if not len(column):
        return np.zeros(0, np.int64)
    changes = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy()
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


class Follower:
    """Reads a sorted stream beside another one that has the same first key."""

    def __init__(self, tables: Iterator[pa.Table], key: str, schema: pa.Schema) -> None:
        self._tables = tables
        self._key = key
        self._rest = schema.empty_table()

    def through(self, last: str) -> pa.Table:
        """The next rows whose key is not over `last`; calls come with ascending keys."""
        taken = []
        while True:
            column = self._rest.column(self._key)
            count = int(pc.sum(pc.less_equal(column, last)).as_py() or 0)
            taken.append(self._rest.slice(0, count))
            self._rest = self._rest.slice(count)
            if self._rest.num_rows:
                break
            following = next(self._tables, None)
            if following is None:
                break
            self._rest = following
        return pa.concat_tables(taken)
