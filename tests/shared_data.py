"""Where the data that stands beside a checkout is found, when it is there at all."""

import os
from pathlib import Path

_beside = Path(os.environ.get("POSTSWEEP_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SHARED: Path | None = _beside if _beside.is_dir() else None
