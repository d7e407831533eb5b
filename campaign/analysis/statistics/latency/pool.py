"""Quantiles of all requests when runs are drawn again, and requests within them, without building a resample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.analysis.statistics.distributions import FloatArray, IntArray

RESAMPLES = 10_000
EXACT_TAIL = 200
"""Expected requests beyond the percentile up to which the two-level resample counts binomially; above, a normal count
is exact to well under one request."""
CHUNK = 2_000
STRIDE = 64
"""Rows of a pool between those looked at first when a rank is searched."""
Counts = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Pool:
    """All requests of an arm in ascending order. ``upto[k, r]`` counts those of run r among the k smallest.

    Counts are whole numbers held as floats, exact, so that they multiply and sum at the speed of the processor.
    """

    values: FloatArray
    owner: IntArray
    upto: Counts
    sizes: IntArray

    @classmethod
    def of(cls, runs: list[FloatArray]) -> Pool:
        """Merge the runs' requests."""
        values = np.concatenate(runs)
        owner = np.repeat(np.arange(len(runs)), [len(x) for x in runs])
        order = np.argsort(values, kind="stable")
        # float32 holds every whole number up to 2**24.
        exact: type[np.floating[Any]] = np.float32 if len(values) < 2**24 // 4 else np.float64
        upto = np.zeros((len(values) + 1, len(runs)), dtype=exact)
        upto[np.arange(1, len(values) + 1), owner[order]] = 1
        np.cumsum(upto, axis=0, out=upto)
        sizes = np.array([len(x) for x in runs])
        return cls(values[order], owner[order], upto, sizes)


def run_counts(runs: int, rng: np.random.Generator) -> IntArray:
    """How often each run is drawn; shape (resamples, runs)."""
    counts = np.empty((RESAMPLES, runs), dtype=np.int64)
    # In parts that stay in the processor's cache.
    for part in np.split(counts, RESAMPLES // 500):
        drawn = rng.integers(0, runs, size=part.shape) + runs * np.arange(len(part))[:, None]
        part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def cluster_quantiles(pool: Pool, counts: IntArray, q: float) -> FloatArray:
    """Type-7 q-quantile of all requests of the drawn runs, for every resample; exact.

    Bisects on the rank: how many requests of a resample lie among the k smallest of the pool is a weighted sum of the
    runs' own counts, so no resample is ever built.
    """
    weights = counts.astype(pool.upto.dtype)
    total = counts @ pool.sizes
    position = (total - 1) * q
    below = np.floor(position)
    first = _rank_search(pool, weights, below + 1)
    second = _next_rank(pool, weights, first, np.minimum(below + 2, total))
    a, b = pool.values[first - 1], pool.values[second - 1]
    return np.asarray(a + (position - below) * (b - a))


def _held(table: Counts, weights: Counts, k: IntArray) -> Counts:
    """Weighted sum over runs of row k of a table; shape (resamples,)."""
    return np.asarray(np.einsum("br,br->b", np.take(table, k, axis=0), weights))


def _rank_search(pool: Pool, weights: Counts, rank: FloatArray) -> IntArray:
    """The smallest k for which the k smallest pooled requests hold ``rank`` of the resample's."""
    share = rank / weights.sum(axis=1)
    rows = np.append(np.arange(0, len(pool.values), STRIDE), len(pool.values))
    # Whatever is drawn holds at least what the run with the fewest holds, drawn as often, and at most what the one with
    # the most does.
    first = max(int(np.searchsorted(pool.upto[rows].max(axis=1), share.min())) - 1, 0)
    last = min(int(np.searchsorted(pool.upto[rows].min(axis=1), share.max())), len(rows) - 1)
    below = np.full(len(weights), rows[first], dtype=np.int64)
    # The largest k that does not hold the rank, found bit by bit.
    for bit in reversed(range(int(rows[last] - rows[first] - 1).bit_length())):
        step = 1 << bit
        below += step * (_held(pool.upto, weights, np.minimum(below + step, rows[last])) < rank)
    return below + 1


def _next_rank(pool: Pool, weights: Counts, k: IntArray, rank: FloatArray) -> IntArray:
    """From k, where the rank before is reached, on to where ``rank`` is: the next request of a run that was drawn."""
    k = k.copy()
    waiting = np.flatnonzero(_held(pool.upto, weights, k) < rank)
    while len(waiting):
        k[waiting] += 1
        waiting = waiting[weights[waiting, pool.owner[k[waiting] - 1]] == 0]
    return k


def two_level_quantiles(pool: Pool, counts: IntArray, q: float, rng: np.random.Generator) -> FloatArray:
    """q-quantile when runs are drawn and then requests within each drawn run, without drawing a request.

    The number of a run's redrawn requests among its k smallest is binomial; bisection splits these counts, which
    samples the rank's place exactly. Far from the tail a normal count stands for their sum. Ranks between two integers
    are rounded at random.
    """
    total = counts @ pool.sizes
    position = (total - 1) * q
    rank = np.floor(position) + 1 + (rng.random(len(total)) < position - np.floor(position))
    if float(pool.sizes.sum()) * min(q, 1 - q) > EXACT_TAIL:
        return _normal_two_level(pool, counts, rank, rng)
    return np.concatenate(
        [
            _binomial_two_level(pool, counts[i : i + CHUNK], rank[i : i + CHUNK], rng)
            for i in range(0, len(counts), CHUNK)
        ]
    )


def _normal_two_level(pool: Pool, counts: IntArray, rank: FloatArray, rng: np.random.Generator) -> FloatArray:
    z = rng.standard_normal(len(counts))
    weights = counts.astype(pool.upto.dtype)
    variance = pool.upto * (1 - pool.upto / pool.sizes.astype(pool.upto.dtype))
    low = np.zeros(len(counts), dtype=np.int64)
    high = np.full(len(counts), len(pool.values), dtype=np.int64)
    for _ in range(len(pool.values).bit_length()):
        middle = (low + high) // 2
        spread = np.sqrt(_held(variance, weights, middle))
        reached = (_held(pool.upto, weights, middle) + z * spread >= rank - 0.5) & (middle > 0)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.asarray(pool.values[high - 1])


def _binomial_two_level(pool: Pool, counts: IntArray, rank: FloatArray, rng: np.random.Generator) -> FloatArray:
    low = np.zeros(len(counts), dtype=np.int64)
    high = np.full(len(counts), len(pool.values), dtype=np.int64)
    inside = counts * pool.sizes
    below = np.zeros(len(counts))
    while (high - low > 1).any():
        middle = (low + high) // 2
        width = pool.upto[high] - pool.upto[low]
        part = pool.upto[middle] - pool.upto[low]
        share = np.divide(part, width, out=np.zeros(part.shape), where=width > 0, dtype=float)
        drawn = rng.binomial(inside, share)
        reached = below + drawn.sum(axis=1) >= rank
        stays = high - low <= 1
        go_low = reached & ~stays
        go_high = ~reached & ~stays
        inside = np.where(go_low[:, None], drawn, np.where(go_high[:, None], inside - drawn, inside))
        below = np.where(go_high, below + drawn.sum(axis=1), below)
        high = np.where(go_low, middle, high)
        low = np.where(go_high, middle, low)
    return np.asarray(pool.values[high - 1])
