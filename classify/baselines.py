"""What the embedded model is held against: two plainer models, trained and calibrated on rows of the same split.

Their scores are kept in the work folder of the training, so that a second call has them at once. Needs scikit-learn.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from classify.datasets import Example
from classify.fitting import calibrate, fit_heads, marks_of, probabilities, thresholds
from classify.heads import Heads
from classify.labels import Label
from classify.scoring import first_windows
from classify.train import Job, open_encoder, start, vectors

Floats = NDArray[np.float64]

FROZEN_ROWS = 2500
"""The most rows of a set that the frozen heads are trained on, as the first ones were."""


@dataclass(frozen=True)
class Contender:
    """A model's probabilities of examples `[examples, labels]` (NaN: not scored) and its thresholds `[labels]`."""

    name: str
    scores: NDArray[np.floating]
    thresholds: tuple[float, ...]


def tfidf(job: Job, examples: Sequence[Example]) -> Contender:
    """A logistic regression per label on TF-IDF of 1 to 4 characters, on all rows of the training part."""

    def logits() -> Floats:
        taught = [at for at, each in enumerate(examples) if each.part == "train"]
        vectorizer = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 4), min_df=3, max_features=200_000, sublinear_tf=True
        )
        vectorizer.fit([examples[at].text for at in taught])
        rows = vectorizer.transform([each.text for each in examples])
        marks = marks_of(examples, tuple(job.recipe.labels))
        found = np.zeros(marks.shape)
        for index in range(marks.shape[1]):
            chosen = [at for at in taught if marks[at, index] >= 0]
            model = LogisticRegression(C=4.0, max_iter=300).fit(rows[chosen], marks[chosen, index] == 1)
            found[:, index] = model.decision_function(rows)
        return found

    return _calibrated("tfidf", job, examples, _kept("tfidf", job, examples, logits))


def frozen(job: Job, examples: Sequence[Example]) -> Contender:
    """Linear heads on the vectors of the base encoder as it is, which is what the embedded model was at first."""

    def logits() -> Floats:
        labels = tuple(job.recipe.labels)
        model = open_encoder(start(job), labels, job.threads)
        marks = marks_of(examples, labels)
        taught = _some([at for at, each in enumerate(examples) if each.part == "train"], examples)
        others = [at for at, each in enumerate(examples) if each.part != "train"]
        rows = vectors(model, first_windows(model, [examples[at].text for at in taught + others]), job)
        weight, bias = fit_heads(rows[: len(taught)], marks[taught])
        heads = Heads(tuple(Label(name, "") for name in labels), weight, bias, {})
        found = np.zeros(marks.shape)
        found[others] = heads.logits(rows[len(taught) :])
        return found

    return _calibrated("frozen", job, examples, _kept("frozen", job, examples, logits))


def _some(rows: Sequence[int], examples: Sequence[Example]) -> list[int]:
    """At most `FROZEN_ROWS` of each set, by the digest that groups have for a name."""
    found: list[int] = []
    counts: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: (examples[row].group, row)):
        name = examples[row].dataset
        counts[name] = counts.get(name, 0) + 1
        if counts[name] <= FROZEN_ROWS:
            found.append(row)
    return found


def _kept(name: str, job: Job, examples: Sequence[Example], compute: Callable[[], Floats]) -> Floats:
    said = [[each.text, each.part, dict(each.marks)] for each in examples]
    digest = hashlib.sha256(json.dumps([name, list(job.recipe.labels), said]).encode()).hexdigest()[:24]
    path = job.work / f"logits-{name}-{digest}.npy"
    if not path.exists():
        job.say(f"training the baseline {name}")
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, compute())
        temporary.rename(path)
    found: Floats = np.load(path)
    return found


def _calibrated(name: str, job: Job, examples: Sequence[Example], logits: Floats) -> Contender:
    """Probabilities by Platt scaling per language, and thresholds by the same rule as the model's."""
    marks = marks_of(examples, tuple(job.recipe.labels))
    langs = np.array([each.lang for each in examples])
    kept = np.flatnonzero(np.array([each.part == "calibrate" for each in examples]))
    none = np.zeros(logits.shape)
    fitted = calibrate(logits[kept], none[kept], marks[kept], langs[kept], sorted(set(langs.tolist())))
    scores = probabilities(fitted, logits, none, langs)
    cuts = thresholds(scores[kept], marks[kept], [examples[int(at)] for at in kept], job.recipe.thresholds)
    return Contender(name, scores, tuple(cuts))
