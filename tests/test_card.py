"""What the model card says beside a judgement: near copies, readings, long texts and the plain model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classify import card
from classify.baselines import Contender, tfidf
from classify.datasets import Example
from classify.labels import CODEBOOK
from classify.model import Model, load, prepare
from classify.recipe import Recipe, SetPart
from classify.scoring import score_texts
from classify.train import Job
from tests import small_model

LABELS = [label.name for label in CODEBOOK]
NONE = dict.fromkeys(LABELS, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("small") / "model"
    return load(prepare(str(small_model.make(folder))))


def test_near_copies_are_a_count_by_hand() -> None:
    def row(text: str, part: str) -> Example:
        return Example(text, "zh", "weibo21", {}, text, part)

    # Eleven characters have four runs of eight; of the first test row two are in one training text.
    train = [row("一二三四五六七八九", "train"), row("三四五六七八九十甲乙丙丁", "calibrate")]
    assert card.near_copies([*train, row("一二三四五六七八九天地", "test")]) == {"weibo21": [1, 1]}
    assert card.near_copies([*train, row("一二三四五六七八天地人", "test")]) == {"weibo21": [0, 1]}
    assert card.near_copies([*train, row("三四五六七八九十甲乙丙", "test")]) == {"weibo21": [0, 1]}
    assert card.near_copies([*train, row("短", "test"), row("短", "train")]) == {"weibo21": [1, 1]}


def two_kinds() -> list[Example]:
    """Posts of every part and language that name a ferry or a poison; the poison is a rumor."""
    found = []
    for number in range(90):
        for lang, words in (("en", ("the ferry of {}", "the poison of {}")), ("zh", ("渡轮第{}班", "毒药第{}瓶"))):
            for mark, words_ in enumerate(words):
                marks = {label: mark if label == "rumor" else number % 2 for label in LABELS}
                part = ("train", "calibrate", "test")[number % 3]
                text = words_.format(number)
                found.append(Example(text, lang, f"set_{lang}", marks, text, part, ordinary=lang == "en"))
    return found


def test_a_baseline_learns_from_the_train_part_and_is_kept(tmp_path: Path) -> None:
    examples = two_kinds()
    told: list[str] = []
    job = Job(Recipe(), tmp_path, told.append)
    first = tfidf(job, examples)
    poison = np.array([each.marks["rumor"] == 1 for each in examples])
    assert first.scores[poison, 0].min() > first.scores[~poison, 0].max()
    assert tfidf(job, examples).scores.tolist() == first.scores.tolist()
    assert told == ["training the baseline tfidf"]
    turned = [
        replace(each, marks={label: 1 - mark for label, mark in each.marks.items()}) if each.part == "test" else each
        for each in examples
    ]
    assert np.array_equal(tfidf(job, turned).scores, first.scores)


def test_the_card_says_what_was_measured(small: Model) -> None:
    examples = two_kinds()
    recipe = Recipe(licence="for research", set=[SetPart(name="set_en", licence="CC0"), SetPart(name="set_zh")])
    marks = np.array([[each.marks[label] for label in LABELS] for each in examples], float)
    halves = (0.5,) * len(LABELS)
    contenders = [Contender(name, marks, halves) for name in ("default", "frozen")]
    found = card.measure(examples, [*contenders, Contender("tfidf", 1 - marks, halves)])
    rumor = found["labels"]["rumor"]["zh"]
    assert (rumor["rows"], rumor["positive"]) == (60, 30)
    assert [rumor[name]["macro_f1"][0] for name in ("default", "frozen", "tfidf")] == [1.0, 1.0, 0.0]
    assert found["ordinary"]["set_en"]["rumor"] == {"rows": 30, "default": 0, "frozen": 0, "tfidf": 30}
    found["suites"] = card.suites(small)
    assert [found["suites"][lang]["all"]["harmless"] for lang in ("zh", "en")] == [352, 352]
    found["near_copies"] = {"set_en": [1, 60]}
    found["readings"] = {lang: {"rows": 60, "told": 57, "longer": 0} for lang in ("zh", "en")}
    found["long"] = {lang: {label: [0, 2] for label in LABELS} for lang in ("zh", "en")}
    labels = [{"name": each.name, "definition": each.definition, "threshold": 0.5} for each in CODEBOOK]
    text = card.card(found, {"labels": labels, "trained_on": {"set_en": 60}}, recipe)
    assert "| rumor | zh | 60 | 30 | 1.000 [1.000-1.000] | 1.000 |" in text
    assert "| set_en | 60 | CC0 |" in text
    assert "| set_en | 0 / 0 / 30 of 30 |" in text
    assert "for research" in text
    assert all(len(line) < 1000 for line in text.splitlines())


def test_readings_are_of_the_test_part(small: Model) -> None:
    texts = ["The ferry leaves at nine.", "The ferry. " * 40, "Il traghetto parte alle nove.", "\ud83d is half a pair"]
    examples = [Example(text, "en", "coaid_en", {}, text, "test") for text in texts]
    examples += [replace(examples[0], part="train"), replace(examples[0], text="渡轮九点出发", lang="zh")]
    found = card.readings(examples, small)
    assert found == {"zh": {"rows": 1, "told": 1, "longer": 0}, "en": {"rows": 4, "told": 3, "longer": 1}}


def test_long_texts_are_joined_from_ordinary_posts_of_the_test_part(
    small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "TEXTS", 6)
    posts = {
        "zh": [f"第{number}班渡轮九点出发，码头上的风很大。" for number in range(60)],
        "en": [f"The ferry number {number} leaves at nine, and the wind is strong." for number in range(60)],
    }
    examples = [
        Example(text, lang, "talk", NONE, text, "test", ordinary=True)
        for lang, texts in posts.items()
        for text in texts
    ]
    others = [
        replace(examples[0], text="train", part="train"),
        replace(examples[0], text="rumor", marks={"rumor": 0}),
        replace(examples[0], text="rumors", ordinary=False),
    ]
    asked: list[list[str]] = []

    def spy(model: Model, texts: list[str]) -> Any:
        asked.append(list(texts))
        return score_texts(model, texts)

    monkeypatch.setattr(card, "score_texts", spy)
    found = card.long_texts([*examples, *others], small)
    assert [score_texts(small, texts).column("windows").to_pylist() for texts in asked] == [[1] * 6, [5] * 6] * 2
    assert {line for texts in asked for text in texts for line in text.split("\n")} <= {*posts["zh"], *posts["en"]}
    flags = [[row["flags"] for row in score_texts(small, texts).to_pylist()] for texts in asked]
    for place, lang in enumerate(("zh", "en")):
        for label in LABELS:
            counts = [sum(label in each for each in texts) for texts in flags[2 * place : 2 * place + 2]]
            assert found[lang][label] == counts
