"""Welch's t test (B. L. Welch, Biometrika 34, 1947): means of two arms whose variances may differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided
from campaign.analysis.statistics.independent import ALPHA, satterthwaite

KEY = "welch"


@dataclass(frozen=True)
class Found(Result):
    """Treatment minus reference: limits at 95 %, and (``bonf``) at 1 - 0.05/m."""

    t: Annotated[float, Column("welch_t")]
    df: Annotated[float, Column("welch_df")]
    p: Annotated[float, Column("welch_p")]
    ci_low: Annotated[float, Column("welch_low")]
    ci_high: Annotated[float, Column("welch_high")]
    se: float
    ci_bonf_low: float
    ci_bonf_high: float


def test(treatment: FloatArray, reference: FloatArray, m: int = 1) -> Found:
    """Unequal-variance t test with t quantiles, and the simultaneous interval at level 1 - 0.05/m."""
    (n1, mean1, s1), (n2, mean2, s2) = moments(treatment), moments(reference)
    v1, v2 = s1 / n1, s2 / n2
    se = math.sqrt(v1 + v2)
    df = satterthwaite(v1, n1, v2, n2)
    diff = mean1 - mean2
    t = diff / se
    reach, wide = t_quantile(0.975, df) * se, t_quantile(1 - ALPHA / m / 2, df) * se
    return Found(t, df, t_two_sided(t, df), diff - reach, diff + reach, se, diff - wide, diff + wide)
