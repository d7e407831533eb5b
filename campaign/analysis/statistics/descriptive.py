"""What one arm looks like: location, spread, outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import numpy as np

from campaign.analysis.result import LEFT_OUT, Result
from campaign.analysis.statistics.distributions import BoolArray, FloatArray, by_content, t_quantile

MAD_TO_SD = 1.4826
RELATIVE_ZERO = 1e-12


class Moments(NamedTuple):
    """What most tests want of an arm. The variance has n - 1, and is NaN for a single value."""

    n: int
    mean: float
    variance: float


@by_content
def moments(x: FloatArray) -> Moments:
    """Number, mean and variance of at least one value."""
    return Moments(len(x), float(x.mean()), float(x.var(ddof=1)) if len(x) > 1 else math.nan)


def quantiles(x: FloatArray, levels: Sequence[float]) -> list[float]:
    """Quantiles of type 7: what ``numpy.quantile`` gives, which takes twice as long to find out what it was asked."""
    last = len(x) - 1
    below = [min(math.floor(p * last), last) for p in levels]
    above = [min(i + 1, last) for i in below]
    parted = np.partition(x, sorted({*below, *above}))
    return [
        float(parted[i] + (p * last - i) * (parted[j] - parted[i]))
        for p, i, j in zip(levels, below, above, strict=True)
    ]


def median(x: FloatArray) -> float:
    """The middle value, or the mean of the two in the middle."""
    (middle,) = quantiles(x, (0.5,))
    return middle


def is_constant(x: FloatArray, scale: float = 0.0) -> bool:
    """True when the standard deviation is nothing but floating-point noise around a constant,
    or beside values of size ``scale``."""
    if len(x) < 2:
        return True
    _, mean, variance = moments(x)
    return math.sqrt(variance) <= RELATIVE_ZERO * max(scale, abs(mean))


@dataclass(frozen=True)
class Arm(Result):
    """How many runs an arm has, and no more where it has none."""

    n: int


@dataclass(frozen=True, kw_only=True)
class Described(Arm):
    """Location and spread of an arm's runs, in the metric's unit but ``cv_pct``, which is in percent of the mean. The
    harmonic and the geometric mean are None unless all values are positive; what spreads is None for a single run."""

    mean: float
    median: float
    min: float
    max: float
    q1: float
    q3: float
    iqr: float
    mad_scaled: float
    hmean: float | None = None
    gmean: float | None = None
    sd: float | None = None
    se: float | None = None
    ci95_low: float | None = None
    ci95_high: float | None = None
    cv_pct: float | None = None


@by_content
def describe(x: FloatArray) -> Arm:
    """Descriptives of one arm's run-level values (any unit; shape n).

    Quantiles are type 7, the standard deviation has n - 1, the interval is the t interval of the mean. The harmonic
    mean is beside the arithmetic one because all runs do the same work, so that it is total work by total time.
    """
    if len(x) == 0:
        return Arm(0)
    n, mean, variance = moments(x)
    q1, q2, q3 = quantiles(x, (0.25, 0.5, 0.75))
    found = Described(
        n=n,
        mean=mean,
        median=q2,
        min=float(x.min()),
        max=float(x.max()),
        q1=q1,
        q3=q3,
        iqr=q3 - q1,
        mad_scaled=mad_scaled(x),
    )
    if (x > 0).all():
        found = replace(found, hmean=float(n / np.sum(1 / x)), gmean=math.exp(float(np.log(x).mean())))
    if n == 1:
        return found
    sd = math.sqrt(variance)
    se = sd / math.sqrt(n)
    reach = t_quantile(0.975, n - 1) * se
    cv = 100 * sd / abs(mean) if mean != 0 else None
    return replace(found, sd=sd, se=se, ci95_low=mean - reach, ci95_high=mean + reach, cv_pct=cv)


@by_content
def mad_scaled(x: FloatArray) -> float:
    """Median absolute deviation on the scale of a normal standard deviation."""
    return MAD_TO_SD * median(np.abs(x - median(x)))


@by_content
def three_sigma(x: FloatArray) -> BoolArray:
    """Mask of values more than three standard deviations from their own arm's mean."""
    if len(x) < 2 or is_constant(x):
        return np.zeros(len(x), dtype=bool)
    return np.asarray(np.abs(x - x.mean()) > 3 * x.std(ddof=1))


@by_content
def beyond_mad(x: FloatArray) -> BoolArray:
    """Mask of values more than 3.5 scaled MADs from the median; empty where the MAD is zero."""
    spread = mad_scaled(x) if len(x) else 0.0
    if spread <= RELATIVE_ZERO:
        return np.zeros(len(x), dtype=bool)
    return np.asarray(np.abs(x - median(x)) / spread > 3.5)


@dataclass(frozen=True)
class Outliers(Result):
    """Ids of the runs that either rule flags. The three-sigma rule cannot fire below n = 11, that of the MAD where it
    is zero: then ``…_mad_reason`` says so."""

    treatment_3sigma: list[str]
    treatment_mad: list[str]
    treatment_mad_reason: Annotated[str | None, LEFT_OUT]
    reference_3sigma: list[str]
    reference_mad: list[str]
    reference_mad_reason: Annotated[str | None, LEFT_OUT]
    sigma_rule_can_trigger: dict[str, bool]
    """By arm."""


def outliers(treatment: FloatArray, reference: FloatArray, ids: tuple[list[str], list[str]]) -> Outliers:
    """What either rule flags in each arm; ``ids`` are those of its runs."""
    can = {arm: len(x) > 10 for arm, x in (("treatment", treatment), ("reference", reference))}
    return Outliers(*_far(treatment, ids[0]), *_far(reference, ids[1]), can)


def _far(x: FloatArray, ids: list[str]) -> tuple[list[str], list[str], str | None]:
    by_sigma, by_mad = (
        [name for name, far in zip(ids, rule(x), strict=True) if far] for rule in (three_sigma, beyond_mad)
    )
    return by_sigma, by_mad, "mad_zero" if len(x) and mad_scaled(x) <= RELATIVE_ZERO else None
