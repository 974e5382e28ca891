"""Builds the report: one HTML file without scripts that opens offline and loads nothing from elsewhere."""

import unicodedata
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.errors import ArchiveError
from pipelines.report import plots
from pipelines.report.claims import claim_figures
from pipelines.report.figures import compute
from pipelines.report.intervals import wilson

_SHORT = 280
"""Characters of an example that are shown before it is opened."""
_LONG = 10_000
"""Characters of an example that are shown at all."""
_KEPT = {"\n", "\t", "\u200c", "\u200d", "\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd"}
"""What counts as a control character and belongs into texts: line breaks, joiners (of letters and of emoji) and Arabic
signs that are seen as they are."""


def build_report(  # noqa: PLR0917 - the two manifests, then the options
    archive: Path,
    sweep: dict[str, Any],
    run: dict[str, Any] | None,
    out: Path,
    links: bool = False,
    examples: int = 8,
    rounds: Sequence[dict[str, Any]] = (),
    accounts: dict[str, Any] | None = None,
) -> Path:
    """Writes the report of a sweep, a run, rounds of rechecks and scored accounts (their manifests) to `out`, whole or
    not at all, and returns `out`.

    `links` adds the addresses of example posts, which name their authors: such a report is for its owner's eyes (mode
    0600). `examples`: highest scores shown for each label. Errors: ArchiveError when a file of the sweep cannot be
    read or `out` cannot be written.
    """
    figures = compute(archive, sweep, run, links, examples, rounds)
    page = environment().get_template("page.html").render(
        sweep=sweep,
        run=run,
        figures=figures,
        links=links,
        claims=None if accounts is None else claim_figures(accounts),
        hours=_plot(plots.hours(figures.hours)),
        languages=_plot(plots.languages(figures.detected)),
        shares=_plot(plots.shares(figures.labels)),
        survival={of.name: _plot(plots.survival(of)) for of in figures.groupings},
        histograms={label.name: _plot(plots.histogram(label)) for label in figures.labels},
    )
    return write_page(out, page, private=links)


def write_page(out: Path, page: str, *, private: bool = False) -> Path:
    """Writes a page, whole or not at all; a private one is its owner's alone. Errors: ArchiveError."""
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        temporary.touch(mode=0o600 if private else 0o666, exist_ok=False)
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(out)
    except OSError as error:
        raise ArchiveError(f"{out}: the report cannot be written ({error.strerror}); name another file") from None
    finally:
        temporary.unlink(missing_ok=True)
    return out


def visible(text: str) -> str:
    """A stranger's text with every control and direction character shown as what it is instead of acting."""
    return "".join(char if char in _KEPT or not _acts(char) else _shown(char) for char in text)


def _acts(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _shown(char: str) -> str:
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else f"[U+{code:04X}]"


def shortened(text: str, length: int = _SHORT) -> str:
    """The beginning of a text, whole when it is no longer than `length` characters."""
    return text if len(text) <= length else text[:length].rstrip() + "…"


def web_link(url: str | None) -> str | None:
    """An address that a browser may follow, or None."""
    try:
        return url if url is not None and urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plot(drawn: str | None) -> Markup | None:
    """Drawings hold no stranger's words but numbers, platforms, languages and labels, and those escaped."""
    return None if drawn is None else Markup(drawn)  # noqa: S704


def environment() -> Environment:
    """Templates of this folder: everything is escaped, and nothing undefined is passed over."""
    made = Environment(
        loader=PackageLoader("pipelines.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"visible": visible, "shortened": shortened, "web_link": web_link}
    made.filters |= {"count": lambda value: f"{value:,}", "percent": _percent}
    made.filters |= {"wilson": wilson}
    made.filters |= {"whole": lambda text: shortened(text, _LONG)}
    return made
