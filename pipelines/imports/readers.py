"""Reads files record by record in constant memory, from any record on.

Each reader gives the records of a file in order, after the first `skip`; one that cannot be read is `Broken` and
counts. A compressed file is decompressed again up to there. Where a file breaks off, what was read stands.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import mmap
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import brotli
import ijson
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from warcio.archiveiterator import ArchiveIterator
from warcio.bufferedreaders import ChunkedDataReader

from crawlers.settings import MAX_BODY
from pipelines.errors import ConfigError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_LINE = MAX_BODY
"""Bytes of a line, of a cell or of a body: a longer one is set aside without being held."""
MOST_MEMBER = 2 * MAX_BODY
"""Bytes of a record of a compressed WARC file: a body and what is told of it."""
WINDOW_LOG = 31
"""Dumps of Pushshift are compressed with the largest window that zstd has, 2 GiB; it bounds the memory of a reader."""

_CHUNK = 1 << 20
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_STARTS = {
    ".gz": re.compile(rb"\x1f\x8b"),
    ".zst": _ZSTD,
    ".zstd": _ZSTD,
    ".bz2": re.compile(rb"BZh"),
    ".xz": re.compile(rb"\xfd7zXZ|\x5d\x00\x00"),
}
"""How a file of each compression begins; zstd also with a frame to skip, and what is called .xz may be LZMA."""


@dataclass(frozen=True)
class Broken:
    """A record that cannot be read, and why, without any of its content."""

    reason: str


class CutError(Exception):
    """A file breaks off, or cannot be read on: one line that says so."""


Reader = Callable[[Path, int], Iterator[Any]]


@dataclass(frozen=True)
class Response:
    """An answer that a WARC file holds; `body` is as it was before compression and chunking."""

    url: str
    status: int
    content_type: str
    date: str
    body: bytes


def json_lines(path: Path, skip: int) -> Iterator[Any]:
    """JSON, one value a line (jsonlines.org); also .gz, .zst, .bz2 and .xz. Errors: CutError, ConfigError."""
    with opened(path) as file:
        for line in islice(_lines(file), skip, None):
            yield line if isinstance(line, Broken) else decoded(line)


def json_items(path: Path, skip: int, inside: str = "item") -> Iterator[Any]:
    """The values of one JSON array; `inside` is where it lies, as ijson writes it. Errors: CutError, ConfigError."""
    with opened(path) as file:
        try:
            yield from islice(ijson.items(file, inside, use_float=True), skip, None)
        except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise CutError(f"not JSON from some record on ({type(error).__name__})") from None


def json_any(path: Path, skip: int) -> Iterator[Any]:
    """One array of records, or a record a line, whichever a `.json` file is. Errors: CutError, ConfigError."""
    with opened(path) as file:
        start = file.read(_CHUNK)
    return (json_items if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") else json_lines)(path, skip)


def csv_rows(path: Path, skip: int) -> Iterator[Any]:
    """Rows by the names of the first one (RFC 4180), in UTF-8, or GB18030 where it is none. Errors: CutError,
    ConfigError."""
    csv.field_size_limit(MOST_LINE)
    with opened(path) as file, io.TextIOWrapper(file, _encoding(path), errors="replace", newline="") as text:
        reader = csv.DictReader(_table_lines(text))
        for row in islice(_rows(reader), skip, None):
            yield Broken("more cells than the table has columns") if isinstance(row, dict) and None in row else row


def column_names(path: Path) -> list[str] | None:
    """The names of a table's columns, also one that stands there twice; None for what has no header, or an empty file.

    Errors: CutError, ConfigError.
    """
    endings = [suffix.lower() for suffix in path.suffixes]
    if ".parquet" in endings[-1:]:
        return [field.name for field in _parquet(path).schema_arrow]
    if ".csv" not in endings[-2:]:
        return None
    csv.field_size_limit(MOST_LINE)
    with opened(path) as file, io.TextIOWrapper(file, _encoding(path), errors="replace", newline="") as text:
        try:
            return next((row for row in csv.reader(_table_lines(text)) if row), None)
        except csv.Error:
            return None


def parquet_rows(path: Path, skip: int) -> Iterator[Any]:
    """Rows of a Parquet file by the names of its columns. Errors: CutError, ConfigError."""
    file, before = _parquet(path), 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if before + rows > skip:
            try:
                for batch in file.iter_batches(batch_size=1000, row_groups=[group]):
                    yield from _dictionaries(batch.slice(max(0, skip - before)))
                    before += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise CutError(f"row group {group} cannot be read ({type(error).__name__})") from None
        else:
            before += rows


def warc_responses(path: Path, skip: int) -> Iterator[Any]:
    """The answers in a WARC file (ISO 28500), compressed or not; those after a damaged record, too.

    Errors: CutError, when all was read, where some of it is damaged; ConfigError.
    """
    return islice(_responses(path), skip, None)


def _responses(path: Path) -> Iterator[Response | Broken]:
    damaged: list[int] = []
    with _raw(path) as file:
        start = file.read(4)
        packed = start.startswith(b"\x1f\x8b") or (path.suffix.lower() == ".gz" and start != b"WARC")
        yield from (_in_members if packed else _in_plain)(file, damaged)
    if damaged:
        more = f" and in {len(damaged) - 1:,} more" if len(damaged) > 1 else ""
        raise CutError(f"damaged in the record at byte {damaged[0]:,}{more}; the whole records after it were read")


def _in_members(file: IO[bytes], damaged: list[int]) -> Iterator[Response | Broken]:
    """Of a file whose records are compressed one by one. A member is unpacked whole, as only its end tells whether it
    is what was written."""
    place: int | None = 0
    while place is not None and place < file.seek(0, io.SEEK_END):
        try:
            body, following = _member(file, place)
            if body is None:
                yield Broken("longer than a record may be")
            else:
                yield from _answers(io.BytesIO(body), 0)
            place = following
        except (zlib.error, EOFError, _DamagedError):
            damaged.append(place)
            place = _next_record(file, place + 1)


def _in_plain(file: IO[bytes], damaged: list[int]) -> Iterator[Response | Broken]:
    place: int | None = 0
    while place is not None:
        try:
            yield from _answers(file, place)
            place = None
        except _DamagedError as error:
            damaged.append(error.place)
            place = _next_record(file, error.place + 1)


class _DamagedError(Exception):
    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class _Records(ArchiveIterator):  # type: ignore[misc]  # warcio has no types
    """Records one by one, without the warning that shows what lies between them."""

    INC_RECORD = ""


def _answers(file: IO[bytes], start: int) -> Iterator[Response | Broken]:
    """The answers from a byte on, of what is not compressed. Errors: _DamagedError."""
    file.seek(start)
    records, place = _Records(file), start
    try:
        while (record := next(records.the_iter, None)) is not None:
            answer = _response(record) if record.rec_type == "response" else None
            records.read_to_end()
            if getattr(record.raw_stream, "limit", 1) or records.err_count:
                raise _DamagedError(place)
            if answer is not None:
                yield answer
            place = records.offset
    except Exception:  # warcio raises whatever it meets in a record that is none
        raise _DamagedError(place) from None


def _member(file: IO[bytes], start: int) -> tuple[bytes | None, int]:
    """A member of gzip (RFC 1952), None for one that is too long to be held, and where the next begins.

    Errors: zlib.error, EOFError.
    """
    file.seek(start)
    decoder, body = zlib.decompressobj(31), bytearray()
    while not decoder.eof:
        packed = decoder.unconsumed_tail or file.read(_CHUNK // 16)
        if not packed:
            raise EOFError
        piece = decoder.decompress(packed, _CHUNK)
        if len(body) <= MOST_MEMBER:
            body += piece
    return bytes(body) if len(body) <= MOST_MEMBER else None, file.tell() - len(decoder.unused_data)


def _next_record(file: IO[bytes], start: int) -> int | None:
    """Where the first record from a byte on begins, compressed (a member of gzip each) or not; None for nowhere."""
    if start >= file.seek(0, io.SEEK_END):
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for found in _RECORD.finditer(data, start):
            if found["plain"] is not None:
                return found.start("plain")
            with suppress(zlib.error):
                if zlib.decompressobj(31).decompress(data[found.start() : found.start() + 4096], 5) == b"WARC/":
                    return found.start()
    return None


_RECORD = re.compile(rb"\x1f\x8b\x08|\r\n\r\n(?P<plain>WARC/1\.)")


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not a Parquet file ({type(error).__name__})") from None


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed by its ending. Errors: ConfigError where there is none; CutError inside."""
    with _raw(path) as raw:
        start, named = raw.read(8), _STARTS.get(path.suffix.lower())
        if start and named is not None and not named.match(start):
            raise ConfigError(f"{path}: not compressed as its name ends; give it its right name, or restore it")
        raw.seek(0)
        try:
            yield io.BufferedReader(_Decompressed(_decompressing(path, raw)), _CHUNK)
        except (EOFError, OSError, zlib.error, zstd.ZstdError, lzma.LZMAError) as error:
            raise CutError(f"the compressed stream breaks off ({type(error).__name__})") from None


def decoded(line: bytes) -> Any:
    """JSON as it is meant: a lone surrogate, which some tools write, is no reason to lose a record."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Broken(f"not JSON ({type(error).__name__})")


@contextmanager
def _raw(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        yield file


def _decompressing(path: Path, raw: IO[bytes]) -> Any:
    ending = path.suffix.lower()
    if ending in (".zst", ".zstd"):
        return zstd.open(raw, "rb", options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
    opener: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return opener[ending](raw, "rb") if ending in opener else raw


@runtime_checkable
class Pieces(Protocol):
    """A stream that gives what it has at hand."""

    def read1(self, size: int, /) -> bytes:
        """Up to so many bytes."""


class _Decompressed(io.RawIOBase):
    """A stream as `io.BufferedReader` takes it, read in large pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # One piece at a time: what lies before the place where a stream breaks off is not lost with it.
        data = self._stream.read1(len(buffer)) if isinstance(self._stream, Pieces) else self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _lines(file: IO[bytes]) -> Iterator[bytes | Broken]:
    """Lines that hold something, without their ends; a record is never held longer than `MOST_LINE`."""
    while line := file.readline(MOST_LINE + 1):
        if line.endswith(b"\n") or len(line) <= MOST_LINE:
            if line.strip():
                yield line
            continue
        while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
            pass
        yield Broken("longer than a record may be")


def _table_lines(text: IO[str]) -> Iterator[str]:
    """Lines as `csv` takes them; one that is too long to be held becomes a cell that it refuses."""
    while line := text.readline(MOST_LINE + 1):
        if len(line) <= MOST_LINE or line.endswith("\n"):
            yield line.replace("\0", "")
            continue
        while (rest := text.readline(_CHUNK)) and not rest.endswith("\n"):
            pass
        yield "x" * (MOST_LINE + 1)


def _dictionaries(batch: pa.RecordBatch) -> Iterator[Any]:
    """Rows; one with a value that Python has not, such as a time after the year 9999, is broken alone."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError):
        pass
    for index in range(batch.num_rows):
        try:
            (row,) = batch.slice(index, 1).to_pylist()
        except (ValueError, OverflowError) as error:
            row = Broken(f"a value that cannot be read ({type(error).__name__})")
        yield row


def _rows(reader: "csv.DictReader[str]") -> Iterator[Any]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Broken("not CSV")


def _encoding(path: Path) -> str:
    """UTF-8 unless the file is none; capture tools on Windows in China write GB18030."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened(path) as file:
        try:
            while piece := file.read1(_CHUNK):
                decoder.decode(piece)
        except UnicodeDecodeError:
            return "gb18030"
        except (EOFError, OSError, zlib.error, zstd.ZstdError, lzma.LZMAError):
            pass  # told when its rows are read
    return "utf-8-sig"


def _response(record: Any) -> Response | Broken:
    """Errors of what is packed inside one record are that record's alone."""
    headers = record.http_headers
    url = record.rec_headers.get_header("WARC-Target-URI") or ""
    if headers is None:
        return Broken("no HTTP headers")
    try:
        status = int(headers.get_statuscode())
        by_brotli = (headers.get_header("Content-Encoding") or "").strip().lower() == "br"
        body = _unbrotlied(record) if by_brotli else record.content_stream().read(MAX_BODY + 1)
    except Exception as error:  # whatever a decoder of gzip, deflate or brotli raises
        return Broken(f"the body cannot be unpacked ({type(error).__name__})")
    if len(body) > MAX_BODY:
        return Broken("the body unpacks to more than a page may have")
    date = record.rec_headers.get_header("WARC-Date") or ""
    return Response(url.strip("<>"), status, headers.get_header("Content-Type") or "", date, body)


def _unbrotlied(record: Any) -> bytes:
    """A body in brotli, no more of it than is needed to see that it is too large; warcio cannot use this brotli."""
    packed = ChunkedDataReader(record.raw_stream, decomp_type=None)
    decoder, body = brotli.Decompressor(), b""
    while len(body) <= MAX_BODY:
        more = b"" if not decoder.can_accept_more_data() else packed.read(_CHUNK)
        if not more and decoder.can_accept_more_data():
            break
        body += decoder.process(more, output_buffer_limit=MAX_BODY + 1 - len(body))
    return body
