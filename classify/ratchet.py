"""The ratchet: figures of the embedded model that may rise and never fall.

`floors.json` beside the suites pins, per suite, the digest of what is judged by and the least that each figure may be;
every figure is one of which more is better. `check` says what fell, `update` raises floors and refuses to lower one.
Who means to lower one edits the file, where everybody sees it.

`python -m classify.ratchet check` judges by the fairness suites; with `--data FOLDER` also by the test part of the sets
of the embedded model's recipe, which lie in that folder.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from classify.datasets import Example
from classify.errors import ModelError
from classify.evaluate import ALL, Group, Scored, judge, score_rows, score_suite
from classify.files import sha256
from classify.labelled import Row
from classify.measures import Share
from classify.model import Model, load, prepare
from classify.recipe import read_recipe
from classify.suites import suite
from classify.train import gather

FLOORS = Path(str(resources.files("classify.suites").joinpath("floors.json")))
MOST_ROWS = 400
"""Rows of a set that are judged by, the first by the digest of their text."""
LEAST_POSITIVE = 20
"""Rows of either kind below which a set has no floor for a label."""
MARGIN = 0.005
"""How far a floor of a set lies below what was reached. A floor of a share lies one row below, and one more for every
200 rows: on another processor scores differ in their last bits, and a row at its threshold may turn."""


@dataclass(frozen=True)
class Reached:
    """What a model reaches on one suite: figures by name, each with how far below it its floor is to lie."""

    sha256: str
    figures: Mapping[str, tuple[float, float]]


Floors = dict[str, dict[str, Any]]
"""By suite: `sha256`, and `at_least`, the floors by figure."""


def reached_on_suites(model: Model, files: Sequence[Path] | None = None) -> dict[str, Reached]:
    """What a model reaches on the fairness suites. Errors: ModelError."""
    return {path.stem: reached(sha256(path), score_suite(model, path)) for path in files or suite("fairness")}


def reached(digest: str, scored: Scored) -> Reached:
    """The figures of one suite that floors are of: harmless posts left alone and harmful ones found, all, by label and
    by group; and pairs put in their order."""
    judged = judge(scored, draws=1)
    shares: dict[str, Share] = {}
    for each in (*judged.files, *judged.groups):
        shares |= _named(each)
    shares |= {f"pairs, {name}": each for name, each in judged.pairs.items()}
    return Reached(digest, {name: (each.hits / each.rows, _margin(each)) for name, each in shares.items() if each.rows})


def reached_on_sets(model: Model, data: Path) -> dict[str, Reached]:
    """What a model reaches on the test part of each set of the embedded model's recipe. Errors: ModelError.

    Average precision and macro-F1 of each label that the set has enough rows of, and the share of its harmless rows
    that is left alone.
    """
    with resources.as_file(resources.files("classify.default")) as beside:
        recipe = read_recipe(beside / "recipe.toml")
        examples = [each for each in gather(recipe, beside, data) if each.part == "test"]
    return {f"set {name}": _reached_on_set(model, rows) for name, rows in _sets(examples)}


def fallen(floors: Floors, found: Mapping[str, Reached]) -> list[str]:
    """What a check finds wrong, in sentences: figures under their floor, suites that changed or have no floor."""
    wrong = []
    for name, each in found.items():
        pinned = floors.get(name)
        if pinned is None:
            wrong.append(f"{name}: no floor is pinned; run `python -m classify.ratchet update`")
        elif pinned["sha256"] != each.sha256:
            wrong.append(f"{name}: is another than the floors are of (sha256 {each.sha256})")
        else:
            wrong += [f"{name}: {told}" for told in _under(pinned["at_least"], each)]
    return wrong


def raised(floors: Floors, found: Mapping[str, Reached], changed: Iterable[str] = ()) -> Floors:
    """The floors with what was reached in them. Floors of suites that were not judged by stay.

    Errors: ModelError, a line each, when a figure is under its floor, or a suite changed that is not named in
    `changed`; of one that is named the floors are set anew.
    """
    anew = set(changed)
    wrong = [f"{name}: no suite of that name was judged by" for name in sorted(anew - set(found))]
    new = {**floors}
    for name, each in found.items():
        pinned = floors.get(name)
        if pinned is not None and name not in anew:
            if pinned["sha256"] != each.sha256:
                digests = f"sha256 {pinned['sha256'][:12]}, now {each.sha256[:12]}"
                told = f"is another than the floors are of ({digests})"
                wrong.append(f"{name}: {told}; if it is meant to be, add --suite-changed {name!r}")
                continue
            wrong += [f"{name}: {told}; a floor is not lowered" for told in _under(pinned["at_least"], each)]
        before = {} if pinned is None or name in anew else pinned["at_least"]
        least = {key: _down(value - margin) for key, (value, margin) in each.figures.items()}
        new[name] = {
            "sha256": each.sha256,
            "at_least": {key: max(floor, before.get(key, 0.0)) for key, floor in sorted(least.items())},
        }
    if wrong:
        raise ModelError("\n".join(wrong))
    return dict(sorted(new.items()))


def read_floors(path: Path = FLOORS) -> Floors:
    """The pinned floors; none where there is no file. Errors: ModelError."""
    try:
        found: Floors = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as floors ({error})") from None
    return found


def _named(each: Group) -> dict[str, Share]:
    """The shares of a group by what they are called; of one group its own two alone."""
    alone = _left_alone(each)
    if each.group != ALL:
        return {f"left alone, {each.group}": alone, f"found, {each.group}": each.found}
    by_label = {f"found, {label}": share for label, share in each.found_by_label.items()}
    return {"left alone": alone, "found": each.found, **by_label}


def _left_alone(each: Group) -> Share:
    return Share(each.flagged.rows - each.flagged.hits, each.flagged.rows, None, 0.0, 1.0)


def _margin(share: Share) -> float:
    return (1 + share.rows // 200) / share.rows


def _sets(examples: Sequence[Example]) -> Iterable[tuple[str, list[Example]]]:
    """The rows of each set that are judged by: of near-duplicates one, and of many rows the first by digest."""
    for name in sorted({each.dataset for each in examples}):
        first: dict[str, Example] = {}
        for each in examples:
            if each.dataset == name:
                first.setdefault(each.group, each)
        yield name, sorted(first.values(), key=lambda each: each.group)[:MOST_ROWS]


def _reached_on_set(model: Model, examples: Sequence[Example]) -> Reached:
    said = [[each.text, each.lang, sorted(each.marks.items())] for each in examples]
    digest = hashlib.sha256(json.dumps(said, ensure_ascii=True).encode()).hexdigest()
    name = examples[0].dataset
    rows = [Row(each.text, each.lang, each.marks, name, number=at) for at, each in enumerate(examples, 1)]
    scored = score_rows(model, rows)
    judged = judge(scored, draws=1)
    figures = {}
    for each in judged.slices:
        of = each.figures
        if each.by == ALL and min(of.positive, of.rows - of.positive) >= LEAST_POSITIVE:
            macro = of.cuts["stored"].macro_f1.value
            assert of.average_precision.value is not None and macro is not None
            figures[f"average precision, {each.label}"] = (of.average_precision.value, MARGIN)
            figures[f"macro-F1, {each.label}"] = (macro, MARGIN)
    for group in judged.files:
        if group.flagged.rows >= LEAST_POSITIVE:
            share = _left_alone(group)
            figures["left alone"] = (share.hits / share.rows, _margin(share))
    return Reached(digest, figures)


def _under(floors: Mapping[str, float], each: Reached) -> Iterable[str]:
    for name, floor in floors.items():
        if name not in each.figures:
            yield f"{name}: has a floor of {floor:g} and is measured no more"
        elif each.figures[name][0] < floor:
            value = each.figures[name][0]
            yield f"{name}: {value:.4f}, {floor - value:.4f} under its floor of {floor:g}"


def _down(value: float) -> float:
    """Rounded down to what is written, and not under 0."""
    return max(0.0, math.floor(value * 10_000) / 10_000)


def main(given: Sequence[str] | None = None) -> int:
    """The command: 0 when nothing fell, 1 when something did or a floor would be lowered."""
    parser = argparse.ArgumentParser(
        prog="python -m classify.ratchet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("doing", choices=("check", "update"))
    parser.add_argument("--data", type=Path, help="the folder of the sets of the embedded model's recipe")
    parser.add_argument("--model", default="default", help="another model than the embedded one: a folder")
    parser.add_argument("--floors", type=Path, default=FLOORS, help="another file of floors")
    parser.add_argument(
        "--suite-changed", action="append", default=[], metavar="NAME", help="set this suite's floors anew; repeat"
    )
    chosen = parser.parse_args(given)
    try:
        floors = read_floors(chosen.floors)
        model = load(prepare(chosen.model), threads=2)
        found = reached_on_suites(model)
        if chosen.data is not None:
            found |= reached_on_sets(model, chosen.data)
        if chosen.doing == "check":
            wrong = fallen(floors, found)
            sys.stdout.writelines(f"{line}\n" for line in wrong or [f"{len(found)} suites: nothing fell"])
            return int(bool(wrong))
        new = raised(floors, found, chosen.suite_changed)
        for name in chosen.suite_changed:
            old = floors.get(name, {}).get("sha256", "none")
            sys.stdout.write(f"{name}: floors set anew; sha256 was {old}, is {found[name].sha256}\n")
        chosen.floors.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"{chosen.floors}: {sum(len(each['at_least']) for each in new.values())} floors\n")
    except (OSError, ModelError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
