"""Probabilities that the tests need, stable where the textbook formulas are not.

Central t, F and chi-squared come straight from SciPy's special functions. The noncentral t does not: SciPy's returns
NaN or loses digits for large noncentrality, exactly where memory effects lie (d around 20), so it is integrated here.
The null distributions of the rank sums are counted exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy
from scipy import special

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
T = TypeVar("T")

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_NORMAL_REACH = 9.0
"""Standard deviations beyond which the normal density is below 1e-18."""


def t_two_sided(t: float, df: float) -> float:
    """P(|T| > |t|), accurate in relative terms far into the tail."""
    return float(special.betainc(df / 2, 0.5, df / (df + t * t)))


def t_upper(t: float, df: float) -> float:
    """P(T > t)."""
    half = t_two_sided(t, df) / 2
    return half if t >= 0 else 1.0 - half


def t_quantile(p: float, df: float) -> float:
    """The value below which T lies with probability p."""
    return float(special.stdtrit(df, p))


def f_upper(f: float, df1: float, df2: float) -> float:
    """P(F > f)."""
    return float(special.fdtrc(df1, df2, f))


def chi2_upper(x: float, df: float) -> float:
    """P(X > x)."""
    return float(special.chdtrc(df, x))


def normal_two_sided(z: float) -> float:
    """P(|Z| > |z|)."""
    return float(special.erfc(abs(z) / math.sqrt(2)))


def noncentral_t_cdf(t: float, df: float, nc: float) -> float:
    """P(T' <= t) for the noncentral t with ``df`` degrees of freedom and noncentrality ``nc``.

    Conditions on the normal numerator: P(Z + nc <= t S) with S = sqrt(chi2/df), integrated by Gauss-Legendre over
    the stretch where neither factor is constant. Absolute error below 1e-13 for any noncentrality.
    """
    return _noncentral_t(t, df, nc)[0]


def _noncentral_t(t: float, df: float, nc: float) -> tuple[float, float]:
    """P(T' <= t) and its derivative by ``nc``."""
    if t < 0:
        above, slope = _noncentral_t(-t, df, -nc)
        return 1.0 - above, slope
    if t == 0:
        return float(special.ndtr(-nc)), -_normal_density(nc)
    lowest, highest = _scale_range(df)
    start, end = max(t * lowest, nc - _NORMAL_REACH), min(t * highest, nc + _NORMAL_REACH)
    below, slope = float(special.ndtr(t * lowest - nc)), -_normal_density(t * lowest - nc)
    if end <= start:
        return (below if t * lowest >= nc - _NORMAL_REACH or nc - _NORMAL_REACH > t * highest else 1.0), slope
    x = (end - start) / 2 * _NODES + (end + start) / 2
    density = np.exp(-((x - nc) ** 2) / 2) / math.sqrt(2 * math.pi)
    both = (end - start) / 2 * _WEIGHTS * density * special.chdtrc(df, df * (x / t) ** 2)
    return min(1.0, below + float(both.sum())), slope + float(both @ (x - nc))


def _normal_density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@lru_cache(maxsize=4096)
def _scale_range(df: float) -> tuple[float, float]:
    """Where S = sqrt(chi2/df) lies but for 1e-18 at either end."""
    lowest = math.sqrt(max(0.0, 2 * float(special.gammaincinv(df / 2, 1e-18))) / df)
    return lowest, math.sqrt(float(special.chdtri(df, 1e-18)) / df)


def noncentrality(t: float, df: float, p: float) -> float:
    """The noncentrality at which P(T' <= t) = p: Newton's steps from the approximation of Jennett and Welch (1939).

    Where they do not settle, the bracket around it is widened until it holds the root.
    """
    mean = math.sqrt(2 / df) * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2))
    spread = math.sqrt(1 + t * t * max(0.0, 1 - mean * mean))
    guess = found = t * mean - float(special.ndtri(p)) * spread
    for _ in range(6):
        value, slope = _noncentral_t(t, df, found)
        if not abs(value - p) < 0.5 * min(p, 1 - p):
            break
        step = (p - value) / slope
        found += step
        # The next step would be about the square of this one.
        if abs(step) < 1e-7 * spread:
            return found
    return root(lambda nc: noncentral_t_cdf(t, df, nc) - p, guess - 0.01 * spread, guess + 0.01 * spread)


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a monotone function, widening the bracket until it holds one."""
    f_low, f_high = f(low), f(high)
    for _ in range(60):
        if f_low * f_high <= 0:
            return float(scipy.optimize.brentq(f, low, high, xtol=1e-13, rtol=1e-13))
        width = high - low
        low, high = low - width, high + width
        f_low, f_high = f(low), f(high)
    raise ArithmeticError(f"no root between {low} and {high}")


def by_content(function: Callable[[FloatArray], T]) -> Callable[[FloatArray], T]:
    """``function``, worked out once for the same values: an arm takes part in several contrasts and analysis sets."""

    @lru_cache(maxsize=8192)
    def known(values: bytes) -> T:
        return function(np.frombuffer(values))

    @wraps(function)
    def remembered(x: FloatArray) -> T:
        return known(np.asarray(x, dtype=np.float64).tobytes())

    return remembered


@lru_cache(maxsize=512)
def rank_sum_cdf(n1: int, n2: int) -> FloatArray:
    """P(U <= u) for u = 0 … n1*n2 under no difference.

    The largest of all values belongs to arm 1 with probability i/(i+j), and then tops all j of arm 2: a recursion of
    positive terms, so the tails keep their digits.
    """
    column = [np.ones(1) for _ in range(n2 + 1)]
    for i in range(1, n1 + 1):
        column[0] = np.ones(1)
        for j in range(1, n2 + 1):
            mass = np.zeros(i * j + 1)
            mass[j:] += i / (i + j) * column[j]
            mass[: len(column[j - 1])] += j / (i + j) * column[j - 1]
            column[j] = mass
    return np.minimum(np.cumsum(column[n2]), 1.0)


@lru_cache(maxsize=512)
def signed_rank_cdf(n: int) -> FloatArray:
    """P(V <= v) for v = 0 … n(n+1)/2 under symmetry about zero."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = (ways[rank:] + ways[:-rank]) / 2
        ways[:rank] /= 2
    return np.minimum(np.cumsum(ways), 1.0)


def lower_quantile(cdf: FloatArray, p: float) -> int:
    """The smallest value whose cumulative probability reaches p."""
    return int(np.searchsorted(cdf, p * (1 - 1e-12)))


def exact_two_sided(cdf: FloatArray, value: int) -> float:
    """Twice the smaller tail of a discrete null distribution, at most 1."""
    below = float(cdf[value])
    above = 1.0 if value == 0 else 1.0 - float(cdf[value - 1])
    # The distributions are symmetric: read the upper tail from the lower end, where it keeps its digits.
    mirrored = len(cdf) - 1 - value
    above = float(cdf[mirrored]) if above < 0.5 else above
    return min(1.0, 2 * min(below, above))
