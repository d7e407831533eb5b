"""The rank-sum test of Mann and Whitney (Ann. Math. Stat. 18, 1947), with the effects that go with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.distributions import FloatArray, exact_two_sided, normal_two_sided, rank_sum_cdf
from campaign.analysis.statistics.independent import EXACT_BELOW, midranks

KEY = "mwu"


@dataclass(frozen=True)
class Found(Result):
    """``U`` counts treatment above reference, ties half; ``a12`` is its share of all pairs (Vargha and Delaney)."""

    U: Annotated[float, Column("mwu_u")]
    ties: bool
    p_asymptotic: float
    p_exact: float | None
    a12: Annotated[float, Column("a12")]
    cliffs_delta: Annotated[float, Column("cliffs_delta")]
    p: Annotated[float, Column("mwu_p")]
    p_minimum_attainable: Annotated[float | None, LEFT_OUT] = None


def test(treatment: FloatArray, reference: FloatArray, m: int = 1) -> Found:
    """Rank-sum test of stochastic order (not of means).

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
    small = max(n1, n2) < EXACT_BELOW
    asymptotic = normal_two_sided(z)
    exact = exact_two_sided(rank_sum_cdf(n1, n2), round(u)) if small and not ties else None
    return Found(
        U=u,
        ties=ties,
        p_asymptotic=asymptotic,
        p_exact=exact,
        a12=u / (n1 * n2),
        cliffs_delta=2 * u / (n1 * n2) - 1,
        p=asymptotic if exact is None else exact,
        p_minimum_attainable=min(1.0, 2 / math.comb(total, n1)) if small else None,
    )
