"""Standardised effects with intervals from the noncentral t. Signal against noise, not importance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.descriptive import RELATIVE_ZERO, is_constant, moments
from campaign.analysis.statistics.distributions import FloatArray, noncentrality
from campaign.analysis.statistics.independent import pooled_sd


def hedges_j(df: float) -> float:
    """The exact small-sample factor that turns d into g."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)


@dataclass(frozen=True, kw_only=True)
class Effect(Result):
    """Standardised differences, treatment minus reference; None where the spread that they divide by is nil."""

    cohens_d: Annotated[float | None, Column("cohens_d")] = None
    hedges_g: Annotated[float | None, Column("hedges_g")] = None
    d_ci_low: Annotated[float | None, Column("d_low")] = None
    d_ci_high: Annotated[float | None, Column("d_high")] = None
    g_ci_low: Annotated[float | None, Column("g_low")] = None
    g_ci_high: Annotated[float | None, Column("g_high")] = None
    d_av: float | None = None
    glass_delta: float | None = None
    sd_pooled: float
    hedges_J: float


def independent_effect(treatment: FloatArray, reference: FloatArray) -> Effect:
    """Cohen's d, Hedges' g, Glass's delta and d_av."""
    (n1, mean1, s1), (n2, mean2, s2) = moments(treatment), moments(reference)
    df = n1 + n2 - 2
    diff = mean1 - mean2
    sd = pooled_sd(treatment, reference)
    j = hedges_j(df)
    if sd <= RELATIVE_ZERO * max(1.0, abs(mean2)):
        return Effect(sd_pooled=sd, hedges_J=j)
    d = diff / sd
    low, high = noncentral_limits(d * math.sqrt(n1 * n2 / (n1 + n2)), df)
    unit = math.sqrt(1 / n1 + 1 / n2)
    return Effect(
        cohens_d=d,
        hedges_g=j * d,
        d_ci_low=low * unit,
        d_ci_high=high * unit,
        g_ci_low=j * low * unit,
        g_ci_high=j * high * unit,
        d_av=diff / math.sqrt((s1 + s2) / 2),
        glass_delta=None if is_constant(reference) else diff / math.sqrt(s2),
        sd_pooled=sd,
        hedges_J=j,
    )


def noncentral_limits(t: float, df: float) -> tuple[float, float]:
    """95 % limits of the noncentrality behind an observed t."""
    return noncentrality(t, df, 0.975), noncentrality(t, df, 0.025)


def labels(d: float | None) -> tuple[str | None, str | None]:
    """The size of d in the document's words and in Cohen's, which are not the same."""
    if d is None:
        return None, None
    size = abs(d)
    document = "small" if size < 0.2 else "medium" if size <= 0.8 else "large"
    cohen = "negligible" if size < 0.2 else "small" if size < 0.5 else "medium" if size < 0.8 else "large"
    return document, cohen
