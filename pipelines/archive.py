"""The archive: where everything lies, and the manifests that say what is committed.

`store.py` puts single files down, `shards.py` the pages of an open sweep, `seal.py` turns them into a sealed one.
"""

import hashlib
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import ArchiveError, KeyMismatchError
from pipelines.store import Store, disk_errors

FORMAT = 2
"""The layout that this code writes. It reads this one and earlier ones, whose manifests it gives in the words of today.

1: a run had one model. 2: a run has one or several, and says its tolerance and who scored.
"""

TABLES = ("posts", "rejects", "identities", "accounts")
"""The tables of a sealed sweep, each at `<table>/sweep=<id>/platform=<p>/part-<n>.parquet`."""

PRIVATE_TABLES = ("identities", "accounts")

ERASING = "identities/erasing/intent.json"
"""What stands while rows are being erased or redacted: nobody else writes then."""

_MARK = "manifests/archive.json"
_PACKAGES = ("scrapy", "dask", "distributed", "pyarrow", "duckdb", "onnxruntime", "tokenizers", "numpy")

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS

Manifest = dict[str, Any]


def incoming(sweep: str) -> str:
    """The folder of an open sweep's page shards."""
    return f"incoming/sweep={sweep}"


def private_incoming(sweep: str) -> str:
    """The folder of what an open sweep keeps apart: identities, accounts and cursors."""
    return f"identities/incoming/sweep={sweep}"


def incoming_run(run: str) -> str:
    """The folder of an unfinished run's score files."""
    return f"incoming/run={run}"


def open_archive(root: Path, scope: str, fingerprint: str) -> Store:
    """Opens an archive to write to, making it when there is none; `scope` names the writer's temporary files.

    Errors: ArchiveError (a newer format, a folder with other things in it), KeyMismatchError (another pseudonym key).
    """
    store = Store(root, scope)
    if root.exists() and not root.is_dir():
        raise ArchiveError(f"{root}: a file, not a folder; name another place for the archive")
    if not store.exists(_MARK):
        if root.is_dir() and any(entry.name not in ("tmp", "manifests", "leases") for entry in root.iterdir()):
            raise ArchiveError(f"{root}: not an archive and not empty; name another folder for the archive")
        _make_root(root)
        store.create(_MARK, orjson.dumps({"format": FORMAT, "pseudonym_key": fingerprint}))
    mark = _marked(store)
    if mark["pseudonym_key"] != fingerprint:
        raise KeyMismatchError(
            f"{root}: written with pseudonym key {mark['pseudonym_key']}, the key at hand is {fingerprint}; "
            "set POSTSWEEP_KEY_FILE to the archive's key, or name another archive"
        )
    return store


def _make_root(root: Path) -> None:
    try:
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(
            f"{root}: no archive can be made there ({error.strerror}); name another place for the archive"
        ) from None


def refuse_erasing(store: Store) -> None:
    """Raises ArchiveError while an erasure is under way. Writers ask once they hold their lease, and an erasure takes
    all leases once its intent stands: so either sees the other."""
    if store.exists(ERASING):
        raise ArchiveError(
            f"{store.root}: an erasure is under way; finish it with `postsweep erase {store.root} --resume`"
        )


def refuse_changed(store: Store, sweep: Manifest) -> None:
    """Raises ArchiveError as `refuse_erasing` does, and where a sweep was erased from since its manifest was read."""
    refuse_erasing(store)
    if sweep_manifest(store, sweep["sweep"]) != sweep:
        raise ArchiveError(f"{store.root}: sweep {sweep['sweep']} changed meanwhile; run the same command again")


def reopen_archive(root: Path, scope: str, fingerprint: str) -> Store:
    """Opens an archive that is there to write to; makes none. Errors: as `read_archive` and `open_archive`."""
    read_archive(root)
    return open_archive(root, scope, fingerprint)


def is_archive(root: Path) -> bool:
    """Whether an archive is there, be it one that this code cannot read."""
    return Store(root).exists(_MARK)


def archive_key(store: Store) -> str:
    """The fingerprint of the pseudonym key that the archive was made with."""
    return str(_marked(store)["pseudonym_key"])


def read_archive(root: Path) -> Store:
    """Opens an archive to read from. Errors: ArchiveError when there is none or its format is newer."""
    store = Store(root)
    if not is_archive(root):
        raise ArchiveError(f"{root}: no archive here ({_MARK} is missing); check the path, or crawl first")
    _marked(store)
    return store


def _marked(store: Store) -> Manifest:
    mark = _parsed(store, _MARK)
    if not isinstance(mark.get("pseudonym_key"), str):
        raise ArchiveError(f"{store.path(_MARK)}: names no pseudonym key; restore it from a backup")
    return mark


def _supported(manifest: Manifest, path: Path) -> Manifest:
    found = manifest.get("format")
    if not isinstance(found, int) or found < 1:
        raise ArchiveError(f"{path}: not a manifest of an archive (no format number); restore it from a backup")
    if found > FORMAT:
        raise ArchiveError(f"{path}: format {found} is newer than this postsweep reads ({FORMAT}); update postsweep")
    return manifest


def write_manifest(store: Store, name: str, manifest: Manifest) -> None:
    """Creates a manifest, only if absent, with a SHA-256 of what it says.

    Errors: ArchiveError when one stands there with other content.
    """
    data = orjson.dumps({**manifest, "sha256": _checksum(manifest)}, option=_OPTIONS)
    if not store.create(name, data) and store.read(name) != data:
        raise ArchiveError(f"{store.path(name)}: exists with other content; a sealed sweep or run is never rewritten")


def replace_run_manifest(store: Store, manifest: Manifest) -> None:
    """Puts a run's manifest in the place of the one before an erasure; only the holder of the intent may."""
    data = orjson.dumps({**manifest, "sha256": _checksum(manifest)}, option=_OPTIONS)
    store.put(run_manifest_name(manifest["run"]), data)


def replace_round_manifest(store: Store, manifest: Manifest) -> None:
    """Puts a round's manifest in the place of the one before an erasure; only the holder of the intent may."""
    data = orjson.dumps({**manifest, "sha256": _checksum(manifest)}, option=_OPTIONS)
    store.put(round_manifest_name(manifest["sweep"], manifest["round"]), data)


def round_manifest_name(sweep: str, number: int) -> str:
    """Where the manifest of a round of rechecks lies."""
    return f"manifests/rounds/{sweep}.{number}.json"


def round_numbers(store: Store, sweep: str) -> list[int]:
    """The sealed rounds of a sweep."""
    pattern = re.compile(re.escape(sweep) + r"\.(\d+)\.json")
    names = (Path(name).name for name in store.names("manifests/rounds", ".json"))
    return sorted(int(found[1]) for name in names if (found := pattern.fullmatch(name)))


def round_manifest(store: Store, sweep: str, number: int) -> Manifest | None:
    """The manifest of a sealed round, or None."""
    name = round_manifest_name(sweep, number)
    return _read_manifest(store, name) if store.exists(name) else None


def round_manifests(store: Store, sweep: str | None = None) -> list[Manifest]:
    """The manifests of sealed rounds (of one sweep), in the order of their numbers."""
    sweeps = sweep_ids(store) if sweep is None else [sweep]
    found = [round_manifest(store, each, number) for each in sweeps for number in round_numbers(store, each)]
    return [each for each in found if each is not None]


def claims_name(sweep: str) -> str:
    """Where the restricted list of a sweep's accounts lies whose claims nobody bears out."""
    return f"identities/claims/{sweep}.parquet"


def accounts_manifest_name(sweep: str) -> str:
    """Where the manifest of a sweep's scored accounts lies."""
    return f"manifests/accounts/{sweep}.json"


def accounts_manifest(store: Store, sweep: str) -> Manifest | None:
    """The manifest of a sweep's scored accounts, or None."""
    name = accounts_manifest_name(sweep)
    return _read_manifest(store, name) if store.exists(name) else None


def replace_accounts_manifest(store: Store, sweep: str, manifest: Manifest | None) -> None:
    """Puts the manifest of a sweep's scored accounts in the place of the one before, or takes that away; only the
    holder of the sweep's lease, or of an erasure's intent, may."""
    name = accounts_manifest_name(sweep)
    if manifest is None:
        store.remove(name)
    else:
        store.put(name, orjson.dumps({**manifest, "sha256": _checksum(manifest)}, option=_OPTIONS))


def receipt(store: Store, name: str) -> Manifest:
    """An erasure's receipt. Errors: ArchiveError when it was damaged or edited."""
    return _read_manifest(store, name)


def _checksum(manifest: Manifest) -> str:
    return hashlib.sha256(orjson.dumps(manifest, option=_OPTIONS)).hexdigest()


def sweep_manifest_name(sweep: str, generation: int = 0) -> str:
    """Where the manifest of a sweep's generation lies."""
    return f"manifests/sweeps/{sweep}.{generation}.json"


def run_manifest_name(run: str) -> str:
    """Where the manifest of a run lies."""
    return f"manifests/runs/{run}.json"


def sweep_manifest(store: Store, sweep: str) -> Manifest | None:
    """The newest generation's manifest of a sealed sweep, or None when it is not sealed."""
    names = sweep_generations(store, sweep)
    return _read_manifest(store, names[max(names)]) if names else None


def first_digest(sweep: Manifest) -> str:
    """The content digest that a sweep was sealed with, before any erasure."""
    erasures = sweep.get("erasures", [])
    return str(erasures[0]["digest_before"] if erasures else sweep["digest"])


def redacted_since(sweep: Manifest, run: Manifest) -> list[str]:
    """When posts of a sweep were redacted whose scores a run has kept from before."""
    kept = {each["id"] for each in run.get("erasures", [])}
    return [each["at"] for each in sweep.get("erasures", []) if each["doing"] == "redact" and each["id"] in kept]


def sweep_generations(store: Store, sweep: str) -> dict[int, str]:
    """The manifests of a sealed sweep by generation: one, or two while an erasure is under way."""
    pattern = re.compile(re.escape(sweep) + r"\.(\d+)\.json")
    return {
        int(found[1]): name
        for name in store.names("manifests/sweeps", ".json")
        if (found := pattern.fullmatch(Path(name).name))
    }


def run_manifest(store: Store, run: str) -> Manifest | None:
    """The manifest of a finished run, or None."""
    name = run_manifest_name(run)
    return _read_manifest(store, name) if store.exists(name) else None


def run_ids(store: Store) -> list[str]:
    """All runs that are finished."""
    return [Path(name).stem for name in store.names("manifests/runs", ".json")]


def run_manifests(store: Store, sweep: str | None = None) -> list[Manifest]:
    """The manifests of finished runs (of one sweep), the oldest first."""
    found = [_read_manifest(store, run_manifest_name(run)) for run in run_ids(store)]
    return sorted(
        (run for run in found if sweep in (None, run["sweep"])), key=lambda run: (run["finished_at"], run["run"])
    )


def sweep_ids(store: Store) -> list[str]:
    """All sweeps that are sealed."""
    return sorted({Path(name).name.rsplit(".", 2)[0] for name in store.names("manifests/sweeps", ".json")})


def _read_manifest(store: Store, name: str) -> Manifest:
    """A manifest as it was written. Errors: ArchiveError when it was damaged or edited."""
    manifest = _parsed(store, name)
    if manifest.pop("sha256", None) != _checksum(manifest):
        raise ArchiveError(f"{store.path(name)}: not as it was written (its SHA-256 differs); restore it from a backup")
    return _of_today(manifest)


def _of_today(manifest: Manifest) -> Manifest:
    """A manifest of an earlier format in the words of this one; what was not written down then is null."""
    if manifest["format"] > 1:
        return manifest
    manifest["software"] = {"processor": None, **manifest.get("software", {})}
    if "model" in manifest:
        model = manifest.pop("model")
        model["labels"] = [{**label, "of": label["name"]} for label in model["labels"]]
        manifest |= {
            "models": [{**model, "model": model["name"]}],
            "asked": [{"labels": None, "thresholds": [], "definitions": []}],
            "labels": [{**label, "model": model["name"]} for label in model["labels"]],
            "tolerance": 0.0,
            "tolerance_texts": 0,
            "near_threshold": None,
            "environments": None,
        }
    return manifest


def _parsed(store: Store, name: str) -> Manifest:
    try:
        manifest = orjson.loads(store.read(name) or b"")
    except orjson.JSONDecodeError as error:
        raise ArchiveError(f"{store.path(name)}: not JSON ({error.msg}); restore it from a backup") from error
    if not isinstance(manifest, dict):
        raise ArchiveError(f"{store.path(name)}: not a manifest; restore it from a backup")
    return _supported(manifest, store.path(name))


def moment(time: datetime) -> str:
    """A time as manifests write it: ISO 8601, UTC, with a Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


@cache
def processor() -> str | None:
    """The processor's name and the wide instructions that it has (Linux, proc_cpuinfo(5)): kernels are chosen by
    them, and with the kernels the last bits of a score. None where nothing says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or None
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wide = sorted(flag for flag in told.get("flags", "").split() if flag.startswith(("avx", "amx", "fma")))
    return " ".join([told.get("model name") or platform.machine(), *wide])


@cache
def software() -> Manifest:
    """Code version, commit (of a checkout; else None) and package versions: what a figure can depend on."""
    here = Path(__file__).resolve().parent
    commit = None
    if (here.parent / ".git").exists():
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        asked = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        commit = asked.stdout.strip() or None if asked.returncode == 0 else None
    return {
        "postsweep": metadata.version("postsweep"),
        "commit": commit,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }
