"""The mean at a stop: it was stopped because it was large or small,
and what would have been estimated had nobody looked.

Ordering by the mean (Emerson and Fleming 1990; Whitehead 1986) with the standard deviation taken as known: at every
look the means at which one stops lie beyond ±d (different) or in a zone around zero (equivalent). The median-unbiased
estimate is the truth at which the mean at the stop is as often above what was seen as below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.sequential.boundaries import panels


@dataclass(frozen=True)
class Stops:
    """Means of the first ``n`` differences at which one stops: beyond ``different`` on either side, or between ``low``
    and ``high`` (no such zone where low is not below high)."""

    n: int
    different: float
    low: float
    high: float

    def goes_on(self) -> list[tuple[float, float]]:
        """Stretches of the mean between the stops."""
        d = self.different
        if d <= 0:
            return []
        if self.low >= self.high:
            return [(-d, d)]
        return [(a, b) for a, b in ((-d, min(self.low, d)), (max(self.high, -d), d)) if a < b]


def probability_above(x: float, theta: float, sigma: float, stops: Sequence[Stops]) -> float:
    """Chance that the mean at the stop is ``x`` or more where the truth is ``theta``; the last look always stops."""
    total = 0.0
    points, mass, before = np.empty(0), np.empty(0), 0
    for k, at in enumerate(stops):
        last = k + 1 == len(stops)
        stretches = [] if last else at.goes_on()
        total += _leaving_above(x, stretches, points, mass, before, at.n, theta, sigma)
        if not stretches:
            return total
        points, mass = _carried(stretches, points, mass, before, at.n, theta, sigma)
        before = at.n
    return total


def median_unbiased(mean: float, sigma: float, stops: Sequence[Stops]) -> float:
    """The truth at which a mean at the stop of at least ``mean`` has probability one half.
    ``stops`` ends with the last planned look."""
    width = 4 * sigma / math.sqrt(stops[0].n)

    def excess(theta: float) -> float:
        return probability_above(mean, theta, sigma, stops) - 0.5

    low, high = mean - width, mean + width
    while excess(low) > 0:
        low -= width
    while excess(high) < 0:
        high += width
    return float(optimize.brentq(excess, low, high, xtol=1e-15 + 1e-10 * width, rtol=1e-14))


def _leaving_above(
    x: float,
    stretches: list[tuple[float, float]],
    points: FloatArray,
    mass: FloatArray,
    before: int,
    now: int,
    theta: float,
    sigma: float,
) -> float:
    """Chance to stop at this look with a mean of ``x`` or more: all of it, less what goes on above x."""
    going = [(max(a, x), b) for a, b in stretches if b > x]
    return _above(x, points, mass, before, now, theta, sigma) - sum(
        _above(a, points, mass, before, now, theta, sigma) - _above(b, points, mass, before, now, theta, sigma)
        for a, b in going
    )


def _above(a: float, points: FloatArray, mass: FloatArray, before: int, now: int, theta: float, sigma: float) -> float:
    """Chance to reach this look with a mean above ``a``."""
    if before == 0:
        return float(special.ndtr(-(a - theta) * math.sqrt(now) / sigma))
    new = now - before
    z = (a * now - points * before - new * theta) / (sigma * math.sqrt(new))
    return float(special.ndtr(-z) @ mass)


def _carried(
    stretches: list[tuple[float, float]],
    points: FloatArray,
    mass: FloatArray,
    before: int,
    now: int,
    theta: float,
    sigma: float,
) -> tuple[FloatArray, FloatArray]:
    """Quadrature points of the mean on the stretches, and the probability of going on to each."""
    se = sigma / math.sqrt(now)
    parts = [panels(a, b, 0.5 * se) for a, b in stretches]
    x, w = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    if before == 0:
        return x, w * np.exp(-(((x - theta) / se) ** 2) / 2) / (se * math.sqrt(2 * math.pi))
    new = now - before
    spread = sigma * math.sqrt(new) / now
    z = (x[:, None] - (points[None, :] * before + new * theta) / now) / spread
    return x, w * (np.exp(-(z**2) / 2) @ mass) / (spread * math.sqrt(2 * math.pi))
