"""The folder on this machine where prepared models lie; one appears there whole or not at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from classify.errors import ModelError

_LEFT_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """Where prepared models lie. Errors: ModelError when it cannot be made."""
    from platformdirs import user_cache_dir

    folder = Path(os.environ.get("POSTSWEEP_CACHE") or user_cache_dir("postsweep")) / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made ({error.strerror}); name another in POSTSWEEP_CACHE") from error
    return folder


def put(folder: Path, make: Callable[[Path], None]) -> Path:
    """Puts what `make` makes in a new folder beside `folder` in its place, replacing what is there; returns it.

    Errors: ModelError when the cache cannot be written, and what `make` raises.
    """
    with making(folder.parent) as made:
        make(made)
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    return folder


@contextmanager
def making(cache: Path) -> Iterator[Path]:
    """A new folder in the cache to make files in, which is gone after the block but for what was moved elsewhere.

    Errors: ModelError when the cache cannot be written, in the block too.
    """
    try:
        for left in cache.glob(".making-*"):
            with suppress(FileNotFoundError):  # another process may take its own away
                if time.time() - left.stat().st_mtime > _LEFT_SECONDS:  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(dir=cache, prefix=".making-"))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"{cache}: not writable ({error.strerror}); free space, or set POSTSWEEP_CACHE") from error
