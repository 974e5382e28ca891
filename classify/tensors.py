"""Safetensors files: what their headers say they hold, without reading a tensor, and whether they hold it whole."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from classify.errors import ModelError

_LONGEST_HEADER = 100_000_000
"""The format's own limit."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: the format's name of its type (`F32`, `BF16`, ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


class _Entry(BaseModel):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_HEADER = TypeAdapter(dict[str, _Entry])


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file. Errors: ModelError when it is none, or shorter than its header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
            if not 2 <= length <= min(_LONGEST_HEADER, max(0, size - 8)):
                raise ModelError(f"{path}: not a whole safetensors file ({size:,} bytes); fetch it again")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        entries = _HEADER.validate_python(header)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); restore it") from None
    except (ValueError, AttributeError, TypeError, RecursionError, ValidationError):
        raise ModelError(f"{path}: its header is not that of a safetensors file; fetch it again") from None
    wanted = 8 + length + max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if size != wanted:
        kind = "shorter" if size < wanted else "longer"
        raise ModelError(f"{path}: {kind} than its header says ({size:,} of {wanted:,} bytes); fetch it again")
    return {name: Stored(entry.dtype, tuple(entry.shape)) for name, entry in entries.items()}
