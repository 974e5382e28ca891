"""The pseudonym key: 32 random bytes, made once in the user's configuration folder, or named by the environment.

POSTSWEEP_KEY holds it as 64 hexadecimal digits, POSTSWEEP_KEY_FILE names a file that holds those. Without it the
pseudonyms of an archive cannot be made again; with it they can be tested by guessing. It is never shown.
"""

import os
import secrets
import stat
from pathlib import Path

from platformdirs import user_config_dir

from crawlers.pseudonyms import Pseudonyms
from pipelines.archive import archive_key, read_archive
from pipelines.errors import ConfigError

KEY_BYTES = 32


def load_key() -> Pseudonyms:
    """The pseudonyms under the key at hand; makes a key when none is named and none was made before.

    Errors: ConfigError (a key of another length, a missing file, a file that others can read).
    """
    if not _in_environment() and not (path := _key_file()).exists():
        create_key(path)
    return _at_hand()


def key_for(archive: Path) -> Pseudonyms:
    """The pseudonyms under the key at hand, for an archive that is there: it has its key, so none is made.

    Errors: ArchiveError when there is no archive; ConfigError as `load_key`, and when no key is at hand.
    """
    store = read_archive(archive)
    if not _in_environment() and not (path := _key_file()).exists():
        raise ConfigError(
            f"{path}: no pseudonym key there, and {archive} was written with key {archive_key(store)}; "
            "set POSTSWEEP_KEY_FILE to it"
        )
    return _at_hand()


def _in_environment() -> bool:
    return "POSTSWEEP_KEY" in os.environ


def _key_file() -> Path:
    named = os.environ.get("POSTSWEEP_KEY_FILE")
    if named and not Path(named).exists():
        raise ConfigError(
            f"POSTSWEEP_KEY_FILE: {named} does not exist; correct the path, or make a key there: "
            "(umask 077; openssl rand -hex 32 > FILE)"
        )
    return Path(named) if named else Path(user_config_dir("postsweep")) / "pseudonym.key"


def _at_hand() -> Pseudonyms:
    given = os.environ.get("POSTSWEEP_KEY")
    return Pseudonyms(_read(_key_file()) if given is None else _parse(given, "POSTSWEEP_KEY"))


def create_key(path: Path) -> None:
    """Makes a key beside its place and links it there, so that of two at once both go on with the same one.

    Errors: ConfigError when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    except OSError as error:
        raise ConfigError(
            f"{path}: no pseudonym key can be made ({error.strerror}); name one in POSTSWEEP_KEY_FILE"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"{path}: the pseudonym key cannot be read ({error.strerror}); correct POSTSWEEP_KEY_FILE or the file"
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others than its owner can read this pseudonym key; run chmod 600 on it")
    return _parse(text, str(path))


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where}: a pseudonym key is {2 * KEY_BYTES} hexadecimal digits; this is something else")
    return key
