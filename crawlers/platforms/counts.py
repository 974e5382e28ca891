"""Counts as people are shown them, to whole numbers: "1.2K", "3,456", "1.5万", "100万+". Pure.

Such a count is rounded already: what is read of it is the number that it names, no more exact than it was.
"""

import re
from decimal import Decimal

_COUNT = re.compile(
    r"(?P<number>\d{1,3}(?:[, \u00a0\u202f]\d{3})+|\d{1,19}(?:\.\d{1,9})?)\s?(?P<unit>[kmb千万萬亿億]?)\+?"
)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_UNITS |= {"千": 1_000, "万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}
_MOST = 1 << 63
"""Counts are kept in 64 bits."""


def approximate(shown: str) -> int | None:
    """The whole number that a shown count names; None for what is no count."""
    found = _COUNT.fullmatch(shown.strip().lower())
    if found is None:
        return None
    number = Decimal(re.sub(r"[^\d.]", "", found["number"])) * _UNITS[found["unit"]]
    return int(number) if number < _MOST else None
