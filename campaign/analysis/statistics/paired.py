"""The block layer: both runs of a block are neighbours in time, so what the hour did to one it did to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Column, Result, as_json
from campaign.analysis.statistics.descriptive import RELATIVE_ZERO, is_constant, median, moments
from campaign.analysis.statistics.distributions import (
    FloatArray,
    exact_two_sided,
    lower_quantile,
    normal_two_sided,
    signed_rank_cdf,
    t_quantile,
    t_two_sided,
)
from campaign.analysis.statistics.effects import hedges_j, noncentral_limits
from campaign.analysis.statistics.equivalence import MARGINS_PCT, Margins, Tost, tost_paired
from campaign.analysis.statistics.independent import ALPHA, EXACT_BELOW, midranks, shapiro
from campaign.analysis.statistics.power import PairedPosthoc, paired_posthoc
from campaign.analysis.statistics.ratio import PairedRatio, paired_ratio


@dataclass(frozen=True)
class PairedT(Result):
    """Of block differences, treatment minus reference; limits at 95 %."""

    mean_diff: float
    sd_diff: float
    t: float
    df: float
    p: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Wilcoxon(Result):
    """``V`` sums the ranks of positive differences; p is None where no difference is left."""

    V: float
    zeros: int
    ties: bool
    p_asymptotic: float | None
    p_exact: float | None
    p: Annotated[float | None, Column("wilcoxon_p")]


@dataclass(frozen=True)
class Pseudomedian(Result):
    pseudomedian: float
    ci_low: float
    ci_high: float
    achieved_conf: float


@dataclass(frozen=True)
class NeweyWest(Result):
    se: float
    lag: int
    t: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Blocks(Result):
    """Complete blocks, of which nothing is inferred but perhaps the mean. ``status`` says why: ``no_blocks``,
    ``insufficient_n`` (fewer than 3 pairs) or ``deterministic`` (all differences alike)."""

    n_pairs: int
    status: str
    mean_diff: Annotated[float | None, LEFT_OUT, Column("paired_diff")] = None
    n_incomplete: Annotated[int | None, LEFT_OUT] = None
    """Runs without a partner."""


@dataclass(frozen=True, kw_only=True)
class Paired(Blocks):
    """Blocks with everything that is inferred from them; ``status`` is ``ok``."""

    sd_diff: float
    t: Annotated[float, Column("paired_t")]
    df: float
    p: Annotated[float, Column("paired_p")]
    ci_low: Annotated[float, Column("paired_low")]
    ci_high: Annotated[float, Column("paired_high")]
    dz: Annotated[float, Column("paired_dz")]
    dz_ci_low: float
    dz_ci_high: float
    gz: float
    r_xy: Annotated[float | None, Column("r_blocks")]
    wilcoxon: Wilcoxon
    hodges_lehmann: Pseudomedian
    shapiro_diff_p: float | None
    ratio: PairedRatio | None
    tost_ratio: dict[str, Tost] | None
    power: PairedPosthoc
    reasons: Annotated[dict[str, str] | None, LEFT_OUT] = None


def paired_t(differences: FloatArray) -> PairedT:
    """One-sample t test of block differences."""
    n, mean, variance = moments(differences)
    sd = math.sqrt(variance)
    se = sd / math.sqrt(n)
    reach = t_quantile(0.975, n - 1) * se
    return PairedT(mean, sd, mean / se, n - 1, t_two_sided(mean / se, n - 1), mean - reach, mean + reach)


def paired(
    treatment: FloatArray, reference: FloatArray, direction: int, m: int, margins: Margins = MARGINS_PCT
) -> Blocks:
    """Everything about n complete blocks; ``treatment[k]`` and ``reference[k]`` are of one block."""
    n = len(treatment)
    if n < 3:
        return Blocks(n_pairs=n, status="insufficient_n")
    differences = treatment - reference
    mean = moments(differences).mean
    if is_constant(differences, max(abs(moments(arm).mean) for arm in (treatment, reference))):
        return Blocks(n_pairs=n, status="deterministic", mean_diff=mean if abs(mean) > 0 else 0.0)
    test = paired_t(differences)
    dz = mean / test.sd_diff
    low, high = noncentral_limits(test.t, n - 1)
    normality = shapiro(differences)
    ratio = paired_ratio(treatment, reference, direction)
    return Paired(
        n_pairs=n,
        status="ok",
        **as_json(test),
        dz=dz,
        dz_ci_low=low / math.sqrt(n),
        dz_ci_high=high / math.sqrt(n),
        gz=hedges_j(n - 1) * dz,
        r_xy=_correlation(treatment, reference),
        wilcoxon=wilcoxon(differences),
        hodges_lehmann=pseudomedian(differences),
        shapiro_diff_p=normality.p if normality else None,
        ratio=ratio,
        tost_ratio=tost_paired(treatment, reference, direction, margins),
        power=paired_posthoc(dz, n, m),
        reasons={"ratio": "nonpositive_mean", "tost_ratio": "nonpositive_mean"} if ratio is None else None,
    )


def _correlation(treatment: FloatArray, reference: FloatArray) -> float | None:
    if is_constant(treatment) or is_constant(reference):
        return None
    return float(np.corrcoef(treatment, reference)[0, 1])


def wilcoxon(differences: FloatArray) -> Wilcoxon:
    """Signed-rank test, after zeros are dropped."""
    kept = differences[differences != 0]
    n, zeros = len(kept), int((differences == 0).sum())
    if n == 0:
        return Wilcoxon(V=0.0, zeros=zeros, ties=False, p_asymptotic=None, p_exact=None, p=None)
    ranks, counts = midranks(np.abs(kept))
    v = float(ranks[kept > 0].sum())
    ties = bool((counts > 1).any())
    tie_loss = float((counts.astype(float) ** 3 - counts).sum()) / 48
    sigma = math.sqrt(n * (n + 1) * (2 * n + 1) / 24 - tie_loss)
    z = max(0.0, abs(v - n * (n + 1) / 4) - 0.5) / sigma if sigma else 0.0
    asymptotic = normal_two_sided(z)
    exact = None
    if not ties and not zeros and n < EXACT_BELOW:
        exact = exact_two_sided(signed_rank_cdf(n), round(v))
    return Wilcoxon(v, zeros, ties, asymptotic, exact, asymptotic if exact is None else exact)


def pseudomedian(differences: FloatArray) -> Pseudomedian:
    """Median of the Walsh averages with the interval between their order statistics."""
    n = len(differences)
    upper = np.triu_indices(n)
    walsh = np.sort((differences[upper[0]] + differences[upper[1]]) / 2)
    cdf = signed_rank_cdf(n)
    c = max(1, lower_quantile(cdf, ALPHA / 2))
    return Pseudomedian(
        pseudomedian=median(walsh),
        ci_low=float(walsh[c - 1]),
        ci_high=float(walsh[len(walsh) - c]),
        achieved_conf=1 - 2 * float(cdf[c - 1]),
    )


def newey_west(differences: FloatArray) -> NeweyWest:
    """Standard error of the mean difference that allows for resemblance up to
    lag ⌊4(n/100)^(2/9)⌋ (Bartlett weights)."""
    n = len(differences)
    lag = math.floor(4 * (n / 100) ** (2 / 9))
    e = differences - differences.mean()
    variance = float(e @ e)
    for k in range(1, lag + 1):
        variance += 2 * (1 - k / (lag + 1)) * float(e[k:] @ e[:-k])
    se = math.sqrt(max(variance, 0.0)) / n
    t = moments(differences).mean / se if se > RELATIVE_ZERO else math.nan
    return NeweyWest(se, lag, t, t_two_sided(t, n - 1) if math.isfinite(t) else math.nan)
