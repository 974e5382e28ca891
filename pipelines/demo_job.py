"""The demonstration: an embedded sample network on loopback is swept, classified and reported, as any sweep is."""

import os
import shutil
from pathlib import Path

from pipelines.config import load_sweep
from pipelines.demo.network import Network
from pipelines.errors import ConfigError, Exit
from pipelines.keys import create_key
from pipelines.progress import Progress
from pipelines.run import run_sweep

_MARK = ".postsweep-demo"
_MADE = ("archive", "sweep.toml", "report.html", "pseudonym.key", _MARK)
"""What a demonstration leaves in its folder; the mark goes last, as it says whose the rest is."""


def run_demo(out: Path, progress: Progress, claimants: bool = False) -> tuple[Path, Exit]:
    """Sweeps the sample network afresh into a folder of its own; returns the report's path. `claimants` adds accounts
    that claim to be an institution to the network, and keeps accounts.

    Errors: ConfigError when the folder holds something that an earlier demonstration did not make.
    """
    out = out.resolve()
    _empty(out)
    (out / _MARK).touch()
    os.environ.pop("POSTSWEEP_KEY", None)
    os.environ["POSTSWEEP_KEY_FILE"] = str(out / "pseudonym.key")
    create_key(out / "pseudonym.key")
    report = out / "report.html"
    with Network(claimants=claimants) as network:
        sweep_file = out / "sweep.toml"
        sweep_file.write_text(network.sweep_file(out / "archive"), encoding="utf-8")
        code = run_sweep(load_sweep(sweep_file), progress, report, links=False)
    return report, code


def _empty(out: Path) -> None:
    """Makes the folder, or takes an earlier demonstration out of it, and nothing else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(entry.name for entry in out.iterdir())
    except OSError as error:
        raise ConfigError(f"{out}: cannot hold the demo ({error.strerror}); name another with --out") from None
    others = [name for name in present if name not in _MADE or _MARK not in present]
    if others:
        raise ConfigError(f"{out}: holds {others[0]}, which no demo made; name another folder with --out")
    for name in _MADE:
        path = out / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be removed ({error.strerror}); name another folder with --out") from None
