"""The report of a sweep: finds the manifests of the sweep and of a run, and has `report/` build the page."""

from pathlib import Path

from pipelines.archive import (
    accounts_manifest,
    read_archive,
    round_manifests,
    run_manifest,
    run_manifests,
    sweep_manifest,
)
from pipelines.errors import ArchiveError
from pipelines.progress import Progress
from pipelines.report.build import build_report


def report_sweep(
    archive: Path, id: str, progress: Progress, *, run: str | None, out: Path | None, links: bool
) -> Path:
    """Writes the report of a sealed sweep and one run (the newest unless named; none when there is none yet).

    Errors: ArchiveError when the sweep is not sealed, or the run is not one of its.
    """
    store = read_archive(archive)
    sweep = sweep_manifest(store, id)
    if sweep is None:
        raise ArchiveError(f"{archive}: sweep {id} is not sealed; run `postsweep crawl` or `postsweep import` first")
    if run is not None:
        chosen = run_manifest(store, run)
        if chosen is None or chosen["sweep"] != id:
            known = ", ".join(each["run"] for each in run_manifests(store, id)) or "none"
            raise ArchiveError(f"{archive}: no finished run {run} of sweep {id}; there are: {known}")
    else:
        chosen = next(reversed(run_manifests(store, id)), None)
    rounds, accounts = round_manifests(store, id), accounts_manifest(store, id)
    if accounts is not None and accounts["generation"] != sweep["generation"]:
        accounts = None
    with progress.stage("report"):
        where = out or Path(f"{id}.html")
        return build_report(store.root, sweep, chosen, where, links=links, rounds=rounds, accounts=accounts)
