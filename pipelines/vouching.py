"""Whether a platform bears out what an account claims to be. Pure.

A mark vouches for a claim where the platform gives it for being that: a government's for every office, a paid one for
none. Which words made a claim is left to `classify.institutions`.
"""

import re
from collections.abc import Sequence
from typing import Literal

from classify.institutions import claim

State = Literal["verified", "unverified", "unknown"]
"""`unverified`: the platform verifies accounts, and not this one as what it claims to be. `unknown`: the platform says
nothing of anybody's verification."""

STATES: tuple[State, ...] = ("unverified", "unknown", "verified")

_CIVIL = frozenset({"media", "medical", "legal", "finance", "education"})
_VOUCHED: dict[str, frozenset[str]] = {
    "government": _CIVIL | {"army", "government", "police_court"},
    "media": frozenset({"media"}),
    "organisation": _CIVIL,
    "company": _CIVIL,
}
"""The types that each kind of mark vouches for by itself; for others, and for a person, its words must name them."""

_SITES: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = (
    (re.compile(r"(?:^|\.)(?:gov|gob|gouv|govt|go|gc)(?:\.[a-z]{2})?$"), _VOUCHED["government"]),
    (re.compile(r"(?:^|\.)mil(?:\.[a-z]{2})?$"), frozenset({"army", "government"})),
    (re.compile(r"(?:^|\.)police\.[a-z]{2}$"), frozenset({"police_court"})),
    (re.compile(r"(?:^|\.)nhs\.uk$"), frozenset({"medical", "government"})),
    (re.compile(r"(?:^|\.)(?:edu|ac)(?:\.[a-z]{2})?$"), frozenset({"education", "medical"})),
)
"""Domains that are given to nobody but such an institution, and what owning one vouches for."""


def standing(
    kind: str, verified: bool | None, mark: str | None, words: str | None, sites: Sequence[str] | None
) -> State:
    """How a claim of a type stands: `verified` is whether the account has a mark, `mark` its kind (`VerifiedAs`),
    `words` what the platform says it was verified for, `sites` the hosts that the account was found to own."""
    if any(is_official(site, kind) for site in sites or ()):
        return "verified"
    if verified is None and mark is None:
        return "unknown"
    if not verified or mark == "paid":
        return "unverified"
    if mark is None or kind in _VOUCHED.get(mark, ()):
        return "verified"
    named = claim(words, words)
    return "verified" if named is not None and named.type == kind else "unverified"


def is_official(host: str, kind: str) -> bool:
    """Whether a host name is of a kind that only such an institution is given."""
    return any(kind in vouched and pattern.search(host.lower().rstrip(".")) for pattern, vouched in _SITES)
