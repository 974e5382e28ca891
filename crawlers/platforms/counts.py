"""Counts as platforms shorten them: `1.2K`, `100万+`, `1.5万`, `1,234`, to whole numbers. Pure."""

import re
from decimal import Decimal

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_COUNT = re.compile(rf"([0-9]{{1,19}}(?:\.[0-9]{{1,6}})?)\s*({'|'.join(each for each in _UNITS if each)})?\s*\+?")
_GROUPS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")


def approximate(told: str) -> int | None:
    """The number that a shortened count stands for, its digits taken as exact; None for what is none, or is more than
    64 bits hold."""
    joined = _GROUPS.sub(lambda found: found[0].replace(",", ""), told.strip())
    found = _COUNT.fullmatch(joined.casefold())
    if found is None:
        return None
    number = int(Decimal(found[1]) * _UNITS[found[2] or ""])
    return number if number < 1 << 63 else None
