"""The fairness suites, one file a language: harmless posts of many kinds, and the harmful posts that match them.

A harmful post lists the labels that it was written for; others may apply to it as well.
"""

from importlib import resources
from pathlib import Path

from classify.errors import ModelError

SUITES = {"fairness": ("fairness_zh.jsonl", "fairness_en.jsonl")}


def suite(name: str) -> list[Path]:
    """The files of a suite. Errors: ModelError when there is none of that name."""
    if name not in SUITES:
        raise ModelError(f"{name}: no suite of that name; there is {', '.join(SUITES)}")
    return [Path(str(resources.files(__name__).joinpath(file))) for file in SUITES[name]]
