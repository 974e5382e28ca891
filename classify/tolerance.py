"""How far a score moves with what it is scored beside: measured, for models that are not exact.

`python -m classify.tolerance FILE --model default --engine torch` measures it over the lines of a file.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classify.errors import ModelError
from classify.model import Model, ModelSpec, load, prepare
from classify.scoring import TOKEN_BUDGET, score_texts

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


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="one text a line")
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine", choices=("auto", "onnxruntime", "torch"), default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--token-budget", type=int, default=TOKEN_BUDGET)
    chosen = parser.parse_args()
    spec = ModelSpec(chosen.model, engine=chosen.engine, device=chosen.device, dtype=chosen.dtype)
    try:
        texts = chosen.file.read_text(encoding="utf-8").splitlines()
        found = measured_tolerance(load(prepare(spec)), texts, chosen.token_budget)
    except UnicodeDecodeError:
        parser.exit(1, f"error: {chosen.file}: not UTF-8; convert it\n")
    except OSError as error:
        parser.exit(1, f"error: {chosen.file}: cannot be read ({error.strerror})\n")
    except ModelError as error:
        parser.exit(1, f"error: {error}\n")
    sys.stdout.write(f"{found:.2e} over {len(texts):,} texts\n")


def _scores(model: Model, texts: Sequence[str], token_budget: int) -> NDArray[np.float64]:
    """Scores `[texts, labels]`, NaN where a text has none."""
    table = score_texts(model, texts, token_budget)
    return np.stack([table.column(label.name).to_numpy().astype(np.float64) for label in model.labels], axis=1)


if __name__ == "__main__":
    main()
