"""Percentiles of requests: runs are the units, and three quantities keep three names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.analysis.statistics import analyze_requests
from campaign.analysis.statistics.latency.arm import Components, order_limits, percentiles, variance_components
from campaign.analysis.statistics.latency.pool import Pool, cluster_quantiles, two_level_quantiles


def requests(runs: int, size: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        ("m", arm, run, i, x)
        for arm in ("native", "docker_baseline")
        for run in range(1, runs + 1)
        for i, x in enumerate(rng.normal(100, 3) * rng.lognormal(0, 0.2, size))
    ]
    return pd.DataFrame(rows, columns=["model", "environment", "repetition", "request_index", "latency_ms"])


def test_the_ranks_of_the_limits_are_the_published_ones() -> None:
    assert order_limits(1000, 0.95) == (936, 964)
    assert order_limits(1000, 0.99) == (983, 997)
    assert order_limits(1000, 0.999)[1] > 1000
    assert order_limits(100, 0.99)[1] > 100


def test_too_few_requests_leave_the_upper_limit_open() -> None:
    found = percentiles(np.arange(100.0))["p99"]
    assert found.ci_high is None
    assert found.reason == "not_enough_requests"
    assert found.ci_low is not None


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), min_size=2, max_size=6),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
    st.integers(0, 2**32),
)
def test_the_pooled_quantile_of_drawn_runs_is_exact(runs: list[list[int]], q: float, seed: int) -> None:
    arrays = [np.array(run, dtype=float) for run in runs]
    drawn = np.random.default_rng(seed).integers(0, len(runs), (8, len(runs)))
    counts = np.array([np.bincount(row, minlength=len(runs)) for row in drawn])
    found = cluster_quantiles(Pool.of(arrays), counts, q)
    expected = [np.quantile(np.concatenate([arrays[i] for i in row]), q) for row in drawn]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("size", "q"), [(40, 0.95), (600, 0.95)], ids=["binomial", "normal"])
def test_drawing_requests_without_drawing_them_has_the_right_spread(size: int, q: float) -> None:
    rng = np.random.default_rng(6)
    runs = [rng.normal(100, 4) + rng.exponential(20, size) for _ in range(8)]
    drawn = rng.integers(0, 8, (3000, 8))
    counts = np.array([np.bincount(row, minlength=8) for row in drawn])
    found = two_level_quantiles(Pool.of(runs), counts, q, rng)
    brute = np.array([np.quantile(np.concatenate([rng.choice(runs[i], size) for i in row]), q) for row in drawn[:1500]])
    assert found.mean() == pytest.approx(brute.mean(), abs=5 * brute.std() / np.sqrt(1500))
    assert found.std() == pytest.approx(brute.std(), rel=0.12)


def test_fewer_than_five_runs_have_no_cluster_interval() -> None:
    found = analyze_requests(requests(4, 50))["models"][0]["hierarchical_bootstrap"]["p95"]
    assert found["reason"] == "too_few_clusters"
    assert found["diff_cluster_independent"] is None
    assert found["pooled_diff"] is not None


def test_slow_runs_show_in_the_pooled_percentile_and_not_in_the_typical_run() -> None:
    table = requests(30, 200)
    slow = (table["repetition"] <= 3) & (table["environment"] == "native")
    table.loc[slow, "latency_ms"] *= 2
    summary = analyze_requests(table)["models"][0]["native"]["summary"]["p99"]
    assert summary["pooled"] > summary["mean_of_runs"] > summary["median_of_runs"]


def test_resampling_requests_too_is_wider_and_labelled() -> None:
    found = analyze_requests(requests(10, 60))["models"][0]["hierarchical_bootstrap"]["p95"]
    two, one = found["diff_two_level"], found["diff_cluster_independent"]
    assert two["high"] - two["low"] > one["high"] - one["low"]
    assert "conservative" in two["note"]


def test_failed_requests_are_left_out() -> None:
    table = requests(5, 40)
    table["ok"] = True
    table.loc[0, ["ok", "latency_ms"]] = [False, 1e9]
    native = analyze_requests(table)["models"][0]["native"]
    assert native["n_requests"] == 199
    assert native["summary"]["p99"]["pooled"] < 1e6


def test_variance_components_are_those_that_the_runs_were_drawn_with() -> None:
    rng = np.random.default_rng(2)
    runs = {str(i): rng.normal(rng.normal(100, 5), 20, 400) for i in range(40)}
    components = variance_components(runs)
    assert isinstance(components, Components)
    assert components.within == pytest.approx(400, rel=0.1)
    assert components.between == pytest.approx(25, rel=0.5)
    assert components.ratio == pytest.approx(16, rel=0.5)
