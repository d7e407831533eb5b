"""Is a series in time order free of trend and memory? Diagnostics: they choose the analysis, never the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from campaign.analysis.result import LEFT_OUT, Result
from campaign.analysis.statistics.descriptive import median
from campaign.analysis.statistics.distributions import FloatArray, IntArray, chi2_upper, normal_two_sided

FEWEST = 10
ROUNDING = 1e-11
"""Distance, by the size of the values, below which two of them are one."""


@dataclass(frozen=True)
class MannKendall(Result):
    """Trend by concordance of pairs; the slope is Sen's, in the metric's unit for each step."""

    S: float
    var_S: float
    z: float
    p: float
    sen_slope: float


@dataclass(frozen=True, kw_only=True)
class SeriesChecks(Result):
    """Memory and trend of a series of ``n`` values: all None, with the ``reason``, where it is too short or does not
    vary; the runs test also where all values lie on one side of the median. ``n_eff`` is how many independent values
    would say as much."""

    n: int
    lag: int | None = None
    ljung_box_Q: float | None = None
    ljung_box_p: float | None = None
    runs_z: float | None = None
    runs_p: float | None = None
    r1: float | None = None
    n_eff: float | None = None
    mann_kendall: MannKendall | None = None
    reason: Annotated[str | None, LEFT_OUT] = None


def series_checks(series: FloatArray, scale: float) -> SeriesChecks:
    """Mann-Kendall, Ljung-Box and runs test of one series; needs ten values.

    Values nearer to each other than rounding of ``scale``, the size of the values that the series came from, are ties,
    in whatever unit.
    """
    n = len(series)
    if n < FEWEST:
        return SeriesChecks(n=n, reason="fewer_than_10_values")
    rounded = _tied(series, ROUNDING * scale)
    centred = rounded - rounded.mean()
    energy = float(centred @ centred)
    if energy <= 0:
        return SeriesChecks(n=n, reason="no_variation")
    lag = min(10, n // 5)
    r = [float(centred[k:] @ centred[:-k]) / energy for k in range(1, lag + 1)]
    q = n * (n + 2) * sum(x * x / (n - k) for k, x in enumerate(r, start=1))
    z, p = runs_test(rounded)
    return SeriesChecks(
        n=n,
        lag=lag,
        ljung_box_Q=q,
        ljung_box_p=chi2_upper(q, lag),
        runs_z=z,
        runs_p=p,
        r1=r[0],
        n_eff=n * (1 - r[0]) / (1 + r[0]),
        mann_kendall=mann_kendall(rounded),
    )


def _tied(series: FloatArray, near: float) -> FloatArray:
    """The series with each value that lies within ``near`` of the next smaller one set to it."""
    order = np.argsort(series, kind="stable")
    ascending = series[order]
    first = np.maximum.accumulate(np.where(np.diff(ascending, prepend=-np.inf) > near, np.arange(len(series)), 0))
    out = np.empty_like(series)
    out[order] = ascending[first]
    return out


def mann_kendall(series: FloatArray) -> MannKendall:
    """The trend, with tie-corrected variance and continuity."""
    n = len(series)
    i, j = _pairs(n)
    rise = series[j] - series[i]
    s = float(np.sign(rise).sum())
    _, counts = np.unique(series, return_counts=True)
    t = counts.astype(float)
    variance = (n * (n - 1) * (2 * n + 5) - float((t * (t - 1) * (2 * t + 5)).sum())) / 18
    z = (s - math.copysign(1, s)) / math.sqrt(variance) if s and variance > 0 else 0.0
    slope = median(rise / (j - i))
    return MannKendall(s, variance, z, normal_two_sided(z), slope)


@lru_cache(maxsize=64)
def _pairs(n: int) -> tuple[IntArray, IntArray]:
    """Positions of all pairs of a series, the earlier first."""
    i, j = np.triu_indices(n, k=1)
    return i, j


def runs_test(series: FloatArray) -> tuple[float | None, float | None]:
    """Wald-Wolfowitz about the median: z and two-sided p, no continuity; values at the median are dropped."""
    middle = median(series)
    above = series[series != middle] > middle
    n1, n2 = int(above.sum()), int((~above).sum())
    if n1 == 0 or n2 == 0:
        return None, None
    runs = 1 + int((above[1:] != above[:-1]).sum())
    total = n1 + n2
    mean = 1 + 2 * n1 * n2 / total
    variance = 2 * n1 * n2 * (2 * n1 * n2 - total) / (total**2 * (total - 1))
    if variance <= 0:
        return None, None
    z = (runs - mean) / math.sqrt(variance)
    return z, normal_two_sided(z)
