"""Holes: ids that are missing in the sequence of a channel or a forum that a sweep read. In the first round they are
asked for too, once, and told from what takes an id and is no post: parts of albums, messages of service.

What was there before the sweep came and what never was cannot be told apart, so a hole has no row: it is counted.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crawlers.post import PostId
from crawlers.pseudonyms import Pseudonyms
from crawlers.rechecks import RECHECKS
from crawlers.sighting import ALBUM, GONE, REMOVALS, SERVICE
from crawlers.source import Source
from pipelines.erasure.ledger import Ledger
from pipelines.recheck_rounds import PROBE, PlanWriter, Round, Row, shards_of
from pipelines.store import Store

_LEFT = "holes.json"
_KEPT = 1 << 18
"""Numbers of a channel or forum that are held, the newest."""
_THERE = "there, and not in the sweep"
_TOLD = frozenset({ALBUM, SERVICE, GONE})


@dataclass
class _Sequence:
    """The newest numbers of one sequence, and how far it reaches."""

    newest: "array[int]" = field(default_factory=lambda: array("q"))
    count: int = 0
    lowest: int = 1 << 62
    highest: int = 0

    def add(self, number: int) -> None:
        """Takes a number that is there."""
        self.count += 1
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)
        self.newest.append(number)
        if len(self.newest) > 2 * _KEPT:
            self.newest = array("q", self.sorted()[-_KEPT:].tobytes())

    def sorted(self) -> NDArray[np.int64]:
        """The numbers that are kept, ascending."""
        return np.sort(np.frombuffer(self.newest, np.int64))

    def missing(self) -> Iterator[int]:
        """The numbers that are missing among those that are kept, the newest first."""
        known = self.sorted()
        for place in reversed(np.flatnonzero(np.diff(known) > 1).tolist()):
            yield from range(int(known[place + 1]) - 1, int(known[place]), -1)

    @property
    def holes(self) -> int:
        """How many are missing in all."""
        return self.highest - self.lowest + 1 - self.count


class Holes:
    """Takes the posts of a plan and lists the ids that are missing between them, the newest `most` of each channel or
    forum. What was erased is not asked for. Holds `_KEPT` numbers of each, however many there are."""

    def __init__(self, names: Pseudonyms, ledger: Ledger, most: int) -> None:
        self._names = names
        self._ledger = ledger
        self._most = most
        self._sources: dict[str, Source] = {}
        self._sequences: dict[tuple[str, str], _Sequence] = {}

    def add(self, group: str, source: Source, row: Row) -> None:
        """Takes a post that `source` is asked for."""
        recheck = RECHECKS.get(source.platform)
        if recheck is None or recheck.sequence is None or not source.url or not row["global_id"]:
            return
        found = recheck.sequence(source.kind, row["global_id"])
        if found is not None:
            self._sources[group] = source
            self._sequences.setdefault((group, found[0]), _Sequence()).add(found[1])

    def write(self, folder: Path) -> None:
        """Writes the plans of the pass that asks for the holes, and how many are left out of them."""
        writer, left = PlanWriter(folder, PROBE), Counter[str]()
        for (group, before), sequence in sorted(self._sequences.items()):
            source, asked, erased = self._sources[group], 0, 0
            for number in sequence.missing():
                if asked == self._most:
                    break
                row = self._row(source.platform, f"{before}{number}")
                if self._ledger.erased.holds("post", row["uid"]):
                    erased += 1
                    continue
                writer.add(group, source, row)
                asked += 1
            left[group] += sequence.holes - asked - erased
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
