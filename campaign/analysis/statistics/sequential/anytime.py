"""An interval that holds at every moment at once, so that it may be looked at whenever somebody likes.

The confidence sequence of the t mixture (Lai 1976; Wang and Ramdas 2023): the right Haar prior on the standard deviation and a normal one on
the mean in its units make a test martingale, and Ville's inequality bounds the chance that the truth is ever outside, for normal differences and
every n from 2 on.
"""

from __future__ import annotations

import math

TOO_FEW = "too_few_blocks"
"""Why a confidence sequence has no limits yet."""


def radius(n: int, alpha: float, precision: float = 1.0) -> float | None:
    """Half width in standard errors of the mean of ``n`` differences; None as long as it is unbounded.

    ``alpha`` is the chance that it ever leaves out the truth, ``precision`` (g) that of the mixing distribution in units of one difference:
    1 is best near ten to thirty of them.
    """
    if n < 2:
        return None
    q = precision / (precision + n)
    w = math.exp((math.log(q) + 2 * math.log(alpha)) / n)
    if w <= q:
        return None
    return math.sqrt((n - 1) * (1 - w) / (w - q))
