"""What the textbook's t tests can see: power, smallest detectable effect, runs needed.
What the deciding rule needs is in ``planning``.

Effects are standardised (d for independent arms, dz for pairs) unless a name ends in ``_pct``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from scipy import special

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.distributions import noncentral_t_cdf, root, t_quantile

GRID_ALPHAS = (0.05, 0.05 / 9, 0.05 / 27, 0.05 / 30, 0.05 / 50, 0.05 / 90)
GRID_N = (*range(3, 21), 24, 25, 28, 30, 32, 35, 40, 45, 50, 60, 64, 70, 75, 80, 90, 100, 120, 130, 150, 200)
GRID_D = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
MOST_RUNS = 10_000_000


@lru_cache(maxsize=65536)
def t_power(noncentrality: float, df: float, alpha: float) -> float:
    """Power of a two-sided t test whose statistic is a noncentral t."""
    critical = t_quantile(1 - alpha / 2, df)
    return 1 - noncentral_t_cdf(critical, df, noncentrality) + noncentral_t_cdf(-critical, df, noncentrality)


def independent_power(d: float, n1: int, n2: int, alpha: float) -> float:
    """Power of the two-sided test of two independent arms."""
    return t_power(abs(d) * math.sqrt(n1 * n2 / (n1 + n2)), n1 + n2 - 2, alpha)


def paired_power(dz: float, n: int, alpha: float) -> float:
    """Power of the two-sided paired test of n pairs."""
    return t_power(abs(dz) * math.sqrt(n), n - 1, alpha)


@lru_cache(maxsize=4096)
def detectable_noncentrality(df: float, alpha: float, power: float) -> float:
    """The noncentrality that a two-sided t test sees with the given power."""
    guess = t_quantile(1 - alpha / 2, df) + float(special.ndtri(power))
    return root(lambda nc: t_power(nc, df, alpha) - power, 0.5 * guess, 1.5 * guess)


def detectable_d(n1: int, n2: int, alpha: float, power: float = 0.8) -> float:
    """Smallest |d| seen with the given power by two independent arms."""
    return detectable_noncentrality(n1 + n2 - 2, alpha, power) * math.sqrt(1 / n1 + 1 / n2)


def detectable_dz(n: int, alpha: float, power: float = 0.8) -> float:
    """Smallest |dz| seen with the given power by n pairs."""
    return detectable_noncentrality(n - 1, alpha, power) / math.sqrt(n)


def runs_per_arm(d: float, alpha: float, power: float) -> int:
    """Runs that each of two independent arms needs."""
    return _smallest(lambda n: independent_power(d, n, n, alpha) >= power)


def pairs_needed(dz: float, alpha: float, power: float) -> int:
    """Blocks that the paired test needs."""
    return _smallest(lambda n: paired_power(dz, n, alpha) >= power)


def _smallest(enough: Any) -> int:
    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > MOST_RUNS:
            raise ValueError("more than ten million runs would be needed; enlarge the effect or lower the power")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def correlation_gain(d: float, rho: float) -> float:
    """dz that blocks of correlation ``rho`` make of d."""
    return d / math.sqrt(2 * (1 - rho))


@dataclass(frozen=True)
class Posthoc(Result):
    """Of two independent arms. Fields that name a column are columns of the view ``power``."""

    posthoc: Annotated[float | None, Column("posthoc")]
    posthoc_bonferroni: Annotated[float | None, Column("posthoc_bonferroni")]
    mde_d: Annotated[float, Column("mde")]
    mde_d_bonferroni: Annotated[float, Column("mde_bonferroni")]
    mde_pct: Annotated[float | None, Column("mde_pct")]


@dataclass(frozen=True)
class PairedPosthoc(Result):
    """Of n pairs."""

    posthoc: Annotated[float | None, Column("posthoc")]
    posthoc_bonferroni: Annotated[float | None, Column("posthoc_bonferroni")]
    mde_dz: Annotated[float, Column("mde")]
    mde_dz_bonferroni: Annotated[float, Column("mde_bonferroni")]


def posthoc(d: float | None, n1: int, n2: int, m: int, *, sd: float, mean_reference: float) -> Posthoc:
    """Observed power, which restates p, and beside it what does answer whether N sufficed."""
    alpha = 0.05
    mde = detectable_d(n1, n2, alpha)
    return Posthoc(
        posthoc=None if d is None else independent_power(d, n1, n2, alpha),
        posthoc_bonferroni=None if d is None else independent_power(d, n1, n2, alpha / m),
        mde_d=mde,
        mde_d_bonferroni=detectable_d(n1, n2, alpha / m),
        mde_pct=100 * mde * sd / abs(mean_reference) if mean_reference else None,
    )


def paired_posthoc(dz: float | None, n: int, m: int) -> PairedPosthoc:
    """The same for n pairs."""
    return PairedPosthoc(
        posthoc=None if dz is None else paired_power(dz, n, 0.05),
        posthoc_bonferroni=None if dz is None else paired_power(dz, n, 0.05 / m),
        mde_dz=detectable_dz(n, 0.05),
        mde_dz_bonferroni=detectable_dz(n, 0.05 / m),
    )


@lru_cache(maxsize=1)
def _power_table() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    grid = [
        {
            "n": n,
            "alpha": alpha,
            "power_d02": independent_power(0.2, n, n, alpha),
            "power_d05": independent_power(0.5, n, n, alpha),
            "power_d08": independent_power(0.8, n, n, alpha),
            "mde80": detectable_d(n, n, alpha, 0.8),
            "mde90": detectable_d(n, n, alpha, 0.9),
            "paired_power_dz05": paired_power(0.5, n, alpha),
            "paired_mde80": detectable_dz(n, alpha, 0.8),
        }
        for alpha in GRID_ALPHAS
        for n in GRID_N
    ]
    sizes = [
        {
            "d": d,
            "alpha": alpha,
            "power": power,
            "n_per_group": runs_per_arm(d, alpha, power),
            "n_pairs_dz": pairs_needed(d, alpha, power),
        }
        for d in GRID_D
        for alpha in GRID_ALPHAS
        for power in (0.8, 0.9)
    ]
    return grid, sizes


def power_table() -> dict[str, list[dict[str, float]]]:
    """``grid`` (power and smallest detectable effects by n and alpha) and ``sample_size`` (runs by effect)."""
    grid, sizes = _power_table()
    return {"grid": [dict(row) for row in grid], "sample_size": [dict(row) for row in sizes]}
