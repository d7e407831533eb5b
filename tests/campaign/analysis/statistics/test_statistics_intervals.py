"""Intervals of a difference and of a ratio, against other ways of working them out."""

import math

import numpy as np
import pytest
from scipy import stats

from campaign.analysis.statistics.ratio import independent_ratio, paired_ratio
from campaign.analysis.statistics.two_arms.welch import test as welch

REFERENCE = np.array([101.2, 99.8, 100.4, 100.9, 99.5, 100.1])
TREATMENT = np.array([98.9, 99.2, 98.1, 99.6, 98.4])


def test_welch_agrees_with_scipy() -> None:
    ours, theirs = welch(TREATMENT, REFERENCE, 1), stats.ttest_ind(TREATMENT, REFERENCE, equal_var=False)
    limits = theirs.confidence_interval()
    assert (ours.t, ours.df, ours.p) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-10)
    assert (ours.ci_low, ours.ci_high) == pytest.approx((limits.low, limits.high), rel=1e-10)


def test_one_constant_arm_leaves_the_other_to_carry_the_uncertainty() -> None:
    assert welch(TREATMENT, np.full(7, 100.0), 1).df == pytest.approx(len(TREATMENT) - 1)


def test_the_limits_of_fieller_are_the_ratios_that_a_t_test_just_does_not_reject() -> None:
    found = independent_ratio(TREATMENT, REFERENCE)
    assert found is not None
    v_r, v_t = REFERENCE.var(ddof=1) / len(REFERENCE), TREATMENT.var(ddof=1) / len(TREATMENT)
    for theta in (found.fieller_low, found.fieller_high):
        t = (TREATMENT.mean() - theta * REFERENCE.mean()) / math.sqrt(v_t + theta**2 * v_r)
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, found.df), rel=1e-9)


def test_the_limits_of_fieller_over_blocks_are_those_of_a_paired_t_test() -> None:
    reference = REFERENCE[:5]
    found = paired_ratio(TREATMENT, reference)
    assert found is not None
    for theta in (found.fieller_low, found.fieller_high):
        t = stats.ttest_1samp(TREATMENT - theta * reference, 0).statistic
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-9)


def test_the_geometric_mean_of_the_blocks_ratios_has_a_t_interval_on_the_logarithms() -> None:
    reference = REFERENCE[:5]
    logs = np.log(TREATMENT / reference)
    found = paired_ratio(TREATMENT, reference)
    assert found is not None
    limits = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    assert (found.gm_low, found.gm_high) == pytest.approx(tuple(np.exp(limits)), rel=1e-10)
