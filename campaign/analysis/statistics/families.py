"""Multiplicity: p-values adjusted for the number of comparisons that were planned, not the number that could be run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def adjust(p: Pvalues, m: int) -> dict[str, Any]:
    """All four adjustments of a family of ``m`` planned comparisons; None stays None and stays counted in m."""
    tested = sum(x is not None for x in p)
    if m < tested:
        raise ValueError(f"a family planned as {m} comparisons holds {tested} p-values; state the planned number")
    return {
        "p": list(p),
        "bonferroni": bonferroni(p, m),
        "holm": holm(p, m),
        "bh": benjamini_hochberg(p, m),
        "by": benjamini_yekutieli(p, m),
    }
