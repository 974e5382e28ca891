"""A user's labelled texts as examples of a training: their languages, and their parts where the files say them.

What is wrong with them is told before anything is trained; how files are read is left to `labelled`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from classify.datasets import PARTS, Example, split, text_group
from classify.errors import ModelError
from classify.labelled import Labelled, Row
from classify.recipe import SplitPart

LEAST_OF_LANGUAGE = 20
"""Texts below which a model is not made to score a language: most of the few are mistaken for it."""

_PARTS = {"training": "train", "dev": "calibrate", "valid": "calibrate", "validation": "calibrate"} | {
    part: part for part in PARTS
}


@dataclass(frozen=True)
class UserTexts:
    """Examples, with a part each where the files say it; and what was left out, in sentences."""

    examples: tuple[Example, ...]
    told: tuple[str, ...]


def user_texts(found: Labelled, shares: SplitPart, drop_duplicates: bool = False) -> UserTexts:
    """Makes examples of labelled rows.

    Rows of languages with few texts are left out. Where the files say parts but no calibrate part, it is taken from
    the train part. Errors: ModelError for a label of one class, unknown or missing parts, and texts that stand in two
    parts; with `drop_duplicates` these stay in the test part, else in the calibrate part, and leave the others.
    """
    _check_classes(found)
    rows, told = _of_languages(found.rows)
    examples = [_example(row) for row in rows]
    if any(row.part for row in rows):
        examples, more = _parted(examples, shares, drop_duplicates)
        told += more
    return UserTexts(tuple(examples), (*found.told, *told))


def _check_classes(found: Labelled) -> None:
    for label in found.labels:
        marks = Counter(row.marks[label] for row in found.rows if label in row.marks)
        for missing, told in ((0, f"all of them are {label}; add texts that are not"), (1, "none is; add some")):
            if not marks[missing]:
                raise ModelError(f"label {label}: one class only, of {marks.total():,} texts {told}")


def _of_languages(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    counts = Counter(row.lang for row in rows)
    kept = {lang for lang, count in counts.items() if count >= LEAST_OF_LANGUAGE}
    if not kept:
        most = max(counts.values())
        raise ModelError(
            f"{rows[0].file}: at most {most} texts of a language, and {LEAST_OF_LANGUAGE} are needed; add texts, or "
            "say their language in a column `lang` where it is taken for another"
        )
    few = sorted(set(counts) - kept)
    told = []
    if few:
        left = sum(counts[lang] for lang in few)
        told = [
            f"{_texts(left)} in {', '.join(few)} left out: fewer than {LEAST_OF_LANGUAGE} of a "
            "language (a column `lang` says which it is)"
        ]
    return [row for row in rows if row.lang in kept], told


def _example(row: Row) -> Example:
    part = ""
    if row.part:
        if row.part.casefold() not in _PARTS:
            raise ModelError(
                f"{row.file}: part {row.part!r} of the text {row.text[:60]!r} is none of {', '.join(sorted(_PARTS))}"
            )
        part = _PARTS[row.part.casefold()]
    return Example(row.text, row.lang, row.file, row.marks, text_group(row.text) or row.text, part, kin=row.group)


def _parted(examples: list[Example], shares: SplitPart, drop: bool) -> tuple[list[Example], list[str]]:
    """The examples in the parts that their files say, none of which knows a text of another."""
    without = [each for each in examples if not each.part]
    if without:
        raise ModelError(
            f"{without[0].dataset}: {len(without):,} of {len(examples):,} texts have no part, such as "
            f"{without[0].text[:60]!r}; say the part of all, or of none"
        )
    grouped = split(examples, shares)
    last: dict[str, str] = {}
    for each in grouped:
        last[each.group] = max(each.part, last.get(each.group, each.part), key=PARTS.index)
    kept = [each for each in grouped if each.part == last[each.group]]
    crossing = [each for each in grouped if each.part != last[each.group]]
    told = []
    if crossing:
        one = crossing[0]
        other = next(each for each in grouped if each.group == one.group and each.part == last[one.group])
        if not drop:
            raise ModelError(
                f"{one.dataset}: {_texts(len(crossing))} in another part too, word for word or nearly, such as "
                f"{one.text[:60]!r} in {one.part} and {other.text[:60]!r} in {other.part}; take them out of one, or "
                "leave that to --drop-duplicates"
            )
        told = [f"{_texts(len(crossing))} that a part kept from training repeats left out"]
    missing = [part for part in ("train", "calibrate") if not any(each.part == part for each in kept)]
    if missing == ["calibrate"]:
        taught = [replace(each, part="") for each in kept if each.part == "train"]
        parted = iter(split(taught, SplitPart(calibrate=shares.calibrate, test=0.0)))
        kept = [next(parted) if each.part == "train" else each for each in kept]
        told += [f"no part is calibrate: {shares.calibrate:.0%} of the train part became it"]
    elif missing:
        raise ModelError(f"{examples[0].dataset}: no text's part is train; there is nothing to learn from")
    return kept, told


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count:,} texts"
