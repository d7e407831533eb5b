"""Two one-sided tests: the only road to the word *negligible* (Schuirmann 1987, on the ratio scale)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Result
from campaign.analysis.statistics.descriptive import moments
from campaign.analysis.statistics.distributions import FloatArray, t_upper
from campaign.analysis.statistics.independent import ALPHA, satterthwaite
from campaign.analysis.statistics.ratio import ratio_df

Margins = tuple[float, ...]
MARGINS_PCT: Margins = (1, 2, 3, 5)
"""Reported always; a declared margin that is not among them is added."""


@dataclass(frozen=True, kw_only=True)
class Tost(Result):
    """Both one-sided tests at one margin, not adjusted. Columns of the view ``equivalence`` but for the statistics."""

    margin_pct: float
    t_low: Annotated[float | None, LEFT_OUT] = None
    df_low: Annotated[float | None, LEFT_OUT] = None
    p_low: float
    t_high: Annotated[float | None, LEFT_OUT] = None
    df_high: Annotated[float | None, LEFT_OUT] = None
    p_high: float
    p: float
    equivalent: bool
    p_noninferiority: float | None
    """The half that is non-inferiority of the treatment; None where neither direction is better."""


def tost_ratio(
    treatment: FloatArray, reference: FloatArray, direction: int, margins: Margins = MARGINS_PCT
) -> dict[str, Tost] | None:
    """Is mean_T/mean_R within 1 ± margin? The margin multiplies the estimated mean inside the test, not before it.

    ``direction`` is 1 where higher is better, -1 where lower is, 0 for neither; it picks the half that is
    non-inferiority of the treatment. None unless both means are positive.
    """
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    v_t, v_r = s_t / n_t, s_r / n_r

    def side(theta: float) -> tuple[float, float]:
        t = (m_t - theta * m_r) / math.sqrt(v_t + theta * theta * v_r)
        return t, ratio_df(theta, v_t, n_t, v_r, n_r)

    out = {}
    for margin in margins:
        (t_low, df_low), (t_high, df_high) = side(1 - margin / 100), side(1 + margin / 100)
        found = _concluded(margin, t_upper(t_low, df_low), t_upper(-t_high, df_high), direction)
        out[f"{margin:g}"] = replace(found, t_low=t_low, df_low=df_low, t_high=t_high, df_high=df_high)
    return out


def tost_paired(
    treatment: FloatArray, reference: FloatArray, direction: int, margins: Margins = MARGINS_PCT
) -> dict[str, Tost] | None:
    """The same question on pairs: one-sample t tests of T_k - (1 ∓ margin) R_k."""
    (n, m_t, _), (_, m_r, _) = moments(treatment), moments(reference)
    if m_t <= 0 or m_r <= 0:
        return None
    sides = [(margin, side, 1 + sign * margin / 100) for margin in margins for side, sign in (("low", -1), ("high", 1))]
    shifted = treatment - np.array([theta for _, _, theta in sides])[:, None] * reference
    ses, means = (shifted.std(axis=1, ddof=1) / math.sqrt(n)).tolist(), shifted.mean(axis=1).tolist()
    at = {(margin, side): found for (margin, side, _), *found in zip(sides, ses, means, strict=True)}
    out = {}
    for margin in margins:
        p = []
        for side in ("low", "high"):
            se, mean = at[margin, side]
            t = mean / se if se > 0 else math.copysign(math.inf, mean)
            finite = math.isfinite(t)
            p.append(t_upper(t if side == "low" else -t, n - 1) if finite else float((mean < 0) == (side == "low")))
        out[f"{margin:g}"] = _concluded(margin, p[0], p[1], direction)
    return out


def _concluded(margin_pct: float, p_low: float, p_high: float, direction: int) -> Tost:
    """The verdict of both halves, and which of them is non-inferiority."""
    p = max(p_low, p_high)
    return Tost(
        margin_pct=margin_pct,
        p_low=p_low,
        p_high=p_high,
        p=p,
        equivalent=p < ALPHA,
        p_noninferiority={1: p_low, -1: p_high}.get(direction),
    )


@dataclass(frozen=True)
class TostAbsolute(Result):
    bound: float
    p_low: float
    p_high: float
    p: float
    rope: float


def tost_absolute(treatment: FloatArray, reference: FloatArray) -> dict[str, TostAbsolute] | None:
    """Welch's test against a constant bound margin * mean_R; for comparison with other software only.

    ``rope`` is the posterior probability of a difference inside the bound under a flat prior, 1 - p_low - p_high.
    """
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    if m_r <= 0:
        return None
    v_t, v_r = s_t / n_t, s_r / n_r
    diff, se, df = m_t - m_r, math.sqrt(v_t + v_r), satterthwaite(v_t, n_t, v_r, n_r)
    out = {}
    for margin in MARGINS_PCT:
        bound = margin / 100 * m_r
        p_low, p_high = t_upper((diff + bound) / se, df), t_upper((bound - diff) / se, df)
        out[f"{margin:g}"] = TostAbsolute(bound, p_low, p_high, max(p_low, p_high), 1 - p_low - p_high)
    return out
