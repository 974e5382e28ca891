"""Reads what a sealed sweep is missing into a sweep of its own, as a sealed one does not change.

The gaps of sweep X are read as `X-fill1`: each source that has gaps, for the span of each gap alone. What that leaves
is read as `X-fill2`, and so on. Such a sweep names X in its manifest, under `config.sweep.fills`.
"""

from datetime import datetime

from crawlers.pseudonyms import Pseudonyms
from pipelines.archive import Manifest, read_archive, sweep_manifest
from pipelines.config import MOST_ID, SourcePart, SweepConfig
from pipelines.errors import ArchiveError, ConfigError
from pipelines.keys import key_for
from pipelines.store import Store


def filling(config: SweepConfig) -> SweepConfig | None:
    """The sweep that reads the gaps which are left of a sealed one; None where there are none.

    Errors: ArchiveError for a sweep that is not sealed; ConfigError for an id that is too long.
    """
    store = read_archive(config.archive)
    names = key_for(config.archive)
    number, read = 0, config
    while (sealed := sweep_manifest(store, read.id)) is not None:
        missing = _missing(read, sealed, names)
        if not missing:
            return None
        number += 1
        read = _filling(config, number, missing)
    if number == 0:
        raise ArchiveError(
            f"{config.archive}: sweep {config.id} is not sealed; run `postsweep crawl` without --fill-gaps"
        )
    return read


def filled_by(store: Store, sweep: str) -> list[str]:
    """The sealed sweeps that read gaps of a sweep."""
    found: list[str] = []
    while sweep_manifest(store, name := f"{sweep}-fill{len(found) + 1}") is not None:
        found.append(name)
    return found


def _missing(config: SweepConfig, sealed: Manifest, names: Pseudonyms) -> tuple[SourcePart, ...]:
    """The sources that have gaps, once for each gap and with its span as their window."""
    gaps = {source["source"]: source["gaps"] for source in sealed["sources"]}
    return tuple(
        part.model_copy(update={key: datetime.fromisoformat(gap[key]) for key in ("since", "until")})
        for part in config.source
        for gap in gaps.get(names.source(part.source), [])
    )


def _filling(config: SweepConfig, number: int, missing: tuple[SourcePart, ...]) -> SweepConfig:
    name = f"{config.id}-fill{number}"
    if len(name) > MOST_ID:
        raise ConfigError(
            f"{name}: longer than the {MOST_ID} characters of a sweep's id; sweep the gaps by another file"
        )
    span = {
        "since": min(part.since for part in missing if part.since),
        "until": max(part.until for part in missing if part.until),
    }
    sweep = config.sweep.model_copy(update={"id": name, "fills": config.id, **span})
    return config.model_copy(update={"sweep": sweep, "source": missing})
