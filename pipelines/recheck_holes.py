"""Holes: ids that are missing in the sequence of a channel or a forum that a sweep read. In the first round they are
asked for too, once, and told from what takes an id and is no post: parts of albums, messages of service.

What was there before the sweep came and what never was cannot be told apart, so a hole has no row: it is counted.
"""

from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from crawlers.post import PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.rechecks import RECHECKS
from crawlers.sighting import ALBUM, GONE, REMOVALS, SERVICE
from crawlers.source import Source
from pipelines.recheck_rounds import PROBE, PlanWriter, Round, Row, shards_of
from pipelines.store import Store

_LEFT = "holes.json"
_THERE = "there, and not in the sweep"
_TOLD = frozenset({ALBUM, SERVICE, GONE})


class Holes:
    """Takes the posts of a plan, eight bytes of each, and lists the ids that are missing between them. Of more than
    `most` in a channel or forum the newest are asked for."""

    def __init__(self, names: Pseudonyms, most: int) -> None:
        self._names = names
        self._most = most
        self._sources: dict[str, Source] = {}
        self._numbers: dict[tuple[str, str], array[int]] = {}

    def add(self, group: str, source: Source, row: Row) -> None:
        """Takes a post that `source` is asked for."""
        recheck = RECHECKS.get(source.platform)
        if recheck is None or recheck.sequence is None or not source.url or not row["global_id"]:
            return
        found = recheck.sequence(source.kind, row["global_id"])
        if found is not None:
            self._sources[group] = source
            self._numbers.setdefault((group, found[0]), array("q")).append(found[1])

    def write(self, folder: Path) -> None:
        """Writes the plans of the pass that asks for the holes, and how many are left out of them."""
        writer, left = PlanWriter(folder, PROBE), Counter[str]()
        for (group, before), numbers in sorted(self._numbers.items()):
            known = sorted(numbers)
            source, asked = self._sources[group], 0
            for upper, lower in zip(reversed(known), [*reversed(known[:-1])], strict=False):
                count = max(0, upper - lower - 1)
                take = min(count, self._most - asked)
                for number in range(upper - 1, upper - 1 - take, -1):
                    writer.add(group, source, self._row(source.platform, f"{before}{number}"))
                asked += take
                left[group] += count - take
        writer.close()
        noted = folder / _LEFT
        noted.touch(mode=0o600)
        noted.write_bytes(orjson.dumps(left))

    def _row(self, platform: str, name: str) -> Row:
        return {"uid": self._names.post(PostId(platform, name)), "global_id": name, "kind": "post"}


def holes_of(store: Store, of: Round, public: dict[str, str]) -> list[dict[str, Any]]:
    """What was found of the holes of each source, by its public name."""
    left = orjson.loads(store.read(f"{of.private}/{_LEFT}") or b"{}")
    found: dict[str, Counter[str]] = {}
    for shard in shards_of(store, of, number=PROBE):
        counts = found.setdefault(shard.group, Counter())
        rows = pq.read_table(store.path(shard.name), columns=["state", "phrase"], partitioning=None).to_pylist()
        counts.update(_told(row["state"], row["phrase"]) for row in rows)
    return [
        {
            "source": public[group],
            "asked": counts.total(),
            "left": left.get(group, 0),
            "found": dict(sorted(counts.items())),
        }
        for group, counts in sorted(found.items(), key=lambda each: public[each[0]])
    ]


def _told(state: str, phrase: str | None) -> str:
    if state in ("alive", "edited"):
        return _THERE
    if state in REMOVALS or state == "restricted":
        return state
    return phrase if phrase in _TOLD and phrase is not None else "unknown"
