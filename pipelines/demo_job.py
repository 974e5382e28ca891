"""The demonstration: an embedded sample network on loopback is swept, classified and reported, as any sweep is."""

import os
import shutil
from pathlib import Path

from pipelines.config import load_sweep
from pipelines.demo.network import Network
from pipelines.errors import ConfigError, Exit
from pipelines.progress import Progress
from pipelines.run import run_sweep

_MARK = ".postsweep-demo"


def run_demo(out: Path, progress: Progress) -> tuple[Path, Exit]:
    """Sweeps the sample network afresh into a folder of its own; returns the report's path.

    Errors: ConfigError when the folder holds something else than an earlier demonstration.
    """
    out = out.resolve()
    ours = (out / _MARK).exists()
    if not ours and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: not empty and not an earlier demo; name another folder with --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / _MARK).touch()
    os.environ.pop("POSTSWEEP_KEY", None)
    os.environ["POSTSWEEP_KEY_FILE"] = str(out / "pseudonym.key")
    report = out / "report.html"
    with Network() as network:
        sweep_file = out / "sweep.toml"
        sweep_file.write_text(network.sweep_file(out / "archive"), encoding="utf-8")
        code = run_sweep(load_sweep(sweep_file), progress, report, links=False)
    return report, code
