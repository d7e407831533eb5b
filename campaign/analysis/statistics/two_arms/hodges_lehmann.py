"""The shift between two arms that goes with the rank-sum test (Hodges and Lehmann, Ann. Math. Stat. 34, 1963)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy import special

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.descriptive import median
from campaign.analysis.statistics.distributions import FloatArray, lower_quantile, rank_sum_cdf
from campaign.analysis.statistics.independent import ALPHA, EXACT_BELOW

KEY = "hodges_lehmann"


@dataclass(frozen=True)
class Found(Result):
    """In units of the metric; ``achieved_conf`` is the level that the ranks permit."""

    shift: Annotated[float, Column("hl_shift")]
    ci_low: Annotated[float, Column("hl_low")]
    ci_high: Annotated[float, Column("hl_high")]
    achieved_conf: float


def test(treatment: FloatArray, reference: FloatArray, m: int = 1) -> Found:
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
    return Found(
        shift=median(differences),
        ci_low=float(differences[c - 1]),
        ci_high=float(differences[n1 * n2 - c]),
        achieved_conf=1 - 2 * tail,
    )
