"""Bias-corrected and accelerated intervals from 10 000 resamples of runs (Efron 1987; DiCiccio and Efron 1996)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import special

from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import is_constant, quantiles
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.seeds import generator

RESAMPLES = 10_000
DEGENERATE = "bootstrap_degenerate"
Values = TypeVar("Values", FloatArray, npt.NDArray[np.complex128])
LARGEST_TABLE = 256
"""Runs up to which the table of pairs is indexed by 16 bits."""
SeedOf = Callable[[str], int]
"""Name of a statistic to the seed of its random stream."""


@dataclass(frozen=True)
class Bca(Result):
    """An interval with its bias correction ``z0`` and acceleration ``a``; where there is none, ``reason`` says why."""

    low: float | None
    high: float | None
    z0: float | None
    a: float | None
    reason: Annotated[str | None, LEFT_OUT] = None
    seed: Annotated[str | None, LEFT_OUT] = None


Interval = TypeVar("Interval", bound=Bca)


@dataclass(frozen=True)
class DifferenceBca(Bca):
    """Of the mean difference, in the metric's unit."""

    low: Annotated[float | None, Column("bca_diff_low")]
    high: Annotated[float | None, Column("bca_diff_high")]


@dataclass(frozen=True)
class OverheadBca(Bca):
    """Of the overhead in percent; of the plain percent change where the metric has no direction."""

    low: Annotated[float | None, Column("bca_overhead_low")]
    high: Annotated[float | None, Column("bca_overhead_high")]


@dataclass(frozen=True)
class Resampled(Result):
    """What resampling found of a comparison: as such nothing, because nothing may be inferred."""


@dataclass(frozen=True)
class Intervals(Resampled):
    """Runs resampled within each arm, and blocks (None where there are none to infer from)."""

    mean_diff_bca: DifferenceBca
    overhead_pct_bca: OverheadBca
    paired_mean_diff_bca: Bca | None


@dataclass(frozen=True)
class MovingBlocks(Result):
    """Of the mean of block differences; the length in blocks."""

    low: Annotated[float, Column("moving_block_low")]
    high: Annotated[float, Column("moving_block_high")]
    block_length: int
    seed: str


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


def bca(
    kind: type[Interval],
    resampled: FloatArray,
    estimate: float,
    influences: list[FloatArray],
    seed: int | None = None,
    level: float = 0.95,
) -> Interval:
    """The interval of a statistic, as a result of this ``kind``, from its resamples, drawn by ``seed``.

    ``influences`` holds for each arm (n_j - 1)(mean of leave-one-out values - leave-one-out value). Limits are None
    with a reason where every resample gives the same or none lies on one side of the estimate.
    """
    stream = None if seed is None else str(seed)
    spread = float(resampled.max() - resampled.min())
    # A resample holding the very values of the sample, summed in another order, differs by rounding alone.
    fuzz = 1e-11 * max(spread, 1e-300) + 4 * np.finfo(float).eps * abs(estimate)
    below, upto = np.count_nonzero(resampled < estimate - fuzz), np.count_nonzero(resampled <= estimate + fuzz)
    if spread <= fuzz or below + upto in (0, 2 * len(resampled)):
        return _absent(kind, DEGENERATE, stream)
    z0 = float(special.ndtri((below + upto) / (2 * len(resampled))))
    cubes = sum(float((u**3).sum()) / len(u) ** 3 for u in influences)
    squares = sum(float((u**2).sum()) / len(u) ** 2 for u in influences)
    a = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = float(special.ndtri(1 - (1 - level) / 2))
    levels = [float(special.ndtr(z0 + (z0 + side) / (1 - a * (z0 + side)))) for side in (-z, z)]
    low, high = quantiles(resampled, levels)
    return kind(low, high, z0, a, seed=stream)


def _absent(kind: type[Interval], reason: str, seed: str | None = None) -> Interval:
    return kind(None, None, None, None, reason, seed)


def _mean_influence(x: FloatArray) -> FloatArray:
    return np.asarray(x - x.mean())


def resampled_difference(treatment: FloatArray, reference: FloatArray, seed_of: SeedOf) -> DifferenceBca:
    """BCa interval of the mean difference; runs resampled within each arm."""
    seed = seed_of("mean_diff")
    rng = generator(seed)
    resampled = resampled_means(treatment, rng) - resampled_means(reference, rng)
    estimate = float(treatment.mean() - reference.mean())
    influences = [_mean_influence(treatment), -_mean_influence(reference)]
    return bca(DifferenceBca, resampled, estimate, influences, seed)


def resampled_overhead(treatment: FloatArray, reference: FloatArray, direction: int, seed_of: SeedOf) -> OverheadBca:
    """BCa interval of the percent overhead; runs resampled within each arm."""
    m_t, m_r = float(treatment.mean()), float(reference.mean())
    if m_t <= 0 or m_r <= 0:
        return _absent(OverheadBca, "nonpositive_mean")
    seed = seed_of("overhead_pct")
    rng = generator(seed)
    top, bottom = resampled_means(treatment, rng), resampled_means(reference, rng)
    if float(bottom.min()) <= 0:
        return _absent(OverheadBca, "nonpositive_mean")
    sign = -1.0 if direction > 0 else 1.0
    influences = [sign * u for u in _ratio_influences(treatment, reference)]
    return bca(OverheadBca, sign * 100 * (top / bottom - 1), sign * 100 * (m_t / m_r - 1), influences, seed)


def _ratio_influences(treatment: FloatArray, reference: FloatArray) -> list[FloatArray]:
    m_t, m_r = float(treatment.mean()), float(reference.mean())
    n_t, n_r = len(treatment), len(reference)
    without_t = (m_t - _mean_influence(treatment) / (n_t - 1)) / m_r
    without_r = m_t / (m_r - _mean_influence(reference) / (n_r - 1))
    return [
        100 * (n_t - 1) * (without_t.mean() - without_t),
        100 * (n_r - 1) * (without_r.mean() - without_r),
    ]


def resampled_blocks(differences: FloatArray, seed_of: SeedOf) -> Bca:
    """BCa interval of the mean of block differences; blocks resampled."""
    if len(differences) < 3 or is_constant(differences):
        return _absent(Bca, DEGENERATE)
    seed = seed_of("paired_mean_diff")
    resampled = resampled_means(differences, generator(seed))
    return bca(Bca, resampled, float(differences.mean()), [_mean_influence(differences)], seed)


def moving_blocks(differences: FloatArray, seed: int, resamples: int = RESAMPLES) -> MovingBlocks:
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
    return MovingBlocks(low, high, length, str(seed))
