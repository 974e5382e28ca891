"""What can be read and imported, and which keys are missing for it."""

import os
from typing import Any

from crawlers.catalogue import PLATFORMS
from pipelines.imports.registry import KINDS

TABLE = "tables with a column map (--map): CSV, JSON lines, Parquet"
"""What the kind of import reads that is no tool's own."""


def listed() -> dict[str, list[dict[str, Any]]]:
    """All platforms and kinds of imports."""
    return {
        "platforms": [
            {
                "name": about.name,
                "title": about.title,
                "kinds": [kind.name for kind in about.kinds],
                "keys": list(about.keys),
                "keyed": list(about.keyed) or [kind.name for kind in about.kinds if about.keys],
                "missing": [key for key in about.keys if not os.environ.get(key)],
            }
            for about in PLATFORMS.values()
        ],
        "imports": [
            {"name": "table", "about": TABLE},
            *({"name": kind.name, "about": kind.about} for kind in KINDS.values()),
        ],
    }
