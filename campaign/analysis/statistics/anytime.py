"""An interval that holds at every moment at once, so that it may be looked at whenever somebody likes.

The confidence sequence of the t mixture (Lai 1976; Wang and Ramdas 2023): the right Haar prior on the standard
deviation and a normal one on the mean in its units make a test martingale, and Ville's inequality bounds the chance
that the truth is ever outside, for normal differences and every n from 2 on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.descriptive import RELATIVE_ZERO
from campaign.analysis.statistics.distributions import FloatArray

TOO_FEW = "too_few_blocks"
"""Why a confidence sequence has no limits yet."""


def radius(n: int, alpha: float, precision: float = 1.0) -> float | None:
    """Half width in standard errors of the mean of ``n`` differences; None as long as it is unbounded.

    ``alpha`` is the chance that it ever leaves out the truth, ``precision`` (g) that of the mixing distribution in
    units of one difference: 1 is best near ten to thirty of them.
    """
    if n < 2:
        return None
    q = precision / (precision + n)
    w = math.exp((math.log(q) + 2 * math.log(alpha)) / n)
    if w <= q:
        return None
    return math.sqrt((n - 1) * (1 - w) / (w - q))


@dataclass(frozen=True)
class AnyTime:
    """What complete blocks show, at any moment. ``estimate`` and limits are percent where all values are positive (of
    geometric means), else differences in the metric's unit; limits are None with a ``reason``."""

    n: int
    percent: bool
    estimate: float | None
    low: float | None
    high: float | None
    reason: str | None
    worth: float | None = None
    """Independent blocks that these are worth; None where each counts as one."""


def any_time(
    treatment: FloatArray, reference: FloatArray, in_time: FloatArray | None, alpha: float, precision: float = 1.0
) -> AnyTime:
    """The confidence sequence, its standard error widened as that of every question of difference is (``deciding``):
    for runs that were not seen and for blocks that resemble their neighbours.

    ``treatment[k]`` and ``reference[k]`` are of one block, and ``in_time`` orders the blocks.
    """
    n = len(treatment)
    if n == 0:
        return AnyTime(0, True, None, None, None, "no_blocks")
    logs = bool((treatment > 0).all() and (reference > 0).all())
    d = np.log(treatment) - np.log(reference) if logs else treatment - reference
    mean = float(d.mean())

    def shown(x: float) -> float:
        return 100 * math.expm1(x) if logs else x

    reach = radius(n, alpha, precision)
    if reach is None:
        return AnyTime(n, logs, shown(mean), None, None, TOO_FEW)
    sd = float(d.std(ddof=1))
    if sd <= RELATIVE_ZERO * max(1.0, abs(mean)):
        return AnyTime(n, logs, shown(mean), None, None, "no_variation")
    errors = d - mean
    _, share = deciding.resemblance(errors if in_time is None else errors[np.argsort(in_time, kind="stable")])
    away = reach * sd / math.sqrt(n) * math.sqrt((1 + deciding.UNSEEN_DIFFERENCE / n) / share)
    worth = n * share if share < 1 else None
    return AnyTime(n, logs, shown(mean), shown(mean - away), shown(mean + away), None, worth)
