"""The intervals are BCa's, and each has its own stream of chance."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from campaign.analysis.statistics.bootstrap import (
    Bca,
    bca,
    moving_blocks,
    resampled_blocks,
    resampled_means,
    resampled_overhead,
    uniform_below,
)
from campaign.analysis.statistics.seeds import derived_seed, generator


def test_resampled_means_have_the_moments_of_the_bootstrap() -> None:
    for n in (5, 30, 31, 300):
        x = np.random.default_rng(n).exponential(10, n)
        means = resampled_means(x, generator(1), 60_000)
        assert means.mean() == pytest.approx(x.mean(), abs=4 * x.std() / np.sqrt(n * 60_000))
        assert means.std() == pytest.approx(x.std() / np.sqrt(n), rel=0.02)


@pytest.mark.parametrize("limit", [2, 9, 900, 3600, 40_000, 2**16])
def test_every_integer_below_a_limit_is_drawn_equally_often(limit: int) -> None:
    drawn = uniform_below(limit, (40, 50_001), generator(limit))
    assert drawn.shape == (40, 50_001)
    counts = np.bincount(drawn.ravel(), minlength=limit)
    assert len(counts) == limit
    assert stats.chisquare(counts).pvalue > 1e-4


def test_pairs_of_values_are_summed_as_single_draws_would_be() -> None:
    both = resampled_means(np.array([0.0, 0.0, 1.0, 5.0]) + 1j * np.array([1.0, 2.0, 0.0, 0.0]), generator(3), 100_000)
    # Of four draws from four values, none, one … four are the last: the binomial of four and a quarter.
    fives = np.bincount((4 * both.real // 5).astype(int), minlength=5) / len(both)
    assert fives == pytest.approx(stats.binom.pmf(range(5), 4, 0.25), abs=0.006)
    # All four draws are of the last two values exactly where the imaginary part is nil.
    assert np.mean(both.imag == 0) == pytest.approx(1 / 16, abs=0.004)


def test_the_limits_agree_with_scipy() -> None:
    x = np.random.default_rng(2).lognormal(0, 0.6, 25)
    ours = bca(Bca, resampled_means(x, generator(5), 100_000), float(x.mean()), [x - x.mean()])
    theirs = stats.bootstrap(
        (x,), np.mean, method="BCa", n_resamples=100_000, rng=np.random.default_rng(1), vectorized=True
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.02 * width)


def test_overhead_is_minus_the_change_where_higher_is_better() -> None:
    rng = np.random.default_rng(3)
    t, r = rng.normal(98, 1, 12), rng.normal(100, 1, 12)
    up, down = (resampled_overhead(t, r, direction, lambda _: 9) for direction in (1, -1))
    assert up.low is not None and up.high is not None and down.low is not None and down.high is not None
    assert up.low == pytest.approx(-down.high, rel=1e-6)
    assert up.high == pytest.approx(-down.low, rel=1e-6)
    assert up.low > 0


def test_a_degenerate_sample_has_no_interval_and_says_so() -> None:
    assert resampled_blocks(np.array([1.0, 1.0, 1.0]), lambda _: 1).reason == "bootstrap_degenerate"
    assert bca(Bca, np.ones(100), 1.0, [np.zeros(3)]).reason == "bootstrap_degenerate"


def test_a_seed_is_the_hash_of_what_it_is_for() -> None:
    digest = hashlib.sha256(b"7|m|latency_ms|a_vs_b|mean_diff|protocol").digest()
    seed = derived_seed(7, "m", "latency_ms", "a_vs_b", "mean_diff", "protocol")
    assert seed == int.from_bytes(digest[:8], "big")


def test_blocks_that_resemble_their_neighbours_widen_the_interval() -> None:
    rng = np.random.default_rng(11)
    x = np.empty(200)
    x[0] = 0
    for i in range(1, 200):
        x[i] = 0.8 * x[i - 1] + rng.normal()
    moved = moving_blocks(x, 1)
    naive = bca(Bca, resampled_means(x, generator(1)), float(x.mean()), [x - x.mean()])
    assert moved.block_length == 6
    assert naive.low is not None and naive.high is not None
    assert moved.high - moved.low > 1.4 * (naive.high - naive.low)
