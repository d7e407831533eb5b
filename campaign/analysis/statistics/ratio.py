"""The ratio of means, treatment by reference, with intervals (Fieller 1954; the delta method on the log scale)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided

LARGEST_LOG = 500.0
"""Half width on the log scale from which there is no number for a limit."""
NOT_DISTINGUISHABLE = "denominator_not_distinguishable_from_zero"


def fieller(
    a: float, b: float, variances: tuple[float, float, float], q: float
) -> tuple[float, float | None, float | None]:
    """``g`` and the limits of a/b: roots of (b² - q²Vbb)θ² - 2(ab - q²Vab)θ + (a² - q²Vaa) = 0.

    ``variances`` are Vaa, Vbb and Vab. The limits are None when g = q²Vbb/b² reaches 1: the denominator cannot be told from zero.
    """
    v_aa, v_bb, v_ab = variances
    g = q * q * v_bb / (b * b) if b else math.inf
    if g >= 1:
        return g, None, None
    quadratic, linear, constant = b * b - q * q * v_bb, a * b - q * q * v_ab, a * a - q * q * v_aa
    reach = math.sqrt(max(0.0, linear * linear - quadratic * constant))
    return g, (linear - reach) / quadratic, (linear + reach) / quadratic


def ratio_df(theta: float, v_t: float, n_t: int, v_r: float, n_r: int) -> float:
    """Satterthwaite degrees of freedom of mean_T - θ mean_R."""
    scaled = theta * theta * v_r
    return (v_t + scaled) ** 2 / (v_t * v_t / (n_t - 1) + scaled * scaled / (n_r - 1))


def independent_ratio(treatment: FloatArray, reference: FloatArray) -> dict[str, Any] | None:
    """Ratio of the two means and of the harmonic means; None unless both means are positive."""
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    v_t, v_r = s_t / n_t, s_r / n_r
    theta = m_t / m_r
    df = ratio_df(theta, v_t, n_t, v_r, n_r)
    q = t_quantile(0.975, df)
    g, low, high = fieller(m_t, m_r, (v_t, v_r, 0.0), q)
    reach = q * math.sqrt(v_t / m_t**2 + v_r / m_r**2)
    out: dict[str, Any] = {
        "ratio": theta,
        "df": df,
        "fieller_g": g,
        "fieller_low": low,
        "fieller_high": high,
        "logdelta_low": theta * math.exp(-reach) if reach < LARGEST_LOG else None,
        "logdelta_high": theta * math.exp(reach) if reach < LARGEST_LOG else None,
        "hmean_ratio": None,
    }
    if (treatment > 0).all() and (reference > 0).all():
        out["hmean_ratio"] = n_t / float(np.sum(1 / treatment)) / (n_r / float(np.sum(1 / reference)))
    if low is None:
        out["reason"] = NOT_DISTINGUISHABLE
    return out


def paired_ratio(treatment: FloatArray, reference: FloatArray) -> dict[str, Any] | None:
    """Ratio of means with the covariance of the pairs, and the geometric mean of the pairs' ratios."""
    (n, m_t, _), (_, m_r, _) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    q = t_quantile(0.975, n - 1)
    g, low, high = fieller(m_t, m_r, mean_covariance(treatment, reference), q)
    out: dict[str, Any] = {"ratio": m_t / m_r, "fieller_g": g, "fieller_low": low, "fieller_high": high}
    out |= dict.fromkeys(("gm_ratio", "gm_low", "gm_high", "gm_p"))
    if low is None:
        out["reason"] = NOT_DISTINGUISHABLE
    if (treatment > 0).all() and (reference > 0).all():
        logs = np.log(treatment) - np.log(reference)
        centre, se = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(n)
        out |= {
            "gm_ratio": math.exp(centre),
            "gm_low": math.exp(centre - q * se),
            "gm_high": math.exp(centre + q * se),
            "gm_p": t_two_sided(centre / se, n - 1) if se > 0 else None,
        }
    return out


def mean_covariance(treatment: FloatArray, reference: FloatArray) -> tuple[float, float, float]:
    """Variances and covariance of the two means of paired values."""
    n = len(treatment)
    t, r = treatment - treatment.mean(), reference - reference.mean()
    scale = n * (n - 1)
    return float(t @ t) / scale, float(r @ r) / scale, float(t @ r) / scale


def percent_interval(low: float | None, high: float | None, direction: int) -> tuple[float | None, float | None]:
    """Ratio limits as percent overhead: positive is worse, so the limits swap where higher is better."""
    if low is None or high is None or direction == 0:
        return None, None
    first, second = 100 * (low - 1), 100 * (high - 1)
    return (-second, -first) if direction > 0 else (first, second)
