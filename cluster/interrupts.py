"""Loaded by every worker at its start: Ctrl-C in a terminal reaches all processes of a job, and ends the first one.

That one ends its workers in order; a worker that stopped by itself would only print where it was.
"""

import signal
import threading
from typing import Any


def dask_setup(worker: Any) -> None:
    """Dask's hook for preloaded modules."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
