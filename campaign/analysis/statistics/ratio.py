"""The ratio of means, treatment by reference, with intervals (Fieller 1954; the delta method on the log scale)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided

LARGEST_LOG = 500.0
"""Half width on the log scale from which there is no number for a limit."""
NOT_DISTINGUISHABLE = "denominator_not_distinguishable_from_zero"


def fieller(
    a: float, b: float, variances: tuple[float, float, float], q: float
) -> tuple[float, float | None, float | None]:
    """``g`` and the limits of a/b: roots of (b² - q²Vbb)θ² - 2(ab - q²Vab)θ + (a² - q²Vaa) = 0.

    ``variances`` are Vaa, Vbb and Vab. The limits are None when g = q²Vbb/b² reaches 1: the denominator cannot be told
    from zero.
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


@dataclass(frozen=True, kw_only=True)
class Ratio(Result):
    """Treatment's mean by the reference's, with limits at 95 %; ``overhead`` is percent, worse is positive."""

    ratio: float
    df: float
    fieller_g: float
    fieller_low: Annotated[float | None, Column("fieller_low", percent=True)]
    fieller_high: Annotated[float | None, Column("fieller_high", percent=True)]
    logdelta_low: float | None
    logdelta_high: float | None
    hmean_ratio: float | None
    reason: Annotated[str | None, LEFT_OUT] = None
    overhead_fieller_low: float | None = None
    overhead_fieller_high: float | None = None
    overhead_logdelta_low: float | None = None
    overhead_logdelta_high: float | None = None


def independent_ratio(treatment: FloatArray, reference: FloatArray, direction: int = 0) -> Ratio | None:
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
    log_low, log_high = (theta * math.exp(-reach), theta * math.exp(reach)) if reach < LARGEST_LOG else (None, None)
    hmean = None
    if (treatment > 0).all() and (reference > 0).all():
        hmean = n_t / float(np.sum(1 / treatment)) / (n_r / float(np.sum(1 / reference)))
    overhead, overhead_log = percent_interval(low, high, direction), percent_interval(log_low, log_high, direction)
    return Ratio(
        ratio=theta,
        df=df,
        fieller_g=g,
        fieller_low=low,
        fieller_high=high,
        logdelta_low=log_low,
        logdelta_high=log_high,
        hmean_ratio=hmean,
        reason=NOT_DISTINGUISHABLE if low is None else None,
        overhead_fieller_low=overhead[0],
        overhead_fieller_high=overhead[1],
        overhead_logdelta_low=overhead_log[0],
        overhead_logdelta_high=overhead_log[1],
    )


@dataclass(frozen=True, kw_only=True)
class PairedRatio(Result):
    """As :class:`Ratio`, over complete blocks; ``gm`` is the geometric mean of the blocks' ratios."""

    ratio: float
    fieller_g: float
    fieller_low: float | None
    fieller_high: float | None
    gm_ratio: float | None = None
    gm_low: float | None = None
    gm_high: float | None = None
    gm_p: float | None = None
    reason: Annotated[str | None, LEFT_OUT] = None
    overhead_fieller_low: float | None = None
    overhead_fieller_high: float | None = None


def paired_ratio(treatment: FloatArray, reference: FloatArray, direction: int = 0) -> PairedRatio | None:
    """Ratio of means with the covariance of the pairs, and the geometric mean of the pairs' ratios."""
    (n, m_t, _), (_, m_r, _) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    q = t_quantile(0.975, n - 1)
    g, low, high = fieller(m_t, m_r, mean_covariance(treatment, reference), q)
    overhead = percent_interval(low, high, direction)
    found = PairedRatio(
        ratio=m_t / m_r,
        fieller_g=g,
        fieller_low=low,
        fieller_high=high,
        reason=NOT_DISTINGUISHABLE if low is None else None,
        overhead_fieller_low=overhead[0],
        overhead_fieller_high=overhead[1],
    )
    if not ((treatment > 0).all() and (reference > 0).all()):
        return found
    logs = np.log(treatment) - np.log(reference)
    centre, se = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(n)
    return replace(
        found,
        gm_ratio=math.exp(centre),
        gm_low=math.exp(centre - q * se),
        gm_high=math.exp(centre + q * se),
        gm_p=t_two_sided(centre / se, n - 1) if se > 0 else None,
    )


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
