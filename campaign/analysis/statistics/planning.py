"""What N the deciding rule needs: the rule itself on simulated normal runs, seeded,
because its widening has no closed form.

Everything is in units of the standard deviation of a block difference (of two runs of either arm, where there are no
blocks).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from campaign.analysis.statistics import deciding
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.families import stepping_down
from campaign.analysis.statistics.power import correlation_gain, detectable_dz, independent_power, paired_power
from campaign.analysis.statistics.seeds import derived_seed, generator

TABLES = 1_000
"""Simulated tables for each N: one standard error of a power of 80 % is 1.3 points."""
MOST = 100_000
"""N beyond which none is named."""
SIMULATED_TO = 200
"""N up to which tables are drawn; beyond, spread and shape are those of the normal distribution itself."""


@dataclass(frozen=True)
class Drawn:
    """The estimate, its standard error (with resemblance) and degrees of freedom, and the skewness,
    of every table; mean 0."""

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
        return np.asarray(np.minimum(1.0, 2 * np.minimum(*self.sides(0.0, true, deciding.UNSEEN_DIFFERENCE))))


@lru_cache(maxsize=1024)
def drawn(n: int, blocks: bool) -> Drawn:
    """Tables of n blocks, or of n runs in each of two independent arms."""
    rng = generator(derived_seed(0, "planning", "blocks" if blocks else "arms", str(n)))
    if n > SIMULATED_TO:
        freedom = float(n - 1 if blocks else 2 * n - 2)
        se = np.sqrt(rng.chisquare(freedom, TABLES) / freedom / n)
        zeros = np.zeros(TABLES)
        return Drawn(rng.standard_normal(TABLES) / math.sqrt(n), se, np.full(TABLES, freedom), zeros, n)
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


@lru_cache(maxsize=2048)
def _reach(n: int, blocks: bool, tail: float, unseen: float) -> tuple[FloatArray, FloatArray]:
    """How far above a θ, and below it, the estimate of each table must lie for a one-sided answer at ``tail``."""
    its = drawn(n, blocks)
    c = -special.stdtrit(its.df, tail)
    flat = np.abs(its.skewness) < 1e-9
    g = np.where(flat, 1.0, its.skewness)
    width = its.se * math.sqrt(1 + unseen / n)
    up, down = (np.where(flat, x, 3 / g * (np.cbrt(1 + g * (x - g / 6)) - 1)) for x in (c, -c))
    return width * np.maximum(c, up), width * np.maximum(c, -down)


def power_equivalence(n: int, blocks: bool, true: float, margin: float, alpha: float) -> float:
    """Chance that one comparison at one-sided level ``alpha`` is called equivalent."""
    up, down = _reach(n, blocks, alpha, deciding.UNSEEN_EQUIVALENCE)
    estimate = drawn(n, blocks).estimate + true
    return float(((estimate + margin > up) & (margin - estimate > down)).mean())


def power_difference(n: int, blocks: bool, true: float, alpha: float) -> float:
    """Chance that one comparison at level ``alpha`` is called different."""
    up, down = _reach(n, blocks, alpha / 2, deciding.UNSEEN_DIFFERENCE)
    estimate = drawn(n, blocks).estimate + true
    return float(((estimate > up) | (-estimate > down)).mean())


def in_family(p: FloatArray, m: int, alpha: float = 0.05) -> tuple[float, float]:
    """Of families of m independent comparisons with these p: the share of comparisons that pass Holm, and the share of
    families all of whose comparisons do."""
    rng = generator(derived_seed(0, "planning", "family", str(m)))
    families = max(200, min(2_000, 60_000 // m))
    sizes = np.sort(p[rng.integers(0, len(p), size=(families, m))], axis=1)
    passed = stepping_down(sizes, m, alpha)
    return float(passed.mean()), float(passed.all(axis=1).mean())


@lru_cache(maxsize=8192)
def needed(blocks: bool, question: str, true: float, margin: float, alpha: float, target: float = 0.8) -> int | None:
    """The smallest N with this power at level ``alpha``; ``question`` is ``equivalence`` or ``difference``.
    None beyond :data:`MOST`."""

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


@dataclass(frozen=True)
class Outlook:
    """What a design gets of its family at one N, and the N that it needs: for each comparison (the share that Holm
    passes), and for all of them together. None beyond :data:`MOST`."""

    difference_each: float
    difference_all: float
    equivalence_each: float
    equivalence_all: float
    n_difference_each: int | None
    n_difference_all: int | None
    n_equivalence_each: int | None
    n_equivalence_all: int | None
    detectable_pct: float
    """Difference that each comparison shows with the target power at this N."""


def outlook(
    blocks: bool, spread_pct: float, effect_pct: float, margin_pct: float, n: int, m: int, target: float = 0.8
) -> Outlook:
    """A family of m comparisons, all truly ``effect_pct`` apart (difference)
    or not at all (equivalence within ``margin_pct``).

    ``spread_pct`` is the standard deviation of a block difference, or of two runs of either arm, in percent of the
    mean.
    """
    effect, margin = effect_pct / spread_pct, margin_pct / (1 + margin_pct / 100) / spread_pct

    def difference(runs: int, true: float = effect) -> tuple[float, float]:
        return in_family(drawn(runs, blocks).p_difference(true), m)

    def equivalence(runs: int) -> tuple[float, float]:
        return in_family(drawn(runs, blocks).p_equivalence(0.0, margin), m)

    low, high = 0.0, 1.0
    while difference(n, high)[0] < target and high < 1e6:
        low, high = high, 2 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if difference(n, middle)[0] >= target else (middle, high)
    return Outlook(
        difference_each=difference(n)[0],
        difference_all=difference(n)[1],
        equivalence_each=equivalence(n)[0],
        equivalence_all=equivalence(n)[1],
        n_difference_each=smallest(lambda k: difference(k)[0] >= target),
        n_difference_all=smallest(lambda k: difference(k)[1] >= target),
        n_equivalence_each=smallest(lambda k: equivalence(k)[0] >= target),
        n_equivalence_all=smallest(lambda k: equivalence(k)[1] >= target),
        detectable_pct=high * spread_pct,
    )


def plan_runs(
    effect_pct: float,
    margin_pct: float,
    cv_pct: float,
    *,
    rho: float = 0.0,
    n: int = 30,
    m: int = 30,
    target: float = 0.8,
) -> dict[str, Any]:
    """What N a design needs before any run, and what the N at hand can see, by the rule that will decide.

    ``effect_pct`` is the difference to be seen and ``margin_pct`` the equivalence margin, both in percent of the
    reference mean; ``cv_pct`` is the run-to-run coefficient of variation of one arm; ``rho`` the correlation of the
    two runs of a block (a pilot's ``r_xy``); ``m`` the number of comparisons in the family.
    """
    if cv_pct <= 0:
        raise ValueError(f"the coefficient of variation must be above 0 %, not {cv_pct}: give a pilot's or a guess")
    if not -1 < rho < 1:
        raise ValueError(f"the correlation within blocks must lie between -1 and 1, not {rho}")
    medium = independent_power(0.5, n, n, 0.05)
    pays = 1 - (0.5 / detectable_dz(n, 0.05, target)) ** 2 / 2
    gain = correlation_gain(0.5, rho)
    return {
        "n": n,
        "m": m,
        "rho": rho,
        "cv_pct": cv_pct,
        "target_power": target,
        "arms": outlook(False, cv_pct * math.sqrt(2), effect_pct, margin_pct, n, m, target),
        "blocks": outlook(True, cv_pct * math.sqrt(2 * (1 - rho)), effect_pct, margin_pct, n, m, target),
        "statement": (
            f"{n} runs per arm have {100 * medium:.0f} % power for d = 0.5 in the independent test at alpha 0.05 "
            f"({100 * independent_power(0.5, n, n, 0.05 / m):.0f} % after Bonferroni over {m}). "
            f"Blocks reach {100 * target:.0f} % for the same effect only where the two runs of a block correlate "
            f"by {pays:.2f} or more; at the given correlation of {rho:.2f} d = 0.5 is dz = "
            f"{gain:.2f} with {100 * paired_power(gain, n, 0.05):.0f} % power. (Textbook t tests; "
            "the table is of the rule that decides.)"
        ),
    }
