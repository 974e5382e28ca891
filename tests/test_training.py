"""Training, calibration and measures, against scikit-learn and counts by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score

from classify import evaluate, train
from classify.calibration import best_threshold, expected_calibration_error, f1_scores, platt
from classify.datasets import LABELS, NONE_OF_THEM, Example, Marks
from classify.errors import ModelError
from classify.heads import Heads, load_heads
from classify.labels import CODEBOOK
from classify.model import Model, load, prepare
from classify.scoring import encode_texts, score_texts
from tests import small_model

WIDTH = 12


def invented(count: int = 1200, seed: int = 3) -> tuple[list[Example], np.ndarray]:
    """Examples of every part, language and label whose vectors tell the labels, somewhat."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(len(LABELS), WIDTH))
    rows = random.normal(size=(count, WIDTH)).astype(np.float32) * 3 + 2
    examples = []
    for index in range(count):
        chances = 1 / (1 + np.exp(1 - rows[index] @ directions.T / 3))
        marks = {label: int(random.random() < chances[place]) for place, label in enumerate(LABELS)}
        kept = {label: mark for label, mark in marks.items() if random.random() < 0.7}
        part = ("train", "train", "calibrate", "test")[index % 4]
        lang = ("zh", "en")[index // 4 % 2]
        dataset = ("weibo21", "coaid_en")[index % 2]
        examples.append(Example(f"post number {index}", lang, dataset, kept, str(index), part))
    return examples, rows


def changed(example: Example, **changes: object) -> Example:
    return Example(**{**vars(example), **changes})


def same(one: Heads, other: Heads) -> bool:
    return (
        one.labels == other.labels
        and np.array_equal(one.weight, other.weight)
        and np.array_equal(one.bias, other.bias)
        and all(np.array_equal(one.calibration[lang], other.calibration[lang]) for lang in ("zh", "en"))
    )


def test_a_head_is_the_logistic_regression_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    rows = (random.normal(size=(900, WIDTH)) * random.uniform(0.01, 5, WIDTH) + 1).astype(np.float32)
    positive = random.random(900) < 1 / (1 + np.exp(-(rows @ random.normal(size=WIDTH) / 4 - 1)))
    weight, bias = train.fit_head(rows, positive)
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    # Ours is mean loss + L2 / 2 * |w|^2, theirs |w|^2 / 2 + C * summed loss.
    theirs = LogisticRegression(C=1 / (len(rows) * train.L2), tol=1e-10, max_iter=5000)
    theirs.fit((rows - mean) / scale, positive)
    assert weight * scale == pytest.approx(theirs.coef_[0], abs=5e-4)
    assert bias + weight @ mean == pytest.approx(theirs.intercept_[0], abs=5e-4)


def test_a_fit_that_stops_short_of_its_optimum_is_an_error() -> None:
    examples, rows = invented(200)
    positive = np.array([example.marks.get("rumor") == 1 for example in examples])
    with pytest.raises(RuntimeError, match="stopped short of its optimum after 3 steps"):
        train.fit_head(rows, positive, steps=3)


def test_a_column_that_is_the_same_everywhere_has_no_part() -> None:
    examples, rows = invented(200)
    positive = np.array([example.marks.get("rumor") == 1 for example in examples])
    weight, _ = train.fit_head(rows, positive)
    wider, _ = train.fit_head(np.hstack([rows, np.full((200, 1), 7, np.float32)]), positive)
    assert wider[:-1] == pytest.approx(weight, abs=1e-4)
    assert np.isfinite(wider).all()


def test_two_trainings_are_byte_equal(tmp_path: Path) -> None:
    examples, rows = invented()
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train.write(train.train(examples, rows), tmp_path / name, {"weibo21": 3})
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"heads.safetensors", "heads.json", "model.json"}


def test_what_is_written_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    heads = train.train(*invented())
    train.write(heads, tmp_path, {})
    assert same(load_heads(tmp_path / "heads.safetensors", tmp_path / "heads.json"), heads)


@pytest.mark.parametrize("label", LABELS)
def test_a_set_that_says_nothing_of_a_label_has_no_part_in_its_head(label: str) -> None:
    examples, rows = invented()
    at = LABELS.index(label)
    heads = train.train(examples, rows)
    without = [changed(example, marks={k: v for k, v in example.marks.items() if k != label}) for example in examples]
    rest = [index for index, example in enumerate(examples) if label in example.marks]
    fewer = train.train([examples[index] for index in rest], rows[rest])
    assert np.array_equal(fewer.weight[at], heads.weight[at])
    assert fewer.labels[at] == heads.labels[at]
    assert fewer.calibration["zh"][0][at] == heads.calibration["zh"][0][at]
    assert train.marks_of(without)[:, at].tolist() == [-1] * len(examples)


def test_the_test_part_has_no_part_in_training_calibration_or_thresholds() -> None:
    examples, rows = invented()
    heads = train.train(examples, rows)
    turned: list[Example] = []
    others = rows.copy()
    for index, example in enumerate(examples):
        test = example.part == "test"
        turned.append(changed(example, marks={k: 1 - v for k, v in example.marks.items()}) if test else example)
        others[index] = others[index] * -5 if test else others[index]
    assert same(train.train(turned, others), heads)


def test_the_calibrate_part_has_no_part_in_the_heads_weights() -> None:
    examples, rows = invented()
    heads = train.train(examples, rows)
    turned = [
        changed(example, marks={k: 1 - v for k, v in example.marks.items()}) if example.part == "calibrate" else example
        for example in examples
    ]
    other = train.train(turned, rows)
    assert np.array_equal(other.weight, heads.weight)
    assert not same(other, heads)


def test_of_near_duplicates_the_first_that_speaks_of_a_label_counts() -> None:
    story: list[Marks] = [{"hate": 0}, {"rumor": 1}, {"rumor": 0, "hate": 1, "scam": 0}]
    examples = [Example(f"number {n}", "en", "coaid_en", marks, "story", "train") for n, marks in enumerate(story)]
    other = Example("another", "en", "coaid_en", {"rumor": 0}, "other", "train")
    none = [-1] * len(LABELS)
    counted = [dict(zip(LABELS, row, strict=True)) for row in train.marks_of([*examples, other]).tolist()]
    empty = dict(zip(LABELS, none, strict=True))
    assert counted == [{**empty, "hate": 0}, {**empty, "rumor": 1}, {**empty, "scam": 0}, {**empty, "rumor": 0}]


def test_copies_of_a_text_change_nothing_that_is_trained() -> None:
    examples, rows = invented()
    copies = [*examples, *(changed(example, text=f"again: {example.text}") for example in examples[:300])]
    assert same(train.train(copies, np.concatenate([rows, rows[:300]])), train.train(examples, rows))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    model = load(prepare(str(small_model.make(tmp_path / "model"))))
    monkeypatch.setattr(train, "base_model", lambda work, threads: model)
    monkeypatch.setattr(train, "CHUNK", 7)
    return model


def test_kept_chunks_give_the_same_vectors_and_are_not_made_again(
    small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, _ = invented(40)
    first = train.vectors(examples, tmp_path, 1)
    assert np.array_equal(first, encode_texts(small, [example.text for example in examples]))
    chunks = sorted(tmp_path.glob("vectors-*.npy"))
    assert len(chunks) == 6
    chunks[2].unlink()
    assert np.array_equal(train.vectors(examples, tmp_path, 1), first)

    def refuse(work: Path, threads: int) -> Model:
        raise AssertionError("nothing is left to encode")

    monkeypatch.setattr(train, "base_model", refuse)
    assert np.array_equal(train.vectors(examples, tmp_path, 1), first)


def test_vectors_of_another_encoder_are_not_taken_for_ours(
    small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, _ = invented(10)
    train.vectors(examples, tmp_path, 1)
    monkeypatch.setattr(train, "WINDOW", 128)
    with pytest.raises(ModelError, match="another encoder, prefix or window"):
        train.vectors(examples, tmp_path, 1)


def test_platt_scaling_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    for count in (30, 4000):
        logits = random.normal(size=count) * 3
        positive = random.random(count) < 1 / (1 + np.exp(-(0.7 * logits - 1)))
        slope, offset = platt(logits, positive)
        theirs = _SigmoidCalibration().fit(logits, positive.astype(int))
        assert (slope, offset) == pytest.approx((-theirs.a_, -theirs.b_), abs=2e-3)


def test_platt_scaling_of_one_class_stays_finite_and_off_the_ends() -> None:
    slope, offset = platt(np.linspace(-1, 1, 20), np.zeros(20, bool))
    claimed = 1 / (1 + np.exp(-(slope * np.linspace(-1, 1, 20) + offset)))
    assert ((claimed > 0.001) & (claimed < 0.2)).all()


def test_the_calibration_error_is_a_count_by_hand() -> None:
    claimed = np.array([0.05, 0.15, 0.15, 0.95, 1.0, 0.0])
    positive = np.array([0, 1, 0, 1, 0, 0], bool)
    # Ten bins: 0.0-0.1 holds 0.05 of 0 seen, 0.1-0.2 claims 0.30 of 1 seen, 0.9-1.0 claims 1.95 of 1 seen.
    assert expected_calibration_error(claimed, positive, bins=10) == pytest.approx((0.05 + 0.7 + 0.95) / 6)
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool)))


def test_f1_is_scikit_learns() -> None:
    random = np.random.default_rng(2)
    for share in (0, 0.1, 0.5, 1):
        truth, guess = random.random(50) < share, random.random(50) < 0.4
        precision, recall, macro = f1_scores(guess, truth)
        assert precision == pytest.approx(precision_score(truth, guess, zero_division=0))
        assert recall == pytest.approx(recall_score(truth, guess, zero_division=0))
        labels = [False, True]
        assert macro == pytest.approx(f1_score(truth, guess, average="macro", labels=labels, zero_division=0))


def test_a_threshold_is_the_lowest_of_the_best_over_languages_of_equal_weight() -> None:
    truth = np.array([0, 0, 1, 1], bool)
    assert best_threshold([(np.array([0.1, 0.305, 0.5, 0.9]), truth)]) == 0.31
    # A hundred times more rows in one language weigh no more than the other: at 0.41 the first is whole, the second
    # half; at 0.61 the other way round with a larger loss.
    first = (np.array([0.1, 0.4, 0.45, 0.5]), truth)
    second = (np.tile([0.1, 0.2, 0.44, 0.9], 100), np.tile(truth, 100))
    assert best_threshold([first, second]) == 0.41


def test_figures_are_counts_by_hand() -> None:
    scores = np.array([0.2, 0.5, 0.6, 0.9, np.float32(0.35)])
    positive = np.array([0, 1, 0, 1, 0], bool)
    found = evaluate.figures(scores, positive, 0.35)
    assert (found["rows"], found["positive"]) == (5, 2)
    # Flagged are four, two of them rightly; not flagged is one, rightly.
    assert (found["precision"], found["recall"]) == (0.5, 1.0)
    assert found["macro_f1"] == round((2 / 3 + 0.5) / 2, 3)
    low, high = found["macro_f1_95"]
    assert 0 <= low <= found["macro_f1"] <= high <= 1
    assert found == evaluate.figures(scores, positive, 0.35)


def test_the_figures_of_the_model_card_are_those_of_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, rows = invented(1600)
    ordinary = [
        changed(example, dataset="weibo_sentiment_zh", lang="zh", marks=NONE_OF_THEM, group=f"calm {example.group}")
        for example in examples if example.part == "test"
    ][:40]  # fmt: skip
    extra = np.tile(rows[:1], (len(ordinary), 1))
    heads = train.train(examples, rows)
    monkeypatch.setattr(evaluate, "_DRAWS", 20)
    found = evaluate.measure([*examples, *ordinary], np.concatenate([rows, extra]), heads)
    for place, label in enumerate(LABELS):
        for lang in ("zh", "en"):
            chosen = [
                index for index, example in enumerate([*examples, *ordinary])
                if example.part == "test" and example.lang == lang and label in example.marks
            ]  # fmt: skip
            vectors = np.concatenate([rows, extra])[chosen]
            scores = heads.probabilities(heads.logits(vectors), lang)[:, place]
            truth = [[*examples, *ordinary][index].marks[label] == 1 for index in chosen]
            flags = scores >= np.float32(heads.labels[place].threshold)
            got = found["labels"][label][lang]["model"]
            assert got["rows"] == len(chosen)
            assert got["positive"] == sum(truth)
            assert got["macro_f1"] == pytest.approx(f1_score(truth, flags, average="macro"), abs=6e-4)
        flagged, of = found["ordinary"]["weibo_sentiment_zh"][label]
        assert of == len(ordinary)
        assert flagged in (0, len(ordinary))


def test_the_baseline_learns_from_the_train_part_alone() -> None:
    words: dict[str, Marks] = {"ferry": {"rumor": 0}, "poison": {"rumor": 1}}
    texts, marks, parts = [], [], []
    for number in range(40):
        for word, mark in words.items():
            texts.append(f"the {word} of {number}")
            marks.append([mark["rumor"] if name == "rumor" else number % 2 for name in LABELS])
            parts.append("train" if number < 30 else "test")
    logits = evaluate.baseline(texts, np.array(marks, np.int8), np.array(parts))
    poison = np.array(["poison" in text for text in texts])
    assert (logits[poison, 0] > 0).all()
    assert (logits[~poison, 0] < 0).all()
    turned = np.array(marks, np.int8)
    turned[np.array(parts) == "test"] = 1 - turned[np.array(parts) == "test"]
    assert np.array_equal(evaluate.baseline(texts, turned, np.array(parts)), logits)


def test_the_card_is_made_of_the_figures() -> None:
    def pair(macro: float) -> dict[str, Any]:
        ours = evaluate.figures(np.array([0.9, 0.1]), np.array([True, False]), 0.5)
        return {"model": {**ours, "macro_f1": macro}, "tfidf": ours}

    ordinary = {"weibo_sentiment_zh": {label: [3, 40] for label in LABELS} | {"scam": [0, 0]}}
    found = {
        "labels": {"rumor": {"zh": pair(0.5), "en": pair(1.0)}}, "sets": {}, "ordinary": ordinary,
        "near_copies": {"weibo21": [3, 40], "olid_en": [0, 1000]},
        "long": {"zh": {label: [2, 9] for label in LABELS}},
        "readings": {"zh": {"rows": 2000, "told": 1990, "longer": 10}},
    }  # fmt: skip
    labels = [{"name": each.name, "definition": each.definition, "threshold": 0.35} for each in CODEBOOK]
    card = evaluate.card(found, json.loads(json.dumps({"labels": labels, "trained_on": {"weibo21": 4177}})))
    assert "| rumor | zh | 2 | 1 | 0.500 (" in card
    assert "| weibo_sentiment_zh | 3 of 40 | 3 of 40 | 3 of 40 | - | 3 of 40 |" in card
    assert "higher macro-F1 for 1 of 2 pairs" in card
    assert "- weibo21: 4,177" in card
    assert "in one training text: 3 of 1,040 (weibo21 3 of 40)." in card
    assert "told right for 99.5 % of 2,000 test rows in zh; 0.5 % of them are longer than a window." in card
    assert "| zh | 2, 9 | 2, 9 | 2, 9 | 2, 9 | 2, 9 |" in card
    assert "**hate** (from 0.35)" in card


def test_what_ships_as_the_card_is_made_of_the_figures_that_ship() -> None:
    found = json.loads((train.DEFAULT / "figures.json").read_text())
    described = json.loads((train.DEFAULT / "heads.json").read_text(encoding="utf-8"))
    assert (train.DEFAULT / "MODEL_CARD.md").read_text(encoding="utf-8") == evaluate.card(found, described)


def test_readings_are_of_the_test_part(small: Model) -> None:
    texts = ["The ferry leaves at nine.", "The ferry. " * 40, "Il traghetto parte alle nove.", "\ud83d is half a pair"]
    examples = [Example(text, "en", "coaid_en", {}, text, "test") for text in texts]
    examples += [changed(examples[0], part="train"), changed(examples[0], text="渡轮九点出发", lang="zh")]
    found = evaluate.readings(examples, small)
    assert found == {"zh": {"rows": 1, "told": 1, "longer": 0}, "en": {"rows": 4, "told": 3, "longer": 1}}


def test_long_texts_are_joined_from_ordinary_posts_of_the_test_part(
    small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "TEXTS", 6)
    posts = {
        "zh": [f"第{number}班渡轮九点出发，码头上的风很大。" for number in range(60)],
        "en": [f"The ferry number {number} leaves at nine, and the wind is strong." for number in range(60)],
    }
    examples = [
        Example(text, lang, f"tweeteval_sentiment_{lang}".replace("tweeteval_sentiment_zh", "weibo_sentiment_zh"),
                NONE_OF_THEM, text, "test")
        for lang, texts in posts.items() for text in texts
    ]  # fmt: skip
    others = [
        changed(examples[0], text="train", part="train"),
        changed(examples[0], text="rumor", marks={"rumor": 0}),
        changed(examples[0], text="rumors", dataset="political_hof_en"),
    ]
    asked: list[list[str]] = []

    def spy(model: Model, texts: list[str]) -> Any:
        asked.append(list(texts))
        return score_texts(model, texts)

    monkeypatch.setattr(evaluate, "score_texts", spy)
    found = evaluate.long_texts([*examples, *others], small)
    assert [score_texts(small, texts).column("windows").to_pylist() for texts in asked] == [[1] * 6, [5] * 6] * 2
    assert {line for texts in asked for text in texts for line in text.split("\n")} <= {*posts["zh"], *posts["en"]}
    flags = [[row["flags"] for row in score_texts(small, texts).to_pylist()] for texts in asked]
    for place, lang in enumerate(("zh", "en")):
        for label in LABELS:
            counts = [sum(label in each for each in texts) for texts in flags[2 * place : 2 * place + 2]]
            assert found[lang][label] == counts
