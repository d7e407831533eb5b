"""Shrinking what a screen found towards nothing, against the winner's curse: the best of several estimates is too good.

Normal prior with mean 0 whose variance is what the estimates scatter beyond their own errors (Efron and Morris 1973).
It takes most of the curse away where little is real, and shrinks one large effect among nulls too far: raw and shrunken
belong side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

Estimate = tuple[float, float]
"""Effect and its standard error."""


def shrink(estimates: Mapping[str, Estimate], df: float | None = None) -> dict[str, Any]:
    """``tau2`` of the prior, and for each estimate its factor, shrunken value and standard deviation. ``df`` are the
    error's, for the factor of James and Stein as a check."""
    effect = np.array([e for e, _ in estimates.values()])
    se2 = np.array([se * se for _, se in estimates.values()])
    k = len(effect)

    def excess(tau2: float) -> float:
        return float((effect**2 / (se2 + tau2)).sum()) - k

    if k == 0 or (se2 <= 0).any():
        return {"tau2": None, "james_stein_factor": None, "effects": {}}
    tau2 = 0.0
    if excess(0.0) > 0:
        tau2 = float(scipy.optimize.brentq(excess, 0.0, float((effect**2).sum()), xtol=1e-18, rtol=1e-14))
    found = {}
    for name, (e, se) in estimates.items():
        factor = tau2 / (tau2 + se * se)
        found[name] = {"raw": e, "factor": factor, "shrunken": factor * e, "sd": math.sqrt(factor) * se}
    return {"tau2": tau2, "james_stein_factor": _james_stein(effect, float(se2.mean()), df), "effects": found}


def _james_stein(effect: Any, se2: float, df: float | None) -> float | None:
    total = float((effect**2).sum())
    if df is None or total <= 0:
        return None
    return max(0.0, 1 - (len(effect) - 2) * se2 * df / (df + 2) / total)
