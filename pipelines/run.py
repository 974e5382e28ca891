"""The whole job: crawl, seal, classify and report, each skipped where it is done already."""

from contextlib import suppress
from pathlib import Path

from pipelines.accounts import score_accounts
from pipelines.classify import RunRequest, classify_sweep
from pipelines.config import SweepConfig
from pipelines.crawl import crawl_sweep
from pipelines.errors import Exit, SealedError
from pipelines.progress import Progress
from pipelines.reporting import report_sweep
from pipelines.status import sweep_status


def run_sweep(config: SweepConfig, progress: Progress, out: Path | None, links: bool) -> Exit:
    """Runs a sweep from its sources to its report; called again after a kill it goes on, after the end it changes
    nothing but the report's file. Errors: those of its steps."""
    with suppress(SealedError):
        crawl_sweep(config, progress)
    run, _ = classify_sweep(RunRequest.of(config), progress)
    if config.sweep.keep_accounts:
        score_accounts(config.archive, config.id, progress)
    report_sweep(config.archive, config.id, progress, run=run, out=out, links=links)
    sources = sweep_status(config.archive, config.id)["sources"]
    return Exit.GAPS if any(source["gaps"] for source in sources) else Exit.DONE
