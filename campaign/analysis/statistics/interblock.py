"""Incomplete blocks: what a run whose partner was lost still says, by recovery of inter-block information (F.
Yates, Ann. Eugen. 10, 1940).

y = μ + τ treatment + π place + b(block) + e, blocks random, REML. A complete block turns into the difference and the
sum of its two runs, each over √2; these and the lone runs are independent, with variances v_d, v_s and (v_d + v_s)/2,
so the likelihood is that of a weighted regression with one unknown, v_s/v_d. The block's covariance (v_s - v_d)/2 may
be negative: with every block complete the result is then the paired t test and nothing else. The model takes both arms
to have one variance, which the paired test does not; it stands beside the verdict and never decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import scipy

from campaign.analysis.result import INLINE, LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import is_constant
from campaign.analysis.statistics.distributions import FloatArray, t_quantile, t_two_sided
from campaign.analysis.statistics.order import complete_blocks
from campaign.analysis.statistics.ratio import fieller
from campaign.analysis.statistics.sets import Sample

FEWEST_PAIRS = 3
DIFFERENCE, SUM, LONE = 0, 1, 2
WIDEST = 20.0
"""Bound of |ln(v_s/v_d)|: beyond, one of the two cannot be told from zero."""


@dataclass(frozen=True, kw_only=True)
class Interblock(Result):
    """How many blocks are complete, how many runs are without a partner, and why nothing is recovered from those:
    ``no_blocks``, ``complete_blocks`` (nothing to recover), ``insufficient_n`` (fewer than three complete blocks),
    ``deterministic`` or ``singular`` (a variance that cannot be told from zero)."""

    n_pairs: Annotated[int | None, LEFT_OUT] = None
    n_lone: Annotated[int | None, LEFT_OUT, Column("interblock_n_lone")] = None
    status: Annotated[str, Column("interblock_status")]


@dataclass(frozen=True)
class Percent(Result):
    """Treatment's mean by the reference's, less one, with Fieller's limits; None, with the reason, where the
    reference's mean cannot be told from zero."""

    pct: Annotated[float | None, Column("interblock_pct")] = None
    pct_low: Annotated[float | None, Column("interblock_pct_low")] = None
    pct_high: Annotated[float | None, Column("interblock_pct_high")] = None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class Recovered(Interblock):
    """Over all runs of both arms (``status`` is ``ok``): limits at 95 %, Satterthwaite degrees of freedom."""

    place_in_model: bool
    diff: Annotated[float, Column("interblock_diff")]
    se: float
    df: Annotated[float, Column("interblock_df")]
    t: float
    p: Annotated[float, Column("interblock_p")]
    ci_low: float
    ci_high: float
    correlation_in_block: Annotated[float, Column("interblock_correlation_in_block")]
    percent: Annotated[Percent, INLINE]


@dataclass(frozen=True)
class Strata:
    """The rotated data: ``y`` (n,), design ``x`` (n, p) with columns intercept, treatment (0 or 1), perhaps place,
    and the kind of each row."""

    y: FloatArray
    x: FloatArray
    kind: FloatArray


@dataclass(frozen=True)
class Fitted:
    """Estimates, shape (p,), their covariance, the variances v_d and v_s, and the REML deviance."""

    estimates: FloatArray
    covariance: FloatArray
    v_d: float
    v_s: float
    deviance: float


def interblock(treatment: Sample, reference: Sample, places: tuple[FloatArray, FloatArray] | None = None) -> Interblock:
    """Difference and percent change over all runs of both arms, complete blocks or not.

    ``places`` holds for each run of either arm -0.5 where it ran before its partner and 0.5 where after, NaN where that
    is not known: then, or where the design cannot tell place from treatment, the model is without place.
    """
    pairs = len(complete_blocks(treatment, reference)[0])
    lone = len(treatment) + len(reference) - 2 * pairs
    if not lone:
        return Interblock(n_pairs=pairs, n_lone=lone, status="complete_blocks")
    if pairs < FEWEST_PAIRS:
        return Interblock(n_pairs=pairs, n_lone=lone, status="insufficient_n")
    return replace(estimate(treatment, reference, places), n_pairs=pairs, n_lone=lone)


def estimate(treatment: Sample, reference: Sample, places: tuple[FloatArray, FloatArray] | None = None) -> Interblock:
    """:func:`interblock` of at least three complete blocks, whether or not any is incomplete."""
    t, r = complete_blocks(treatment, reference)
    a, b = treatment.value[t], reference.value[r]
    scale = float(np.abs(np.concatenate([treatment.value, reference.value])).max())
    if is_constant(a - b, scale) or is_constant(a + b, scale):
        return Interblock(status="deterministic")
    placed = places is not None and not any(np.isnan(part).any() for part in places)
    strata = _rotated(treatment, reference, places if placed else None)
    if placed and np.linalg.matrix_rank(strata.x[strata.kind == DIFFERENCE][:, 1:]) < 2:
        placed, strata = False, _rotated(treatment, reference, None)
    strata = Strata(strata.y / scale, strata.x, strata.kind)
    found = reml(strata)
    if found is None:
        return Interblock(status="singular")
    df = _satterthwaite(strata, found)
    diff, se = float(found.estimates[1]) * scale, math.sqrt(found.covariance[1, 1]) * scale
    reach = t_quantile(0.975, df) * se
    return Recovered(
        status="ok",
        place_in_model=placed,
        diff=diff,
        se=se,
        df=df,
        t=diff / se,
        p=t_two_sided(diff / se, df),
        ci_low=diff - reach,
        ci_high=diff + reach,
        correlation_in_block=(found.v_s - found.v_d) / (found.v_s + found.v_d),
        percent=_percent(found, df),
    )


def _percent(found: Fitted, df: float) -> Percent:
    base, tau = float(found.estimates[0]), float(found.estimates[1])
    c = found.covariance
    if base <= 0 or base + tau <= 0:
        return Percent(reason="nonpositive_mean")
    _, low, high = fieller(tau, base, (float(c[1, 1]), float(c[0, 0]), float(c[0, 1])), t_quantile(0.975, df))
    return Percent(100 * tau / base, None if low is None else 100 * low, None if high is None else 100 * high)


def _rotated(treatment: Sample, reference: Sample, places: tuple[FloatArray, FloatArray] | None) -> Strata:
    t, r = complete_blocks(treatment, reference)

    def design(sample: Sample, flag: float, place: FloatArray | None) -> FloatArray:
        columns = [np.ones(len(sample)), np.full(len(sample), flag)]
        return np.column_stack(columns if place is None else [*columns, place])

    x_t = design(treatment, 1.0, None if places is None else places[0])
    x_r = design(reference, 0.0, None if places is None else places[1])
    alone_t, alone_r = np.delete(np.arange(len(treatment)), t), np.delete(np.arange(len(reference)), r)
    root = math.sqrt(2)
    y_t, y_r = treatment.value, reference.value
    y = [(y_t[t] - y_r[r]) / root, (y_t[t] + y_r[r]) / root, y_t[alone_t], y_r[alone_r]]
    x = [(x_t[t] - x_r[r]) / root, (x_t[t] + x_r[r]) / root, x_t[alone_t], x_r[alone_r]]
    kind = [np.full(len(part), k) for part, k in zip(y, (DIFFERENCE, SUM, LONE, LONE), strict=True)]
    return Strata(np.concatenate(y), np.concatenate(x), np.concatenate(kind))


def _at(strata: Strata, log_ratio: float) -> Fitted:
    """The fit at v_s/v_d = exp(``log_ratio``), the scale profiled out."""
    ratio = math.exp(log_ratio)
    weight = 1 / np.array([1.0, ratio, (1 + ratio) / 2])[strata.kind.astype(int)]
    weighted = strata.x * weight[:, None]
    information = weighted.T @ strata.x
    estimates = np.linalg.solve(information, weighted.T @ strata.y)
    rest = strata.y - strata.x @ estimates
    free = len(strata.y) - strata.x.shape[1]
    v_d = max(float(weight @ rest**2) / free, 1e-300)
    deviance = float(-np.log(weight).sum()) + float(np.linalg.slogdet(information)[1]) + free * math.log(v_d)
    return Fitted(estimates, v_d * np.linalg.inv(information), v_d, v_d * ratio, deviance)


def _deviances(strata: Strata, log_ratios: FloatArray) -> FloatArray:
    """The deviance of :func:`_at` at many ratios at once, shape as ``log_ratios``,
    from the cross-products of each kind of row."""
    a = np.column_stack([strata.x, strata.y])
    ratio = np.exp(log_ratios)
    weights = np.array([np.ones_like(ratio), 1 / ratio, 2 / (1 + ratio)])
    kinds = [strata.kind == kind for kind in (DIFFERENCE, SUM, LONE)]
    total = np.einsum("kg,kij->gij", weights, np.array([a[rows].T @ a[rows] for rows in kinds]))
    information, cross = total[:, :-1, :-1], total[:, :-1, -1]
    explained = (cross * np.linalg.solve(information, cross[:, :, None])[:, :, 0]).sum(axis=1)
    free = len(strata.y) - strata.x.shape[1]
    rest = np.maximum((total[:, -1, -1] - explained) / free, 1e-300)
    counts = np.array([rows.sum() for rows in kinds])
    found = -(counts @ np.log(weights)) + np.linalg.slogdet(information)[1] + free * np.log(rest)
    return np.asarray(found, dtype=float)


def reml(strata: Strata) -> Fitted | None:
    """Highest restricted likelihood: a grid first, for there may be two summits. None where it lies at the bound."""
    grid = np.linspace(-WIDEST, WIDEST, 161)
    best = int(np.argmin(_deviances(strata, grid)))
    if best in (0, len(grid) - 1):
        return None
    found = scipy.optimize.minimize_scalar(
        lambda point: _at(strata, float(point)).deviance,
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return _at(strata, float(found.x))


def _satterthwaite(strata: Strata, found: Fitted) -> float:
    """2 V²/(g' A g): V the variance of τ, g its gradient in (v_d, v_s),
    A the inverse of their expected REML information."""
    kinds = strata.kind.astype(int)
    weight = 1 / np.array([found.v_d, found.v_s, (found.v_d + found.v_s) / 2])[kinds]
    c, x = found.covariance, strata.x
    # What a row's variance gains with v_d and with v_s.
    slopes = [np.array(share)[kinds] for share in ((1.0, 0.0, 0.5), (0.0, 1.0, 0.5))]
    inner = [x.T @ (x * (weight**2 * slope)[:, None]) for slope in slopes]
    gradient = np.array([(c @ a @ c)[1, 1] for a in inner])
    information = np.empty((2, 2))
    for i, first in enumerate(slopes):
        for j, second in enumerate(slopes):
            both = x.T @ (x * (weight**3 * first * second)[:, None])
            trace = float((weight**2 * first * second).sum()) - 2 * float(np.trace(c @ both))
            information[i, j] = (trace + float(np.trace(c @ inner[i] @ c @ inner[j]))) / 2
    return 2 * float(c[1, 1]) ** 2 / float(gradient @ np.linalg.solve(information, gradient))
