"""A comparison as one HTML page, of the report's kind: without scripts, offline, everything escaped."""

from pathlib import Path

from pipelines.compare import RunsCompared, SweepsCompared
from pipelines.report.build import environment, write_page


def build_comparison(found: RunsCompared | SweepsCompared, out: Path) -> Path:
    """Writes the page to `out`, whole or not at all, and returns `out`. Errors: ArchiveError (it cannot be written)."""
    made = environment()
    made.filters |= {"share": lambda share: f"{100 * share:.2f} %", "points": lambda value: f"{100 * value:+.2f}"}
    page = made.get_template("comparison.html").render(found=found, of_runs=isinstance(found, RunsCompared))
    return write_page(out, page)
