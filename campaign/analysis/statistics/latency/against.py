"""Percentiles of one arm against another's: run by run, and over all requests with runs drawn again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from campaign.analysis.result import INLINE, LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import is_constant, quantiles
from campaign.analysis.statistics.distributions import FloatArray, t_quantile
from campaign.analysis.statistics.latency.arm import PERCENTILES, Arm
from campaign.analysis.statistics.latency.pool import cluster_quantiles, run_counts, two_level_quantiles
from campaign.analysis.statistics.seeds import derived_seed, generator
from campaign.analysis.statistics.two_arms.mann_whitney import test as mann_whitney
from campaign.analysis.statistics.two_arms.welch import test as welch

FEWEST_CLUSTERS = 5
FEWEST_FOR_CLAIM = 30
"""Runs below which no interval of a pooled percentile holds what it says (``docs/statistics.md``)."""
UNSEEN = 16.0
"""Runs taken as unseen, as in ``deciding``."""


@dataclass(frozen=True)
class Limits(Result):
    """95 % percentile limits, in ms."""

    low: float
    high: float
    note: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Resampled(Result):
    """A percentile of all requests, treatment minus reference, in ms, with runs drawn again. ``of_arms`` are the limits
    of each arm alone, by ``<arm>_cluster``. Nothing but the difference, and the reason, where runs are too few."""

    pooled_diff: Annotated[float, Column("diff")]
    of_arms: Annotated[Mapping[str, Limits | None], INLINE]
    diff_cluster_independent: Limits | None = None
    diff_cluster_blocks: Limits | None = None
    """Runs of one repetition drawn together; None with too few of them."""
    diff_two_level: Limits | None = None
    """None also where it is not asked for."""
    reason: Annotated[str | None, LEFT_OUT] = None

    def cluster_of(self, arm: str) -> Limits | None:
        """The limits of an arm alone; None too where it is neither of the two."""
        return self.of_arms.get(f"{arm}_cluster")


@dataclass(frozen=True)
class RunLevel(Result):
    """A percentile of the runs, treatment minus reference, in ms, by Welch's test; with what Mann and Whitney's says.
    Nothing but the difference, and the reason, where it cannot be tested."""

    diff: Annotated[float, Column("run_level_diff")]
    ci_low: float | None = None
    ci_high: float | None = None
    p: Annotated[float | None, Column("run_level_p")] = None
    mwu_p: float | None = None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Against(Result):
    """One arm against another, by percentile; nothing, and the reason, where there are no two arms."""

    run_level_welch: dict[str, RunLevel] | None = None
    hierarchical_bootstrap: dict[str, Resampled] | None = None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Shown(Result):
    """An interval that may be printed, in ms, or why there is none."""

    low: float | None
    high: float | None
    reason: str | None


def compare_arms(
    treatment: Arm, reference: Arm, names: tuple[str, str], stream: tuple[str, str, int], *, two_level: bool = True
) -> Against:
    """Difference of percentiles, treatment minus reference: Welch on run percentiles,
    bootstraps of the pooled percentile.

    ``names`` are the two environments; ``stream`` is model, metric and campaign seed.
    """
    model, metric, seed = stream
    contrast = f"{names[0]}_vs_{names[1]}"
    run_level = {p: _run_level(treatment.by_run[p], reference.by_run[p]) for p in PERCENTILES}
    shared = [rep for rep in treatment.runs if rep in reference.runs]
    pools = [arm.pool for arm in (treatment, reference)]
    paired = [arm.of(shared) for arm in (treatment, reference)] if shared else []
    differences = {p: treatment.pooled[p] - reference.pooled[p] for p in PERCENTILES}
    of_arms = (f"{names[1]}_cluster", f"{names[0]}_cluster")

    def rng(statistic: str) -> np.random.Generator:
        return generator(derived_seed(seed, model, metric, contrast, statistic, "requests"))

    if min(len(pool.sizes) for pool in pools) < FEWEST_CLUSTERS:
        few = {p: Resampled(diff, dict.fromkeys(of_arms), reason="too_few_clusters") for p, diff in differences.items()}
        return Against(run_level, few)
    counts = [run_counts(len(pool.sizes), rng(f"cluster_{i}")) for i, pool in enumerate(pools)]
    joint = run_counts(len(shared), rng("cluster_blocks")) if len(shared) >= FEWEST_CLUSTERS else None
    found = {}
    for p, q in PERCENTILES.items():
        t, r = (cluster_quantiles(pool, c, q) for pool, c in zip(pools, counts, strict=True))
        in_blocks = both_levels = None
        if joint is not None:
            a, b = (cluster_quantiles(pool, joint, q) for pool in paired)
            in_blocks = _limits(a - b)
        if two_level:
            two = [
                two_level_quantiles(pool, c, q, rng(f"two_level_{i}_{p}"))
                for i, (pool, c) in enumerate(zip(pools, counts, strict=True))
            ]
            both_levels = _limits(two[0] - two[1], "conservative: within-run noise counted twice")
        alone = dict(zip(of_arms, (_limits(r), _limits(t)), strict=True))
        found[p] = Resampled(differences[p], alone, _limits(t - r), in_blocks, both_levels)
    return Against(run_level, found)


def _run_level(t: FloatArray, r: FloatArray) -> RunLevel:
    diff = float(t.mean() - r.mean())
    if min(len(t), len(r)) < 3:
        return RunLevel(diff, reason="insufficient_n")
    if is_constant(t) and is_constant(r):
        return RunLevel(diff, reason="deterministic")
    found = welch(t, r)
    return RunLevel(diff, found.ci_low, found.ci_high, found.p, mann_whitney(t, r).p)


def _limits(resampled: FloatArray, note: str | None = None) -> Limits:
    low, high = quantiles(resampled, (0.025, 0.975))
    return Limits(low, high, note)


def widened(estimate: float, low: float, high: float, runs: int) -> tuple[float, float]:
    """Percentile limits moved away from the estimate: t for the normal quantile, and √(1 + k/n)
    for what n runs did not show."""
    factor = math.sqrt(1 + UNSEEN / runs) * t_quantile(0.975, runs - 1) / 1.959963984540054
    return estimate - factor * (estimate - low), estimate + factor * (high - estimate)


def guarded(estimate: float | None, limits: Limits | None, runs: int) -> Shown:
    """The interval that may be printed: :func:`widened`, or None with the reason."""
    if estimate is None or limits is None:
        return Shown(None, None, "too_few_clusters")
    if runs < FEWEST_FOR_CLAIM:
        return Shown(None, None, f"fewer_than_{FEWEST_FOR_CLAIM}_runs")
    return Shown(*widened(estimate, limits.low, limits.high, runs), None)
