"""What stands of a sweep: read from the archive alone, while it runs or afterwards."""

from pathlib import Path
from typing import Any

from pipelines.archive import incoming, read_archive, round_manifests, run_manifests, sweep_manifest
from pipelines.gaps import filled_by
from pipelines.recheck_rounds import open_rounds
from pipelines.seal import is_sealing
from pipelines.shards import shards_of

_ROUND = ("round", "sealed_at", "window", "counts", "gaps", "holes", "digest")
"""What of a round's manifest is told."""


def sweep_status(archive: Path, id: str) -> dict[str, Any]:
    """The sweep's state (`absent`, `open`, `sealing` or `sealed`), its sources and its finished runs.

    Errors: ArchiveError when there is no archive.
    """
    store = read_archive(archive)
    sealed = sweep_manifest(store, id)
    if sealed is not None:
        runs = [
            {key: run[key] for key in ("run", "finished_at", "counts", "digest")}
            for run in run_manifests(store, id)
        ]
        return {
            "sweep": id,
            "state": "sealed",
            "sealed_at": sealed["sealed_at"],
            "counts": sealed["counts"],
            "digest": sealed["digest"],
            "sources": sealed["sources"],
            "runs": runs,
            "fills": sealed["config"]["sweep"].get("fills"),
            "filled_by": filled_by(store, id),
            "rounds": [
                {key: told[key] for key in _ROUND if key in told}
                for told in round_manifests(store, id)
            ],
            "open_rounds": [each.number for each in open_rounds(store) if each.sweep == id],
        }
    sources: dict[str, dict[str, Any]] = {}
    for meta in (shard.meta for shard in shards_of(store, id)):
        source = sources.setdefault(meta["source"], {"source": meta["source"], "pages": 0, "posts": 0, "rejects": 0})
        source["pages"] += meta["pages"]
        source["posts"] += meta["posts"]
        source["rejects"] += meta["rejects"]
        source["state"], source["gaps"] = meta["state"], meta["gaps"]
    begun = store.exists(incoming(id))
    return {
        "sweep": id,
        "state": "sealing" if is_sealing(store, id) else "open" if begun else "absent",
        "sources": [sources[name] for name in sorted(sources)],
        "runs": [],
    }
