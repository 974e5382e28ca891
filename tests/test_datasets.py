"""The split of the development sets: what was passed on with a few words changed is in one part."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from classify.datasets import SETS, Example, read_examples, split, text_group
from classify.duplicates import near_duplicates
from classify.evaluate import near_copies

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
    """Forty stories a language, each retold in two sets; the parts are as an unlucky split would have them."""
    random = np.random.default_rng(seed)
    examples = []
    for lang, sets in (("en", ("coaid_en", "mide22_en")), ("zh", ("weibo21", "weibo_jin2017"))):
        for _ in range(40):
            texts = retold(story(random, lang), lang, story(random, lang)[:20])
            for place, text in enumerate(texts):
                part = ("train", "test")[place % 2]
                examples.append(Example(text, lang, sets[place % 2], {"rumor": 1}, str(text_group(text)), part))
    return examples


def test_retellings_of_a_story_are_in_one_part_whatever_set_they_are_in() -> None:
    examples = retellings()
    before = near_copies(examples)
    assert set(before) == {"mide22_en", "weibo_jin2017"}
    assert all(count > 0.6 * rows for count, rows in before.values())
    parted = split(examples)
    assert [each.text for each in parted] == [each.text for each in examples]
    stories = [parted[at : at + 6] for at in range(0, len(parted), 6)]
    assert all(len({(each.group, each.part) for each in story}) == 1 for story in stories)
    assert len({story[0].group for story in stories}) == 80
    assert {each.part for each in parted} == {"train", "calibrate", "test"}
    assert all(count == 0 for count, _ in near_copies(parted).values())


def test_the_split_goes_neither_by_order_nor_by_what_else_is_there() -> None:
    examples = retellings()
    parts = {each.text: (each.group, each.part) for each in split(examples)}
    assert {each.text: (each.group, each.part) for each in split(examples[::-1])} == parts
    assert {each.text: (each.group, each.part) for each in split(examples[:120])}.items() <= parts.items()


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


def test_near_copies_are_a_count_by_hand() -> None:
    def row(text: str, part: str) -> Example:
        return Example(text, "zh", "weibo21", {}, text, part)

    # Eleven characters have four runs of eight; of the first test row two are in one training text.
    train = [row("一二三四五六七八九", "train"), row("三四五六七八九十甲乙丙丁", "calibrate")]
    assert near_copies([*train, row("一二三四五六七八九天地", "test")]) == {"weibo21": [1, 1]}
    assert near_copies([*train, row("一二三四五六七八天地人", "test")]) == {"weibo21": [0, 1]}
    assert near_copies([*train, row("三四五六七八九十甲乙丙", "test")]) == {"weibo21": [0, 1]}
    assert near_copies([*train, row("短", "test"), row("短", "train")]) == {"weibo21": [1, 1]}


def test_the_sets_of_a_folder_are_read_and_split(tmp_path: Path) -> None:
    lines = {
        "weibo21": [{"text": "明天全城停水大家快转", "lang": "zh", "label": "fake"}],
        "weibo_jin2017": [
            {"text": "急！明天全城停水大家快转给家人", "lang": "zh", "label": "rumor,2016"},
            {"text": "急！明天全城停水大家快转给家人!", "lang": "zh", "label": "rumor,2016"},
            {"text": "今天下雪", "lang": "zh", "label": "unclear"},
            {"text": "12 :)", "lang": "zh", "label": "rumor"},
        ],
    }
    for dataset in SETS:
        with gzip.open(tmp_path / f"{dataset.name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines.get(dataset.name, []))
    one, other = read_examples(tmp_path)
    assert (one.dataset, one.marks) == ("weibo21", {"rumor": 1})
    assert (other.dataset, other.marks) == ("weibo_jin2017", {"rumor": 1})
    assert (one.group, one.part) == (other.group, other.part)
    assert one.group == min(str(text_group(one.text)), str(text_group(other.text)))
