"""Tests of two independent arms: normality, variance, means, ranks, and the pre-registered choice among them."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import scipy
from scipy import special

from campaign.analysis.statistics.descriptive import Moments, is_constant, median, moments
from campaign.analysis.statistics.distributions import (
    FloatArray,
    IntArray,
    by_content,
    exact_two_sided,
    f_upper,
    lower_quantile,
    normal_two_sided,
    rank_sum_cdf,
    t_quantile,
    t_two_sided,
)

EXACT_BELOW = 50
ALPHA = 0.05


@by_content
def shapiro(x: FloatArray) -> dict[str, float] | None:
    """Shapiro-Wilk on raw values; None where it is undefined (n outside 3 … 5000, no spread)."""
    if not 3 <= len(x) <= 5000 or is_constant(x):
        return None
    # Centred and scaled first: W does not change, and near-constant large numbers keep their digits.
    # Without what SciPy puts around the test for axes and missing values, which takes ten times as long.
    w, p = inspect.unwrap(scipy.stats.shapiro)((x - x.mean()) / x.std())
    return {"W": float(w), "p": float(p)}


def levene(treatment: FloatArray, reference: FloatArray, centre: str) -> dict[str, float] | None:
    """F test of absolute deviations from each arm's ``median`` (Brown-Forsythe) or ``mean`` (Levene)."""
    (n1, mean1, spread1), (n2, mean2, spread2) = (_deviations(arm, centre) for arm in (treatment, reference))
    within = (n1 - 1) * spread1 + (n2 - 1) * spread2
    between = n1 * n2 / (n1 + n2) * (mean1 - mean2) ** 2
    if within <= 0:
        return None
    f = between * (n1 + n2 - 2) / within
    return {"F": f, "p": f_upper(f, 1, n1 + n2 - 2)}


def _deviations(x: FloatArray, centre: str) -> Moments:
    return moments(np.abs(x - (median(x) if centre == "median" else moments(x).mean)))


def student(treatment: FloatArray, reference: FloatArray) -> dict[str, float]:
    """Pooled-variance t test of the mean difference, treatment minus reference."""
    (n1, mean1, _), (n2, mean2, _) = moments(treatment), moments(reference)
    df = n1 + n2 - 2
    se = pooled_sd(treatment, reference) * math.sqrt(1 / n1 + 1 / n2)
    diff = mean1 - mean2
    reach = t_quantile(0.975, df) * se
    t = diff / se
    return {"t": t, "df": df, "p": t_two_sided(t, df), "ci_low": diff - reach, "ci_high": diff + reach, "se": se}


def pooled_sd(treatment: FloatArray, reference: FloatArray) -> float:
    """Square root of the pooled variance."""
    (n1, _, s1), (n2, _, s2) = moments(treatment), moments(reference)
    return math.sqrt(((n1 - 1) * s1 + (n2 - 1) * s2) / (n1 + n2 - 2))


def satterthwaite(v1: float, n1: int, v2: float, n2: int) -> float:
    """Degrees of freedom of v1 + v2, each the squared standard error of a mean of n values."""
    return (v1 + v2) ** 2 / (v1 * v1 / (n1 - 1) + v2 * v2 / (n2 - 1))


def welch(treatment: FloatArray, reference: FloatArray, m: int = 1) -> dict[str, float]:
    """Unequal-variance t test with t quantiles, and the simultaneous interval at level 1 - 0.05/m."""
    (n1, mean1, s1), (n2, mean2, s2) = moments(treatment), moments(reference)
    v1, v2 = s1 / n1, s2 / n2
    se = math.sqrt(v1 + v2)
    df = satterthwaite(v1, n1, v2, n2)
    diff = mean1 - mean2
    t = diff / se
    reach, wide = t_quantile(0.975, df) * se, t_quantile(1 - ALPHA / m / 2, df) * se
    return {
        "t": t,
        "df": df,
        "p": t_two_sided(t, df),
        "ci_low": diff - reach,
        "ci_high": diff + reach,
        "se": se,
        "ci_bonf_low": diff - wide,
        "ci_bonf_high": diff + wide,
    }


def mann_whitney(treatment: FloatArray, reference: FloatArray) -> dict[str, Any]:
    """Rank-sum test of stochastic order (not of means); U counts treatment above reference, ties half.

    Exact without ties while both arms are below 50, and always the normal approximation with tie and continuity
    correction beside it.
    """
    n1, n2 = len(treatment), len(reference)
    total = n1 + n2
    ranks, counts = midranks(np.concatenate([treatment, reference]))
    u = float(ranks[:n1].sum()) - n1 * (n1 + 1) / 2
    ties = bool((counts > 1).any())
    correction = float((counts.astype(float) ** 3 - counts).sum()) / (total * (total - 1))
    sigma = math.sqrt(n1 * n2 / 12 * (total + 1 - correction))
    z = max(0.0, abs(u - n1 * n2 / 2) - 0.5) / sigma if sigma else 0.0
    out: dict[str, Any] = {
        "U": u,
        "ties": ties,
        "p_asymptotic": normal_two_sided(z),
        "p_exact": None,
        "a12": u / (n1 * n2),
        "cliffs_delta": 2 * u / (n1 * n2) - 1,
    }
    if not ties and max(n1, n2) < EXACT_BELOW:
        out["p_exact"] = exact_two_sided(rank_sum_cdf(n1, n2), round(u))
    out["p"] = out["p_exact"] if out["p_exact"] is not None else out["p_asymptotic"]
    if max(n1, n2) < EXACT_BELOW:
        out["p_minimum_attainable"] = min(1.0, 2 / math.comb(total, n1))
    return out


def midranks(x: FloatArray) -> tuple[FloatArray, IntArray]:
    """Ranks from 1, equal values sharing the mean of theirs, and how often each distinct value occurs."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place], counts


def hodges_lehmann(treatment: FloatArray, reference: FloatArray) -> dict[str, float | None]:
    """Median of all pairwise differences with the interval between its order statistics."""
    n1, n2 = len(treatment), len(reference)
    differences = np.sort((treatment[:, None] - reference[None, :]).ravel())
    if max(n1, n2) < EXACT_BELOW:
        c = max(1, lower_quantile(rank_sum_cdf(n1, n2), ALPHA / 2))
    else:
        reach = 1.96 * math.sqrt(n1 * n2 * (n1 + n2 + 1) / 12)
        c = max(1, round(n1 * n2 / 2 - reach))
    if n1 * n2 <= 10_000:
        tail = float(rank_sum_cdf(n1, n2)[c - 1])
    else:
        tail = float(special.ndtr((c - 0.5 - n1 * n2 / 2) / math.sqrt(n1 * n2 * (n1 + n2 + 1) / 12)))
    return {
        "shift": median(differences),
        "ci_low": float(differences[c - 1]),
        "ci_high": float(differences[n1 * n2 - c]),
        "achieved_conf": 1 - 2 * tail,
    }


def decide(
    normality: dict[str, dict[str, float] | None],
    brown_forsythe: dict[str, float] | None,
    p: dict[str, float],
) -> dict[str, Any]:
    """The pre-registered rule, read in the one way that uses every test it names.

    ``p`` holds the p-values of ``student``, ``welch`` and ``mannwhitney``. A Shapiro-Wilk that cannot be computed
    counts as not normal.
    """
    normal = all(arm is not None and arm["p"] > ALPHA for arm in normality.values())
    equal_variance = brown_forsythe is not None and brown_forsythe["p"] > ALPHA
    test = ("student" if equal_variance else "welch") if normal else "mannwhitney"
    return {"normal": normal, "equal_variance": equal_variance, "document_test": test, "document_p": p[test]}
