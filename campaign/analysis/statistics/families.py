"""Multiplicity: p-values adjusted for the number of comparisons that were planned, not the number that could be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from campaign.analysis.result import INLINE, LEFT_OUT, Result
from campaign.analysis.statistics.distributions import BoolArray, FloatArray

METHODS = ("bonferroni", "holm", "bh", "by")
Pvalues = Sequence[float | None]


def bonferroni(p: Pvalues, m: int) -> list[float | None]:
    """min(1, m p)."""
    return [None if x is None else min(1.0, m * x) for x in p]


def holm(p: Pvalues, m: int) -> list[float | None]:
    """Step-down; controls the family-wise error under any dependence."""
    out: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (x, i) in enumerate(_ascending(p)):
        largest = max(largest, min(1.0, (m - rank) * x))
        out[i] = largest
    return out


def benjamini_hochberg(p: Pvalues, m: int) -> list[float | None]:
    """Step-up; controls the false discovery rate under independence or positive dependence."""
    out: list[float | None] = [None] * len(p)
    smallest = 1.0
    for rank, (x, i) in reversed(list(enumerate(_ascending(p), start=1))):
        smallest = min(smallest, m * x / rank)
        out[i] = smallest
    return out


def benjamini_yekutieli(p: Pvalues, m: int) -> list[float | None]:
    """Benjamini-Hochberg made valid under any dependence by the factor 1 + 1/2 + … + 1/m."""
    out: list[float | None] = [None] * len(p)
    smallest, factor = 1.0, sum(1 / i for i in range(1, m + 1))
    for rank, (x, i) in reversed(list(enumerate(_ascending(p), start=1))):
        smallest = min(smallest, factor * m * x / rank)
        out[i] = smallest
    return out


def _ascending(p: Pvalues) -> list[tuple[float, int]]:
    return sorted((x, i) for i, x in enumerate(p) if x is not None)


@dataclass(frozen=True)
class Adjusted(Result):
    """The p-values of a family, plain and by each of :data:`METHODS`; None stays None."""

    p: list[float | None]
    bonferroni: list[float | None]
    holm: list[float | None]
    bh: list[float | None]
    by: list[float | None]


@dataclass(frozen=True)
class Family(Result):
    """Comparisons that pay for each other: what decides each of them, every plain test (by its name), and equivalence.
    ``m_tested`` of the ``m_planned`` were tested. Where none is singled out to decide, tests are all there is."""

    labels: list[str]
    m_planned: int
    m_tested: int
    difference: Annotated[Adjusted | None, INLINE]
    tests: Annotated[dict[str, Adjusted], INLINE]
    equivalence: Annotated[Adjusted | None, LEFT_OUT] = None


@dataclass(frozen=True)
class EquivalenceFamily(Result):
    """The same comparisons as of a :class:`Family`, asked for equivalence alone."""

    labels: list[str]
    m_planned: int
    equivalence: Annotated[Adjusted, INLINE]
    m_tested: int


def adjust(p: Pvalues, m: int) -> Adjusted:
    """All four adjustments of a family of ``m`` planned comparisons; what has no p stays counted in m."""
    tested = sum(x is not None for x in p)
    if m < tested:
        raise ValueError(f"a family planned as {m} comparisons holds {tested} p-values; state the planned number")
    return Adjusted(list(p), bonferroni(p, m), holm(p, m), benjamini_hochberg(p, m), benjamini_yekutieli(p, m))


def stepping_down(ascending: FloatArray, m: int, alpha: float) -> BoolArray:
    """Which p of each family pass Holm; ``ascending`` has a family in every row, smallest first."""
    within = ascending < alpha / (m - np.arange(ascending.shape[1]))
    return np.asarray(np.logical_and.accumulate(within, axis=1))


def local_level(p: Pvalues, m: int, method: str, alpha: float = 0.05) -> float:
    """The level at which a family's decisions are made on each of its comparisons alone: p is below it exactly where
    its adjusted p is below ``alpha``.

    Holm stops at alpha/(m - r) after r rejections; Benjamini and Hochberg at r alpha/m (with that, intervals have the
    false coverage rate of Benjamini and Yekutieli 2005).
    """
    adjusted = {"holm": holm, "bh": benjamini_hochberg}[method](p, m)
    rejected = sum(x is not None and x < alpha for x in adjusted)
    if method == "bh":
        return alpha * max(rejected, 1) / m
    return alpha / max(m - rejected, 1)
