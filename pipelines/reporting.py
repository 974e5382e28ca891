"""The report of a sweep: finds the manifests of the sweep and of a run, and has `report/` build the page."""

from pathlib import Path

from pipelines.archive import read_archive, round_manifests, run_manifest, run_manifests, sweep_manifest
from pipelines.config import SweepConfig
from pipelines.errors import ArchiveError
from pipelines.progress import Progress
from pipelines.report.build import build_report


def report_sweep(config: SweepConfig, progress: Progress, run: str | None, out: Path | None, links: bool) -> Path:
    """Writes the report of a sealed sweep and one run (the newest unless named; none when there is none yet).

    Errors: ArchiveError when the sweep is not sealed, or the run is not one of its.
    """
    store = read_archive(config.archive)
    sweep = sweep_manifest(store, config.id)
    if sweep is None:
        raise ArchiveError(f"{config.archive}: sweep {config.id} is not sealed; run `postsweep crawl` first")
    if run is not None:
        chosen = run_manifest(store, run)
        if chosen is None or chosen["sweep"] != config.id:
            known = ", ".join(each["run"] for each in run_manifests(store, config.id)) or "none"
            raise ArchiveError(f"{config.archive}: no finished run {run} of sweep {config.id}; there are: {known}")
    else:
        chosen = next(reversed(run_manifests(store, config.id)), None)
    rounds = round_manifests(store, config.id)
    with progress.stage("report"):
        return build_report(store.root, sweep, chosen, out or Path(f"{config.id}.html"), links=links, rounds=rounds)
