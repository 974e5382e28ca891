"""The files of a model's folder, whatever its layout: their digests, and pickles, which are refused."""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from classify.errors import ModelError

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def sha256(path: Path) -> str:
    """A file's digest. Errors: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """A file's digest. Errors: ModelError when it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); restore it") from None


def check_digests(folder: Path, wanted: Mapping[str, str], names: Iterable[str] | None = None) -> None:
    """Files against their digests; `names` are those to look at, all by default. Errors: ModelError."""
    for name in wanted if names is None else names:
        if digest_of(folder / name) != wanted[name]:
            raise ModelError(f"{folder / name}: wrong digest; the file was changed or damaged, prepare the model again")


def refuse_links_out(folder: Path, names: Iterable[str]) -> None:
    """Errors: ModelError for a file that lies elsewhere in truth."""
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / name}: a link that leads out of the model's folder; put the file itself there")


def refuse_pickles(folder: Path, names: Iterable[str], instead: str = "ONNX") -> None:
    """By ending and by content: a pickle, or an archive that holds one as torch writes it, whatever it is called."""
    for name in names:
        path = folder / name
        try:
            refused = _is_pickle(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); allow it or restore the file") from None
        if refused or path.suffix in _PICKLES or (path.suffix == ".bin" and path.name.startswith("pytorch_model")):
            raise ModelError(f"{path}: pickled weights can run code and are refused; convert them to {instead}")


def _is_pickle(path: Path) -> bool:
    """A pickle of protocol 2 to 5 begins with its number and an opcode and ends with a stop; weights rarely do."""
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(max(0, path.stat().st_size - 1))
        last = file.read(1)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[2:] >= b" " and last == b".":
        return True
    if start[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_PICKLES) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False
