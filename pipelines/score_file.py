"""Scores a file of texts: the same rows in the same order, with a column per label and one of flags.

Rows stream through in chunks; how files of rows are read and written is left to `row_files`.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from classify.model import load, prepare
from classify.scoring import TOKEN_BUDGET, score_texts
from pipelines.errors import ConfigError
from pipelines.progress import Progress
from pipelines.row_files import ENDINGS, open_rows, writing


def score_file(source: Path, out: Path, text_field: str, model: str, progress: Progress) -> dict[str, int]:
    """Scores a JSONL, CSV or Parquet file into one of those, by their endings; returns the counts.

    Errors: ConfigError (no such file or column, an unknown ending, a name that is taken), PostsweepError (a broken
    row, a file that cannot be read or written), ModelError.
    """
    _check_paths(source, out)
    with progress.stage("read") as stage:
        rows = open_rows(source, text_field)
        stage.note(f"{rows.count:,} rows")
    with progress.stage("prepare model"):
        loaded = load(prepare(model))
    added = [pa.field(label.name, pa.float32()) for label in loaded.labels]
    added.append(pa.field("flags", pa.list_(pa.string())))
    for name in rows.schema.names:
        if name in {field.name for field in added}:
            raise ConfigError(f"{source}: has a column {name!r} already, which the scores would take; rename it")
    counts = {"rows": 0, "scored": 0, "flagged": 0}
    with progress.stage("score", total=rows.count) as stage, writing(out, rows.schema, added) as write:
        for chunk in rows.chunks():
            scores = score_texts(loaded, chunk.texts(text_field), TOKEN_BUDGET)
            write(chunk, scores.select([field.name for field in added]))
            counts["rows"] += scores.num_rows
            counts["scored"] += pc.sum(pc.greater(scores.column("windows"), 0)).as_py()
            counts["flagged"] += pc.sum(pc.greater(pc.list_value_length(scores.column("flags")), 0)).as_py()
            stage.advance(scores.num_rows)
    return counts


def _check_paths(source: Path, out: Path) -> None:
    for path in (source, out):
        if path.suffix.lower() not in ENDINGS:
            raise ConfigError(f"{path}: unknown ending {path.suffix!r}; use one of {', '.join(ENDINGS)}")
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"{out}: its folder does not exist; make it first")
    if out.is_dir():
        raise ConfigError(f"{out}: a folder; name a file")
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigError(f"{out}: would replace the file that is read; name another")
