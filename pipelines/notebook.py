"""The Python face, for notebooks and scripts: an archive's tables as Arrow, SQL, comparisons, and scores for texts.

Everything here reads; jobs that write are commands. Tables are pyarrow's: `.to_pandas()`, `polars.from_arrow` and
`duckdb.from_arrow` take them on. Errors are `pipelines.errors.PostsweepError`, of `score` also
`classify.errors.ModelError`, each one line.

>>> from pipelines.notebook import Archive, score
>>> archive = Archive("archive")
>>> archive.sweeps()
['d2026-01-01', 'd2026-01-02']
>>> archive.runs("d2026-01-01")
['first', 'second']
>>> archive.manifest("first")["counts"]["scored"]
12
>>> archive.posts("d2026-01-01").to_table(columns=["platform", "text"]).num_rows
12
>>> archive.sql("select run, count(*) as flagged from scores where len(flags) > 0 group by 1 order by 1").to_pylist()
[{'run': 'first', 'flagged': 6}, {'run': 'second', 'flagged': 3}]
>>> found = archive.compare("first", "second")
>>> found.labels[0].total.agreement
0.75
>>> [cause.text for cause in found.causes]
['threshold of label rumor: 0.5, then 0.75']
>>> score(["The bridge is closed until noon.", None]).column("windows").to_pylist()
[1, 0]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from classify.model import load, prepare
from classify.scoring import score_texts
from classify.spec import DEFAULT
from crawlers.post import POST_SCHEMA
from pipelines.archive import Manifest, read_archive, run_manifest, run_manifests, sweep_ids, sweep_manifest
from pipelines.compare import RunsCompared, SweepsCompared, compare
from pipelines.errors import ArchiveError
from pipelines.sql import SCORES, open_sql, part_file


@dataclass(frozen=True)
class Archive:
    """An archive that is read, by the path of its folder. Errors: ArchiveError when there is none."""

    path: str | Path

    def __post_init__(self) -> None:
        read_archive(self.root)

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.path)

    def sweeps(self) -> list[str]:
        """The ids of all sealed sweeps."""
        return sweep_ids(read_archive(self.root))

    def runs(self, sweep: str | None = None) -> list[str]:
        """The ids of finished runs, of one sweep or of all, the oldest first."""
        return [run["run"] for run in run_manifests(read_archive(self.root), sweep)]

    def manifest(self, name: str) -> Manifest:
        """The manifest of a run or, where no run has that id, of a sweep. Errors: ArchiveError when none has."""
        store = read_archive(self.root)
        found = run_manifest(store, name) or sweep_manifest(store, name)
        if found is None:
            raise ArchiveError(f"{self.root}: no finished run and no sealed sweep {name}; see `sweeps()` and `runs()`")
        return found

    def posts(self, sweep: str) -> ds.Dataset:
        """The posts of a sealed sweep, with `sweep` and `platform` as columns; nothing is read before it is asked for.

        Columns: `crawlers.post.POST_SCHEMA`. Errors: ArchiveError (no such sweep, a part that is missing).
        """
        return self._dataset("posts", self._sweep(sweep)["parts"]["posts"], POST_SCHEMA, ["sweep", "platform"])

    def scores(self, run: str) -> ds.Dataset:
        """The scores of a finished run, with `run`, `sweep` and `platform` as columns: a row per post of its sweep.

        Columns: `pipelines.sql.SCORES` and one per label; `uid` joins. Errors: ArchiveError (no such run, a part that
        is missing).
        """
        found = run_manifest(read_archive(self.root), run)
        if found is None:
            known = ", ".join(self.runs()) or "none"
            raise ArchiveError(f"{self.root}: no finished run {run}; there are: {known}")
        schema = pa.schema([*SCORES, *(pa.field(label["name"], pa.float32()) for label in found["labels"])])
        return self._dataset("scores", found["parts"], schema, ["run", "sweep", "platform"])

    def sql(self, query: str, *, restricted: bool = False) -> pa.Table:
        """What a query gives over the tables of `postsweep sql`, all of it in memory.

        `restricted` opens `identities` and `accounts`, which lead back to people. Errors: ConfigError (a mistake in the
        query), ArchiveError.
        """
        with open_sql(self.root, restricted=restricted) as session:
            return session.ask(query).table()

    def compare(self, first: str, second: str) -> RunsCompared | SweepsCompared:
        """What differs between two runs of a sweep or two sweeps, and why; see `pipelines.compare`."""
        return compare(self.root, first, second)

    def _sweep(self, name: str) -> Manifest:
        found = sweep_manifest(read_archive(self.root), name)
        if found is None:
            known = ", ".join(self.sweeps()) or "none"
            raise ArchiveError(f"{self.root}: no sealed sweep {name}; there are: {known}")
        return found

    def _dataset(self, table: str, parts: list[Manifest], schema: pa.Schema, partitions: list[str]) -> ds.Dataset:
        store = read_archive(self.root)
        of_path = pa.schema([pa.field(name, pa.string()) for name in partitions])
        return ds.dataset(
            [str(store.path(part_file(store, part, table))) for part in parts],
            schema=pa.schema([*schema, *of_path]),
            format="parquet",
            partitioning=ds.partitioning(of_path, flavor="hive"),
            partition_base_dir=str(store.path(table)),
        )


def score(texts: Sequence[str | None], model: str = DEFAULT) -> pa.Table:
    """Scores texts with the embedded model or a model folder: a row per text, in order.

    Columns: `lang` (detected), `windows` (0: not scored), a probability per label (null: no text, or a language that
    the model does not know) and `flags`. Errors: ModelError.
    """
    return score_texts(load(prepare(model)), list(texts))
