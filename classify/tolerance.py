"""How far a score moves with what it is scored beside: measured, for models that are not exact."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classify.model import Model
from classify.scoring import score_texts

SHUFFLES = 2
"""Times that the texts are dealt into batches of other mates."""


def measured_tolerance(model: Model, texts: Sequence[str], token_budget: int) -> float:
    """The largest change of any probability of these texts with the batch they are scored in; 0.0 for exact models.

    Each text is scored alone, in the batches of the run's budget over all texts, in those of half and of four times the
    budget, and `SHUFFLES` times in batches of the budget over a random half of the texts, the same halves each time.
    It is the difference of the highest and the lowest of a text's scores, so no pair of these ways differs by more; it
    bounds other texts and batches only as far as these stand for them. Errors: ModelError.
    """
    if model.manifest()["exactness"] == "exact" or not texts:
        return 0.0
    ways = [np.concatenate([_scores(model, [text], token_budget) for text in texts])]
    ways += [_scores(model, texts, budget) for budget in (token_budget, max(1, token_budget // 2), 4 * token_budget)]
    dealt = random.Random(0)
    for _ in range(SHUFFLES):
        order = dealt.sample(range(len(texts)), len(texts))
        found = np.empty_like(ways[0])
        for half in (order[::2], order[1::2]):
            if half:
                found[half] = _scores(model, [texts[place] for place in half], token_budget)
        ways.append(found)
    spread = np.max(ways, axis=0) - np.min(ways, axis=0)
    return float(np.nanmax(spread, initial=0.0))


def _scores(model: Model, texts: Sequence[str], token_budget: int) -> NDArray[np.float64]:
    """Scores `[texts, labels]`, NaN where a text has none."""
    table = score_texts(model, texts, token_budget)
    return np.stack([table.column(label.name).to_numpy().astype(np.float64) for label in model.labels], axis=1)
