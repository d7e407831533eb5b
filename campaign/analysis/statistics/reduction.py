"""How much of the overhead an option wins back: R = (baseline - optimised)/(baseline - reference),
with Fieller limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Result
from campaign.analysis.statistics.bootstrap import resampled_means
from campaign.analysis.statistics.descriptive import quantiles
from campaign.analysis.statistics.distributions import FloatArray, t_quantile
from campaign.analysis.statistics.ratio import NOT_DISTINGUISHABLE, fieller, mean_covariance
from campaign.analysis.statistics.seeds import generator


@dataclass(frozen=True)
class Reduction:
    """R with its 95 % limits; without them where ``status`` says that the overhead cannot be told from zero."""

    point: float | None
    status: str
    fieller_g: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Percentiles(Result):
    """95 % limits of R from resampled blocks, or the reason why there are none."""

    low: float | None
    high: float | None
    reason: Annotated[str | None, LEFT_OUT] = None
    seed: Annotated[str | None, LEFT_OUT] = None


def independent_reduction(reference: FloatArray, baseline: FloatArray, optimised: FloatArray) -> Reduction:
    """R without blocks: numerator and denominator share the baseline mean, and df is the smallest n less one."""
    v_r, v_b, v_o = (float(x.var(ddof=1)) / len(x) for x in (reference, baseline, optimised))
    df = min(len(reference), len(baseline), len(optimised)) - 1
    a = float(baseline.mean() - optimised.mean())
    b = float(baseline.mean() - reference.mean())
    return _limits(a, b, (v_b + v_o, v_b + v_r, v_b), df)


def paired_reduction(reference: FloatArray, baseline: FloatArray, optimised: FloatArray) -> Reduction:
    """R from complete blocks: numerators and denominators pair up and carry their covariance."""
    a, b = baseline - optimised, baseline - reference
    return _limits(float(a.mean()), float(b.mean()), mean_covariance(a, b), len(a) - 1)


def pooled_reduction(models: Sequence[tuple[FloatArray, ...]]) -> Reduction:
    """R over several models, each a triple (reference, baseline, optimised) of the same blocks: the mean over models of
    the numerators over that of the denominators, with Fieller limits; every model weighs the same. Give logarithms, so
    that models of different speed may be added."""
    a = b = v_aa = v_bb = v_ab = 0.0
    df = 0
    for reference, baseline, optimised in models:
        won, lost = baseline - optimised, baseline - reference
        a += float(won.mean()) / len(models)
        b += float(lost.mean()) / len(models)
        v = mean_covariance(won, lost)
        v_aa, v_bb, v_ab = (total + one / len(models) ** 2 for total, one in zip((v_aa, v_bb, v_ab), v, strict=True))
        df += len(won) - 1
    return _limits(a, b, (v_aa, v_bb, v_ab), df)


def _limits(a: float, b: float, variances: tuple[float, float, float], df: int) -> Reduction:
    g, low, high = fieller(a, b, variances, t_quantile(0.975, df))
    return Reduction(a / b if b else None, "ok" if low is not None else NOT_DISTINGUISHABLE, g, low, high)


def bootstrap_reduction(
    reference: FloatArray, baseline: FloatArray, optimised: FloatArray, seed: int, resamples: int = 10_000
) -> Percentiles:
    """Percentile interval of R, whole blocks resampled."""
    a, b = baseline - optimised, baseline - reference
    # Both means of a resample at once: one as the real part, one as the imaginary.
    means = resampled_means(a + 1j * b, generator(seed), resamples)
    ratio = np.divide(means.real, means.imag, out=np.full(resamples, np.nan), where=means.imag != 0)
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) == 0:
        return Percentiles(None, None, reason="bootstrap_degenerate")
    low, high = quantiles(ratio, (0.025, 0.975))
    return Percentiles(low, high, seed=str(seed))


def against_prediction(low: float | None, high: float | None, predicted: tuple[float, float] = (0.6, 0.8)) -> str:
    """``supported`` only with the whole interval inside the prediction, ``refuted`` when disjoint,
    else ``compatible``."""
    if low is None or high is None:
        return "undecided"
    if predicted[0] <= low and high <= predicted[1]:
        return "supported"
    return "refuted" if high < predicted[0] or low > predicted[1] else "compatible"
