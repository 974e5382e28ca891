"""The sets of a recipe and their split: what was passed on with a few words changed is in one part."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify.datasets import PARTS, Example, read_sets, split, text_group
from classify.duplicates import near_duplicates
from classify.errors import ModelError
from classify.recipe import Recipe, SetPart, SplitPart

SHARES = SplitPart(calibrate=0.2, test=0.2)

WORDS = """
harbour ferry council bridge winter doctor market teacher morning warning river station village window garden letter
kitchen engine summer factory mountain captain library hospital ticket weather northern football journey silver narrow
promise evening broken quiet yellow question minister neighbour bicycle painting carries forgets repairs announces
borrows crosses delays explains follows gathers measures opens prepares receives watches
"""
SIGNS = "渡轮九点从码头出发大家注意安全医院通知明天停水请多存几桶转给家人朋友听说山上下雪路很滑学校已经放假"


def story(random: np.random.Generator, lang: str) -> str:
    """A text of its own, of about the length of a post."""
    if lang == "en":
        return " ".join(random.choice(WORDS.split(), 30))
    return "".join(random.choice(list(SIGNS), 60))


def retold(text: str, lang: str, other: str) -> list[str]:
    """What people make of a text as they pass it on."""
    half = len(text) // 2
    return [
        text,
        f"BREAKING: {text.upper()} https://news.example/a/1" if lang == "en" else f"【速转】{text} http://t.example/1",
        text[: half - 6] + ("someone" if lang == "en" else "某某") + text[half + 6 :],
        text[: int(len(text) * 0.6)],
        f"{text} {other}",
        f"@reader {text[10:]} 2026",
    ]


def retellings(seed: int = 4) -> list[Example]:
    """Forty stories a language, each retold in two sets."""
    random = np.random.default_rng(seed)
    examples = []
    for lang, sets in (("en", ("coaid_en", "mide22_en")), ("zh", ("weibo21", "weibo_jin2017"))):
        for _ in range(40):
            texts = retold(story(random, lang), lang, story(random, lang)[:20])
            for place, text in enumerate(texts):
                examples.append(Example(text, lang, sets[place % 2], {"rumor": 1}, str(text_group(text))))
    return examples


def test_retellings_of_a_story_are_in_one_part_whatever_set_they_are_in() -> None:
    examples = retellings()
    parted = split(examples, SHARES)
    assert [each.text for each in parted] == [each.text for each in examples]
    stories = [parted[at : at + 6] for at in range(0, len(parted), 6)]
    assert all(len({(each.group, each.part) for each in story}) == 1 for story in stories)
    assert len({story[0].group for story in stories}) == 80
    assert {each.part for each in parted} == set(PARTS)


def test_the_split_goes_neither_by_order_nor_by_what_else_is_there() -> None:
    examples = retellings()
    parts = {each.text: (each.group, each.part) for each in split(examples, SHARES)}
    assert {each.text: (each.group, each.part) for each in split(examples[::-1], SHARES)} == parts
    assert {each.text: (each.group, each.part) for each in split(examples[:120], SHARES)}.items() <= parts.items()


def test_parts_are_about_as_large_as_their_shares() -> None:
    examples = [Example(words(n), "en", "a", {}, str(text_group(words(n)))) for n in range(4000)]
    parts = [each.part for each in split(examples, SplitPart(calibrate=0.1, test=0.3))]
    assert parts.count("calibrate") == pytest.approx(400, abs=80)
    assert parts.count("test") == pytest.approx(1200, abs=120)


def words(number: int) -> str:
    """A short text like no other."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:05}") * 2


ROWS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 5), st.sampled_from([None, "flood", "vote"]), st.sampled_from("ab")),
    min_size=1,
    max_size=30,
)
STORIES = [
    retold(text, "zh", "天气很好") for text in (story(np.random.default_rng(seed), "zh") for seed in range(20, 28))
]


@given(ROWS, st.floats(0.05, 0.5), st.floats(0, 0.45))
def test_near_duplicates_and_kin_are_in_one_part(
    rows: list[tuple[int, int, str | None, str]], calibrate: float, test: float
) -> None:
    examples = [
        Example(STORIES[tale][how], "zh", dataset, {}, str(text_group(STORIES[tale][how])), kin=kin)
        for tale, how, kin, dataset in rows
    ]
    parted = split(examples, SplitPart(calibrate=calibrate, test=test))
    parts: dict[object, str] = {}
    for (tale, _, kin, dataset), each in zip(rows, parted, strict=True):
        assert parts.setdefault(tale, each.part) == each.part
        if kin is not None:
            assert parts.setdefault((dataset, kin), each.part) == each.part


def test_a_part_that_is_said_stays_and_draws_what_repeats_it() -> None:
    examples = retellings()[:12]
    said = list(examples)
    for at, part in ((2, "train"), (4, "calibrate"), (8, "train")):
        said[at] = Example(**{**vars(said[at]), "part": part})
    parts = [each.part for each in split(said, SHARES)]
    assert parts[:6] == ["calibrate", "calibrate", "train", "calibrate", "calibrate", "calibrate"]
    assert parts[6:] == ["train"] * 6


def test_no_texts_are_split_into_none() -> None:
    assert split([], SHARES) == []


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("转发微博，明天全城停水", "明天全城停水", True),
        ("明天全城停水一整天大家快存水", "明天全城停水的消息是假的请不要相信", False),
        ("明天停水", "明天停电", False),
        ("明天停水", "明天停水!!", True),
        ("The bridge opens again on Monday", "THE BRIDGE: opens again, on Tuesday?", True),
        ("The bridge opens again on Monday", "The library opens again on Monday", False),
        ("The bridge opens again on Monday", "The bridge was painted over the summer", False),
    ],
)
def test_half_of_the_shorter_texts_shingles_make_a_near_duplicate(one: str, other: str, near: bool) -> None:
    lang = "zh" if one[0] > "z" else "en"
    groups = near_duplicates([one, other], [lang, lang])
    assert (groups[0] == groups[1]) == near


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    first, second = "今天早上九点渡轮从码头出发", "下午三点渡轮又回到了码头上"
    groups = near_duplicates([first, f"{first}，{second}", second, "学校已经放假老师让孩子回家"], ["zh"] * 4).tolist()
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_texts_of_any_language_are_compared() -> None:
    groups = near_duplicates(
        [
            "明日は朝から断水になります", "【拡散】明日は朝から断水になります", "Mañana no habrá agua en el centro",
            "¡URGENTE! Mañana no habrá agua en el centro", "Завтра весь день не будет воды",
        ],
        ["ja", "ja", "es", "es", "ru"],
    ).tolist()  # fmt: skip
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3


def written(folder: Path, name: str, *rows: Mapping[str, object]) -> None:
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_the_sets_of_a_recipe_are_read_as_it_says(tmp_path: Path) -> None:
    written(
        tmp_path, "weibo",
        {"text": "明天全城停水大家快转", "lang": "zh", "label": "rumor,2016", "event": "flood"},
        {"text": "明天全城停水大家快转!", "lang": "zh", "label": "rumor,2016", "event": "flood"},
        {"text": "今天下雪", "lang": "zh", "label": "unclear", "event": "snow"},
        {"text": "12 :)", "lang": "zh", "label": "rumor", "event": "snow"},
        {"text": "Hoy llueve en la ciudad", "lang": "es", "label": "true", "event": "rain"},
        {"text": "学校已经放假", "label": "true", "event": ""},
    )  # fmt: skip
    (tmp_path / "more.csv").write_text("body,class\nThe ferry leaves at nine.,rumor\n")
    sets = [
        SetPart(
            name="weibo", group="event", ordinary=True, repeat=3, marks={"rumor": {"rumor": 1}, "true": {"rumor": 0}}
        ),
        SetPart(name="more", file="more.csv", text="body", label="class"),
    ]
    found = read_sets(Recipe(set=sets), tmp_path, ["zh", "en"])
    assert sorted((each.text, dict(each.marks), each.kin, each.repeat, each.ordinary) for each in found) == [
        ("The ferry leaves at nine.", {"rumor": 1}, None, 1, False),
        ("学校已经放假", {"rumor": 0}, None, 3, True),
        ("明天全城停水大家快转", {"rumor": 1}, "flood", 3, True),
    ]
    assert {each.part for each in found} == {""}


def test_which_rows_of_a_large_set_are_taken_goes_by_the_text_alone(tmp_path: Path) -> None:
    rows = [{"text": f"{words(n)} story", "label": "rumor", "lang": "en"} for n in range(50)]
    written(tmp_path, "one", *rows)
    written(tmp_path, "two", *rows[::-1])
    sets = [SetPart(name=name, rows=20) for name in ("one", "two")]
    found = read_sets(Recipe(set=sets), tmp_path, ["en"])
    assert [each.text for each in found[:20]] == [each.text for each in found[20:]]
    assert len({each.text for each in found}) == 20


def test_a_column_that_a_set_lacks_and_a_file_that_is_missing_are_one_line(tmp_path: Path) -> None:
    written(tmp_path, "one", {"text": "A ferry", "kind": "rumor"})
    for each, told in (
        (SetPart(name="one"), "one.jsonl.gz: a row has no 'label'; name the column under [[set]] one"),
        (SetPart(name="one", label="kind", group="event"), "a row has no 'event'; name the column under [[set]] one"),
        (SetPart(name="two"), "two.jsonl.gz: cannot be read (No such file or directory)"),
    ):
        with pytest.raises(ModelError) as caught:
            read_sets(Recipe(set=[each]), tmp_path, ["en"])
        assert told in str(caught.value)
