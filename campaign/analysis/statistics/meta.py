"""Random-effects synthesis over units, in percent units (100 ln ratio), where tau² is not lost below tolerances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from campaign.analysis.result import Result
from campaign.analysis.statistics.distributions import (
    FloatArray,
    chi2_upper,
    normal_two_sided,
    root,
    t_quantile,
    t_two_sided,
)


def heterogeneity(y: FloatArray, v: FloatArray, tau2: float = 0.0) -> float:
    """Generalised Q: weighted squared deviations at a given between-unit variance."""
    w = 1 / (v + tau2)
    mean = float(w @ y) / float(w.sum())
    return float(w @ (y - mean) ** 2)


def paule_mandel(y: FloatArray, v: FloatArray) -> float:
    """tau² at which Q equals its expectation k - 1; 0 where Q never reaches it."""
    excess = len(y) - 1
    if heterogeneity(y, v) <= excess:
        return 0.0
    high = float(y.var(ddof=1)) + float(v.max())
    while heterogeneity(y, v, high) > excess:
        high *= 2
    return root(lambda tau2: heterogeneity(y, v, tau2) - excess, 0.0, high)


def dersimonian_laird(y: FloatArray, v: FloatArray) -> float:
    """The moment estimate of tau²."""
    w = 1 / v
    scale = float(w.sum()) - float((w**2).sum()) / float(w.sum())
    return max(0.0, (heterogeneity(y, v) - (len(y) - 1)) / scale)


def reml(y: FloatArray, v: FloatArray) -> float:
    """The restricted maximum-likelihood estimate of tau², searched on the scale of its square root."""

    def deviance(tau: float) -> float:
        w = 1 / (v + tau * tau)
        return heterogeneity(y, v, tau * tau) - float(np.log(w).sum()) + math.log(float(w.sum()))

    reach = 3 * math.sqrt(float(y.var(ddof=1)) + float(v.max()))
    grid = np.linspace(0, reach, 200)
    start = int(np.argmin([deviance(tau) for tau in grid]))
    if start == 0 and deviance(grid[1] / 1000) >= deviance(0.0):
        return 0.0
    low, high = (float(grid[max(0, min(len(grid) - 1, i))]) ** 2 for i in (start - 1, start + 1))

    def score(tau2: float) -> float:
        w = 1 / (v + tau2)
        mean = float(w @ y) / float(w.sum())
        return float(w**2 @ (y - mean) ** 2) - float(w.sum()) + float((w**2).sum()) / float(w.sum())

    # A minimum is only found to half the digits; the zero of the slope beside it to all.
    return root(score, low, high) if score(low) * score(high) < 0 else 0.0


TAU2 = {"PM": paule_mandel, "DL": dersimonian_laird, "REML": reml}
UNITS = "100*ln(ratio)"


@dataclass(frozen=True)
class RandomEffects(Result):
    """The mean over all units there could be, in 100 ln ratio, with limits at 95 % and those of one further unit
    (``pi``). ``I2`` is in percent; p is None where all units say the same."""

    estimate: float
    se: float
    tau2: float
    I2: float
    Q: float
    Q_p: float
    p: float | None
    ci_low: float
    ci_high: float
    pi_low: float
    pi_high: float
    ratio: float
    units: str = UNITS


@dataclass(frozen=True)
class FixedEffect(Result):
    """The mean over these units, in 100 ln ratio; limits at 95 %."""

    estimate: float
    se: float
    p: float
    ci_low: float
    ci_high: float
    ratio: float
    units: str = UNITS


def random_effects(y: FloatArray, v: FloatArray, method: str) -> RandomEffects:
    """Estimate with the Hartung-Knapp-Sidik-Jonkman interval (t with k - 1) and 95 % prediction interval.

    ``y`` are unit estimates in 100 ln ratio and ``v`` their variances; shape (k,), k >= 2. I² (percent) sets tau²
    against the typical sampling variance of Higgins and Thompson.
    """
    k = len(y)
    tau2 = TAU2[method](y, v)
    w = 1 / (v + tau2)
    estimate = float(w @ y) / float(w.sum())
    se = math.sqrt(float(w @ (y - estimate) ** 2) / ((k - 1) * float(w.sum())))
    q = t_quantile(0.975, k - 1)
    spread = math.sqrt(tau2 + se * se)
    fixed = 1 / v
    typical = (k - 1) * float(fixed.sum()) / (float(fixed.sum()) ** 2 - float((fixed**2).sum()))
    statistic = heterogeneity(y, v)
    return RandomEffects(
        estimate=estimate,
        se=se,
        tau2=tau2,
        I2=100 * tau2 / (tau2 + typical),
        Q=statistic,
        Q_p=chi2_upper(statistic, k - 1),
        p=t_two_sided(estimate / se, k - 1) if se > 0 else None,
        ci_low=estimate - q * se,
        ci_high=estimate + q * se,
        pi_low=estimate - q * spread,
        pi_high=estimate + q * spread,
        ratio=math.exp(estimate / 100),
    )


def fixed_effect(y: FloatArray, v: FloatArray) -> FixedEffect:
    """Inverse-variance mean: says something about these units only."""
    w = 1 / v
    estimate, se = float(w @ y) / float(w.sum()), 1 / math.sqrt(float(w.sum()))
    reach = 1.959963984540054 * se
    p, ratio = normal_two_sided(estimate / se), math.exp(estimate / 100)
    return FixedEffect(estimate, se, p, estimate - reach, estimate + reach, ratio)
