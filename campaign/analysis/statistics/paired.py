"""The block layer: both runs of a block are neighbours in time, so what the hour did to one it did to the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
from campaign.analysis.statistics.equivalence import MARGINS_PCT, Margins, tost_paired
from campaign.analysis.statistics.independent import ALPHA, EXACT_BELOW, midranks, shapiro
from campaign.analysis.statistics.power import paired_posthoc
from campaign.analysis.statistics.ratio import paired_ratio


def paired_t(differences: FloatArray) -> dict[str, float]:
    """One-sample t test of block differences."""
    n, mean, variance = moments(differences)
    sd = math.sqrt(variance)
    se = sd / math.sqrt(n)
    reach = t_quantile(0.975, n - 1) * se
    return {
        "mean_diff": mean,
        "sd_diff": sd,
        "t": mean / se,
        "df": n - 1,
        "p": t_two_sided(mean / se, n - 1),
        "ci_low": mean - reach,
        "ci_high": mean + reach,
    }


def paired(
    treatment: FloatArray, reference: FloatArray, direction: int, m: int, margins: Margins = MARGINS_PCT
) -> dict[str, Any]:
    """Everything about n complete blocks; ``treatment[k]`` and ``reference[k]`` are of one block.

    ``status`` is ``ok``, ``insufficient_n`` (fewer than 3 pairs) or ``deterministic`` (all differences alike).
    """
    n = len(treatment)
    if n < 3:
        return {"n_pairs": n, "status": "insufficient_n"}
    differences = treatment - reference
    mean = moments(differences).mean
    if is_constant(differences, max(abs(moments(arm).mean) for arm in (treatment, reference))):
        return {"n_pairs": n, "status": "deterministic", "mean_diff": mean if abs(mean) > 0 else 0.0}
    out: dict[str, Any] = {"n_pairs": n, "status": "ok"} | paired_t(differences)
    dz = mean / out["sd_diff"]
    low, high = noncentral_limits(out["t"], n - 1)
    normality = shapiro(differences)
    ratio = paired_ratio(treatment, reference)
    out |= {
        "dz": dz,
        "dz_ci_low": low / math.sqrt(n),
        "dz_ci_high": high / math.sqrt(n),
        "gz": hedges_j(n - 1) * dz,
        "r_xy": _correlation(treatment, reference),
        "wilcoxon": wilcoxon(differences),
        "hodges_lehmann": pseudomedian(differences),
        "shapiro_diff_p": normality["p"] if normality else None,
        "ratio": ratio,
        "tost_ratio": tost_paired(treatment, reference, direction, margins),
        "power": paired_posthoc(dz, n, m),
    }
    if ratio is None:
        out["reasons"] = {"ratio": "nonpositive_mean", "tost_ratio": "nonpositive_mean"}
    return out


def _correlation(treatment: FloatArray, reference: FloatArray) -> float | None:
    if is_constant(treatment) or is_constant(reference):
        return None
    return float(np.corrcoef(treatment, reference)[0, 1])


def wilcoxon(differences: FloatArray) -> dict[str, Any]:
    """Signed-rank test; V sums the ranks of positive differences after zeros are dropped."""
    kept = differences[differences != 0]
    n, zeros = len(kept), int((differences == 0).sum())
    if n == 0:
        return {"V": 0.0, "zeros": zeros, "ties": False, "p_asymptotic": None, "p_exact": None, "p": None}
    ranks, counts = midranks(np.abs(kept))
    v = float(ranks[kept > 0].sum())
    ties = bool((counts > 1).any())
    tie_loss = float((counts.astype(float) ** 3 - counts).sum()) / 48
    sigma = math.sqrt(n * (n + 1) * (2 * n + 1) / 24 - tie_loss)
    z = max(0.0, abs(v - n * (n + 1) / 4) - 0.5) / sigma if sigma else 0.0
    out: dict[str, Any] = {
        "V": v,
        "zeros": zeros,
        "ties": ties,
        "p_asymptotic": normal_two_sided(z),
        "p_exact": None,
    }
    if not ties and not zeros and n < EXACT_BELOW:
        out["p_exact"] = exact_two_sided(signed_rank_cdf(n), round(v))
    out["p"] = out["p_exact"] if out["p_exact"] is not None else out["p_asymptotic"]
    return out


def pseudomedian(differences: FloatArray) -> dict[str, float]:
    """Median of the Walsh averages with the interval between their order statistics."""
    n = len(differences)
    upper = np.triu_indices(n)
    walsh = np.sort((differences[upper[0]] + differences[upper[1]]) / 2)
    cdf = signed_rank_cdf(n)
    c = max(1, lower_quantile(cdf, ALPHA / 2))
    return {
        "pseudomedian": median(walsh),
        "ci_low": float(walsh[c - 1]),
        "ci_high": float(walsh[len(walsh) - c]),
        "achieved_conf": 1 - 2 * float(cdf[c - 1]),
    }


def newey_west(differences: FloatArray) -> dict[str, float]:
    """Standard error of the mean difference that allows for resemblance up to lag ⌊4(n/100)^(2/9)⌋ (Bartlett weights)."""
    n = len(differences)
    lag = math.floor(4 * (n / 100) ** (2 / 9))
    e = differences - differences.mean()
    variance = float(e @ e)
    for k in range(1, lag + 1):
        variance += 2 * (1 - k / (lag + 1)) * float(e[k:] @ e[:-k])
    se = math.sqrt(max(variance, 0.0)) / n
    t = moments(differences).mean / se if se > RELATIVE_ZERO else math.nan
    return {"se": se, "lag": lag, "t": t, "p": t_two_sided(t, n - 1) if math.isfinite(t) else math.nan}
