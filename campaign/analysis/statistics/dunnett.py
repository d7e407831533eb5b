"""Many treatments against one control: Dunnett's two-sided test and simultaneous intervals, by quadrature,
not by drawing.

Contrasts against a common control have correlation lambda_i lambda_j, so given the control's error z and the scale s
they are independent, and the multivariate t probability is a double integral (Dunnett 1955; Hsu 1996).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy
from scipy import special

from campaign.analysis.statistics.distributions import FloatArray, root, t_quantile, t_two_sided

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 8.5
TINY = 1e-9


@lru_cache(maxsize=256)
def _scale_nodes(df: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of S = sqrt(chi2/df)."""
    low, high = (math.sqrt(float(special.chdtri(df, p)) / df) for p in (1 - 1e-14, 1e-14))
    s = (high - low) / 2 * _NODES + (high + low) / 2
    log_density = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2) + (df - 1) * np.log(s) - df * s * s / 2
    return s, (high - low) / 2 * _WEIGHTS * np.exp(log_density)


def largest_cdf(c: float, loadings: FloatArray, df: float) -> float:
    """P(max |T_i| <= c) for contrasts with correlation ``loadings[i] * loadings[j]``."""
    s, weight = _scale_nodes(df)
    z = _REACH * _NODES
    inside = np.ones((len(z), len(s)))
    for loading, times in zip(*np.unique(np.round(loadings, 12), return_counts=True), strict=True):
        rest = math.sqrt(1 - loading * loading)
        high = special.ndtr((loading * z[:, None] + c * s[None, :]) / rest)
        low = special.ndtr((loading * z[:, None] - c * s[None, :]) / rest)
        inside *= (high - low) ** int(times)
    density = _REACH * _WEIGHTS * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return float(density @ inside @ weight)


def adjusted_p(t: FloatArray, correlation: FloatArray, df: float) -> FloatArray:
    """Dunnett-adjusted two-sided p of every contrast; ``correlation`` is that of the estimates."""
    loadings = one_factor(correlation)
    if loadings is not None:
        return np.array([one_factor_p(float(x), loadings, df) for x in t])
    # Incomplete blocks: no common-control structure; integrate numerically with a fixed seed.
    distribution = scipy.stats.multivariate_t(shape=correlation, df=df, allow_singular=True, seed=20_240_229)
    k = len(correlation)
    out = []
    for x in np.abs(t):
        inside = distribution.cdf(np.full(k, x), lower_limit=np.full(k, -x), random_state=20_240_229)
        out.append(max(0.0, 1 - float(inside)))
    return np.array(out)


def one_factor_p(t: float, loadings: FloatArray, df: float) -> float:
    """P(max |T_i| > |t|). Far out, where one less the integral is rounding, the sum of the tails is the value."""
    tails = len(loadings) * t_two_sided(t, df)
    return tails if tails < TINY else min(1.0, max(0.0, 1 - largest_cdf(abs(t), loadings, df)))


def simultaneous(correlation: FloatArray, df: float, level: float = 0.95) -> float:
    """The quantile of which :func:`adjusted_p` is the probability, for any correlation of the estimates."""
    loadings = one_factor(correlation)
    if loadings is not None:
        return critical(loadings, df, level)
    k = len(correlation)

    def excess(c: float) -> float:
        return float(adjusted_p(np.array([c]), correlation, df)[0]) - (1 - level)

    return root(excess, 0.9 * t_quantile(0.5 + level / 2, df), 1.1 * t_quantile(1 - (1 - level) / 2 / k, df))


def critical(loadings: FloatArray, df: float, level: float = 0.95) -> float:
    """The two-sided quantile that makes all intervals hold together at ``level``."""
    return root(lambda c: largest_cdf(c, loadings, df) - level, 1.5, 4.0)


def one_factor(correlation: FloatArray) -> FloatArray | None:
    """Loadings whose products are the correlations, or None where there are none."""
    k = len(correlation)
    if k == 1:
        return np.array([math.sqrt(0.5)])
    if k == 2:
        shared = math.sqrt(abs(float(correlation[0, 1])))
        return np.array([shared, shared]) if 0 <= correlation[0, 1] < 1 - 1e-9 else None
    loadings = np.empty(k)
    for i in range(k):
        j, other = (x for x in range(k) if x != i and x < (3 if i < 3 else 2))
        product = correlation[i, j] * correlation[i, other] / correlation[j, other] if correlation[j, other] else -1.0
        if not 0 <= product < 1 - 1e-9:
            return None
        loadings[i] = math.sqrt(product)
    expected = np.outer(loadings, loadings)
    np.fill_diagonal(expected, 1.0)
    return loadings if np.abs(expected - correlation).max() < 1e-8 else None


def one_way_loadings(sizes: list[int], control: int) -> FloatArray:
    """Loadings of treatment means of ``sizes`` values against a control mean of ``control`` values."""
    return np.array([math.sqrt(n / (n + control)) for n in sizes])


# --- uncorrelated estimates: the studentised maximum modulus ------------------------------------------------------


@lru_cache(maxsize=256)
def _wide_scale_nodes(df: float) -> tuple[FloatArray, FloatArray]:
    """As :func:`_scale_nodes`, with the lower tail down to 1e-40: a tiny p comes from there."""
    low, high = (math.sqrt(2 * float(special.gammaincinv(df / 2, p)) / df) for p in (1e-40, 1 - 1e-15))
    edges = np.linspace(low, high, 25)
    half = np.diff(edges)[:, None] / 2
    s = (half * _NODES + (edges[:-1, None] + half)).ravel()
    log_density = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2) + (df - 1) * np.log(s) - df * s * s / 2
    return s, (half * _WEIGHTS).ravel() * np.exp(log_density)


def modulus_p(t: float, k: int, df: float) -> float:
    """P(max |T_i| > |t|) over ``k`` estimates without correlation that share one error (Stoline and Ury 1979),
    with relative accuracy."""
    s, weight = _wide_scale_nodes(df)
    outside = special.erfc(abs(t) * s / math.sqrt(2))
    with np.errstate(divide="ignore"):
        return min(1.0, float(-np.expm1(k * np.log1p(-outside)) @ weight))


def modulus_quantile(k: int, df: float, level: float = 0.95) -> float:
    """The quantile of which :func:`modulus_p` is the probability."""
    return root(lambda c: modulus_p(c, k, df) - (1 - level), 1.5, 4.0)


POINTS = 1 << 14


def _inside(c: float, root_: FloatArray, df: float) -> float:
    """P(max |T_i| <= c) for estimates whose correlation is ``root_ @ root_.T``: Genz and Bretz (1999) over a fixed
    lattice with the baker's transform, the same at every call. Within 1e-4."""
    k = len(root_)
    generators = np.sqrt(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37])[: k + 1])
    x = np.abs(2 * ((np.arange(1, POINTS + 1)[:, None] * generators[None, : k + 1] + 0.5) % 1) - 1)
    x = np.clip(x, 1e-12, 1 - 1e-12)
    reach = c * np.sqrt(2 * special.gammaincinv(df / 2, x[:, k]) / df)
    z = np.empty((POINTS, k))
    inside = np.ones(POINTS)
    for i in range(k):
        shift = z[:, :i] @ root_[i, :i]
        low = special.ndtr((-reach - shift) / root_[i, i])
        high = special.ndtr((reach - shift) / root_[i, i])
        inside *= high - low
        z[:, i] = special.ndtri(np.clip(low + x[:, i] * (high - low), 1e-300, 1 - 1e-16))
    return float(inside.mean())


def largest_p(t: FloatArray, correlation: FloatArray, df: float) -> tuple[FloatArray, float, bool]:
    """For estimates with this correlation: p of each against the largest of all, the simultaneous 95 % quantile, and
    whether they are uncorrelated (then by one integral, else by integrating the multivariate t over fixed points)."""
    k = len(t)
    if bool(np.abs(correlation - np.eye(k)).max() < 1e-9):
        return np.array([modulus_p(float(x), k, df) for x in t]), modulus_quantile(k, df), True
    factor = np.asarray(np.linalg.cholesky(correlation), dtype=np.float64)
    alone = np.array([t_two_sided(float(x), df) for x in t])
    p = np.array([1 - _inside(abs(float(x)), factor, df) for x in t])
    reach = float(scipy.optimize.brentq(lambda c: 0.95 - _inside(c, factor, df), 1.0, 60.0, xtol=1e-6))
    # Far out the integral is rounding; the truth lies between one tail and all of them.
    return np.clip(p, alone, np.minimum(1.0, k * alone)), reach, False
