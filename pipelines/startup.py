"""A check at start-up: the four packages, whose names are plain words, come from one place, and from ours."""

import sys
from importlib import import_module
from pathlib import Path

from pipelines.errors import ConfigError

PACKAGES = ("crawlers", "classify", "cluster", "pipelines")


def check_roots() -> Path:
    """The folder that holds all four packages. Errors: ConfigError when another folder shadows one of them."""
    root = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        module = sys.modules.get(name) or import_module(name)
        found = Path(module.__file__).resolve().parent if module.__file__ else Path(next(iter(module.__path__), "?"))
        if found != root / name:
            raise ConfigError(
                f"the package {name} comes from {found} and not from {root / name}: a folder of that name shadows it; "
                "start from another folder, or set PYTHONSAFEPATH=1"
            )
    return root
