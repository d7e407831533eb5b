"""The layer that decides: one set of runs, one statistic, and every p and every interval from it,
so that they cannot disagree.

A layer is asked one-sided questions about the ratio of means θ (treatment by reference; about their difference where a
mean is not positive): is it above θ, is it below? Difference is a question about θ = 1, equivalence two about the
margins, and an interval is the set of θ that are not rejected. The rule was chosen by simulation
(``benchmarks/calibration.py``, ``docs/statistics.md``) so that skew, stalls and resemblance of neighbours do not make
the errors much larger than they are said to be:

* a one-sided question is answered yes only where the t test and its version corrected for skewness (Hall 1992) both say
  so;
* the standard error is larger by √(1 + k/n), as if k runs had been left unseen (k = 4 for difference, 14 for
  equivalence);
* where block differences resemble their neighbours (first-order autocorrelation more than one standard error above what
  independent ones have), the standard error and the degrees of freedom are those of as many independent blocks as they
  are worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from campaign.analysis.statistics.descriptive import RELATIVE_ZERO, moments
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_upper
from campaign.analysis.statistics.ratio import mean_covariance, ratio_df

UNSEEN_DIFFERENCE, UNSEEN_EQUIVALENCE = 4.0, 14.0
"""Runs taken as unseen in a question of difference and of equivalence."""
RESEMBLES_FROM = 6
"""Blocks from which resemblance of neighbours can be estimated."""
MOST_RESEMBLANCE = 0.7
"""Autocorrelation that is allowed for at most: with some twenty blocks a larger estimate is mostly noise."""
CLEAR_OF_ZERO = 8.0
"""Standard errors that a mean must be above zero for its ratio to be told."""
Scale = Literal["ratio", "difference"]


@dataclass(frozen=True)
class Layer:
    """Means, their (co)variances and shape, over one set of runs. ``n`` is the number of blocks,
    or of runs in the smaller arm."""

    test: str
    """``paired_t`` or ``welch``: the test that the layer guards."""
    scale: Scale
    mean_treatment: float
    mean_reference: float
    v_tt: float
    v_rr: float
    v_tr: float
    df: float
    skewness: float
    """Third cumulant of the estimate's error by the cube of its standard error."""
    n: int
    r1: float | None
    """First-order autocorrelation of block differences in time."""
    resemblance: float
    """Factor of the standard error for resembling neighbours; 1 where there is none."""

    @property
    def estimate(self) -> float:
        """Ratio or difference of the means."""
        if self.scale == "ratio":
            return self.mean_treatment / self.mean_reference
        return self.mean_treatment - self.mean_reference

    @property
    def worth(self) -> float | None:
        """Independent blocks that these are worth; None where each counts as one."""
        return None if self.resemblance <= 1 else self.n / self.resemblance**2

    @property
    def null(self) -> float:
        """θ of no difference."""
        return 1.0 if self.scale == "ratio" else 0.0

    def statistic(self, theta: float) -> float:
        """The plain t of θ."""
        if self.scale == "ratio":
            over = self.mean_treatment - theta * self.mean_reference
            variance = self.v_tt - 2 * theta * self.v_tr + theta * theta * self.v_rr
        else:
            over = self.mean_treatment - self.mean_reference - theta
            variance = self.v_tt - 2 * self.v_tr + self.v_rr
        se = math.sqrt(max(0.0, variance))
        return over / se if se > 0 else (math.copysign(math.inf, over) if over else 0.0)

    def _widening(self, unseen: float) -> float:
        return math.sqrt(1 + unseen / self.n) * self.resemblance

    def p_above(self, theta: float, unseen: float) -> float:
        """Against the ratio (difference) being θ or less."""
        t = self.statistic(theta) / self._widening(unseen)
        return _upper(min(t, straightened(t, self.skewness)), self.df)

    def p_below(self, theta: float, unseen: float) -> float:
        """Against the ratio (difference) being θ or more."""
        t = self.statistic(theta) / self._widening(unseen)
        return _upper(-max(t, straightened(t, self.skewness)), self.df)

    def p_difference(self) -> float:
        """Two-sided, against no difference."""
        sides = (self.p_above(self.null, UNSEEN_DIFFERENCE), self.p_below(self.null, UNSEEN_DIFFERENCE))
        return min(1.0, 2 * min(sides))

    def p_equivalence(self, margin_pct: float) -> tuple[float, float] | None:
        """Against lying at or below the lower margin, and at or above the upper; None on the scale of differences."""
        if self.scale != "ratio":
            return None
        low, high = margins(margin_pct)
        return self.p_above(low, UNSEEN_EQUIVALENCE), self.p_below(high, UNSEEN_EQUIVALENCE)

    def interval(self, tail: float, unseen: float) -> tuple[float | None, float | None]:
        """The θ that neither one-sided question rejects at ``tail``;
        a limit is None where there is none (Fieller's g at least 1)."""
        up, down = self._critical(tail, unseen)
        if self.scale == "ratio":
            return self._root(up, -1), self._root(down, 1)
        se = math.sqrt(max(0.0, self.v_tt - 2 * self.v_tr + self.v_rr))
        return self.estimate - up * se, self.estimate + down * se

    def _critical(self, tail: float, unseen: float) -> tuple[float, float]:
        """Plain t from which on, and minus the plain t down to which,
        a one-sided question is answered yes at ``tail``."""
        c = t_quantile(1 - tail, self.df)
        widening = self._widening(unseen)
        return (
            widening * max(c, _bent(c, self.skewness)),
            widening * max(c, -_bent(-c, self.skewness)),
        )

    def _root(self, q: float, side: int) -> float | None:
        """θ on one side of the estimate at which the plain t is q in size."""
        b, a, q2 = self.mean_reference, self.mean_treatment, q * q
        quadratic = b * b - q2 * self.v_rr
        if quadratic <= 0:
            return None
        linear, constant = a * b - q2 * self.v_tr, a * a - q2 * self.v_tt
        return (linear + side * math.sqrt(max(0.0, linear * linear - quadratic * constant))) / quadratic


def margins(margin_pct: float) -> tuple[float, float]:
    """Ratios that bound equivalence: alike on the log scale, so that it does not matter which arm is the reference."""
    high = 1 + margin_pct / 100
    return 1 / high, high


def straightened(t: float, skewness: float) -> float:
    """Hall's monotone correction of t for the skewness of its numerator."""
    if abs(skewness) < RELATIVE_ZERO or not math.isfinite(t):
        return t
    return ((1 + skewness * t / 3) ** 3 - 1) / skewness + skewness / 6


def _bent(x: float, skewness: float) -> float:
    """The t that :func:`straightened` makes x of."""
    if abs(skewness) < RELATIVE_ZERO:
        return x
    return 3 / skewness * (math.cbrt(1 + skewness * (x - skewness / 6)) - 1)


def _upper(t: float, df: float) -> float:
    return t_upper(t, df) if math.isfinite(t) else float(t < 0)


def blocks(treatment: FloatArray, reference: FloatArray, in_time: FloatArray | None) -> Layer:
    """The layer of complete blocks, whose differences are not all alike.

    ``treatment[k]`` and ``reference[k]`` are of one block, and ``in_time`` orders the blocks (None where their order is
    not known).
    """
    n, m_t, _ = moments(treatment)
    m_r = moments(reference).mean
    v_tt, v_rr, v_tr = mean_covariance(treatment, reference)
    scale = _scale(m_t, m_r, v_tt, v_rr)
    errors = _errors(treatment - treatment.mean(), reference - reference.mean(), m_t / m_r if scale == "ratio" else 1.0)
    spread = float(errors.std())
    if spread <= RELATIVE_ZERO * max(abs(m_t), abs(m_r)):
        return Layer("paired_t", scale, m_t, m_r, v_tt, v_rr, v_tr, n - 1, 0.0, n, None, 1.0)
    skewness = float((errors**3).mean()) / spread**3 / math.sqrt(n)
    r1, share = resemblance(errors if in_time is None else errors[np.argsort(in_time, kind="stable")])
    df = max(2.0, (n - 1) * share) if share < 1 else n - 1
    return Layer("paired_t", scale, m_t, m_r, v_tt, v_rr, v_tr, df, skewness, n, r1, 1 / math.sqrt(share))


def _scale(m_t: float, m_r: float, v_t: float, v_r: float) -> Scale:
    """A ratio has an interval only where both means are clear of zero."""
    clear = all(m > CLEAR_OF_ZERO * math.sqrt(v) for m, v in ((m_t, v_t), (m_r, v_r)))
    return "ratio" if clear else "difference"


def _errors(t: FloatArray, r: FloatArray, theta: float) -> FloatArray:
    # By √θ, so that swapping the arms gives the same errors with the other sign.
    return np.asarray((t - theta * r) / math.sqrt(theta))


def resemblance(errors: FloatArray) -> tuple[float | None, float]:
    """First-order autocorrelation of errors in time, and the share of independent blocks that they are worth.

    The share is 1 unless the autocorrelation is more than one standard error above the -1/n of independent values; then
    it is (1 - ρ)/(1 + ρ) at the autocorrelation corrected for its bias (Marriott and Pope 1954).
    """
    n = len(errors)
    if n < RESEMBLES_FROM:
        return None, 1.0
    r1 = float(errors[1:] @ errors[:-1]) / float(errors @ errors)
    if (r1 + 1 / n) * math.sqrt(n) <= 1:
        return r1, 1.0
    rho = min(max((n * r1 + 1) / (n - 4), 0.0), MOST_RESEMBLANCE)
    return r1, (1 - rho) / (1 + rho)


def arms(treatment: FloatArray, reference: FloatArray) -> Layer:
    """The layer of independent arms: all runs, Welch's standard error, degrees of freedom at the estimate."""
    (n_t, m_t, s_t), (n_r, m_r, s_r) = moments(treatment), moments(reference)
    v_t, v_r = s_t / n_t, s_r / n_r
    scale = _scale(m_t, m_r, v_t, v_r)
    theta = m_t / m_r if scale == "ratio" else 1.0
    df = ratio_df(theta, v_t, n_t, v_r, n_r)
    cubes = [float(((x - x.mean()) ** 3).mean()) / len(x) ** 2 for x in (treatment, reference)]
    error = v_t * (n_t - 1) / n_t + theta**2 * v_r * (n_r - 1) / n_r
    skewness = (cubes[0] - theta**3 * cubes[1]) / error**1.5
    return Layer("welch", scale, m_t, m_r, v_t, v_r, 0.0, df, skewness, min(n_t, n_r), None, 1.0)
