"""Critical values at looks: how far a statistic must lie that all looks together err
no more often than was spent on them.

Everything is one-sided. ``normal`` levels treat the statistics as normal (the recursion of Armitage, McPherson and Rowe
1969; Jennison and Turnbull 2000, chapter 19) and are used for t by their p; ``exact_t`` levels (:mod:`.exact_t`) are
those of the t statistics themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import optimize, special

from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.sequential import exact_t
from campaign.analysis.statistics.sequential.spending import Spending

Levels = Literal["normal", "exact_t"]
LEAST, MOST = 1e-12, 0.5
"""Range of the levels that repeated p values are looked for in."""
LOWEST, PANEL = -9.5, 0.5
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True)
class Looks:
    """Numbers of pairs at the looks that were taken, of ``n_max`` planned. ``final`` is whether the last of them is the
    last planned look, where what is left of the level is spent whatever n is."""

    n: tuple[int, ...]
    n_max: int
    final: bool
    spending: Spending = field(default_factory=Spending)
    levels: Levels = "normal"

    def cumulative(self, level: float) -> tuple[float, ...]:
        """Level spent up to each look."""
        spent = [self.spending.spent(min(1.0, n / self.n_max), level) for n in self.n]
        return (*spent[:-1], level) if self.final else tuple(spent)

    def critical(self, level: float) -> tuple[float, ...]:
        """Boundary c of the normal statistics at each look; infinite where nothing is spent."""
        return _critical(self.n, self.cumulative(level))

    def nominal(self, level: float) -> tuple[float, ...]:
        """Level at which the one-sided p of each look is judged."""
        return _nominal(self, level)


@lru_cache(maxsize=4096)
def _nominal(looks: Looks, level: float) -> tuple[float, ...]:
    if looks.levels == "exact_t":
        return exact_t.nominal(looks.n, looks.cumulative(level))
    return tuple(float(special.ndtr(-c)) for c in looks.critical(level))


@lru_cache(maxsize=4096)
def _critical(n: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    found: list[float] = []
    points, mass = np.empty(0), np.empty(0)
    for k, total in enumerate(spent):
        rest = total - (spent[k - 1] if k else 0.0)
        if k == 0:
            c = float(-special.ndtri(rest)) if rest > 0 else math.inf
        else:
            c = _solve(points, mass, n[k - 1], n[k], rest)
        found.append(c)
        if k + 1 < len(spent):
            points, mass = _carried(points, mass, n[k - 1] if k else 0, n[k], c)
    return tuple(found)


def _solve(points: FloatArray, mass: FloatArray, before: int, now: int, rest: float) -> float:
    """c at which a path that went on so far leaves with probability ``rest``."""
    if rest <= 0:
        return math.inf
    spread, shift = math.sqrt(now - before), points * math.sqrt(before)
    log_mass = np.log(np.maximum(mass, 1e-320))

    def excess(c: float) -> float:
        terms = special.log_ndtr((shift - c * math.sqrt(now)) / spread) + log_mass
        largest = float(terms.max())
        return largest + math.log(float(np.exp(terms - largest).sum())) - math.log(rest)

    low, high = -8.0, 12.0
    if excess(low) <= 0:  # fewer paths are left than might leave
        return low
    while excess(high) > 0:
        high += 8.0
    return float(optimize.brentq(excess, low, high, xtol=1e-13, rtol=1e-14))


def _carried(points: FloatArray, mass: FloatArray, before: int, now: int, c: float) -> tuple[FloatArray, FloatArray]:
    """Quadrature points below c, and the probability of going on to each."""
    x, w = panels(LOWEST, min(c, -LOWEST))
    if before == 0:
        return x, w * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    spread = math.sqrt(now - before)
    z = (x[:, None] * math.sqrt(now) - points[None, :] * math.sqrt(before)) / spread
    density = np.exp(-(z**2) / 2) @ mass * math.sqrt(now) / spread / math.sqrt(2 * math.pi)
    return x, w * density


def panels(low: float, high: float, width: float = PANEL) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre points and weights on stretches of ``width``."""
    if high <= low:
        return np.empty(0), np.empty(0)
    edges = np.linspace(low, high, max(1, math.ceil((high - low) / width)) + 1)
    half = np.diff(edges)[:, None] / 2
    return (half * NODES + edges[:-1, None] + half).ravel(), (half * WEIGHTS).ravel()


def repeated_p(looks: Looks, p: float) -> float:
    """The level at which the last look just rejects, for its one-sided ``p``: within 1e-12 to 0.5, and 1 above that."""
    low, high = math.log(LEAST), math.log(MOST)
    if p > looks.nominal(MOST)[-1]:
        return 1.0
    if p < looks.nominal(LEAST)[-1]:
        return LEAST
    if len(looks.n) == 1 and looks.final:
        return p

    def excess(log_level: float) -> float:
        return math.log(max(looks.nominal(math.exp(log_level))[-1], 1e-320)) - math.log(p)

    # log of the nominal level is nearly a line in log of the level: a tight bracket around the level that p itself
    # would have.
    guess = min(max(math.log(p), low), high)
    left, right = max(low, guess - 0.5), min(high, guess + 3.0)
    if excess(left) > 0:
        left = low
    if excess(right) < 0:
        right = high
    return math.exp(float(optimize.brentq(excess, left, right, xtol=1e-11, rtol=1e-13)))
