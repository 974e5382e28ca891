"""Posts for tests that need many: the sentences of the sample network's posts, put together anew.

`python -m tests.recombined 300` writes so many, one a line.
"""

import json
import random
import re
import sys
from collections import defaultdict
from importlib import resources


def posts(count: int, seed: int = 5) -> list[str]:
    """Distinct posts of one to seven sentences each, of one language each, the same for a seed."""
    drawn = random.Random(seed)
    sentences = _sentences()
    languages = sorted(sentences)
    made: dict[str, None] = {}
    while len(made) < count:
        language = drawn.choice(languages)
        chosen = drawn.choices(sentences[language], k=drawn.choices(range(1, 8), (4, 6, 5, 3, 2, 1, 1))[0])
        made["".join(chosen) if language == "zh" else " ".join(chosen)] = None
    return list(made)


def _sentences() -> dict[str, list[str]]:
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    lines = resources.files("pipelines.demo").joinpath("posts.jsonl").read_text(encoding="utf-8").splitlines()
    for post in map(json.loads, lines):
        text = re.sub(r"\{[^}]*\}", "", post.get("text") or "")
        for sentence in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text):
            if post.get("lang") in ("en", "zh") and any(char.isalpha() for char in sentence):
                found[post["lang"]][sentence.strip()] = None
    return {language: list(each) for language, each in found.items()}


if __name__ == "__main__":
    sys.stdout.writelines(f"{post}\n" for post in posts(int(sys.argv[1])))
