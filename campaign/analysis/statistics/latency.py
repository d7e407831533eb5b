"""Latency percentiles from requests: within a run, pooled over an arm, and across runs; three quantities,
never one name.

The run is the experimental unit: requests of a run resemble each other, so intervals resample runs (or blocks), not
requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from campaign.analysis.parallel import Work, together
from campaign.analysis.statistics.contrasts import by_name
from campaign.analysis.statistics.descriptive import is_constant, median, quantiles
from campaign.analysis.statistics.distributions import FloatArray, IntArray, t_quantile
from campaign.analysis.statistics.seeds import derived_seed, generator
from campaign.analysis.statistics.table import IDENTITY, TableError, reference_arm
from campaign.analysis.statistics.two_arms.mann_whitney import test as mann_whitney
from campaign.analysis.statistics.two_arms.welch import test as welch

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
EXTREME = ("p99.9", 0.999)
EXTREME_NEEDS = 10_000
RESAMPLES = 10_000
FEWEST_CLUSTERS = 5
FEWEST_FOR_CLAIM = 30
"""Runs below which no interval of a pooled percentile holds what it says (``docs/statistics.md``)."""
UNSEEN = 16.0
"""Runs taken as unseen, as in ``deciding``."""
EXACT_TAIL = 200
"""Expected requests beyond the percentile up to which the two-level resample counts binomially; above, a normal count
is exact to well under one request."""
CHUNK = 2_000
STRIDE = 64
"""Rows of a pool between those looked at first when a rank is searched."""

Runs = dict[str, FloatArray]
"""Run to the latencies of its requests, in ms."""
Latencies = dict[str, dict[str, dict[str, Runs]]]
"""Model, latency and environment to runs."""
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


@dataclass(frozen=True)
class Arm:
    """The requests of an environment by run, and what the description and every contrast ask of them."""

    runs: Runs

    @cached_property
    def percentiles(self) -> dict[str, dict[str, Any]]:
        """Of every run: see :func:`percentiles`."""
        return {run: percentiles(x) for run, x in self.runs.items()}

    @cached_property
    def by_run(self) -> dict[str, FloatArray]:
        """Percentile to its value in every run; shape (runs,)."""
        return {p: np.array([found[p]["value"] for found in self.percentiles.values()]) for p in PERCENTILES}

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


def analyze_latency(table: pd.DataFrame, reference: str | None, seed: int) -> list[dict[str, Any]]:
    """What :func:`compare_latencies` finds in a request table."""
    frame = table.rename(columns=lambda name: str(name).strip())
    for name in ("model", "environment", "repetition"):
        if name not in frame:
            raise TableError(
                f"column {name!r} is missing; a request table needs model, environment, repetition and latency_ms "
                f"(found: {', '.join(map(str, frame.columns))})"
            )
    metrics = _latency_columns(frame)
    if "ok" in frame:
        frame = frame[frame["ok"].astype(bool)]
    if "status" in frame:
        frame = frame[frame["status"].astype(str).isin(("ok", "completed"))]
    base = reference_arm([str(name) for name in frame["environment"].unique()], reference)
    latencies: Latencies = {}
    for model, rows in frame.groupby("model", sort=False):
        runs = {str(arm): _runs(part, metrics) for arm, part in rows.groupby("environment", sort=False)}
        latencies[str(model)] = {x: {arm: found[x] for arm, found in runs.items()} for x in metrics}
    (found,) = together([compare_latencies(latencies, base, seed)])
    return found  # type: ignore[no-any-return]


def compare_latencies(latencies: Latencies, base: str, seed: int, *, two_level: bool = True) -> Work:
    """One entry per model: its first latency, the others under ``by_metric``; arms against ``base``.

    ``two_level``: also the bootstrap of runs and of requests within them, by far the dearest figure here.
    """
    return Work([partial(_model, model, arms, base, seed, two_level) for model, arms in latencies.items()], list)


def _latency_columns(frame: pd.DataFrame) -> list[str]:
    found = []
    for name in map(str, frame.columns):
        timing = name.endswith("_ms") or any(word in name for word in ("latency", "ttft", "itl", "tpot"))
        if name in IDENTITY or not timing or name == "submitted_ms":
            continue
        if not pd.api.types.is_numeric_dtype(frame[name]):
            if name == "itl_ms":
                continue  # a list per request: summarised per run by whoever measured it
            raise TableError(f"column {name!r} of the request table is not numeric: leave missing values empty")
        found.append(name)
    if not found:
        raise TableError("the request table has no latency column: add latency_ms (and ttft_ms), in milliseconds")
    return sorted(found, key=lambda name: name != "latency_ms")


def _runs(rows: pd.DataFrame, metrics: list[str]) -> dict[str, Runs]:
    """Of every latency the finite values by run. Several units: the unit is part of the run's name;
    several attempts: the first counts."""
    keys = ["repetition"]
    for name in ("unit", "phase"):
        if name in rows and rows[name].nunique() > 1:
            keys.insert(0, name)
    if "attempt" in rows:
        rows = rows[rows["attempt"] == rows.groupby(keys)["attempt"].transform("min")]
    out: dict[str, Runs] = {metric: {} for metric in metrics}
    for key, part in rows.groupby(keys, sort=True):
        for metric in metrics:
            x = part[metric].to_numpy(dtype=float, na_value=np.nan)
            if np.isfinite(x).any():
                out[metric]["|".join(map(str, key))] = x[np.isfinite(x)]
    return out


def _model(model: str, arms: dict[str, dict[str, Runs]], base: str, seed: int, two_level: bool) -> dict[str, Any]:
    """The entry of a model; ``arms`` holds its runs by latency column and environment."""
    by_metric = {metric: _latency(runs, model, metric, base, seed, two_level) for metric, runs in arms.items()}
    first = next(iter(by_metric))
    return {"model": model, "metric": first} | by_metric[first] | {"by_metric": by_metric}


def _latency(runs: dict[str, Runs], model: str, metric: str, base: str, seed: int, two_level: bool) -> dict[str, Any]:
    arms = {name: Arm(found) for name, found in runs.items()}
    out: dict[str, Any] = {name: describe_arm(arm) for name, arm in arms.items()}
    contrasts = {}
    for name, arm in arms.items():
        if name == base or not arm.runs or not runs.get(base):
            continue
        contrasts[f"{name}_vs_{base}"] = compare_arms(
            arm, arms[base], (name, base), (model, metric, seed), two_level=two_level
        )
    if contrasts:
        baseline = by_name(list(arms), base).baseline  # the figures beside all contrasts are of this one
        out |= contrasts.get(f"{baseline}_vs_{base}") or next(iter(contrasts.values()))
    else:
        out |= {"run_level_welch": None, "hierarchical_bootstrap": None, "reason": "missing_arm"}
    return out | ({"contrasts": contrasts} if len(contrasts) > 1 else {})


@lru_cache(maxsize=65536)
def order_limits(n: int, q: float) -> tuple[int, int]:
    """Ranks (1-based) of the distribution-free 95 % limits of the q-quantile of n values; may lie outside 1 … n."""
    return int(scipy.stats.binom.ppf(0.025, n, q)), int(scipy.stats.binom.ppf(0.975, n, q)) + 1


def percentiles(x: FloatArray) -> dict[str, dict[str, Any]]:
    """Quantiles (type 7) of one run with order-statistic limits. Within run, assumes independence:
    too narrow in a batch."""
    ordered = np.sort(x)
    values = quantiles(ordered, list(PERCENTILES.values()))
    return {p: _percentile(ordered, value, q) for (p, q), value in zip(PERCENTILES.items(), values, strict=True)}


def _percentile(ordered: FloatArray, value: float, q: float) -> dict[str, Any]:
    n = len(ordered)
    low, high = order_limits(n, q)
    out: dict[str, Any] = {
        "value": value,
        "l": low if low >= 1 else None,
        "u": high if high <= n else None,
        "ci_low": float(ordered[low - 1]) if low >= 1 else None,
        "ci_high": float(ordered[high - 1]) if high <= n else None,
    }
    if low < 1 or high > n:
        out["reason"] = "not_enough_requests"
    return out


def describe_arm(arm: Arm) -> dict[str, Any]:
    """Percentiles of every run, and over the arm: pooled, mean of runs, median of runs, spread between runs."""
    runs = arm.runs
    if not runs:
        return {"n_runs": 0, "n_requests": 0, "runs": {}, "summary": {}}
    pooled = arm.pool.values
    summary: dict[str, Any] = {}
    for p, values in arm.by_run.items():
        summary[p] = {
            "pooled": arm.pooled[p],
            "mean_of_runs": float(values.mean()),
            "median_of_runs": median(values),
            "sd_between_runs": float(values.std(ddof=1)) if len(values) > 1 else None,
        }
    if len(pooled) >= EXTREME_NEEDS and order_limits(len(pooled), EXTREME[1])[1] <= len(pooled):
        summary[EXTREME[0]] = {"pooled": quantiles(pooled, EXTREME[1:])[0]}
    return {
        "n_runs": len(runs),
        "n_requests": len(pooled),
        "runs": arm.percentiles,
        "summary": summary,
        "variance_components": variance_components(runs),
    }


def variance_components(runs: Runs) -> dict[str, Any]:
    """Within-run variance T1² and between-run component T2² (Kalibera and Jones 2013).

    The best number of requests per run is sqrt((fixed seconds per run / seconds per request) * T1²/T2²); T2² <= 0 means
    that runs add nothing beyond their requests.
    """
    if len(runs) < 2 or min(len(x) for x in runs.values()) < 2:
        return {"within": None, "between": None, "reason": "insufficient_n"}
    within = float(np.mean([x.var(ddof=1) for x in runs.values()]))
    size = len(runs) / sum(1 / len(x) for x in runs.values())
    between = float(np.var([x.mean() for x in runs.values()], ddof=1)) - within / size
    return {"within": within, "between": between, "ratio": within / between if between > 0 else None}


def compare_arms(
    treatment: Arm, reference: Arm, names: tuple[str, str], stream: tuple[str, str, int], *, two_level: bool = True
) -> dict[str, Any]:
    """Difference of percentiles, treatment minus reference: Welch on run percentiles,
    bootstraps of the pooled percentile.

    ``names`` are the two environments; ``stream`` is model, metric and campaign seed.
    """
    model, metric, seed = stream
    contrast = f"{names[0]}_vs_{names[1]}"
    arms = (treatment, reference)
    run_level = {p: _run_level(treatment.by_run[p], reference.by_run[p]) for p in PERCENTILES}
    shared = [rep for rep in treatment.runs if rep in reference.runs]
    bootstrap: dict[str, Any] = {}
    pools = [arm.pool for arm in arms]
    paired = [arm.of(shared) for arm in arms] if shared else []

    def rng(statistic: str) -> np.random.Generator:
        return generator(derived_seed(seed, model, metric, contrast, statistic, "requests"))

    counts = [_run_counts(len(pool.sizes), rng(f"cluster_{i}")) for i, pool in enumerate(pools)]
    joint = _run_counts(len(shared), rng("cluster_blocks")) if shared else None
    for p, q in PERCENTILES.items():
        entry: dict[str, Any] = {"pooled_diff": treatment.pooled[p] - reference.pooled[p]}
        few = min(len(pool.sizes) for pool in pools) < FEWEST_CLUSTERS
        if few:
            keys = (f"{names[1]}_cluster", f"{names[0]}_cluster", "diff_cluster_independent", "diff_cluster_blocks")
            entry |= dict.fromkeys((*keys, "diff_two_level")) | {"reason": "too_few_clusters"}
            bootstrap[p] = entry
            continue
        t, r = (cluster_quantiles(pool, c, q) for pool, c in zip(pools, counts, strict=True))
        entry |= {
            f"{names[1]}_cluster": _limits(r),
            f"{names[0]}_cluster": _limits(t),
            "diff_cluster_independent": _limits(t - r),
            "diff_cluster_blocks": None,
        }
        if joint is not None and len(shared) >= FEWEST_CLUSTERS:
            a, b = (cluster_quantiles(pool, joint, q) for pool in paired)
            entry["diff_cluster_blocks"] = _limits(a - b)
        if two_level:
            two = [
                two_level_quantiles(pool, c, q, rng(f"two_level_{i}_{p}"))
                for i, (pool, c) in enumerate(zip(pools, counts, strict=True))
            ]
            note = "conservative: within-run noise counted twice"
            entry["diff_two_level"] = _limits(two[0] - two[1]) | {"note": note}
        bootstrap[p] = entry
    return {"run_level_welch": run_level, "hierarchical_bootstrap": bootstrap}


def _run_level(t: FloatArray, r: FloatArray) -> dict[str, Any]:
    out: dict[str, Any] = {"diff": float(t.mean() - r.mean())} | dict.fromkeys(("ci_low", "ci_high", "p", "mwu_p"))
    if min(len(t), len(r)) < 3:
        return out | {"reason": "insufficient_n"}
    if is_constant(t) and is_constant(r):
        return out | {"reason": "deterministic"}
    result = welch(t, r)
    return out | {key: getattr(result, key) for key in ("ci_low", "ci_high", "p")} | {"mwu_p": mann_whitney(t, r).p}


def _run_counts(runs: int, rng: np.random.Generator) -> IntArray:
    """How often each run is drawn; shape (resamples, runs)."""
    counts = np.empty((RESAMPLES, runs), dtype=np.int64)
    # In parts that stay in the processor's cache.
    for part in np.split(counts, RESAMPLES // 500):
        drawn = rng.integers(0, runs, size=part.shape) + runs * np.arange(len(part))[:, None]
        part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def widened(estimate: float, low: float, high: float, runs: int) -> tuple[float, float]:
    """Percentile limits moved away from the estimate: t for the normal quantile, and √(1 + k/n)
    for what n runs did not show."""
    factor = math.sqrt(1 + UNSEEN / runs) * t_quantile(0.975, runs - 1) / 1.959963984540054
    return estimate - factor * (estimate - low), estimate + factor * (high - estimate)


def guarded(estimate: float | None, limits: dict[str, float] | None, runs: int) -> dict[str, Any]:
    """The interval that may be printed: :func:`widened`, or None with the reason."""
    if estimate is None or not limits or limits.get("low") is None:
        return {"low": None, "high": None, "reason": "too_few_clusters"}
    if runs < FEWEST_FOR_CLAIM:
        return {"low": None, "high": None, "reason": f"fewer_than_{FEWEST_FOR_CLAIM}_runs"}
    low, high = widened(estimate, limits["low"], limits["high"], runs)
    return {"low": low, "high": high, "reason": None}


def _limits(resampled: FloatArray) -> dict[str, float]:
    low, high = quantiles(resampled, (0.025, 0.975))
    return {"low": low, "high": high}


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
