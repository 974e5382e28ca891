"""Serves the sample network until interrupted: `python -m pipelines.demo [first port]`."""

import sys
import threading
from contextlib import suppress
from pathlib import Path

from pipelines.demo.network import Network

with Network(first_port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as network, suppress(KeyboardInterrupt):
    sys.stdout.write(network.sweep_file(Path("archive")))
    sys.stdout.flush()
    threading.Event().wait()
