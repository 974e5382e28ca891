"""The interval that shares in a report carry."""

import math

Z = 1.959963984540054
"""The standard normal quantile of a two-sided 95 % interval."""


def wilson(hits: float, total: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (E. B. Wilson, 1927); (0, 1) when nothing was drawn.

    Both may be fractions, where a share of several steps is worth so many posts.
    """
    if total == 0:
        return 0.0, 1.0
    share = hits / total
    scale = 1 + Z * Z / total
    middle = (share + Z * Z / (2 * total)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)
