"""The codebook: its data, its page and what the shipped model says of its labels hold together."""

import json
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from classify.codebook import CASES, UNSURE, Example, Guide, read_codebook
from classify.codebook_page import page
from classify.duplicates import near_duplicates
from classify.labels import CODEBOOK
from classify.language import detect_language

ROOT = Path(__file__).resolve().parents[1]
BOOK = read_codebook()
GUIDES = (*BOOK.labels, *BOOK.accounts)
EXAMPLES = [example for guide in GUIDES for example in guide.examples]
SUITES = sorted((ROOT / "classify/suites").glob("fairness_*.jsonl"))

each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)


def test_the_page_of_labels_is_made_from_the_codebook() -> None:
    assert (ROOT / "docs/labels.md").read_text(encoding="utf-8") == page()


def test_the_shipped_model_has_the_labels_and_definitions_of_the_codebook() -> None:
    heads = json.loads(resources.files("classify.default").joinpath("heads.json").read_bytes())
    shipped = [(label["name"], label["definition"]) for label in heads["labels"]]
    assert shipped == [(label.name, label.definition) for label in CODEBOOK]
    assert shipped == [(guide.name, guide.definition) for guide in BOOK.labels]


def test_impersonation_is_of_accounts_and_no_label_of_posts() -> None:
    assert [guide.name for guide in BOOK.accounts] == ["impersonation"]
    of_posts = [example for guide in BOOK.labels for example in guide.examples]
    assert not [example for example in of_posts if "impersonation" in example.marks]


@each_guide
def test_a_label_has_two_examples_of_each_case_in_each_language(guide: Guide) -> None:
    counts = Counter((example.lang, example.case) for example in guide.examples)
    assert set(counts) == {(lang, case) for lang in ("zh", "en") for case in CASES}
    assert min(counts.values()) >= 2


@each_guide
def test_an_example_s_case_and_marks_agree(guide: Guide) -> None:
    for example in guide.examples:
        if example.case != "borderline":
            assert (guide.name in example.marks) == (example.case == "in"), example.text


@each_guide
def test_the_border_of_a_label_is_shown_from_both_sides(guide: Guide) -> None:
    borderline = [example for example in guide.examples if example.case == "borderline"]
    assert {guide.name in example.marks for example in borderline} == {True, False}


def test_marks_are_labels_or_unsure_and_scam_leaves_no_clickbait() -> None:
    names = {guide.name for guide in GUIDES}
    for example in EXAMPLES:
        assert set(example.marks) <= names or example.marks == (UNSURE,), example.text
        assert not {"scam", "clickbait"} <= set(example.marks), example.text
    for notice in BOOK.notices:
        assert set(notice.marks) <= names, notice.says


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.text[:20])
def test_an_example_is_detected_as_its_language(example: Example) -> None:
    assert detect_language(example.text) == example.lang


def test_no_example_is_nearly_another() -> None:
    groups = near_duplicates([each.text for each in EXAMPLES], [each.lang for each in EXAMPLES])
    assert len(set(groups.tolist())) == len(EXAMPLES)


@pytest.mark.skipif(not SUITES, reason="no fairness suite in this tree")
def test_what_is_never_a_harm_names_each_group_of_the_fairness_suites() -> None:
    named = [group for each in BOOK.never for group in each.groups]
    assert len(named) == len(set(named))
    for suite in SUITES:
        lines = suite.read_text(encoding="utf-8").splitlines()
        assert {json.loads(line)["group"] for line in lines if line} == set(named), suite.name
