"""Student's t test: means of two arms of one variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided
from campaign.analysis.statistics.independent import pooled_sd

KEY = "student"


@dataclass(frozen=True)
class Found(Result):
    """Treatment minus reference, limits at 95 %."""

    t: Annotated[float, Column("student_t")]
    df: Annotated[float, Column("student_df")]
    p: Annotated[float, Column("student_p")]
    ci_low: float
    ci_high: float
    se: float


def test(treatment: FloatArray, reference: FloatArray, m: int = 1) -> Found:
    """Pooled-variance t test of the mean difference."""
    (n1, mean1, _), (n2, mean2, _) = moments(treatment), moments(reference)
    df = n1 + n2 - 2
    se = pooled_sd(treatment, reference) * math.sqrt(1 / n1 + 1 / n2)
    diff = mean1 - mean2
    reach = t_quantile(0.975, df) * se
    t = diff / se
    return Found(t, df, t_two_sided(t, df), diff - reach, diff + reach, se)
