"""What can make two runs differ: their manifests compared, each difference named. Pure; nothing is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.archive import Manifest

_OF_MODEL = ("window", "overlap", "activation", "engine", "device", "dtype", "exactness", "languages")
_OF_RUN = ("exactness", "tolerance", "token_budget")
_LONG = 16
"""Hexadecimal digits of a digest that a line shows."""


@dataclass(frozen=True)
class Cause:
    """One difference: what differs, how it was and how it is (None: not there, or not recorded), and all of it in a
    line.
    """

    what: str
    old: Any
    new: Any
    text: str


def causes(old: Manifest, new: Manifest) -> list[Cause]:
    """What differs between two runs' manifests of format 2 or more and can make their figures differ.

    What weighs most comes first: posts, models and their files, labels, definitions and thresholds, how and where it
    was computed. A key that one of the manifests does not have at all is not compared, so that a run that is only
    planned, or the `software` of two sweeps, can be given; a key that is null was not recorded, and is told as that.
    `redacted`, which no manifest has, says when posts were redacted after the run scored them.
    """
    found = [*_values(old, new, ("sweep", "generation", "redacted"), "")]
    if "models" in old and "models" in new:
        found += _of_models(old["models"], new["models"])
    if "labels" in old and "labels" in new:
        # Of one model each, what every label comes from is said already.
        keys = (
            ("threshold",) if len(old.get("models", ())) == len(new.get("models", ())) == 1 else ("threshold", "model")
        )
        found += _of_labels(_by_name(old["labels"]), _by_name(new["labels"]), keys)
    found += _values(old, new, _OF_RUN, "")
    found += _of_environments(old, new)
    if "software" in old and "software" in new:
        found += _of_software(old["software"], new["software"])
    return found


def _of_models(old: list[Manifest], new: list[Manifest]) -> Iterable[Cause]:
    if len(old) == len(new) == 1:
        pairs = [(old[0], new[0])]  # one model took the place of another, whatever they are called
    else:
        before, after = _by_name(old), _by_name(new)
        pairs = [(before[name], after[name]) for name in before if name in after]
        for name in [*before, *(name for name in after if name not in before)]:
            if name not in before or name not in after:
                yield _cause(f"model {name}", _digest(before.get(name)), _digest(after.get(name)))
    for left, right in pairs:
        name = right["name"]
        if left["name"] != name:
            yield _cause("model", left["name"], name)
        if left["digest"] != right["digest"]:
            yield _cause(f"digest of model {name}", left["digest"], right["digest"])
        for file in sorted({*left["files"], *right["files"]}):
            before_file, after_file = left["files"].get(file), right["files"].get(file)
            if before_file != after_file:
                yield _cause(f"file {file} of model {name}", before_file, after_file)
        yield from _values(left, right, _OF_MODEL, f" of model {name}")


def _of_labels(old: Manifest, new: Manifest, keys: Iterable[str]) -> Iterable[Cause]:
    for name in [*old, *(name for name in new if name not in old)]:
        left, right = old.get(name), new.get(name)
        if left is None or right is None:
            there = left or right or {}
            said = f"from model {there['model']}"
            yield _cause(f"label {name}", left and said, right and said)
            continue
        if left["definition"] != right["definition"]:
            text = f"definition of label {name}: reworded"
            yield Cause(f"definition of label {name}", left["definition"], right["definition"], text)
        yield from _values(left, right, keys, f" of label {name}")
        if (left["of"], right["of"]) != (name, name):
            yield from _values(left, right, ("of",), f" that label {name} is")


def _of_environments(old: Manifest, new: Manifest) -> Iterable[Cause]:
    """Who scored; a run may have been scored by machines of several kinds."""
    if "environments" not in old or "environments" not in new:
        return
    left, right = old["environments"], new["environments"]
    if left is None or right is None:
        if left is not right:
            yield _cause("machines that scored", _machines(left), _machines(right))
        return
    for key in ("processor", "machine", "python"):
        yield from _sets(f"{key} that scored", (each[key] for each in left), (each[key] for each in right))
    for package in sorted({name for each in (*left, *right) for name in each["packages"]}):
        versions = [{each["packages"].get(package) for each in side} for side in (left, right)]
        yield from _sets(f"package {package} where it was scored", *versions)


def _of_software(old: Manifest, new: Manifest) -> Iterable[Cause]:
    """What put the run together, which also scored where no environment is recorded."""
    yield from _values(old, new, ("postsweep", "commit", "python", "machine", "processor"), "")
    left, right = old.get("packages", {}), new.get("packages", {})
    for package in sorted({*left, *right}):
        if left.get(package) != right.get(package):
            yield _cause(f"package {package}", left.get(package), right.get(package))


def _values(old: Manifest, new: Manifest, keys: Iterable[str], of: str) -> Iterable[Cause]:
    for key in keys:
        if key in old and key in new and old[key] != new[key]:
            yield _cause(f"{_NAMED.get(key, key)}{of}", old[key], new[key])


def _sets(what: str, old: Iterable[str | None], new: Iterable[str | None]) -> Iterable[Cause]:
    left, right = ({value or "not recorded" for value in side} for side in (old, new))
    if left != right:
        yield _cause(what, sorted(left), sorted(right))


_NAMED = {
    "generation": "generation of the sweep",
    "redacted": "redactions since it was scored",
    "exactness": "class of exactness",
    "token_budget": "token budget",
    "of": "output of the model",
    "postsweep": "postsweep version",
    "commit": "commit of the code",
    "python": "Python version",
}


def _cause(what: str, old: Any, new: Any) -> Cause:
    if old is None or new is None:
        absent = "not there" if what.startswith(("model ", "label ", "file ", "package ")) else "not recorded"
    else:
        absent = ""
    return Cause(what, old, new, f"{what}: {_shown(old, absent)}, then {_shown(new, absent)}")


def _shown(value: Any, absent: str) -> str:
    if value is None:
        return absent
    if isinstance(value, list):
        return " and ".join(map(str, value)) or "none"
    text = str(value)
    return text[:_LONG] if len(text) >= 32 and set(text) <= set("0123456789abcdef") else text


def _digest(model: Manifest | None) -> str | None:
    return None if model is None else str(model["digest"])


def _machines(environments: list[Manifest] | None) -> list[str] | None:
    return (
        None if environments is None else sorted({str(each["processor"] or each["machine"]) for each in environments})
    )


def _by_name(entries: list[Manifest]) -> dict[str, Manifest]:
    return {entry["name"]: entry for entry in entries}
