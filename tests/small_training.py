"""A training of the real encoder that is over in seconds: few texts, one layer, rank 2, sixteen steps or so.

`python -m tests.small_training WORK OUT` runs it and says each line at once: for tests that kill it.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from classify.datasets import Example
from classify.recipe import AdapterPart, LexicalPart, Recipe
from classify.train import Job, train
from tests.labelled_posts import written

ADAPTER = AdapterPart(layers=1, rank=2, epochs=2, rate=2e-3, tokens=256, window=24, altered=0.5, check=2, patience=50)
RECIPE = Recipe(
    seed=5, base="default", labels={"abuse": "Insults.", "hate": "Attacks."}, adapter=ADAPTER,
    lexical=LexicalPart(buckets=2**10, steps=30),
)  # fmt: skip


def examples(count: int = 120) -> list[Example]:
    """Short texts of the project's own in two languages, each with a part; both labels have their share of each."""
    found = []
    for lang in ("en", "zh"):
        short = [each for each in written(lang, "abuse") if len(each.text) < 80]
        both = [[each for each in short if each.marks["abuse"] == mark][: count // 4] for mark in (0, 1)]
        for each in both:
            parts = ("train", "train", "calibrate", "test")
            found += [replace(one, part=parts[at % 4]) for at, one in enumerate(each)]
    return found


def job(work: Path, say: Callable[[str], None] = lambda line: None, recipe: Recipe = RECIPE) -> Job:
    """That training, on one thread."""
    return Job(recipe, work, say, dtype="float32", threads=1)


if __name__ == "__main__":
    train(job(Path(sys.argv[1]), lambda line: print(line, flush=True)), examples(), Path(sys.argv[2]))  # noqa: T201
