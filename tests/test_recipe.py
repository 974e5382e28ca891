"""Recipes, the patterns of the project's own texts, and alterations of a text's surface."""

import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify.augment import ALTERATIONS, altered, sentences
from classify.datasets import text_group
from classify.errors import ModelError
from classify.language import detect_language
from classify.recipe import AdapterPart, LexicalPart, Recipe, SetPart, SplitPart, ThresholdPart, read_recipe
from classify.written import FILLINGS, fillings, read_written
from tests.labelled_posts import DEFAULT, LABELS

ROOT = Path(__file__).resolve().parents[1]


def test_the_shipped_recipe_is_read_and_names_the_labels_of_the_codebook() -> None:
    recipe = read_recipe(DEFAULT / "recipe.toml")
    assert tuple(recipe.labels) == LABELS
    assert recipe.base == "encoder"
    assert recipe.adapter is not None
    assert all((DEFAULT / name).is_file() for name in recipe.written.values())
    assert all(each.marks and each.published and each.paper and each.licence for each in recipe.set)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed = ", "cannot be read as a recipe"),
        ('seed = "1"', "seed: Input should be a valid integer"),
        ("colour = 1", "colour: Extra inputs are not permitted"),
        ("[adapter]\nrank = 99", "adapter.rank: Input should be less than or equal to 32"),
        ("[split]\ntest = 0.9", "split: calibrate is more than 0, and calibrate and test together less than 1"),
        ("[lexical]\nbuckets = 1000", "lexical: 1000 buckets are no power of two"),
        ("[split]\ncalibrate = 0.0", "split: calibrate is more than 0"),
        ('[thresholds]\ntarget = "precision"', "thresholds: macro_f1 takes no value; precision and review need one"),
        ("[thresholds]\nvalue = 0.5", "thresholds: macro_f1 takes no value"),
        ('[labels]\n"very bad" = "x"', "recipe: 'very bad' cannot be a label's name"),
        ('[labels]\nflags = "x"', "recipe: 'flags' cannot be a label's name"),
        ('[[set]]\nname = "a"\n[[set]]\nname = "a"', "recipe: two sets are called 'a'"),
        ('[[set]]\nname = "a"\nmarks."x" = { heat = 1 }', "recipe: set a: 'x' marks 'heat', which is not under labels"),
        ('[[set]]\nname = "a"\nmarks."x" = { hate = 2 }', "set.0.marks.x.hate: Input should be 0 or 1"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_one_line_that_names_the_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        read_recipe(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert told in said
    assert "\n" not in said


def test_the_page_of_training_tells_each_key_of_a_recipe() -> None:
    parts = (Recipe, SetPart, SplitPart, AdapterPart, LexicalPart, ThresholdPart)
    keys = {key for part in parts for key in part.model_fields}
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    assert keys <= set(re.findall(r"`(\w+)`", page))
    for part in (SplitPart, AdapterPart, LexicalPart):
        for name, field in part.model_fields.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert f" {field.default:g} " in row.replace("|", " ").replace(";", " ").replace(",", ""), name


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_pattern_fills_knows_its_marks_and_leaves_no_slot(lang: str) -> None:
    path = DEFAULT / f"written_{lang}.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    for group in said["groups"]:
        assert group["marks"], group["name"]
        assert set(group["marks"]) <= set(LABELS), group["name"]
        assert set(group["marks"].values()) <= {0, 1}, group["name"]
        for pattern in group["patterns"]:
            texts = fillings(pattern, said["slots"], Random(3))
            assert 1 <= len(texts) == len(set(texts)) <= FILLINGS
            for text in texts:
                assert not re.search(r"\{[A-Z_0-9]*\}?|\}", text), text
                assert text_group(text) is not None, text
    used = set(re.findall(r"\{([A-Z_0-9]+)\}", json.dumps([said["groups"], said["slots"]])))
    assert used == set(said["slots"])


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_written_texts_are_read_once_each_and_alike_every_time(lang: str) -> None:
    path = DEFAULT / f"written_{lang}.json"
    found = read_written(path, lang, LABELS, seed=1)
    assert found == read_written(path, lang, LABELS, seed=1)
    assert found != read_written(path, lang, LABELS, seed=2)
    assert len({each.group for each in found}) == len(found)
    assert all(each.kin and each.marks and each.part == "" for each in found)
    for label in LABELS:
        counts = Counter(each.marks[label] for each in found if label in each.marks)
        assert min(counts[0], counts[1]) > 100, label
    told = Counter(detect_language(each.text) == lang for each in found)
    assert told[True] > 0.9 * len(found)


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"slots": {}, "groups": [{"name": "a", "marks": {"hate": 1}, "patterns": ["{WHO} left"]}]}', "{}"],
)
def test_a_file_that_is_none_of_patterns_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "written.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=f"{path}: no file of patterns"):
        read_written(path, "en", LABELS)


POSTS = st.lists(
    st.sampled_from(
        ["【速报】今天下雪", "今天的雪下得很大。", "@reader", "#snow#", "#ferry", "https://t.example/a", "LEFT at",
         "nine!!!", "[笑]", "👍🏽", "...", "\n", "[user]", "URL", "。。。", "不要相信，假的！"]
    ),
    min_size=1, max_size=8,
).map(" ".join)  # fmt: skip


@given(POSTS | st.text(min_size=1), st.integers())
def test_an_altered_text_keeps_letters_where_it_had_some_and_is_the_same_for_the_same_chance(
    text: str, seed: int
) -> None:
    found = altered(text, Random(seed))
    assert found == altered(text, Random(seed))
    if any(char.isalpha() for char in text):
        assert any(char.isalpha() for char in found)


@given(st.text(), st.integers())
def test_each_alteration_takes_any_text(text: str, seed: int) -> None:
    for change in ALTERATIONS:
        assert change(text, Random(seed)) == change(text, Random(seed))


@given(st.text())
def test_sentences_lose_nothing_but_spaces(text: str) -> None:
    assert re.sub(r"\s", "", "".join(sentences(text))) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("without_links", "See https://t.example/ab 大雪", "See   大雪"),
        ("without_heads", "【停水】明天存水", "停水，明天存水"),
        ("with_head", "明天全城都要停水。大家存水", "【明天全城都要停水】大家存水"),
        ("with_head", "Water is off. Store some.", "Water is off. Store some."),
        ("in_lower_case", "BREAKING News", "breaking news"),
        ("without_emoji", "好的[笑]👍", "好的"),
        ("tidier", "what??!!  ok。。。", "what?! ok。"),
        ("shorter", "今天全城停水一整天。请大家早点存水。转！", "今天全城停水一整天。请大家早点存水。"),
    ],
)
def test_an_alteration_does_what_it_says(name: str, text: str, wanted: str) -> None:
    (change,) = [each for each in ALTERATIONS if each.__name__ == name]
    assert change(text, Random(1)) == wanted
