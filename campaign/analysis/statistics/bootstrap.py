"""Bias-corrected and accelerated intervals from 10 000 resamples of runs (Efron 1987; DiCiccio and Efron 1996)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import special

from campaign.analysis.statistics.descriptive import is_constant, quantiles
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.seeds import generator

RESAMPLES = 10_000
DEGENERATE = "bootstrap_degenerate"
Values = TypeVar("Values", FloatArray, npt.NDArray[np.complex128])
LARGEST_TABLE = 256
"""Runs up to which the table of pairs is indexed by 16 bits."""


def resampled_means(x: Values, rng: np.random.Generator, resamples: int = RESAMPLES) -> Values:
    """Means of ``resamples`` draws with replacement from x; shape (resamples,).

    One number below n² draws two runs at once, and the table of all n² sums adds them: half the work, the same law.
    """
    n = len(x)
    centre = x.mean()
    # Summed about the mean, so that large nearly equal values lose nothing.
    about = x - centre
    total = np.zeros(resamples, dtype=x.dtype)
    pairs = n // 2 if n <= LARGEST_TABLE else 0
    if pairs:
        sums = (about[:, None] + about[None, :]).ravel()
        # Row by row, because a row and the table stay in the processor's cache.
        for drawn in uniform_below(n * n, (pairs, resamples), rng):
            total += sums.take(drawn, mode="clip")
    for _ in range(n - 2 * pairs):
        total += about[rng.integers(0, n, size=resamples)]
    return np.asarray(centre + total / n)


def uniform_below(limit: int, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Integers 0 … limit - 1, all alike probable, for a limit of 2 to 2¹⁶: ``rng.integers`` in half its time.

    Bits as they come; those few beyond the last multiple of the limit are drawn again.
    """
    each = 2**16 // limit
    count = math.prod(shape)
    bits = rng.bit_generator.random_raw(-(-count // 4)).view(np.uint16)[:count]
    beyond = np.flatnonzero(bits > each * limit - 1)
    bits[beyond] = rng.integers(0, each * limit, size=len(beyond), dtype=np.uint16)
    return np.asarray(bits // np.uint16(each)).reshape(shape)


def bca(resampled: FloatArray, estimate: float, influences: list[FloatArray], level: float = 0.95) -> dict[str, Any]:
    """Limits, bias correction ``z0`` and acceleration ``a`` from resampled statistics.

    ``influences`` holds for each arm (n_j - 1)(mean of leave-one-out values - leave-one-out value). Limits are None
    with a reason where every resample gives the same or none lies on one side of the estimate.
    """
    out: dict[str, Any] = {"low": None, "high": None, "z0": None, "a": None}
    spread = float(resampled.max() - resampled.min())
    # A resample holding the very values of the sample, summed in another order, differs by rounding alone.
    fuzz = 1e-11 * max(spread, 1e-300) + 4 * np.finfo(float).eps * abs(estimate)
    below, upto = np.count_nonzero(resampled < estimate - fuzz), np.count_nonzero(resampled <= estimate + fuzz)
    if spread <= fuzz or below + upto in (0, 2 * len(resampled)):
        return out | {"reason": DEGENERATE}
    z0 = float(special.ndtri((below + upto) / (2 * len(resampled))))
    cubes = sum(float((u**3).sum()) / len(u) ** 3 for u in influences)
    squares = sum(float((u**2).sum()) / len(u) ** 2 for u in influences)
    a = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = float(special.ndtri(1 - (1 - level) / 2))
    levels = [float(special.ndtr(z0 + (z0 + side) / (1 - a * (z0 + side)))) for side in (-z, z)]
    low, high = quantiles(resampled, levels)
    return out | {"low": low, "high": high, "z0": z0, "a": a}


def _mean_influence(x: FloatArray) -> FloatArray:
    return np.asarray(x - x.mean())


def bootstrap_independent(
    treatment: FloatArray, reference: FloatArray, direction: int, seed_of: Callable[[str], int]
) -> dict[str, Any]:
    """BCa intervals of the mean difference and of the percent overhead; runs resampled within each arm.

    ``seed_of`` names the random stream of a statistic. Where the metric has no direction the second interval is of the
    plain percent change.
    """
    seed = seed_of("mean_diff")
    rng = generator(seed)
    resampled = resampled_means(treatment, rng) - resampled_means(reference, rng)
    estimate = float(treatment.mean() - reference.mean())
    influences = [_mean_influence(treatment), -_mean_influence(reference)]
    out = {"mean_diff_bca": bca(resampled, estimate, influences) | {"seed": str(seed)}}

    m_t, m_r = float(treatment.mean()), float(reference.mean())
    if m_t <= 0 or m_r <= 0:
        out["overhead_pct_bca"] = _absent("nonpositive_mean")
        return out
    seed = seed_of("overhead_pct")
    rng = generator(seed)
    top, bottom = resampled_means(treatment, rng), resampled_means(reference, rng)
    if float(bottom.min()) <= 0:
        out["overhead_pct_bca"] = _absent("nonpositive_mean")
        return out
    sign = -1.0 if direction > 0 else 1.0
    percent = sign * 100 * (top / bottom - 1)
    out["overhead_pct_bca"] = bca(
        percent, sign * 100 * (m_t / m_r - 1), [sign * u for u in _ratio_influences(treatment, reference)]
    ) | {"seed": str(seed)}
    return out


def _ratio_influences(treatment: FloatArray, reference: FloatArray) -> list[FloatArray]:
    m_t, m_r = float(treatment.mean()), float(reference.mean())
    n_t, n_r = len(treatment), len(reference)
    without_t = (m_t - _mean_influence(treatment) / (n_t - 1)) / m_r
    without_r = m_t / (m_r - _mean_influence(reference) / (n_r - 1))
    return [
        100 * (n_t - 1) * (without_t.mean() - without_t),
        100 * (n_r - 1) * (without_r.mean() - without_r),
    ]


def bootstrap_paired(differences: FloatArray, seed_of: Callable[[str], int]) -> dict[str, Any]:
    """BCa interval of the mean of block differences; blocks resampled."""
    if len(differences) < 3 or is_constant(differences):
        return _absent(DEGENERATE)
    seed = seed_of("paired_mean_diff")
    resampled = resampled_means(differences, generator(seed))
    return bca(resampled, float(differences.mean()), [_mean_influence(differences)]) | {"seed": str(seed)}


def moving_blocks(differences: FloatArray, seed: int, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Percentile interval of the mean where neighbouring blocks resemble each other (Künsch 1989).

    Resamples stretches of ⌈n^(1/3)⌉ consecutive block differences.
    """
    n = len(differences)
    length = math.ceil(round(n ** (1 / 3), 9))
    windows = np.lib.stride_tricks.sliding_window_view(differences, length)
    whole, rest = windows.sum(axis=1), windows[:, : n - (math.ceil(n / length) - 1) * length].sum(axis=1)
    *starts, last = generator(seed).integers(0, len(windows), size=(math.ceil(n / length), resamples))
    # The last stretch is cut where it would make the resample longer than the series.
    low, high = quantiles((sum(whole[start] for start in starts) + rest[last]) / n, (0.025, 0.975))
    return {"low": low, "high": high, "block_length": length, "seed": str(seed)}


def _absent(reason: str) -> dict[str, Any]:
    return {"low": None, "high": None, "z0": None, "a": None, "reason": reason}
