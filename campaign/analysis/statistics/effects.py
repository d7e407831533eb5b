"""Standardised effects with intervals from the noncentral t. Signal against noise, not importance."""

from __future__ import annotations

import math
from typing import Any

from campaign.analysis.statistics.descriptive import RELATIVE_ZERO, is_constant, moments
from campaign.analysis.statistics.distributions import FloatArray, noncentrality
from campaign.analysis.statistics.independent import pooled_sd


def hedges_j(df: float) -> float:
    """The exact small-sample factor that turns d into g."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)


def independent_effect(treatment: FloatArray, reference: FloatArray) -> dict[str, float | None]:
    """Cohen's d, Hedges' g, Glass's delta and d_av; None where the spread they divide by is nil."""
    (n1, mean1, s1), (n2, mean2, s2) = moments(treatment), moments(reference)
    df = n1 + n2 - 2
    diff = mean1 - mean2
    sd = pooled_sd(treatment, reference)
    j = hedges_j(df)
    out: dict[str, float | None] = dict.fromkeys(
        ("cohens_d", "hedges_g", "d_ci_low", "d_ci_high", "g_ci_low", "g_ci_high", "d_av", "glass_delta")
    )
    out |= {"sd_pooled": sd, "hedges_J": j}
    if sd <= RELATIVE_ZERO * max(1.0, abs(mean2)):
        return out
    d = diff / sd
    low, high = noncentral_limits(d * math.sqrt(n1 * n2 / (n1 + n2)), df)
    unit = math.sqrt(1 / n1 + 1 / n2)
    out |= {"cohens_d": d, "hedges_g": j * d, "d_ci_low": low * unit, "d_ci_high": high * unit}
    out |= {"g_ci_low": j * low * unit, "g_ci_high": j * high * unit}
    out["d_av"] = diff / math.sqrt((s1 + s2) / 2)
    if not is_constant(reference):
        out["glass_delta"] = diff / math.sqrt(s2)
    return out


def noncentral_limits(t: float, df: float) -> tuple[float, float]:
    """95 % limits of the noncentrality behind an observed t."""
    return noncentrality(t, df, 0.975), noncentrality(t, df, 0.025)


def labels(d: float | None) -> dict[str, Any]:
    """The size of d in the document's words and in Cohen's, which are not the same."""
    if d is None:
        return {"d_label_document": None, "d_label_cohen": None}
    size = abs(d)
    document = "small" if size < 0.2 else "medium" if size <= 0.8 else "large"
    cohen = "negligible" if size < 0.2 else "small" if size < 0.5 else "medium" if size < 0.8 else "large"
    return {"d_label_document": document, "d_label_cohen": cohen}
