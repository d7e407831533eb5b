"""Whether two arms have one variance: F tests of the distances from each arm's own
centre (Brown and Forsythe 1974, Levene 1960)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from campaign.analysis.result import Result
from campaign.analysis.statistics.descriptive import Moments, median, moments
from campaign.analysis.statistics.distributions import FloatArray, f_upper

KEY = "variance"


@dataclass(frozen=True)
class Levene(Result):
    F: float
    p: float


@dataclass(frozen=True)
class Found(Result):
    """None where no value deviates from its arm's centre by more or less than another."""

    brown_forsythe: Levene | None
    """From the medians: the one that is read."""
    levene_mean: Levene | None


def test(treatment: FloatArray, reference: FloatArray, m: int = 1) -> Found:
    return Found(levene(treatment, reference, "median"), levene(treatment, reference, "mean"))


def levene(treatment: FloatArray, reference: FloatArray, centre: str) -> Levene | None:
    """F test of absolute deviations from each arm's ``median`` (Brown-Forsythe) or ``mean`` (Levene)."""
    (n1, mean1, spread1), (n2, mean2, spread2) = (_deviations(arm, centre) for arm in (treatment, reference))
    within = (n1 - 1) * spread1 + (n2 - 1) * spread2
    between = n1 * n2 / (n1 + n2) * (mean1 - mean2) ** 2
    if within <= 0:
        return None
    f = between * (n1 + n2 - 2) / within
    return Levene(f, f_upper(f, 1, n1 + n2 - 2))


def _deviations(x: FloatArray, centre: str) -> Moments:
    return moments(np.abs(x - (median(x) if centre == "median" else moments(x).mean)))
