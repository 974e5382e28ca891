"""The embedded model's figures and its card: `python -m classify.card --data FOLDER --work FOLDER`.

Measured on texts kept from training; beside it stand two plainer models of the same split (`baselines`). Writes
figures.json and, from it, MODEL_CARD.md. Needs the `train` extra.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from classify.baselines import FROZEN_ROWS, Contender, frozen, tfidf
from classify.batching import windows
from classify.datasets import Example
from classify.duplicates import SHINGLE
from classify.errors import ModelError
from classify.evaluate import judge, score_suite
from classify.fitting import marks_of
from classify.heads import is_flag
from classify.labels import CODEBOOK
from classify.language import detect_language
from classify.measures import Estimate, Rows, figures
from classify.model import Model, load, prepare
from classify.recipe import Recipe, read_recipe
from classify.scoring import score_texts, tokenised
from classify.suites import suite
from classify.train import Job, gather

DEFAULT = Path(str(resources.files("classify.default")))
LABELS = tuple(label.name for label in CODEBOOK)
LANGUAGES = ("zh", "en")
DRAWS = 500
LEAST = 50
"""Rows of a set below which a figure is not given."""

RUN = {"zh": 8, "en": 24}
"""Characters of a run, by language, that near copies are looked for with."""

TEXTS, LONG = 50, 5
TEMPLATE = Path(__file__).with_name("card.md.jinja")


def embedded(model: Model, examples: Sequence[Example]) -> Contender:
    """The embedded model's scores of the test part, as a sweep scores: by the detected language, in windows."""
    scores = np.full((len(examples), len(LABELS)), np.nan)
    chosen = [at for at, each in enumerate(examples) if each.part == "test"]
    table = score_texts(model, [examples[at].text for at in chosen])
    for place, label in enumerate(LABELS):
        scores[chosen, place] = table.column(label).to_numpy()
    return Contender("default", scores, tuple(label.threshold for label in model.labels))


def measure(examples: Sequence[Example], contenders: Sequence[Contender]) -> dict[str, Any]:
    """The figures of each contender on the test part: per label and language, per set, and among ordinary posts."""
    marks = marks_of(examples, LABELS)
    test = np.array([each.part == "test" for each in examples])
    langs, sets = (np.array([getattr(each, name) for each in examples]) for name in ("lang", "dataset"))
    groups = np.unique([each.group for each in examples], return_inverse=True)[1]
    ordinary = np.array([each.ordinary for each in examples])
    found: dict[str, Any] = {"labels": {}, "sets": {}, "ordinary": {}}
    for index, label in enumerate(LABELS):
        here, truth = test & (marks[:, index] >= 0), marks[:, index] == 1
        places = {("labels", lang): here & (langs == lang) for lang in LANGUAGES}
        places |= {("sets", str(name)): here & (sets == name) for name in np.unique(sets)}
        for (kind, name), at in places.items():
            if at.sum() < LEAST or not 0 < truth[at].sum() < at.sum():
                continue
            found[kind].setdefault(label, {})[name] = {
                "rows": int(at.sum()),
                "positive": int(truth[at].sum()),
                **{
                    each.name: _figures(Rows(each.scores[at, index], truth[at], groups[at]), each.thresholds[index])
                    for each in contenders
                },
            }
        for name in np.unique(sets[ordinary]):
            at = test & (sets == name) & (marks[:, index] == 0)
            if at.any():
                found["ordinary"].setdefault(str(name), {})[label] = {
                    "rows": int(at.sum()),
                    **{
                        each.name: int(is_flag(each.scores[at, index], each.thresholds[index]).sum())
                        for each in contenders
                    },
                }
    return found


def _figures(rows: Rows, threshold: float) -> dict[str, Any]:
    measured = figures(rows, {"stored": threshold, "half": 0.5}, draws=DRAWS)
    stored = measured.cuts["stored"]
    return {
        "macro_f1": _rounded(stored.macro_f1),
        "macro_f1_at_half": _rounded(measured.cuts["half"].macro_f1),
        "precision": _rounded(stored.precision),
        "recall": _rounded(stored.recall),
        "average_precision": _rounded(measured.average_precision),
        "calibration_error": _rounded(measured.calibration_error),
    }


def _rounded(estimate: Estimate) -> list[float | None]:
    return [None if each is None else round(each, 3) for each in (estimate.value, estimate.low, estimate.high)]


def suites(model: Model) -> dict[str, Any]:
    """Per language and group of the fairness suites: harmless posts flagged, by label too, and harmful ones found."""
    found: dict[str, Any] = {}
    for path in suite("fairness"):
        scored = score_suite(model, path)
        judged = judge(scored, draws=1)
        found[scored.rows[0].lang] = {
            each.group: {
                "harmless": each.flagged.rows,
                "flagged": each.flagged.hits,
                "by_label": {label: of.hits for label, of in each.flagged_by_label.items()},
                "harmful": each.found.rows,
                "found": each.found.hits,
            }
            for each in (*judged.files, *judged.groups)
        }
    return found


def near_copies(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Per set, how many rows of the test part have half of their runs of characters in one text of the train part.

    Runs are of `RUN` characters as the text is written; the second number is the set's rows in the test part. This
    looks at what the split has left, and shares nothing with how near-duplicates are grouped.
    """
    holders: dict[str, list[int]] = {}
    runs = [_runs(example) for example in examples]
    for row, example in enumerate(examples):
        for run in runs[row] if example.part == "test" else ():
            holders.setdefault(run, []).append(row)
    most: Counter[int] = Counter()
    for row, example in enumerate(examples):
        if example.part == "train":
            shared = Counter(holder for run in runs[row] for holder in holders.get(run, ()))
            most |= shared  # the larger count of either
    found: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        if example.part == "test":
            counts = found.setdefault(example.dataset, [0, 0])
            counts[0] += 2 * most[row] >= len(runs[row])
            counts[1] += 1
    return found


def _runs(example: Example) -> set[str]:
    text, size = example.text, RUN[example.lang]
    return {text[start : start + size] for start in range(max(1, len(text) - size + 1))}


def readings(examples: Sequence[Example], model: Model) -> dict[str, dict[str, int]]:
    """Per language: rows of the test part, those whose language is told right, and those longer than one window."""
    found: dict[str, dict[str, int]] = {}
    for lang in LANGUAGES:
        texts = [each.text for each in examples if (each.part, each.lang) == ("test", lang)]
        told = sum(detect_language(text) == lang for text in texts)
        found[lang] = {"rows": len(texts), "told": told, "longer": sum(_windows(model, text) > 1 for text in texts)}
    return found


def _windows(model: Model, text: str) -> int:
    """How many windows a text takes."""
    return len(windows(next(tokenised(model, [text])), model.shape))


def long_texts(examples: Sequence[Example], model: Model) -> dict[str, dict[str, list[int]]]:
    """Per language and label: of `TEXTS` texts joined from ordinary posts of the test part, how many are flagged.

    The first number is for as many posts as fit one window, the second for as many as need `LONG` windows.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for lang in LANGUAGES:
        posts = [
            each.text
            for each in examples
            if (each.part, each.lang, each.ordinary) == ("test", lang, True)
            and [each.marks.get(label) for label in LABELS] == [0] * len(LABELS)
        ]
        random = np.random.default_rng(0)
        pairs = [_joined(model, [posts[at] for at in random.permutation(len(posts))]) for _ in range(TEXTS)]
        for texts in zip(*pairs, strict=True):
            flags = score_texts(model, texts).column("flags").to_pylist()
            for label in model.labels:
                count = sum(label.name in each for each in flags)
                found.setdefault(lang, {}).setdefault(label.name, []).append(count)
    return found


def _joined(model: Model, posts: list[str]) -> tuple[str, str]:
    """The posts from the first on, a line each: as many as fit one window, and as many as need `LONG`."""
    short = text = ""
    for post in posts:
        text = f"{text}\n{post}" if text else post
        count = _windows(model, text)
        if count == 1:
            short = text
        if count >= LONG:
            break
    return short, text


def card(found: dict[str, Any], described: dict[str, Any], recipe: Recipe) -> str:
    """The model card, in Markdown, out of its template; every figure out of figures.json."""
    # What comes out is Markdown of this project's own words and figures, not HTML.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    trained_on = described["trained_on"]
    sets = [(each, trained_on.get(each.name, 0)) for each in recipe.set]
    written = [(name, trained_on.get(Path(name).stem, 0)) for name in recipe.written.values()]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        labels=described["labels"],
        names=LABELS,
        recipe=recipe,
        shingle=SHINGLE,
        draws=DRAWS,
        frozen_rows=FROZEN_ROWS,
        texts=TEXTS,
        long=LONG,
        found=found,
        copies=_left(found["near_copies"]),
        readings=[_read(lang, each) for lang, each in found["readings"].items()],
        by_language=_table("language", found["labels"]),
        by_set=_table("set", found["sets"]),
        flagged=_flagged,
        groups=sorted(found["suites"]["zh"], key=lambda name: (name == "all", name)),
        sets=sets,
        written=written,
        behind=_behind(found),
        missed=_missed(found["labels"]["rumor"]),
    )


def _table(what: str, labels: dict[str, Any]) -> str:
    lines = [
        f"| label | {what} | rows | positive | macro-F1 | at 0.5 | precision | recall | AP | ECE "
        "| frozen: macro-F1, ECE | TF-IDF: macro-F1, ECE |",
        "|---|" + "---|" * 11,
    ]
    for label, groups in labels.items():
        for name, each in groups.items():
            ours = each["default"]
            value, low, high = ours["macro_f1"]
            others = [
                f"{each[other]['macro_f1'][0]:.3f}, {each[other]['calibration_error'][0]:.3f}"
                for other in ("frozen", "tfidf")
            ]
            said = [ours[key][0] for key in ("macro_f1_at_half", "precision", "recall")]
            said += [ours[key][0] for key in ("average_precision", "calibration_error")]
            cells = ["-" if each is None else f"{each:.3f}" for each in said]
            lines.append(
                f"| {label} | {name} | {each['rows']:,} | {each['positive']:,} | {value:.3f} [{low:.3f}-{high:.3f}] | "
                + " | ".join(cells + others)
                + " |"
            )
    return "\n".join(lines)


def _flagged(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "-"
    return f"{counts['default']} / {counts['frozen']} / {counts['tfidf']} of {counts['rows']}"


def _left(copies: dict[str, list[int]]) -> str:
    """What the split has left of near-duplicates, in a sentence."""
    count, rows = (sum(column) for column in zip(*copies.values(), strict=True))
    places = "; ".join(f"{name} {some} of {of}" for name, (some, of) in copies.items() if some)
    return (
        f"Test rows with at least half of their runs of {RUN['zh']} (Chinese) or {RUN['en']} (English) characters, as "
        f"they are written, in one training text: {count} of {rows:,}{f' ({places})' if places else ''}."
    )


def _read(lang: str, reading: dict[str, int]) -> str:
    """How texts of a language are read, in a sentence."""
    rows = reading["rows"]
    told, longer = (100 * reading[name] / rows for name in ("told", "longer"))
    return (
        f"The language is told right for {told:.1f} % of {rows:,} test rows in {lang}; {longer:.1f} % of them are "
        "longer than a window."
    )


def _behind(found: dict[str, Any]) -> str:
    """How often the plain model has the higher macro-F1, out of the figures."""
    pairs = [pair for languages in found["labels"].values() for pair in languages.values()]
    behind = sum(pair["tfidf"]["macro_f1"][0] > pair["default"]["macro_f1"][0] for pair in pairs)
    return f"TF-IDF has the higher macro-F1 for {behind} of {len(pairs)} pairs of label and language."


def _missed(rumor: dict[str, Any]) -> str:
    """How much of rumors goes unseen, out of the figures."""
    zh, en = (100 - 100 * rumor[lang]["default"]["recall"][0] for lang in LANGUAGES)
    return f"Of rumors that it was not trained on it misses {zh:.0f} % of the Chinese and {en:.0f} % of the English."


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of <name>.jsonl.gz")
    parser.add_argument("--work", type=Path, required=True, help="folder for the baselines, kept between calls")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    try:
        chosen.work.mkdir(parents=True, exist_ok=True)
        recipe = read_recipe(DEFAULT / "recipe.toml")
        job = Job(recipe, chosen.work, _say, threads=chosen.threads)
        examples = gather(recipe, DEFAULT, chosen.data)
        model = load(prepare("default"), threads=chosen.threads)
        contenders = [embedded(model, examples), frozen(job, examples), tfidf(job, examples)]
    except (OSError, ModelError) as error:
        parser.exit(1, f"error: {error}\n")
    found = measure(examples, contenders)
    found["suites"] = suites(model)
    found["near_copies"] = near_copies(examples)
    found["readings"], found["long"] = readings(examples, model), long_texts(examples, model)
    (DEFAULT / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    described = json.loads((DEFAULT / "heads.json").read_text(encoding="utf-8"))
    (DEFAULT / "MODEL_CARD.md").write_text(card(found, described, recipe), encoding="utf-8")
    sys.stdout.write(f"{DEFAULT / 'MODEL_CARD.md'}: written\n")


if __name__ == "__main__":
    main()
