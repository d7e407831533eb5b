"""The randomisation test: what the difference would have been had the schedule fallen otherwise. Exact under any noise.

Within blocks the arms may be swapped (2ⁿ ways), else the labels of the runs may be permuted. Rearranging a hypothesis θ
is answered by one list of numbers: swapping a set F of blocks leaves the sum of T - θR at least as large exactly where
ΣT/ΣR over F is at most θ, so p at any θ counts the ratios below it and the limits of the interval are order statistics
of them (Hartigan 1969). Test and interval are thus one thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from campaign.analysis.result import Column, Result
from campaign.analysis.statistics.deciding import margins
from campaign.analysis.statistics.distributions import BoolArray, FloatArray
from campaign.analysis.statistics.independent import ALPHA
from campaign.analysis.statistics.seeds import derived_seed, generator

MOST_EXACT = 2**20
DRAWS = 9_999
"""Rearrangements drawn where there are more than :data:`MOST_EXACT`."""
PART = 65_536
"""Rows of a matrix of labels multiplied at once."""
NEARLY = 1e-12
"""Thresholds nearer to θ than this are at it: sums in another order differ by rounding."""


@dataclass(frozen=True)
class Randomisation(Result):
    """``low`` and ``high`` are of the ratio or of the difference, as ``scale`` says; ``p_low``, ``p_high`` and
    ``tost_p`` ask for equivalence."""

    design: Annotated[str, Column("randomisation_design")]
    exact: Annotated[bool, Column("randomisation_exact")]
    rearrangements: Annotated[int, Column("rearrangements")]
    seed: str | None
    p: Annotated[float, Column("randomisation_p")]
    p_minimum_attainable: float
    scale: str
    low: float | None
    high: float | None
    p_low: float | None
    p_high: float | None
    tost_p: Annotated[float | None, Column("randomisation_tost_p")]


def randomisation(
    treatment: FloatArray, reference: FloatArray, blocked: bool, seed: int, margin_pct: float
) -> Randomisation:
    """The test over the rearrangements that the design allows,
    with the 95 % interval and both equivalence questions at the margin.

    ``blocked``: the arrays are the complete blocks, and arms are swapped within them; else all runs of both arms, whose
    labels are permuted. ``ratio`` is None where a value is not positive; then the limits are of the difference. A limit
    is None where even all rearrangements are too few for it.
    """
    n = len(treatment) + (0 if blocked else len(reference))
    ways = 2**n if blocked else math.comb(n, len(treatment))
    exact = ways <= MOST_EXACT
    positive = bool((treatment > 0).all() and (reference > 0).all())
    if blocked:
        thresholds, least = _swapped(treatment, reference, exact, seed, positive)
    else:
        thresholds, least = _relabelled(treatment, reference, exact, seed, positive)
    scale = "ratio" if positive else "difference"
    null = 1.0 if positive else 0.0
    every = len(thresholds) + least
    size = float(np.abs(treatment).max() + np.abs(reference).max())
    fuzz = NEARLY * (1.0 if positive else size)

    def above(theta: float) -> float:
        return (least + int(np.count_nonzero(thresholds <= theta + fuzz))) / every

    def below(theta: float) -> float:
        return (least + int(np.count_nonzero(thresholds >= theta - fuzz))) / every

    # Limits are the outermost θ that are not rejected: p at them is at least α/2 on either side.
    k = math.ceil(ALPHA / 2 * every) - least
    low = high = None
    if 1 <= k <= len(thresholds):
        low, high = (
            float(x) for x in np.partition(thresholds, [k - 1, len(thresholds) - k])[[k - 1, len(thresholds) - k]]
        )
    p_low, p_high = (above(margins(margin_pct)[0]), below(margins(margin_pct)[1])) if positive else (None, None)
    return Randomisation(
        design="arms swapped within blocks" if blocked else "labels of all runs permuted",
        exact=exact,
        rearrangements=ways if exact else len(thresholds),
        seed=None if exact else str(seed),
        p=min(1.0, 2 * min(above(null), below(null))),
        p_minimum_attainable=min(1.0, 2 * least / every),
        scale=scale,
        low=low,
        high=high,
        p_low=p_low,
        p_high=p_high,
        tost_p=None if p_low is None or p_high is None else max(p_low, p_high),
    )


def seed_of(campaign_seed: int, blocked: bool, sizes: tuple[int, int]) -> int:
    """Rearrangements depend on the design alone, so that comparisons of one design share them,
    whatever their metric is called."""
    return derived_seed(campaign_seed, "randomisation", "blocks" if blocked else "labels", *map(str, sizes))


def _swapped(t: FloatArray, r: FloatArray, exact: bool, seed: int, positive: bool) -> tuple[FloatArray, int]:
    """Threshold of every set of swapped blocks but the empty one, and how many rearrangements always count:
    that one."""
    if exact:
        sums = [_subset_sums(x) for x in ((t, r) if positive else (t - r, np.ones(len(t))))]
        return np.asarray(sums[0][1:] / sums[1][1:]), 1
    chosen = _drawn_sets(len(t), seed)
    top, bottom = (chosen @ np.column_stack((t, r) if positive else (t - r, np.ones(len(t))))).T
    return np.asarray(top / bottom), 1


def _subset_sums(x: FloatArray) -> FloatArray:
    """Sums of all subsets, the empty one first."""
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums, sums + value])
    return sums


@lru_cache(maxsize=8)
def _drawn_sets(n: int, seed: int) -> FloatArray:
    """Rows of noughts and ones, each block in with chance one half, none of them empty; shape (DRAWS, n)."""
    drawn = generator(seed).integers(0, 2, size=(DRAWS, n)).astype(float)
    # Of more than 20 blocks hardly ever none is in; then one is, chosen by its row.
    empty = np.flatnonzero(drawn.sum(axis=1) == 0)
    drawn[empty, empty % n] = 1.0
    return drawn


def _relabelled(t: FloatArray, r: FloatArray, exact: bool, seed: int, positive: bool) -> tuple[FloatArray, int]:
    """Threshold of every exchange of k runs between the arms.

    Exchanging sets S_T and S_R of k runs each leaves the sum at least as large exactly where ΣS_T/ΣS_R (or the
    difference of the sums by k) is at most θ; an exchange of none always does. With unequal arms the relabellings are
    still those exchanges.
    """
    in_t = _all_labels(len(t), len(r)) if exact else _drawn_labels(len(t), len(r), seed)
    parts = np.array_split(in_t, -(-len(in_t) // PART))
    top = np.concatenate([(~part[:, : len(t)]).astype(float) @ t for part in parts])
    bottom = np.concatenate([part[:, len(t) :].astype(float) @ r for part in parts])
    k = in_t[:, len(t) :].sum(axis=1)
    some = k > 0
    top, bottom, k = top[some], bottom[some], k[some]
    least = int((~some).sum()) + (0 if exact else 1)
    return np.asarray(top / bottom if positive else (top - bottom) / k), least


@lru_cache(maxsize=4)
def _all_labels(n_t: int, n_r: int) -> BoolArray:
    """Which runs are treatments, for every labelling; shape (labellings, runs)."""
    n = n_t + n_r
    in_t = np.zeros((1, 0), dtype=bool)
    for place in range(n):
        taken = in_t.sum(axis=1)
        # A run may be a treatment while some are wanted, and a reference while the rest can still hold those.
        yes, no = in_t[taken < n_t], in_t[taken + (n - place - 1) >= n_t]
        in_t = np.concatenate(
            [np.column_stack([part, np.full(len(part), label)]) for part, label in ((yes, True), (no, False))]
        )
    return in_t


@lru_cache(maxsize=8)
def _drawn_labels(n_t: int, n_r: int, seed: int) -> BoolArray:
    in_t = np.zeros((DRAWS, n_t + n_r), dtype=bool)
    in_t[:, :n_t] = True
    return np.asarray(generator(seed).permuted(in_t, axis=1))
