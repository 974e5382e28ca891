"""Training texts of the project's own: patterns with slots, filled at random, and whole posts.

Public sets lack what a naive model stumbles over (counter-speech, reclaimed words, debunks, news without the word
"confirmed", honest adverts) beside the harm that it resembles; these texts are written for that.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from classify.datasets import Example, text_group
from classify.errors import ModelError

FILLINGS = 6
"""The most texts that are made of one pattern."""

_SLOT = re.compile(r"\{([A-Z_0-9]+)\}")
_DEPTH = 4


def read_written(path: Path, lang: str, labels: Sequence[str], seed: int = 0) -> list[Example]:
    """The texts of a file of patterns, each once; those of one pattern stay in one part.

    The file holds `slots` (words by name, which may have slots in turn) and `groups` (name, marks, patterns).
    Errors: ModelError.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        slots: dict[str, list[str]] = said["slots"]
        groups: list[dict[str, Any]] = said["groups"]
        found: dict[str, Example] = {}
        for each in groups:
            marks = {label: int(mark) for label, mark in each["marks"].items() if label in labels}
            for pattern in each["patterns"]:
                for text in fillings(pattern, slots, Random(f"{seed} {each['name']} {pattern}")):
                    group = text_group(text)
                    if group is not None:
                        kin = f"{each['name']}: {pattern}"
                        found.setdefault(group, Example(text, lang, path.stem, marks, group, kin=kin))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: no file of patterns ({type(error).__name__}: {error})") from None
    return list(found.values())


def fillings(pattern: str, slots: Mapping[str, Sequence[str]], random: Random) -> list[str]:
    """Up to `FILLINGS` different texts of a pattern. Errors: KeyError on a slot without words."""
    found: dict[str, None] = {}
    for _ in range(2 * FILLINGS if _SLOT.search(pattern) else 1):
        text = pattern
        for _ in range(_DEPTH):
            text = _SLOT.sub(lambda slot: random.choice(slots[slot[1]]), text)
        found[text[:1].upper() + text[1:] if random.random() < 0.5 else text] = None
        if len(found) == FILLINGS:
            break
    return list(found)
