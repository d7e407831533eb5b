"""REML for the two mixed models over units: random intercepts, and a random treatment effect per unit.

Both are nested (block in unit), so the likelihood needs only 3 x 3 cross-products of (1, treatment, y) per unit:
inverse and determinant of a block's covariance are closed-form, and the unit's effect is a rank-one or rank-two update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from campaign.analysis.result import Result
from campaign.analysis.statistics.distributions import FloatArray, t_two_sided

ZERO = 1e-4
"""A standard deviation below this fraction of the residual's is estimated as zero (singular fit)."""


@dataclass(frozen=True)
class CrossProducts:
    """Per unit u: ``inner[u]`` = sum of A'A and ``by_size[u, s]`` = sum over blocks of ``sizes[s]`` runs of (A'1)(1'A),
    with A = [1, treatment, y]; ``blocks[u, s]`` counts those blocks."""

    inner: FloatArray
    by_size: FloatArray
    sizes: FloatArray
    blocks: FloatArray
    n: int


def cross_products(y: FloatArray, trt: FloatArray, unit: FloatArray, block: FloatArray) -> CrossProducts:
    """Reduce the data; ``unit`` and ``block`` are integer labels, blocks distinct between units."""
    a = np.column_stack([np.ones(len(y)), trt, y])
    labels, first, of = np.unique(block, return_index=True, return_inverse=True)
    sums = np.zeros((len(labels), 3))
    np.add.at(sums, of, a)
    counts = np.bincount(of).astype(float)
    owner = unit[first]
    units, sizes = np.unique(unit), np.unique(counts)
    inner = np.array([a[unit == u].T @ a[unit == u] for u in units])
    by_size = np.zeros((len(units), len(sizes), 3, 3))
    number = np.zeros((len(units), len(sizes)))
    for i, u in enumerate(units):
        for j, size in enumerate(sizes):
            chosen = sums[(owner == u) & (counts == size)]
            by_size[i, j] = chosen.T @ chosen
            number[i, j] = len(chosen)
    return CrossProducts(inner, by_size, sizes, number, len(y))


@dataclass(frozen=True)
class RemlFit:
    """Deviance at the given variances, treatment estimate and its variance; ``sigma2`` is the residual variance."""

    deviance: float
    trt: float
    variance: float
    sigma2: float


def reml(data: CrossProducts, block: float, unit: FloatArray, sigma2: float | None = None) -> RemlFit:
    """Restricted likelihood at relative variances: ``block`` scalar, ``unit`` covariance (1x1 or 2x2),
    both over sigma².

    Without ``sigma2`` the residual variance is profiled out.
    """
    q = len(unit)
    shrink = block / (1 + data.sizes * block)
    m = data.inner - (data.by_size * shrink[:, None, None]).sum(axis=1)
    # I + unit @ corner, inverted by hand: the search calls this thousands of times.
    update = np.eye(q) + unit @ m[:, :q, :q]
    if q == 1:
        determinant = update[:, 0, 0]
        inverse = unit / update
    else:
        determinant = update[:, 0, 0] * update[:, 1, 1] - update[:, 0, 1] * update[:, 1, 0]
        adjugate = np.empty_like(update)
        adjugate[:, 0, 0], adjugate[:, 1, 1] = update[:, 1, 1], update[:, 0, 0]
        adjugate[:, 0, 1], adjugate[:, 1, 0] = -update[:, 0, 1], -update[:, 1, 0]
        inverse = adjugate @ unit / determinant[:, None, None]
    log_det = float((data.blocks * np.log1p(data.sizes * block)).sum()) + float(np.log(determinant).sum())
    total = (m - m[:, :, :q] @ inverse @ m[:, :q, :]).sum(axis=0)
    (a, b, u), (_, d, v), (_, _, yy) = total.tolist()
    information = a * d - b * b
    intercept, trt = (d * u - b * v) / information, (a * v - b * u) / information
    rss = max(yy - intercept * u - trt * v, 1e-300)
    free = data.n - 2
    profiled = rss / free if sigma2 is None else sigma2
    deviance = log_det + math.log(information) + free * math.log(profiled) + rss / profiled
    return RemlFit(deviance, trt, profiled * a / information, profiled)


@dataclass(frozen=True)
class RandomIntercepts(Result):
    """Units and blocks differ in level alone: the effect ``trt``, treatment minus reference, and the standard
    deviations, all in the metric's unit. The fit is singular where one of them is zero."""

    trt: float
    se: float
    df: float
    p: float
    sd_unit: float
    sd_block: float
    sd_resid: float
    singular_fit: bool


@dataclass(frozen=True)
class RandomSlope(Result):
    """The effect differs between units, by ``sd_trt_unit``; all in the metric's unit."""

    trt: float
    se: float
    sd_trt_unit: float
    singular: bool


def random_intercepts(y: FloatArray, trt: FloatArray, unit: FloatArray, block: FloatArray) -> RandomIntercepts:
    """y ~ treatment + (1|unit) + (1|unit:block), REML, Satterthwaite degrees of freedom.

    Treats the effect as the same on every unit: its p is conditional on that.
    """
    centre, scale = float(y.mean()), float(y.std())
    data = cross_products((y - centre) / scale, trt, unit, block)

    def at(theta: FloatArray) -> RemlFit:
        return reml(data, float(theta[0]) ** 2, np.array([[float(theta[1]) ** 2]]))

    theta = np.abs(_minimise(lambda p: at(p).deviance, [(1.0, 1.0), (0.1, 1.0), (1.0, 0.1), (3.0, 3.0), (0.05, 0.05)]))
    theta = _settle_zeros(theta, lambda p: at(p).deviance)
    found = at(theta)
    sigma = math.sqrt(found.sigma2)
    df = _satterthwaite(data, theta, found)
    trt_estimate, se = found.trt * scale, math.sqrt(found.variance) * scale
    return RandomIntercepts(
        trt=trt_estimate,
        se=se,
        df=df,
        p=t_two_sided(trt_estimate / se, df),
        sd_unit=float(theta[1]) * sigma * scale,
        sd_block=float(theta[0]) * sigma * scale,
        sd_resid=sigma * scale,
        singular_fit=bool((theta == 0).any()),
    )


def random_slope(y: FloatArray, trt: FloatArray, unit: FloatArray, block: FloatArray) -> RandomSlope:
    """y ~ treatment + (1 + treatment|unit) + (1|unit:block), REML: the effect may differ between units."""
    centre, scale = float(y.mean()), float(y.std())
    # Centred treatment: the same model, and intercept and slope are nearly uncorrelated, which the search likes.
    data = cross_products((y - centre) / scale, trt - 0.5, unit, block)

    def covariance(p: FloatArray) -> FloatArray:
        lower = np.array([[p[1], 0.0], [p[2], p[3]]])
        return np.asarray(lower @ lower.T)

    def deviance(p: FloatArray) -> float:
        return reml(data, float(p[0]) ** 2, covariance(p)).deviance

    starts = [
        (1.0, 1.0, 0.0, 0.5),
        (0.3, 1.0, 0.2, 0.2),
        (1.0, 1.0, -0.2, 0.1),
        (0.5, 3.0, 0.0, 1.0),
        (1.0, 0.3, 0.0, 0.02),
    ]
    p = _minimise(deviance, starts)
    found = reml(data, float(p[0]) ** 2, covariance(p))
    unit_covariance = covariance(p)
    slope = math.sqrt(max(0.0, float(unit_covariance[1, 1])))
    spread = math.sqrt(max(0.0, float(unit_covariance[0, 0])))
    correlated = slope * spread > 0 and abs(float(unit_covariance[0, 1])) > (1 - 1e-6) * slope * spread
    return RandomSlope(
        trt=found.trt * scale,
        se=math.sqrt(found.variance) * scale,
        sd_trt_unit=slope * math.sqrt(found.sigma2) * scale,
        singular=bool(min(slope, spread, abs(float(p[0]))) < ZERO or abs(float(p[3])) < ZERO or correlated),
    )


def _minimise(f: Any, starts: Sequence[tuple[float, ...]]) -> FloatArray:
    """Two derivative-free searches from the best start, the lower deviance polished:
    either alone may stop early at a zero."""
    start = np.array(min(starts, key=lambda point: float(f(np.array(point)))))
    searches = (
        scipy.optimize.minimize(
            f, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000}
        ),
        scipy.optimize.minimize(f, start, method="Powell", options={"xtol": 1e-6, "ftol": 1e-10}),
    )
    best = min(searches, key=lambda found: float(found.fun))
    polished = scipy.optimize.minimize(
        f, best.x, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 1000}
    )
    return np.asarray(polished.x if polished.fun <= best.fun else best.x, dtype=float)


def _settle_zeros(theta: FloatArray, f: Any) -> FloatArray:
    """A standard deviation that the likelihood puts at zero is zero."""
    for i in range(len(theta)):
        without = theta.copy()
        without[i] = 0.0
        if theta[i] < ZERO or f(without) <= f(theta):
            theta = without
    return theta


def _satterthwaite(data: CrossProducts, theta: FloatArray, found: RemlFit) -> float:
    """2 V²/(g' A g) with g the gradient of V = var(treatment) and A the inverse information of the variances.

    Variances at zero stay there and take no part. Derivatives are central differences of the restricted likelihood in
    the logarithms of the variances.
    """
    inside = [i for i in range(2) if theta[i] > 0]
    start = np.log([found.sigma2, *(theta[i] ** 2 * found.sigma2 for i in inside)])

    def at(log_variance: FloatArray) -> RemlFit:
        sigma2 = math.exp(float(log_variance[0]))
        relative = [0.0, 0.0]
        for value, i in zip(log_variance[1:], inside, strict=True):
            relative[i] = math.exp(float(value)) / sigma2
        return reml(data, relative[0], np.array([[relative[1]]]), sigma2)

    k, h = len(start), 1e-3
    step = np.eye(k) * h
    gradient = np.array([(at(start + s).variance - at(start - s).variance) / (2 * h) for s in step])
    hessian = np.empty((k, k))
    centre = at(start).deviance
    for i in range(k):
        for j in range(i, k):
            if i == j:
                value = at(start + step[i]).deviance - 2 * centre + at(start - step[i]).deviance
                hessian[i, i] = value / h**2
                continue
            mixed = (
                at(start + step[i] + step[j]).deviance
                - at(start + step[i] - step[j]).deviance
                - at(start - step[i] + step[j]).deviance
                + at(start - step[i] - step[j]).deviance
            )
            hessian[i, j] = hessian[j, i] = mixed / (4 * h**2)
    spread = float(gradient @ np.linalg.solve(hessian / 2, gradient))
    return 2 * found.variance**2 / spread
