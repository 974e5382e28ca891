"""Files that appear whole or not at all: the few things the archive asks of a file system.

A file is written in the archive's own `tmp/` (outside every table, on the same file system), synced and renamed. What
a killed process leaves behind stays in `tmp/` and is removed by the next owner of the same scope. Paths are relative
to the archive, with forward slashes; a name can be created only if absent, which is what leases and manifests need.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ArchiveError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


@dataclass(frozen=True)
class Store:
    """A local folder that holds an archive. `scope` names whose temporary files are whose (a sweep, a run)."""

    root: Path
    scope: str = "any"

    def path(self, name: str) -> Path:
        """The file's place on disk."""
        return self.root / name

    def scratch(self, private: bool = False) -> Path:
        """The folder of this scope's temporary files; what leads back to people has its own, below `identities`."""
        folder = self.root / ("identities/tmp" if private else "tmp") / self.scope
        _make_folders(folder, self.root, private)
        return folder

    def clear_scratch(self) -> None:
        """Removes what killed processes of this scope left; only the scope's lease holder may call it."""
        for top in ("tmp", "identities/tmp"):
            shutil.rmtree(self.root / top / self.scope, ignore_errors=True)

    @contextmanager
    def writing(self, name: str, *, private: bool = False, replace: bool = True) -> Iterator[Path]:
        """Gives a temporary path to write to; on leaving without an error the file stands whole under `name`.

        With `replace=False` an existing file is kept and FileExistsError is raised. Errors: ArchiveError when the
        disk is full or the folder cannot be written, with nothing changed under `name`.
        """
        final = self.path(name)
        with disk_errors(self.root):
            temporary = self.scratch(private) / f"{uuid.uuid4().hex}{final.suffix}"
            _make_folders(final.parent, self.root, private)
            try:
                if private:
                    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
                yield temporary
                _sync(temporary)
                if replace:
                    temporary.replace(final)
                else:
                    os.link(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)
            _sync(final.parent)

    def put(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Writes a small file, replacing what stands there."""
        with self.writing(name, private=private) as temporary:
            temporary.write_bytes(data)

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        """Writes a small file only if none stands there; says whether it did (of two at once, one does)."""
        try:
            with self.writing(name, private=private, replace=False) as temporary:
                temporary.write_bytes(data)
        except FileExistsError:
            return False
        return True

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None when there is none."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """All files below a folder, sorted, as names relative to the archive."""
        base = self.path(folder)
        if not base.is_dir():
            return []
        return sorted(
            path.relative_to(self.root).as_posix() for path in base.rglob(f"*{suffix}") if path.is_file()
        )

    def matching(self, pattern: str) -> list[str]:
        """The names that match a glob, sorted."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def exists(self, name: str) -> bool:
        """Whether a file or folder stands there."""
        return self.path(name).exists()

    def remove(self, name: str) -> None:
        """Removes a file or a whole folder; nothing happens where it is gone already, or goes at this moment."""
        path = self.path(name)
        if not path.exists():
            return
        with disk_errors(self.root), suppress(FileNotFoundError):
            if path.is_dir():
                _remove_folder(path)
            else:
                path.unlink()

    def sync_folder(self, folder: str) -> None:
        """Forces a whole folder to the disk, so that a later rename of it is durable."""
        with disk_errors(self.root):
            for path in sorted(self.path(folder).rglob("*"), reverse=True):
                _sync(path)
            _sync(self.path(folder))

    def move_folder(self, staged: str, final: str, *, private: bool = False) -> None:
        """Moves a finished folder to its place in one step; a second call after a kill finds it there already.

        Errors: ArchiveError when something else stands there, or what was staged is gone.
        """
        if not self.exists(staged) and self.exists(final):
            return
        with disk_errors(self.root):
            _make_folders(self.path(final).parent, self.root, private)
            try:
                self.path(staged).rename(self.path(final))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise
                raise ArchiveError(
                    f"{self.path(final)}: something else stands there, or what should go there is gone "
                    f"({error.strerror}); move it out of the archive and run the same command again"
                ) from error
            _sync(self.path(final).parent)


def _remove_folder(folder: Path) -> None:
    """Removes a folder, also while somebody else does."""

    def refused(_function: object, _path: str, why: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(why[1], FileNotFoundError):
            raise why[1]

    shutil.rmtree(folder, onerror=refused)


def _make_folders(folder: Path, root: Path, private: bool) -> None:
    """Makes the folders of a file; a private table's folders are closed to others from the top of the table down."""
    if folder.is_dir() or folder == root:
        folder.mkdir(parents=True, exist_ok=True)
        return
    _make_folders(folder.parent, root, private and folder.parent != root)
    folder.mkdir(exist_ok=True, mode=PRIVATE_FOLDER if private else 0o777)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turns what the file system refuses into one line; FileExistsError is an answer, not a fault."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArchiveError(
                f"{root}: no space left; free some and run the same command again, nothing committed is lost"
            ) from error
        if error.errno == errno.ENOTDIR:
            raise ArchiveError(
                f"{error.filename or root}: a file stands where a folder is needed; name another place for the archive"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ArchiveError(
                f"{error.filename or root}: not writable ({error.strerror}); check the folder's owner"
            ) from error
        raise
