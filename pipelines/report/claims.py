"""The figures on accounts that claim to be an institution, out of their manifest: counts and shares, nobody's name."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipelines.report.intervals import wilson
from pipelines.vouching import STATES


@dataclass(frozen=True)
class Part:
    """So many of so many, with the share's 95 % interval."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1; 0 of nothing."""
        return self.count / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson(self.count, self.total)


@dataclass(frozen=True)
class Claimed:
    """The claims of one type, or on one platform: accounts by state, those that nobody bears out, and their posts."""

    name: str
    states: dict[str, int]
    unborne: Part
    posts: Part

    @property
    def accounts(self) -> int:
        """All that claim it."""
        return sum(self.states.values())


@dataclass(frozen=True)
class ClaimFigures:
    """Accounts looked at, and the claims among them by type and by platform."""

    accounts: int
    whole: Claimed
    types: list[Claimed]
    platforms: list[Claimed]
    definitions: dict[str, str]


def claim_figures(manifest: dict[str, Any]) -> ClaimFigures:
    """The figures of a manifest of scored accounts (`pipelines.accounts`)."""
    accounts, posts, claims = manifest["accounts"], manifest["posts"], manifest["claims"]
    all_accounts, all_posts = sum(accounts.values()), sum(posts.values())

    def of(name: str, rows: list[dict[str, Any]], accounts: int, posts: int) -> Claimed:
        states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        theirs = 0
        for row in rows:
            states[row["state"]] += row["accounts"]
            theirs += row["posts"] if row["state"] != "verified" else 0
        unborne = sum(count for state, count in states.items() if state != "verified")
        return Claimed(name, dict(states), Part(unborne, accounts), Part(theirs, posts))

    return ClaimFigures(
        accounts=all_accounts,
        whole=of("all", claims, all_accounts, all_posts),
        types=[
            of(each["name"], [row for row in claims if row["type"] == each["name"]], all_accounts, all_posts)
            for each in manifest["types"]
        ],
        platforms=[
            of(name, [row for row in claims if row["platform"] == name], count, posts[name])
            for name, count in accounts.items()
        ],
        definitions={each["name"]: each["definition"] for each in manifest["types"]},
    )
