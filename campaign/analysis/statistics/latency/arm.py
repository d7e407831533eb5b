"""Percentiles of one arm: within every run, over all requests, and over the runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

import numpy as np
import scipy

from campaign.analysis.result import LEFT_OUT, Column, Result
from campaign.analysis.statistics.descriptive import median, quantiles
from campaign.analysis.statistics.distributions import FloatArray
from campaign.analysis.statistics.latency.pool import Pool

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
EXTREME = ("p99.9", 0.999)
EXTREME_NEEDS = 10_000
Runs = dict[str, FloatArray]
"""Run to the latencies of its requests, in ms."""


@dataclass(frozen=True)
class Percentile(Result):
    """Of one run, in ms. ``l`` and ``u`` are the ranks of the limits; None, with the reason, where a limit lies beyond
    the requests."""

    value: float
    l: int | None  # noqa: E741 - as the JSON has called it all along
    u: int | None
    ci_low: float | None
    ci_high: float | None
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Pooled(Result):
    """Of all requests of an arm, in ms."""

    pooled: Annotated[float, Column("pooled")]


@dataclass(frozen=True)
class Summary(Pooled):
    """With what its runs have, in ms."""

    mean_of_runs: Annotated[float, Column("mean_of_runs")]
    median_of_runs: Annotated[float, Column("median_of_runs")]
    sd_between_runs: Annotated[float | None, Column("sd_between_runs")]


@dataclass(frozen=True)
class Components(Result):
    """Variances within and between runs, in ms²; ``ratio`` is None where runs add nothing beyond their requests."""

    within: float
    between: float
    ratio: float | None


@dataclass(frozen=True)
class NoComponents(Result):
    """Fewer than two runs, or one with fewer than two requests."""

    within: None = None
    between: None = None
    reason: str = "insufficient_n"


@dataclass(frozen=True)
class Described(Result):
    """An arm: by run and percentile, and by percentile. ``variance_components`` is None where nothing ran."""

    n_runs: Annotated[int, Column("runs")]
    n_requests: Annotated[int, Column("requests")]
    runs: dict[str, dict[str, Percentile]]
    summary: dict[str, Pooled]
    variance_components: Annotated[Components | NoComponents | None, LEFT_OUT] = None


@dataclass(frozen=True)
class Arm:
    """The requests of an environment by run, and what the description and every contrast ask of them."""

    runs: Runs

    @cached_property
    def percentiles(self) -> dict[str, dict[str, Percentile]]:
        """Of every run: see :func:`percentiles`."""
        return {run: percentiles(x) for run, x in self.runs.items()}

    @cached_property
    def by_run(self) -> dict[str, FloatArray]:
        """Percentile to its value in every run; shape (runs,)."""
        return {p: np.array([found[p].value for found in self.percentiles.values()]) for p in PERCENTILES}

    @cached_property
    def pool(self) -> Pool:
        """All requests together."""
        return Pool.of(list(self.runs.values()))

    @cached_property
    def pooled(self) -> dict[str, float]:
        """Percentile to its value over all requests."""
        return dict(zip(PERCENTILES, quantiles(self.pool.values, list(PERCENTILES.values())), strict=True))

    def of(self, runs: list[str]) -> Pool:
        """The requests of some runs, in the order given."""
        return self.pool if runs == list(self.runs) else Pool.of([self.runs[run] for run in runs])


@lru_cache(maxsize=65536)
def order_limits(n: int, q: float) -> tuple[int, int]:
    """Ranks (1-based) of the distribution-free 95 % limits of the q-quantile of n values; may lie outside 1 … n."""
    return int(scipy.stats.binom.ppf(0.025, n, q)), int(scipy.stats.binom.ppf(0.975, n, q)) + 1


def percentiles(x: FloatArray) -> dict[str, Percentile]:
    """Quantiles (type 7) of one run with order-statistic limits. Within run, assumes independence:
    too narrow in a batch."""
    ordered = np.sort(x)
    values = quantiles(ordered, list(PERCENTILES.values()))
    return {p: _percentile(ordered, value, q) for (p, q), value in zip(PERCENTILES.items(), values, strict=True)}


def _percentile(ordered: FloatArray, value: float, q: float) -> Percentile:
    n = len(ordered)
    low, high = order_limits(n, q)
    return Percentile(
        value,
        l=low if low >= 1 else None,
        u=high if high <= n else None,
        ci_low=float(ordered[low - 1]) if low >= 1 else None,
        ci_high=float(ordered[high - 1]) if high <= n else None,
        reason="not_enough_requests" if low < 1 or high > n else None,
    )


def describe_arm(arm: Arm) -> Described:
    """Percentiles of every run, and over the arm: pooled, mean of runs, median of runs, spread between runs."""
    runs = arm.runs
    if not runs:
        return Described(0, 0, {}, {})
    pooled = arm.pool.values
    summary: dict[str, Pooled] = {
        p: Summary(
            pooled=arm.pooled[p],
            mean_of_runs=float(values.mean()),
            median_of_runs=median(values),
            sd_between_runs=float(values.std(ddof=1)) if len(values) > 1 else None,
        )
        for p, values in arm.by_run.items()
    }
    if len(pooled) >= EXTREME_NEEDS and order_limits(len(pooled), EXTREME[1])[1] <= len(pooled):
        summary[EXTREME[0]] = Pooled(quantiles(pooled, EXTREME[1:])[0])
    return Described(len(runs), len(pooled), arm.percentiles, summary, variance_components(runs))


def variance_components(runs: Runs) -> Components | NoComponents:
    """Within-run variance T1² and between-run component T2² (Kalibera and Jones 2013).

    The best number of requests per run is sqrt((fixed seconds per run / seconds per request) * T1²/T2²); T2² <= 0 means
    that runs add nothing beyond their requests.
    """
    if len(runs) < 2 or min(len(x) for x in runs.values()) < 2:
        return NoComponents()
    within = float(np.mean([x.var(ddof=1) for x in runs.values()]))
    size = len(runs) / sum(1 / len(x) for x in runs.values())
    between = float(np.var([x.mean() for x in runs.values()], ddof=1)) - within / size
    return Components(within, between, within / between if between > 0 else None)
