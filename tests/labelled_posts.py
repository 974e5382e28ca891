"""Makes files of labelled posts, out of the project's own training texts: what a user brings to `postsweep train`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from random import Random

from classify.datasets import Example
from classify.written import read_written

DEFAULT = Path(__file__).resolve().parents[1] / "classify/default"
LABELS = ("rumor", "hate", "abuse", "scam", "clickbait")


def written(lang: str, label: str) -> list[Example]:
    """A text of each pattern that says something of a label, in an order of chance."""
    first: dict[str | None, Example] = {}
    for each in read_written(DEFAULT / f"written_{lang}.json", lang, LABELS):
        if label in each.marks:
            first.setdefault(each.kin, each)
    return Random(7).sample(list(first.values()), len(first))


def rows(count: int, label: str = "abuse", langs: Sequence[str] = ("en",)) -> list[dict[str, str]]:
    """Rows of `text` and `label`; where the label does not apply, it is `none`."""
    found = []
    for lang in langs:
        texts = written(lang, label)[: count // len(langs)]
        assert len(texts) == count // len(langs)
        found += [{"text": each.text, "label": label if each.marks[label] else "none"} for each in texts]
    return found


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Writes rows, whose keys are the columns, and returns the path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
