"""Writes the catalogue of platforms and imports as a page: `python -m pipelines.platforms_page docs/platforms.md`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from crawlers.catalogue import PLATFORMS
from crawlers.catalogue.about import FIELDS, REMOVALS, About
from pipelines.imports.registry import KINDS
from pipelines.platforms import TABLE

_HEAD = """# Platforms

This page is made from `crawlers/catalogue/` and `pipelines/imports/` by
`python -m pipelines.platforms_page docs/platforms.md`. How sources are read, and what is refused, is in
[crawling.md](crawling.md); how captures of other tools are, in [imports.md](imports.md).
"""


def page() -> str:
    """The whole page, in Markdown."""
    sections = (line for about in PLATFORMS.values() for line in _section(about))
    return "\n".join([_HEAD, *_summary(), *_imports(), *sections])


def _summary() -> Iterator[str]:
    yield "| platform | live | import | needs | verified by |\n|---|---|---|---|---|"
    for about in PLATFORMS.values():
        kinds = ", ".join(f"`{kind.name}`" for kind in about.kinds)
        captures = ", ".join(f"`{kind.name}`" for kind in KINDS.values() if about.name in kind.platforms)
        cells = (about.name, kinds or "no", captures or "no", _keys(about) or "nothing", ", ".join(about.verified))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _imports() -> Iterator[str]:
    yield "| import | reads | platforms |\n|---|---|---|"
    yield f"| `table` | {TABLE} | any, as its column map says |"
    for kind in KINDS.values():
        yield f"| `{kind.name}` | {kind.about} | {', '.join(kind.platforms)} |"
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
