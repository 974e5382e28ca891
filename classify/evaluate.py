"""Measures the heads on texts kept from training: `python -m classify.evaluate --data FOLDER --work FOLDER`.

Per label and language: macro-F1 with a bootstrap interval, precision, recall and calibration error, beside a TF-IDF
logistic regression trained on the same rows; what the split has left of near-duplicates; how texts are read, and what
long ones are flagged for. Writes figures.json and, from it, MODEL_CARD.md. Needs scikit-learn.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from classify.batching import windows
from classify.calibration import MOST_ORDINARY, expected_calibration_error, f1_scores, platt
from classify.datasets import LABELS, NONE_OF_THEM, ORDINARY, SETS, Example, read_examples
from classify.duplicates import SHINGLE
from classify.errors import ModelError
from classify.heads import Heads, is_flag, load_heads
from classify.language import detect_language
from classify.model import Model, load, prepare
from classify.scoring import score_texts, tokenised
from classify.train import DEFAULT, LANGUAGES, marks_of, thresholds, vectors

_DRAWS = 500
_LEAST = 50
"""Rows of a part below which a figure is not given."""

RUN = {"zh": 8, "en": 24}
"""Characters of a run, by language, that near copies are looked for with."""

TEXTS, LONG = 50, 5

Floats = NDArray[np.float64]


def baseline(texts: list[str], marks: NDArray[np.int8], parts: NDArray[np.str_]) -> Floats:
    """Logits `[texts, labels]` of a logistic regression per label on TF-IDF of 1 to 4 characters."""
    train = parts == "train"
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=3, max_features=200_000, sublinear_tf=True)
    vectorizer.fit([text for text, chosen in zip(texts, train, strict=True) if chosen])
    rows = vectorizer.transform(texts)
    logits = np.zeros((len(texts), len(LABELS)))
    for index in range(len(LABELS)):
        chosen = train & (marks[:, index] >= 0)
        model = LogisticRegression(C=4.0, max_iter=300).fit(rows[chosen], marks[chosen, index] == 1)
        logits[:, index] = model.decision_function(rows)
    return logits


def calibrated(logits: Floats, marks: NDArray[np.int8], parts: NDArray[np.str_], langs: NDArray[np.str_]) -> Floats:
    """Probabilities, by Platt scaling per language on the calibrate part."""
    found = np.full(logits.shape, np.nan)
    for lang in LANGUAGES:
        for index in range(len(LABELS)):
            here = (langs == lang) & (marks[:, index] >= 0)
            chosen = here & (parts == "calibrate")
            slope, offset = platt(logits[chosen, index], marks[chosen, index] == 1)
            found[here, index] = expit(logits[here, index] * slope + offset)
    return found


def figures(scores: NDArray[Any], positive: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """The measures of one group of rows."""
    predicted = is_flag(scores, threshold)
    precision, recall, macro = f1_scores(predicted, positive)
    random = np.random.default_rng(0)
    draws = (random.integers(0, len(scores), len(scores)) for _ in range(_DRAWS))
    spread = np.percentile([f1_scores(predicted[at], positive[at])[2] for at in draws], [2.5, 97.5])
    return {
        "rows": len(scores),
        "positive": int(positive.sum()),
        "macro_f1": round(macro, 3),
        "macro_f1_95": [round(float(bound), 3) for bound in spread],
        "precision": round(precision, 3),
        "recall": round(recall, 3),
        "calibration_error": round(expected_calibration_error(scores, positive), 3),
    }


def measure(examples: list[Example], rows: NDArray[np.float32], heads: Heads) -> dict[str, Any]:
    """All figures of the model card, on the test part."""
    marks, parts = marks_of(examples), np.array([example.part for example in examples])
    langs = np.array([example.lang for example in examples])
    sets = np.array([example.dataset for example in examples])
    logits = heads.logits(rows)
    scores = np.zeros(logits.shape)
    for lang in LANGUAGES:
        scores[langs == lang] = heads.probabilities(logits[langs == lang], lang)
    plain = calibrated(baseline([example.text for example in examples], marks, parts), marks, parts, langs)
    cuts = thresholds(plain, examples)
    found: dict[str, Any] = {"labels": {}, "sets": {}, "ordinary": {}}
    for index, label in enumerate(heads.labels):
        here = (parts == "test") & (marks[:, index] >= 0)
        truth = marks[:, index] == 1
        for lang in LANGUAGES:
            at = here & (langs == lang)
            found["labels"].setdefault(label.name, {})[lang] = {
                "model": figures(scores[at, index], truth[at], label.threshold),
                "tfidf": figures(plain[at, index], truth[at], cuts[index]),
            }
        for name in sorted(set(sets)):
            at = here & (sets == name)
            if at.sum() >= _LEAST and 0 < truth[at].sum() < at.sum():
                found["sets"].setdefault(label.name, {})[name] = {
                    "model": figures(scores[at, index], truth[at], label.threshold),
                    "tfidf": figures(plain[at, index], truth[at], cuts[index]),
                }
        for each in SETS:
            at = (parts == "test") & (sets == each.name) & (marks[:, index] == 0)
            if at.any() and (each.ordinary or each.name == "political_hof_en"):
                flagged = int(is_flag(scores[at, index], label.threshold).sum())
                found["ordinary"].setdefault(each.name, {})[label.name] = [flagged, int(at.sum())]
    return found


def near_copies(examples: list[Example]) -> dict[str, list[int]]:
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


def readings(examples: list[Example], model: Model) -> dict[str, dict[str, int]]:
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


def long_texts(examples: list[Example], model: Model) -> dict[str, dict[str, list[int]]]:
    """Per language and label: of `TEXTS` texts joined from ordinary posts of the test part, how many are flagged.

    The first number is for as many posts as fit one window, the second for as many as need `LONG` windows.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for lang in LANGUAGES:
        posts = [
            each.text
            for each in examples
            if (each.part, each.lang, each.marks) == ("test", lang, NONE_OF_THEM) and each.dataset in ORDINARY
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


def card(found: dict[str, Any], described: dict[str, Any]) -> str:
    """The model card, in Markdown; every figure out of figures.json."""
    lines = [
        "# The embedded model",
        "",
        "A frozen multilingual encoder (multilingual-e5-small, requantised to 4 bits by the package it is read from)",
        "with one logistic head per label. Chinese and English; texts in other languages get no score.",
        "",
        "Made by `python -m classify.train --data FOLDER --work FOLDER`, measured and written by",
        "`python -m classify.evaluate --data FOLDER --work FOLDER`. The folder holds the sets below.",
        "",
        "## Labels",
        "",
        *(f"- **{each['name']}** (from {each['threshold']:.2f}): {each['definition']}" for each in described["labels"]),
        "",
        "## Figures",
        "",
        "On a development split (15 % of the groups of near-duplicates) that shares no group with training or",
        "calibration. Texts of any set are near-duplicates when one has at least half of the other's runs of",
        f"{SHINGLE['zh']} (Chinese) or {SHINGLE['en']} (English) letters, and so are those that a chain of such pairs",
        "links; for a label one text of a group counts, in training as in the figures. Macro-F1 with a 95 % bootstrap",
        "interval, over groups; precision and recall of the positive class; ECE is the expected calibration error over",
        "15 bins. TF-IDF is a logistic regression on 1 to 4 characters, trained, calibrated and thresholded on the",
        "same rows. A threshold is the one with the best macro-F1 of those that flag at most "
        f"{100 * MOST_ORDINARY:.0f} % of the ordinary",
        "posts of either language (sets: below) in the calibration part.",
        "",
        _left(found["near_copies"]),
        *(_read(lang, each) for lang, each in found["readings"].items()),
        "",
        "| label | language | rows | positive | macro-F1 | precision | recall | ECE | TF-IDF macro-F1 | TF-IDF ECE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label, langs in found["labels"].items():
        lines += [_row(f"{label} | {lang}", pair) for lang, pair in langs.items()]
    lines += ["", "By data set, where it has both classes:", "", *_HEAD_SETS]
    for label, sets in found["sets"].items():
        lines += [_row(f"{label} | {name}", pair) for name, pair in sets.items()]
    lines += [
        "",
        "Flagged among ordinary posts of the same split (everyday talk, news titles, opinion, and election tweets that",
        "were marked as not hateful), which should be none; criticism of politicians and parties is among them:",
        "",
        "| set | " + " | ".join(LABELS) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    for name, labels in found["ordinary"].items():
        cells = [f"{labels[each][0]} of {labels[each][1]}" if labels.get(each, [0, 0])[1] else "-" for each in LABELS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"A text of many windows takes the highest score of any. Flagged of {TEXTS} texts a language that were joined",
        f"at random from such posts of the sets that have all five labels: filling one window, and {LONG} windows:",
        "",
        "| language | " + " | ".join(LABELS) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    for lang, labels in found["long"].items():
        lines.append(f"| {lang} | " + " | ".join(f"{labels[each][0]}, {labels[each][1]}" for each in LABELS) + " |")
    lines += [
        "",
        "## Trained on",
        "",
        "Rows of the training part, near-duplicates once. Several sets are for research only or carry no licence: who",
        "uses the heads for another purpose must ask their authors. What each set's labels say of ours stands in",
        "`classify/datasets.py`.",
        "",
        *(f"- {name}: {count:,}" for name, count in sorted(described["trained_on"].items())),
        "",
        "## Where it fails",
        "",
        f"- The encoder was never trained for these labels. {_behind(found)}",
        "- *Rumor* is judged by style: urgency and hearsay raise it, a calm falsehood passes, and sharp criticism",
        "  of a government or politician can be taken for one. It checks no fact. Never read it as true or false.",
        f"  {_missed(found['labels']['rumor'])}",
        "- *Hate* and *abuse* take swear words for harm, also among friends and in quotes, and miss irony.",
        "- *Scam* knows phone fraud in Chinese and old spam in English; it misses investment and job offers.",
        "  The Chinese set's positive side is rewritten text, so its figure is too good.",
        "- *Clickbait* in English learnt which publisher wrote a title: its figure does not carry over.",
        "- Ordinary sets count as negative for all labels by assumption; some of their posts may be positive.",
        "- The base is requantised to 4 bits by another publisher; the difference is not measured.",
        "",
    ]
    return "\n".join(lines)


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
    behind = sum(pair["tfidf"]["macro_f1"] > pair["model"]["macro_f1"] for pair in pairs)
    return f"TF-IDF has the higher macro-F1 for {behind} of {len(pairs)} pairs of label and language."


def _missed(rumor: dict[str, Any]) -> str:
    """How much of rumors goes unseen, out of the figures."""
    zh, en = (100 - 100 * rumor[lang]["model"]["recall"] for lang in LANGUAGES)
    return f"Of rumors that it was not trained on it misses {zh:.0f} % of the Chinese and {en:.0f} % of the English."


_HEAD_SETS = [
    "| label | set | rows | positive | macro-F1 | precision | recall | ECE | TF-IDF macro-F1 | TF-IDF ECE |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def _row(name: str, pair: dict[str, Any]) -> str:
    ours, plain = pair["model"], pair["tfidf"]
    low, high = ours["macro_f1_95"]
    return (
        f"| {name} | {ours['rows']:,} | {ours['positive']:,} | {ours['macro_f1']:.3f} ({low:.3f}-{high:.3f}) | "
        f"{ours['precision']:.3f} | {ours['recall']:.3f} | {ours['calibration_error']:.3f} | {plain['macro_f1']:.3f} | "
        f"{plain['calibration_error']:.3f} |"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of <name>.jsonl.gz")
    parser.add_argument("--work", type=Path, required=True, help="the folder of vectors that training left")
    chosen = parser.parse_args()
    try:
        examples = read_examples(chosen.data)
        heads = load_heads(DEFAULT / "heads.safetensors", DEFAULT / "heads.json")
        rows = vectors(examples, chosen.work, 2)
    except (OSError, ModelError) as error:
        parser.exit(1, f"error: {error}\n")
    found = measure(examples, rows, heads)
    found["near_copies"] = near_copies(examples)
    model = load(prepare("default"), threads=2)
    found["readings"], found["long"] = readings(examples, model), long_texts(examples, model)
    (DEFAULT / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
    described = json.loads((DEFAULT / "heads.json").read_text(encoding="utf-8"))
    (DEFAULT / "MODEL_CARD.md").write_text(card(found, described), encoding="utf-8")
    sys.stdout.write(f"{DEFAULT / 'MODEL_CARD.md'}: written\n")


if __name__ == "__main__":
    main()
