"""Texts whose platform tells the places of the names in them, as TikTok and Douyin do: a name that is shown may be of
several words, so that it cannot be told from the text alone. Pure.
"""

from collections.abc import Iterable

from crawlers.text import MARK, Reading, links_in, mask, tidy


def read_marked(words: str, places: Iterable[tuple[int, int]]) -> Reading:
    """A text with the names at these places replaced, start and end of each; a place that begins with no `@` is left.
    Places count units of UTF-16 or code points, whichever begins with one: pages and apps differ in that."""
    told, pieces, at = list(places), [], 0
    units = _units(words) if told else []
    for start, end in sorted({each for place in told if (each := _name(words, units, *place)) is not None}):
        if start >= at:
            pieces.append(words[at:start])
            at = end
    pieces.append(words[at:])
    masked, mentions = mask(MARK.join(map(tidy, pieces)).strip())
    return Reading(masked, links_in(masked), mentions + len(pieces) - 1)


def _units(words: str) -> list[int]:
    """The code point that each unit of UTF-16 is a part of, and the end."""
    return [*(place for place, each in enumerate(words) for _ in range(1 + (each > "\uffff"))), len(words)]


def _name(words: str, units: list[int], start: int, end: int) -> tuple[int, int] | None:
    if not start < end < len(units):
        return None
    for first, after in ((units[start], units[end]), (start, end)):
        if words[first : first + 1] in ("@", "＠"):
            return first, after
    return None
