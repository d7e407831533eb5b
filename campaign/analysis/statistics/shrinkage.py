"""Shrinking what a screen found towards nothing, against the winner's curse: the best of several estimates is too good.

Normal prior with mean 0 whose variance is what the estimates scatter beyond their own errors (Efron and Morris 1973).
It takes most of the curse away where little is real, and shrinks one large effect among nulls too far: raw and shrunken
belong side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from campaign.analysis.result import Result

Estimate = tuple[float, float]
"""Effect and its standard error."""


@dataclass(frozen=True)
class Shrunken(Result):
    """An estimate as it was, its factor, what it is shrunken to, and the standard deviation of that."""

    raw: float
    factor: float
    shrunken: float
    sd: float


@dataclass(frozen=True)
class Shrinkage(Result):
    """Variance of the prior, the factor of James and Stein as a check, and the estimates; None and nothing where there
    is no estimate, or one without error."""

    tau2: float | None
    james_stein_factor: float | None
    effects: dict[str, Shrunken]


def shrink(estimates: Mapping[str, Estimate], df: float | None = None) -> Shrinkage:
    """Every estimate shrunken towards nothing. ``df`` are the error's, for the factor of James and Stein."""
    effect = np.array([e for e, _ in estimates.values()])
    se2 = np.array([se * se for _, se in estimates.values()])
    k = len(effect)

    def excess(tau2: float) -> float:
        return float((effect**2 / (se2 + tau2)).sum()) - k

    if k == 0 or (se2 <= 0).any():
        return Shrinkage(None, None, {})
    tau2 = 0.0
    if excess(0.0) > 0:
        tau2 = float(scipy.optimize.brentq(excess, 0.0, float((effect**2).sum()), xtol=1e-18, rtol=1e-14))
    found = {}
    for name, (e, se) in estimates.items():
        factor = tau2 / (tau2 + se * se)
        found[name] = Shrunken(e, factor, factor * e, math.sqrt(factor) * se)
    return Shrinkage(tau2, _james_stein(effect, float(se2.mean()), df), found)


def _james_stein(effect: Any, se2: float, df: float | None) -> float | None:
    total = float((effect**2).sum())
    if df is None or total <= 0:
        return None
    return max(0.0, 1 - (len(effect) - 2) * se2 * df / (df + 2) / total)
