"""Which public data sets the embedded heads are trained on, and what each of their labels says of ours.

1 and 0 are positive and negative examples of a label; a label that is not named is masked: the set says nothing of it.
A set marked `ordinary` was collected as everyday talk, news titles or opinion, criticism of governments, parties and
politicians among it; its posts count as negative examples of every label, those of outspoken feeling only of the labels
that words of anger are not. That is an assumption, not an annotation.
"""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classify.duplicates import letters, near_duplicates

LABELS = ("rumor", "hate", "abuse", "scam", "clickbait")

Marks = dict[str, int]
NONE_OF_THEM: Marks = dict.fromkeys(LABELS, 0)
_CLEAN: Marks = {"hate": 0, "abuse": 0}
_BOTH: Marks = {"hate": 1, "abuse": 1}
_FRAUD: Marks = {"scam": 1, "clickbait": 0}
_OPINION: Marks = {"rumor": 0, "scam": 0, "clickbait": 0}


@dataclass(frozen=True)
class DataSet:
    """One set: what its labels say of ours, and the most rows that are taken of it."""

    name: str
    marks: dict[str, Marks]
    rows: int = 2500
    ordinary: bool = False


SETS: tuple[DataSet, ...] = (
    # Rumors: posts and claims that fact-checkers or the platform's own rumor desk found false, against true ones.
    DataSet("weibo21", {"fake": {"rumor": 1}, "real": {"rumor": 0}}, rows=6000),
    DataSet("weibo_jin2017", {"rumor": {"rumor": 1}, "nonrumor": {"rumor": 0}}),
    DataSet("constraint_covid_en", {"fake": {"rumor": 1}, "real": {"rumor": 0}}, rows=4000),
    DataSet("covid19_rumor_en", {"F": {"rumor": 1}, "T": {"rumor": 0}}),
    DataSet("mide22_en", {"False": {"rumor": 1}, "True": {"rumor": 0}, "Other": {"rumor": 0}}),
    DataSet("coaid_en", {"fake": {"rumor": 1}, "real": {"rumor": 0}}),
    # Hate: for what people are. A slur against a group is abuse as well.
    DataSet("hatexplain_bin_en", {"hatespeech": _BOTH, "not_hatespeech": {"hate": 0}}),
    DataSet("tweeteval_hate_en", {"hate": _BOTH, "not-hate": {"hate": 0}}),
    DataSet("stormfront_en", {"hate": {"hate": 1}, "noHate": {"hate": 0}}),
    DataSet("edos_en", {"sexist": {"hate": 1}, "not sexist": {"hate": 0}}),
    DataSet("swsr_zh", {"sexist": {"hate": 1}, "non-sexist": {"hate": 0}}),
    DataSet("toxicn_zh", {"hate": _BOTH, "offensive": {"hate": 0, "abuse": 1}, "non-toxic": _CLEAN}, rows=4000),
    # Abuse: offensive or demeaning words, whoever they are aimed at.
    DataSet("olid_en", {"OFF": {"abuse": 1}, "NOT": _CLEAN}, rows=4000),
    DataSet("davidson_en", {"hate_speech": _BOTH, "offensive_language": {"abuse": 1}, "neither": _CLEAN}),
    DataSet(
        "cad_en",
        {
            "Neutral": _CLEAN,
            "CounterSpeech": _CLEAN,
            "PersonDirectedAbuse": {"abuse": 1},
            "AffiliationDirectedAbuse": {"abuse": 1},
            "IdentityDirectedAbuse": _BOTH,
        },
    ),
    DataSet("cold_zh", {"offensive": {"abuse": 1}, "safe": _CLEAN}, rows=5000),
    DataSet("political_hof_en", {"hateful-offensive": {"abuse": 1}, "non-hateful": NONE_OF_THEM}),
    # Scams.
    DataSet(
        "telecom_fraud_zh",
        {
            "冒充公检法及政府机关类": _FRAUD,
            "贷款、代办信用卡类": _FRAUD,
            "冒充领导、熟人类": _FRAUD,
            "冒充客服服务": _FRAUD,
            "normal": {"scam": 0},
        },
        rows=4000,
    ),
    DataSet("sms_spam_en", {"spam": {"scam": 1}, "ham": {"scam": 0}}, rows=4000),
    # Clickbait.
    DataSet("clickbait_en", {"clickbait": {"clickbait": 1}, "non-clickbait": {"clickbait": 0}}, rows=4000),
    DataSet("clickbait_zh_hancd", {"clickbait": {"clickbait": 1}, "non-clickbait": {"clickbait": 0}}),
    # Everyday talk, news and opinion. A post without a claim that could be checked is no rumor.
    DataSet("checkthat22_claim_en", {"0": {"rumor": 0}}),
    DataSet(
        "smp2020_emotion_zh",
        dict.fromkeys(("happy", "angry", "neutral", "sad", "fear", "surprise"), _OPINION),
        rows=4000,
        ordinary=True,
    ),
    DataSet(
        "tweeteval_emotion_en", dict.fromkeys(("anger", "sadness", "joy", "optimism"), _OPINION), ordinary=True
    ),
    DataSet("weibo_sentiment_zh", {"positive": NONE_OF_THEM, "negative": NONE_OF_THEM}, ordinary=True),
    DataSet("tweeteval_sentiment_en", dict.fromkeys(("neutral", "positive", "negative"), NONE_OF_THEM), ordinary=True),
    DataSet("cstance_a_zh", dict.fromkeys(("支持", "反对", "中立"), NONE_OF_THEM), ordinary=True),
    DataSet("tweeteval_stance_en", dict.fromkeys(("against", "favor", "none"), NONE_OF_THEM), ordinary=True),
    DataSet(
        "thucnews_titles_zh",
        dict.fromkeys(
            ("society", "finance", "politics", "science", "entertainment", "education", "sports"), NONE_OF_THEM
        ),
        rows=2000,
        ordinary=True,
    ),
)

ORDINARY = frozenset(dataset.name for dataset in SETS if dataset.ordinary)
"""The sets of ordinary posts: what a threshold may flag of them is bounded."""


@dataclass(frozen=True)
class Example:
    """One labelled text. `group` is equal for near-duplicates, of whatever set; `part` is train, calibrate or test."""

    text: str
    lang: str
    dataset: str
    marks: Marks
    group: str
    part: str


def read_examples(folder: Path) -> list[Example]:
    """The rows of all sets below a folder of `<name>.jsonl.gz`, split; which are taken of a large set is by digest.

    Errors: OSError.
    """
    return split([example for dataset in SETS for example in _rows(folder / f"{dataset.name}.jsonl.gz", dataset)])


def split(examples: Sequence[Example]) -> list[Example]:
    """The examples in their order, near-duplicates of all sets in one group and every group in one part."""
    numbers = near_duplicates([each.text for each in examples], [each.lang for each in examples]).tolist()
    names: dict[int, str] = {}
    for number, example in zip(numbers, examples, strict=True):
        names[number] = min(example.group, names.get(number, example.group))
    return [
        replace(example, group=names[number], part=_part(names[number]))
        for number, example in zip(numbers, examples, strict=True)
    ]


def text_group(text: str) -> str | None:
    """A digest of what a text says, without links, mentions, digits, case, spaces and punctuation; None if nothing."""
    said = letters(text)
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=16).hexdigest() if said else None


def _rows(path: Path, dataset: DataSet) -> list[Example]:
    """The rows of one set that are taken, each text once and a group by itself."""
    found: dict[str, Example] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            marks = dataset.marks.get(str(row["label"]).split(",", maxsplit=1)[0])
            text = str(row["text"]).strip()
            group = text_group(text)
            if marks is not None and group is not None and row["lang"] in ("zh", "en"):
                found.setdefault(group, Example(text, row["lang"], dataset.name, marks, group, _part(group)))
    return sorted(found.values(), key=lambda each: each.group)[: dataset.rows]


def _part(group: str) -> str:
    """70 % train, 15 % calibrate, 15 % test, by another digest than the one that rows are chosen by."""
    place = hashlib.blake2b(group.encode(), digest_size=2, person=b"part").digest()
    share = int.from_bytes(place) / 65536
    return "train" if share < 0.7 else "calibrate" if share < 0.85 else "test"
