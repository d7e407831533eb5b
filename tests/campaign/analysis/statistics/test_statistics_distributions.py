"""The probabilities hold where the textbook functions fail."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from campaign.analysis.statistics.distributions import (
    exact_two_sided,
    noncentral_t_cdf,
    noncentrality,
    rank_sum_cdf,
    signed_rank_cdf,
    t_quantile,
    t_two_sided,
)
from campaign.analysis.statistics.dunnett import adjusted_p, critical, one_factor, one_way_loadings


@given(
    t=st.floats(-8, 8),
    df=st.integers(2, 120),
    nc=st.floats(-5, 5),
)
def test_noncentral_t_agrees_with_scipy_where_scipy_is_sound(t: float, df: int, nc: float) -> None:
    expected = 1 - special.nctdtr(df, -nc, -t) if t < 0 else special.nctdtr(df, nc, t)
    assert noncentral_t_cdf(t, df, nc) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("nc", [0.5, 6.0, 37.7, 89.0, 400.0])
@pytest.mark.parametrize("df", [2, 18, 58])
def test_noncentral_t_is_a_distribution_at_any_noncentrality(df: int, nc: float) -> None:
    spread = math.sqrt(1 + nc * nc / (2 * df))
    at = [noncentral_t_cdf(nc + k * spread, df, nc) for k in np.linspace(-6, 6, 49)]
    assert all(0 <= p <= 1 for p in at)
    assert all(b >= a - 1e-13 for a, b in itertools.pairwise(at))
    assert noncentral_t_cdf(-t_quantile(0.975, df), df, nc) < 0.5
    assert noncentral_t_cdf(nc, df, nc) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("t", [0.3, -2.5, 51.0, -89.0, 800.0])
def test_the_noncentrality_found_gives_back_the_probability(t: float) -> None:
    for p in (0.025, 0.975):
        assert noncentral_t_cdf(t, 28, noncentrality(t, 28, p)) == pytest.approx(p, abs=1e-11)


def test_small_p_values_keep_their_digits() -> None:
    assert t_two_sided(30.0, 50) == pytest.approx(2 * stats.t.sf(30.0, 50), rel=1e-11)


@pytest.mark.parametrize(("n1", "n2"), [(3, 3), (2, 5), (4, 3)])
def test_the_rank_sum_distribution_is_the_count_of_arrangements(n1: int, n2: int) -> None:
    u = [sum(i - k for k, i in enumerate(places)) for places in itertools.combinations(range(n1 + n2), n1)]
    counted = np.array([np.mean(np.array(u) <= x) for x in range(n1 * n2 + 1)])
    np.testing.assert_allclose(rank_sum_cdf(n1, n2), counted, rtol=1e-13)


def test_the_signed_rank_distribution_is_the_count_of_signs() -> None:
    v = [sum(r for r, s in zip(range(1, 7), signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=6)]
    counted = np.array([np.mean(np.array(v) <= x) for x in range(22)])
    np.testing.assert_allclose(signed_rank_cdf(6), counted, rtol=1e-13)


@given(n1=st.integers(1, 12), n2=st.integers(1, 12), share=st.floats(0, 1))
def test_the_exact_rank_test_does_not_care_which_arm_is_first(n1: int, n2: int, share: float) -> None:
    u = round(share * n1 * n2)
    there, back = exact_two_sided(rank_sum_cdf(n1, n2), u), exact_two_sided(rank_sum_cdf(n2, n1), n1 * n2 - u)
    assert there == pytest.approx(back, rel=1e-9)


def test_dunnett_by_quadrature_agrees_with_scipy_by_sampling() -> None:
    rng = np.random.default_rng(3)
    control, *others = (rng.normal(m, 1, n) for m, n in ((0, 10), (0.9, 10), (0.2, 8), (-0.6, 12)))
    reference = stats.dunnett(*others, control=control, random_state=1)
    groups = [control, *others]
    df = sum(map(len, groups)) - len(groups)
    pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / df
    t = [(x.mean() - control.mean()) / math.sqrt(pooled * (1 / len(x) + 1 / len(control))) for x in others]
    loadings = one_way_loadings([len(x) for x in others], len(control))
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1)
    np.testing.assert_allclose(adjusted_p(np.array(t), correlation, df), reference.pvalue, atol=2e-3)
    np.testing.assert_allclose(one_factor(correlation), loadings, rtol=1e-12)


def test_the_dunnett_quantile_is_the_one_of_the_tables() -> None:
    # Dunnett (1964), two-sided 5 %: 20 degrees of freedom and 4 treatments 2.65; 60 and 9, 2.77 (equal group sizes).
    assert critical(one_way_loadings([5] * 4, 5), 20) == pytest.approx(2.65, abs=0.005)
    assert critical(one_way_loadings([7] * 9, 7), 60) == pytest.approx(2.77, abs=0.015)


def test_one_contrast_needs_no_adjustment() -> None:
    p = adjusted_p(np.array([2.2]), np.array([[1.0]]), 17)
    assert p[0] == pytest.approx(t_two_sided(2.2, 17), abs=1e-10)
