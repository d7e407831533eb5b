"""Two one-sided tests: the only road to the word *negligible* (Schuirmann 1987, on the ratio scale)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_upper
from campaign.analysis.statistics.independent import ALPHA, satterthwaite
from campaign.analysis.statistics.ratio import ratio_df

Margins = tuple[float, ...]
MARGINS_PCT: Margins = (1, 2, 3, 5)
"""Reported always; a declared margin that is not among them is added."""


def tost_ratio(
    treatment: FloatArray, reference: FloatArray, direction: int, margins: Margins = MARGINS_PCT
) -> dict[str, Any] | None:
    """Is mean_T/mean_R within 1 ± margin? The margin multiplies the estimated mean inside the test, not before it.

    ``direction`` is 1 where higher is better, -1 where lower is, 0 for neither; it picks the half that is
    non-inferiority of the treatment. None unless both means are positive.
    """
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    v_t, v_r = s_t / n_t, s_r / n_r
    out: dict[str, Any] = {}
    for margin in margins:
        entry: dict[str, Any] = {"margin_pct": margin}
        for side, theta in (("low", 1 - margin / 100), ("high", 1 + margin / 100)):
            t = (m_t - theta * m_r) / math.sqrt(v_t + theta * theta * v_r)
            df = ratio_df(theta, v_t, n_t, v_r, n_r)
            p = t_upper(t, df) if side == "low" else t_upper(-t, df)
            entry |= {f"t_{side}": t, f"df_{side}": df, f"p_{side}": p}
        out[f"{margin:g}"] = conclude(entry, direction)
    return out


def tost_paired(
    treatment: FloatArray, reference: FloatArray, direction: int, margins: Margins = MARGINS_PCT
) -> dict[str, Any] | None:
    """The same question on pairs: one-sample t tests of T_k - (1 ∓ margin) R_k."""
    (n, m_t, _), (_, m_r, _) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    sides = [(margin, side, 1 + sign * margin / 100) for margin in margins for side, sign in (("low", -1), ("high", 1))]
    shifted = treatment - np.array([theta for _, _, theta in sides])[:, None] * reference
    ses, means = (shifted.std(axis=1, ddof=1) / math.sqrt(n)).tolist(), shifted.mean(axis=1).tolist()
    at = {(margin, side): found for (margin, side, _), *found in zip(sides, ses, means, strict=True)}
    out: dict[str, Any] = {}
    for margin in margins:
        entry: dict[str, Any] = {"margin_pct": margin}
        for side in ("low", "high"):
            se, mean = at[margin, side]
            t = mean / se if se > 0 else math.copysign(math.inf, mean)
            p = t_upper(t if side == "low" else -t, n - 1) if math.isfinite(t) else float((mean < 0) == (side == "low"))
            entry |= {f"p_{side}": p}
        out[f"{margin:g}"] = conclude(entry, direction)
    return out


def conclude(entry: dict[str, Any], direction: int) -> dict[str, Any]:
    """Add the verdict of both halves, and which of them is non-inferiority."""
    entry["p"] = max(entry["p_low"], entry["p_high"])
    entry["equivalent"] = entry["p"] < ALPHA
    entry["p_noninferiority"] = {1: entry["p_low"], -1: entry["p_high"]}.get(direction)
    return entry


def tost_absolute(treatment: FloatArray, reference: FloatArray) -> dict[str, Any] | None:
    """Welch's test against a constant bound margin * mean_R; for comparison with other software only.

    ``rope`` is the posterior probability of a difference inside the bound under a flat prior, 1 - p_low - p_high.
    """
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    if m_r <= 0:
        return None
    v_t, v_r = s_t / n_t, s_r / n_r
    diff, se, df = m_t - m_r, math.sqrt(v_t + v_r), satterthwaite(v_t, n_t, v_r, n_r)
    out: dict[str, Any] = {}
    for margin in MARGINS_PCT:
        bound = margin / 100 * m_r
        p_low, p_high = t_upper((diff + bound) / se, df), t_upper((bound - diff) / se, df)
        out[f"{margin:g}"] = {
            "bound": bound,
            "p_low": p_low,
            "p_high": p_high,
            "p": max(p_low, p_high),
            "rope": 1 - p_low - p_high,
        }
    return out
