"""Makes the golden archive of the format that this code writes: `python -m tests.golden_archive`.

It is made once per format, by the code that first wrote it and under the tests' key (POSTSWEEP_KEY), and kept as a tar
file under `tests/golden/`: all later code must read it (`test_golden.py`). Never make an old one again.
"""

import tarfile
import tempfile
from pathlib import Path
from typing import Any

from crawlers.sink import Traffic
from pipelines.archive import FORMAT
from pipelines.classify import RunRequest, classify_sweep
from pipelines.config import load_sweep
from pipelines.progress import Progress
from pipelines.seal import seal
from pipelines.shards import ShardSink
from tests import small_model
from tests.sweeps import GAP, SOURCES, one_source, open_store, page, post, seal_settings, sink_settings

GOLDEN = Path(__file__).with_name("golden")


def unpack(packed: Path, into: Path) -> None:
    """Unpacks an archive with the modes of its folders, which Pythons with filters would change by themselves."""
    kept: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    with tarfile.open(packed) as opened:
        opened.extractall(into, **kept)


def make(folder: Path) -> Path:
    """An archive with a sweep of three sources (one with a gap, rejects, accounts, raw), and a run over it."""
    archive = folder / "archive"
    store = open_store(archive)
    settings = sink_settings(store, keep_raw=True, keep_accounts=True)
    said = ("Ferry {} is late again.", "今天的雪下得很大，{}路车停开。", "Hoy ha llovido toda la mañana, {} horas.", "")
    for place, source in enumerate(SOURCES):
        texts = {number: said[number % 4].format(number) or None for number in range(place, 60, place + 1)}
        posts = [post(number, source.platform, text=text, raw={"content": text}) for number, text in texts.items()]
        sink = ShardSink(settings, source)
        sink.page(page(0, posts, last=True, rejects=place))
        sink.finish([GAP] if place == 2 else [], Traffic(requests=1))
    seal(store, settings.lease, seal_settings(part_rows=25, sources=SOURCES))
    model = small_model.make(folder / "small")
    (folder / "sweep.toml").write_text(one_source("https://one.example") + f'\n[classify]\nmodel = "{model}"\n')
    classify_sweep(RunRequest.of(load_sweep(folder / "sweep.toml")), Progress())
    for left in ("leases", "tmp"):
        store.remove(left)
    return archive


def main() -> None:
    """Writes `tests/golden/format-<n>.tar.xz`, which must not be there yet."""

    with tempfile.TemporaryDirectory() as folder:
        archive = make(Path(folder))
        with tarfile.open(GOLDEN / f"format-{FORMAT}.tar.xz", "x:xz") as packed:
            packed.add(archive, "archive", filter=_nobody)


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
