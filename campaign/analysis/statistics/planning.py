"""What N the deciding rule needs: the rule itself on simulated normal runs, seeded, because its widening has no closed form.

Everything is in units of the standard deviation of a block difference (of two runs of either arm, where there are no blocks).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.families import stepping_down
from campaign.analysis.statistics.seeds import derived_seed, generator

TABLES = 2_000
"""Simulated tables for each N: one standard error of a power of 80 % is 0.9 points."""
MOST = 100_000
"""N beyond which none is named."""
SIMULATED_TO = 400
"""N up to which tables are drawn; beyond, spread and shape are those of the normal distribution itself."""


@dataclass(frozen=True)
class Drawn:
    """The estimate, its standard error (with resemblance) and degrees of freedom, and the skewness, of every table; mean 0."""

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    skewness: FloatArray
    n: int

    def sides(self, theta: float, true: float, unseen: float) -> tuple[FloatArray, FloatArray]:
        """One-sided p against lying at or below theta, and at or above, where the truth is ``true``."""
        t = (self.estimate + true - theta) / (self.se * math.sqrt(1 + unseen / self.n))
        flat = np.abs(self.skewness) < 1e-9
        g = np.where(flat, 1.0, self.skewness)
        h = np.where(flat, t, ((1 + g * t / 3) ** 3 - 1) / g + g / 6)
        upper = special.stdtr(self.df, -np.minimum(t, h))
        lower = special.stdtr(self.df, np.maximum(t, h))
        return upper, lower

    def p_equivalence(self, true: float, margin: float) -> FloatArray:
        """Of equivalence within ± margin."""
        above, _ = self.sides(-margin, true, deciding.UNSEEN_EQUIVALENCE)
        _, below = self.sides(margin, true, deciding.UNSEEN_EQUIVALENCE)
        return np.maximum(above, below)

    def p_difference(self, true: float) -> FloatArray:
        """Two-sided."""
        return np.minimum(1.0, 2 * np.minimum(*self.sides(0.0, true, deciding.UNSEEN_DIFFERENCE)))


@lru_cache(maxsize=256)
def drawn(n: int, blocks: bool) -> Drawn:
    """Tables of n blocks, or of n runs in each of two independent arms."""
    rng = generator(derived_seed(0, "planning", "blocks" if blocks else "arms", str(n)))
    if n > SIMULATED_TO:
        df = float(n - 1 if blocks else 2 * n - 2)
        se = np.sqrt(rng.chisquare(df, TABLES) / df / n)
        zeros = np.zeros(TABLES)
        return Drawn(rng.standard_normal(TABLES) / math.sqrt(n), se, np.full(TABLES, df), zeros, n)
    if not blocks:
        x = rng.standard_normal((2, TABLES, n)) / math.sqrt(2)
        means, spread = x.mean(axis=2), x.var(axis=2, ddof=1) / n
        se2 = spread.sum(axis=0)
        df = se2**2 / ((spread**2).sum(axis=0) / (n - 1))
        cubes = ((x - means[:, :, None]) ** 3).mean(axis=2) / n**2
        skewness = (cubes[0] - cubes[1]) / (se2 * (n - 1) / n) ** 1.5
        return Drawn(means[0] - means[1], np.sqrt(se2), df, skewness, n)
    d = rng.standard_normal((TABLES, n))
    mean = d.mean(axis=1)
    e = d - mean[:, None]
    squares = (e**2).sum(axis=1)
    skewness = (e**3).mean(axis=1) / (squares / n) ** 1.5 / math.sqrt(n)
    worth = np.ones(TABLES)
    if n >= deciding.RESEMBLES_FROM:
        r1 = (e[:, 1:] * e[:, :-1]).sum(axis=1) / squares
        rho = np.clip((n * r1 + 1) / (n - 4), 0, deciding.MOST_RESEMBLANCE)
        worth = np.where((r1 + 1 / n) * math.sqrt(n) > 1, (1 - rho) / (1 + rho), 1.0)
    df = np.where(worth < 1, np.maximum(2.0, (n - 1) * worth), n - 1.0)
    return Drawn(mean, np.sqrt(squares / (n - 1) / n / worth), df, skewness, n)


def power_equivalence(n: int, blocks: bool, true: float, margin: float, alpha: float) -> float:
    """Chance that one comparison at one-sided level ``alpha`` is called equivalent."""
    return float((drawn(n, blocks).p_equivalence(true, margin) < alpha).mean())


def power_difference(n: int, blocks: bool, true: float, alpha: float) -> float:
    """Chance that one comparison at level ``alpha`` is called different."""
    return float((drawn(n, blocks).p_difference(true) < alpha).mean())


def in_family(p: FloatArray, m: int, alpha: float = 0.05) -> tuple[float, float]:
    """Of families of m independent comparisons with these p: the share of comparisons that pass Holm, and the share of families all of
    whose comparisons do."""
    rng = generator(derived_seed(0, "planning", "family", str(m)))
    families = max(200, min(2_000, 60_000 // m))
    sizes = np.sort(p[rng.integers(0, len(p), size=(families, m))], axis=1)
    passed = stepping_down(sizes, m, alpha)
    return float(passed.mean()), float(passed.all(axis=1).mean())


@lru_cache(maxsize=8192)
def needed(blocks: bool, question: str, true: float, margin: float, alpha: float, target: float = 0.8) -> int | None:
    """The smallest N with this power at level ``alpha``; ``question`` is ``equivalence`` or ``difference``. None beyond :data:`MOST`."""

    def enough(n: int) -> bool:
        if question == "equivalence":
            return power_equivalence(n, blocks, true, margin, alpha) >= target
        return power_difference(n, blocks, true, alpha) >= target

    return smallest(enough)


def smallest(enough: Callable[[int], bool], most: int = MOST) -> int | None:
    """The smallest N from 3 on that is enough, in steps of 5 % (of one below 40); None where ``most`` is not."""
    grid = _grid(most)
    if not enough(grid[-1]):
        return None
    low, high = -1, len(grid) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(grid[middle]) else (middle, high)
    return grid[high]


@lru_cache(maxsize=4)
def _grid(most: int) -> tuple[int, ...]:
    found = [3]
    while found[-1] < most:
        found.append(min(most, max(found[-1] + 1, math.floor(found[-1] * 1.05))))
    return tuple(found)
