"""Labelled texts for training and judging: read from files, marked by a recipe, split so that no part knows another.

1 and 0 are positive and negative examples of a label; a label that is not named is masked: the set says nothing of it.
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from classify.duplicates import letters, near_duplicates
from classify.errors import ModelError
from classify.language import detect_language
from classify.recipe import Recipe, SetPart, SplitPart

Marks = Mapping[str, int]


@dataclass(frozen=True)
class Example:
    """One labelled text. `group` is equal for near-duplicates, of whatever set.

    `part` is train, calibrate or test; empty until `split` decides, where the set does not say it.
    """

    text: str
    lang: str
    dataset: str
    marks: Marks
    group: str
    part: str = ""
    ordinary: bool = False
    repeat: int = 1
    kin: str | None = None
    """What a row shares with others of its set that must stay in one part: an event, a source."""


def read_sets(recipe: Recipe, folder: Path, languages: Sequence[str]) -> list[Example]:
    """The rows of all sets of a recipe, each text of a set once; which are taken of a large set goes by digest.

    Files lie below `folder` as the sets name them, `<name>.jsonl.gz` where they name none. Rows in other languages are
    left out. Errors: ModelError.
    """
    found: list[Example] = []
    for each in recipe.set:
        path = folder / (each.file or f"{each.name}.jsonl.gz")
        found += _rows(path, each, languages)
    return found


def split(examples: Sequence[Example], shares: SplitPart) -> list[Example]:
    """The examples in their order, near-duplicates of all sets in one group and every group in one part.

    What rows share of an event or a source (`kin`) joins their groups likewise. Parts go by the digest of a group's
    name, which is the lowest of its members'. A part that a set says stays, and what is joined to such rows follows
    them, to the test part first, then to the calibrate part.
    """
    numbers = near_duplicates([each.text for each in examples], [each.lang for each in examples]).tolist()
    joined = _Joined(max(numbers, default=-1) + 1)
    first: dict[tuple[str, str], int] = {}
    for number, example in zip(numbers, examples, strict=True):
        if example.kin is not None:
            joined.join(number, first.setdefault((example.dataset, example.kin), number))
    names: dict[int, str] = {}
    wholes: dict[int, str] = {}
    said: dict[int, str] = {}
    for number, example in zip(numbers, examples, strict=True):
        names[number] = min(example.group, names.get(number, example.group))
        whole = joined.root(number)
        wholes[whole] = min(example.group, wholes.get(whole, example.group))
        if example.part:
            said[whole] = max(example.part, said.get(whole, example.part), key=PARTS.index)
    return [
        replace(example, group=names[number], part=example.part or said.get(whole) or _part(wholes[whole], shares))
        for number, example in zip(numbers, examples, strict=True)
        for whole in (joined.root(number),)
    ]


PARTS = ("train", "calibrate", "test")
"""From the one that all may see to the one that nothing may have seen."""


class _Joined:
    """Numbers in sets that grow together (union-find)."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def root(self, number: int) -> int:
        while self._up[number] != number:
            self._up[number] = self._up[self._up[number]]
            number = self._up[number]
        return number

    def join(self, one: int, other: int) -> None:
        self._up[self.root(one)] = self.root(other)


def text_group(text: str) -> str | None:
    """A digest of what a text says, without links, mentions, digits, case, spaces and punctuation; None if nothing."""
    said = letters(text)
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=16).hexdigest() if said else None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of labelled texts: JSONL (also .gz), CSV or Parquet, by the end of its name.

    Errors: ModelError, which names the line.
    """
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith((".jsonl", ".ndjson")):
            yield from _json_lines(path)
        elif name.endswith(".csv"):
            with _text(path) as file:
                yield from _cells(path, csv.DictReader(file, strict=True))
        elif name.endswith(".parquet"):
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches():
                    yield from batch.to_pylist()
        else:
            raise ModelError(f"{path}: cannot tell what it is; labelled texts are .jsonl, .jsonl.gz, .csv or .parquet")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, ValueError, csv.Error) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None


def _cells(path: Path, reader: "csv.DictReader[str]") -> Iterator[dict[str, Any]]:
    for row in reader:
        if None in row:  # where DictReader puts the cells that have no column
            raise ModelError(
                f"{path}, line {reader.line_num}: more cells than columns; put texts with commas into quotes"
            )
        yield row


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with _text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ModelError(f"{path}, line {number}: no JSON ({error})") from None
                if not isinstance(row, dict):
                    raise ModelError(f"{path}, line {number}: no JSON object; a line is one labelled text")
                yield row


def _text(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path, each: SetPart, languages: Sequence[str]) -> list[Example]:
    """The rows of one set that are taken, each text once and a group by itself."""
    found: dict[str, Example] = {}
    for row in read_rows(path):
        for column in (each.text, each.label, each.group):
            if column is not None and column not in row:
                raise ModelError(f"{path}: a row has no {column!r}; name the column under [[set]] {each.name}")
        text = str(row[each.text] or "").strip()
        value = str(row[each.label])
        marks = each.marks.get(value, each.marks.get(value.split(",", maxsplit=1)[0])) if each.marks else {value: 1}
        group = text_group(text)
        lang = str(row.get("lang") or detect_language(text))
        if marks is None or group is None or lang not in languages:
            continue
        said = None if each.group is None else row[each.group]
        kin = None if said in (None, "") else str(said)  # rows that name no event share none
        found.setdefault(group, Example(text, lang, each.name, marks, group, "", each.ordinary, each.repeat, kin))
    return sorted(found.values(), key=lambda example: example.group)[: each.rows]


def _part(group: str, shares: SplitPart) -> str:
    """By another digest than the one that rows are chosen by."""
    place = hashlib.blake2b(group.encode(), digest_size=4, person=b"part").digest()
    share = int.from_bytes(place) / 2**32
    train = 1 - shares.calibrate - shares.test
    return "train" if share < train else "calibrate" if share < train + shares.calibrate else "test"
