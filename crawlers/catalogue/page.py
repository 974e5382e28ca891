"""Writes the catalogue as a page: `python -m crawlers.catalogue.page docs/platforms.md`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from crawlers.catalogue import PLATFORMS
from crawlers.catalogue.about import FIELDS, REMOVALS, About

_HEAD = """# Platforms

This page is made from `crawlers/catalogue/` by `python -m crawlers.catalogue.page docs/platforms.md`. How sources are
read, and what is refused, is in [crawling.md](crawling.md); captures of other tools in [imports.md](imports.md).
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *_summary(), *(line for about in PLATFORMS.values() for line in _section(about))])


def _summary() -> Iterator[str]:
    yield "| platform | live | import | needs | verified by |\n|---|---|---|---|---|"
    for about in PLATFORMS.values():
        kinds = ", ".join(f"`{kind.name}`" for kind in about.kinds)
        cells = (about.name, kinds or "no", about.imports or "no", _keys(about) or "nothing", ", ".join(about.verified))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _section(about: About) -> Iterator[str]:
    yield f"## {about.name}\n"
    yield f"{about.title}. {about.costs[:1].upper()}{about.costs[1:]}. Terms: {about.terms}.\n"
    if about.kinds:
        server = about.home or "as the source says"
        yield f"Server: {server}. Paging: {about.paging}. Clock of the window: {about.clock}.\n"
        yield "| kind | reads | value | order |\n|---|---|---|---|"
        for kind in about.kinds:
            value = "a list of addresses" if kind.urls else kind.value or ""
            yield f"| `{kind.name}` | {kind.reads} | {value} | {kind.order} |"
        yield ""
    if needed := _keys(about):
        yield f"From the environment: {needed}.\n"
    yield f"Fills {_fields(about, (name for name in FIELDS if name in about.fills))}.\n"
    yield f"Cannot give {_fields(about, (name for name in FIELDS if name not in about.fills))}.\n"
    yield "| a later visit finds | because |\n|---|---|"
    for finding in REMOVALS:
        if finding in about.removals:
            yield f"| `{finding}` | {about.removals[finding]} |"
    yield ""


def _keys(about: About) -> str:
    keys = ", ".join(f"`{key}`" for key in about.keys)
    return f"{keys} (for {', '.join(f'`{kind}`' for kind in about.keyed)})" if about.keyed else keys


def _fields(about: About, names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" + (f" ({about.notes[name]})" if name in about.notes else "") for name in names)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
