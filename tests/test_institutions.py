"""Whom accounts claim to be: the words, the encoder's second opinion, and how often they are right."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from classify.claims import ClaimReader
from classify.institutions import Claim, claim, institution_types, organisation_word, spelled
from classify.model import load, prepare

ROOT = Path(__file__).parents[1] / "classify"
SUITE = ROOT / "suites/accounts.jsonl"
"""Names and bios that neither the words nor the examples were written with in view."""

FOUND = {"zh": 0.80, "en": 0.78}
"""Least share of the suite's claims that are found. These floors may rise and never fall."""
PRIVATE = {"zh": 1, "en": 3}
"""Most of the suite's 88 private persons, hobbies and firms in each language that are taken for a claim."""
PRECISION, RECALL = 0.8, 0.6
"""Least precision and recall of each type, over both languages."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@cache
def reader() -> ClaimReader:
    return ClaimReader(load(prepare("default")))


@cache
def measured() -> list[tuple[dict[str, Any], str | None]]:
    suite = rows(SUITE)
    found = reader().claims([(row["name"], row["bio"]) for row in suite])
    return [(row, each and each.type) for row, each in zip(suite, found, strict=True)]


def test_the_suite_is_large_enough_and_shares_no_account_with_the_examples() -> None:
    suite, examples = rows(SUITE), rows(ROOT / "institutions.jsonl")
    assert min(Counter(row["lang"] for row in suite).values()) >= 150
    assert not {(row["name"], row["bio"]) for row in suite} & {(row["name"], row["bio"]) for row in examples}
    for each in (suite, examples):
        types = Counter((row["lang"], row["type"]) for row in each)
        assert all(types[lang, kind] >= 6 for lang in ("zh", "en") for kind in institution_types())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_most_claims_of_the_suite_are_found_and_hardly_a_private_person_is_taken_for_one(lang: str) -> None:
    of_language = [(row["type"], found) for row, found in measured() if row["lang"] == lang]
    claims = [found is not None for wanted, found in of_language if wanted is not None]
    assert sum(claims) / len(claims) >= FOUND[lang]
    assert sum(found is not None for wanted, found in of_language if wanted is None) <= PRIVATE[lang]


@pytest.mark.parametrize("kind", institution_types())
def test_each_type_is_told_from_the_others(kind: str) -> None:
    right = sum(row["type"] == found == kind for row, found in measured())
    told, wanted = sum(found == kind for _, found in measured()), sum(row["type"] == kind for row, _ in measured())
    assert right / told >= PRECISION
    assert right / wanted >= RECALL


def test_the_encoder_finds_what_the_words_miss_and_takes_back_what_they_should_not_have_found() -> None:
    suite = rows(SUITE)
    words = [claim(row["name"], row["bio"]) for row in suite]
    both = [found for _, found in measured()]

    def counted(found: list[Any], of_claims: bool) -> int:
        wanted = [(row["type"] is not None) == of_claims for row in suite]
        return sum(asked and each is not None for asked, each in zip(wanted, found, strict=True))

    assert counted(both, True) > counted(words, True)
    assert counted(both, False) < counted(words, False)


@pytest.mark.parametrize(
    ("name", "bio", "kind"),
    [
        ("澜海市公安局", "", "police_court"),
        ("云岭日报", "云岭市委机关报", None),  # not every daily is a newspaper: the encoder decides
        ("东部战区发布", None, "army"),
        ("央·视·新·闻", None, "media"),
        ("U.S. Army Recruiting", None, "army"),
        ("Sheriff’s Office, Harlow", None, "police_court"),
        ("Lena", "Board-certified dermatologist", "medical"),
        ("老孟", "特级教师，三十年教龄", "education"),
    ],
)
def test_words_tell_a_claim_whatever_stands_between_them(name: str, bio: str | None, kind: str | None) -> None:
    found = claim(name, bio)
    assert (found and found.type) == kind


@pytest.mark.parametrize(
    ("name", "bio"),
    [
        ("Martin King", None),
        ("王军", None),
        ("Harlow Police Department", "Parody. Not affiliated with the police."),
        ("澜海市公安局", "非官方，粉丝自发"),
        ("老兵张哥", "退伍二十年"),
        ("Kim", "Reporter at the Harlow Gazette, views my own"),
        ("小方", "就职于云川日报"),
        (None, None),
        ("", "🙂"),
    ],
)
def test_a_bare_name_and_whoever_admires_mocks_has_left_or_works_there_claims_nothing(
    name: str | None, bio: str | None
) -> None:
    assert claim(name, bio) is None
    assert reader().claims([(name, bio)]) == [None]


def test_a_private_persons_name_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ClaimReader, "_encoded", lambda self, texts: asked.append(texts))
    names = ["Martin King", "王军", "Daily Cat", "Laura Bennet", "花椒大饭"]
    assert [organisation_word(name, None) for name in names] == [None] * 5
    assert reader().claims([(name, "Bikes and bread") for name in names]) == [None] * 5
    assert asked == []


def test_claims_do_not_hang_on_who_else_is_asked() -> None:
    accounts = [(row["name"], row["bio"]) for row in rows(SUITE)[:40]]
    together = reader().claims(accounts)
    assert together == [reader().claims([each])[0] for each in accounts]
    assert together == reader().claims(accounts[::-1])[::-1]


def test_a_claim_says_which_words_it_was_told_by_and_how_sure_it_is() -> None:
    sure, like = reader().claims(
        [("澜海市公安局", "报警请拨打110，公安局民警值班"), ("Harlow Benefits Desk", "Housing and waiting lists")]
    )
    assert sure == Claim("police_court", ("澜海市公安", "公安局民警"), "strong")
    assert like is not None
    assert (like.type, like.sure) == ("government", "weak")


def test_what_is_written_to_defeat_the_patterns_takes_no_long_time_and_breaks_nothing() -> None:
    for text in ("a" * 100_000, "大学" * 50_000, "a.b." * 30_000, "\ud800\u202e" * 9, "'" * 100_000, "md " * 50_000):
        assert len(spelled(text)) <= 4_000
        claim(text, text)
        organisation_word(text, text)
