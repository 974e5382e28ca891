"""Two judgements of the same posts: how far they agree, and how a share differs between them."""

import math
from dataclasses import dataclass

from pipelines.report.intervals import wilson


@dataclass(frozen=True)
class Pairs:
    """Posts that two runs both scored for a label, overall (`name` is the label's) or on one platform, by who flagged
    them: `both`, the `first` run only, the `second` only, `neither`.
    """

    name: str
    both: int
    first: int
    second: int
    neither: int

    @property
    def total(self) -> int:
        """All posts that both runs scored."""
        return self.both + self.first + self.second + self.neither

    @property
    def shares(self) -> tuple[float, float]:
        """The share that each run flagged; 0 without a post."""
        total = self.total or 1
        return (self.both + self.first) / total, (self.both + self.second) / total

    @property
    def agreement(self) -> float | None:
        """The share of posts with the same flag; None without a post."""
        return (self.both + self.neither) / self.total if self.total else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa (J. Cohen, 1960): agreement beyond that of chance; None where chance gives all of it."""
        if self.agreement is None:
            return None
        one, other = self.shares
        chance = one * other + (1 - one) * (1 - other)
        return None if chance == 1 else (self.agreement - chance) / (1 - chance)

    @property
    def difference(self) -> float:
        """The second run's share less the first's."""
        return (self.second - self.first) / (self.total or 1)

    @property
    def interval(self) -> tuple[float, float]:
        """The difference's 95 % interval for paired data: the square-and-add interval of Wilson scores with the
        correlation of the flags corrected for continuity (R. G. Newcombe, Statistics in Medicine 17, 1998, pp.
        2635-2650, method 10); (-1, 1) without a post. Posts are taken as independent.
        """
        if not self.total:
            return -1.0, 1.0
        one, other = self.shares
        low_one, high_one = wilson(self.both + self.first, self.total)
        low_other, high_other = wilson(self.both + self.second, self.total)
        correlation = self._correlation()

        def distance(here: float, there: float) -> float:
            return math.sqrt(max(0.0, here * here - 2 * correlation * here * there + there * there))

        below = distance(other - low_other, high_one - one)
        above = distance(high_other - other, one - low_one)
        return self.difference - below, self.difference + above

    def _correlation(self) -> float:
        margins = (
            (self.both + self.first) * (self.second + self.neither)
            * (self.both + self.second) * (self.first + self.neither)
        )  # fmt: skip
        if margins == 0:
            return 0.0
        excess: float = self.both * self.neither - self.first * self.second
        if excess > 0:
            excess = max(0.0, excess - self.total / 2)
        return excess / math.sqrt(margins)
