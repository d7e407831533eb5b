"""What two arms allow to say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from campaign.analysis import compare, sql
from campaign.analysis.compare import Arm
from tests import synthetic


def arm(values) -> Arm:
    values = np.asarray(values, dtype=float)
    return Arm(len(values), float(values.mean()), float(values.std(ddof=1)))


REFERENCE = [101.2, 99.8, 100.4, 100.9, 99.5, 100.1]
TREATMENT = [98.9, 99.2, 98.1, 99.6, 98.4]


def test_welch_agrees_with_scipy():
    ours = compare.welch(arm(REFERENCE), arm(TREATMENT))
    theirs = stats.ttest_ind(TREATMENT, REFERENCE, equal_var=False)
    limits = theirs.confidence_interval()
    assert (ours.t, ours.df, ours.p) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-10)
    assert (ours.diff.low, ours.diff.high) == pytest.approx((limits.low, limits.high), rel=1e-10)


def test_the_limits_of_fieller_are_the_ratios_that_a_t_test_just_does_not_reject():
    reference, treatment = arm(REFERENCE), arm(TREATMENT)
    found = compare.fieller(reference, treatment)
    v_r, v_t = reference.variance_of_mean, treatment.variance_of_mean
    ratio = treatment.mean / reference.mean
    weighted = ratio**2 * v_r
    df = (v_t + weighted) ** 2 / (v_t**2 / (treatment.n - 1) + weighted**2 / (reference.n - 1))
    for limit in (found.low, found.high):
        theta = 1 + limit / 100
        t = (treatment.mean - theta * reference.mean) / math.sqrt(v_t + theta**2 * v_r)
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def test_fieller_agrees_with_an_independent_computation_of_a_published_layout():
    # Reference computed with R's formulas from rounded runs: n = 14 each.
    reference = Arm(14, 118.13, 0.66)
    treatment = Arm(14, 116.37, 0.83)
    a = (
        reference.mean**2
        - (q2 := stats.t.ppf(0.975, fieller_df(reference, treatment)) ** 2) * reference.variance_of_mean
    )
    roots = np.roots([a, -2 * treatment.mean * reference.mean, treatment.mean**2 - q2 * treatment.variance_of_mean])
    found = compare.fieller(reference, treatment)
    assert sorted([found.low, found.high]) == pytest.approx(sorted(100 * (roots - 1)), rel=1e-6)


def fieller_df(reference: Arm, treatment: Arm) -> float:
    ratio = treatment.mean / reference.mean
    v_t, weighted = treatment.variance_of_mean, ratio**2 * reference.variance_of_mean
    return (v_t + weighted) ** 2 / (v_t**2 / (treatment.n - 1) + weighted**2 / (reference.n - 1))


def test_a_reference_that_may_be_zero_has_no_percentage_interval():
    found = compare.fieller(Arm(5, 0.1, 5.0), Arm(5, 1.0, 0.1))
    assert (found.low, found.reason) == (None, "denominator_not_distinguishable_from_zero")


@pytest.mark.parametrize(
    ("reference", "treatment", "reason"),
    [
        (Arm(2, 10.0, 1.0), Arm(9, 10.0, 1.0), "insufficient_n"),
        (Arm(1, 10.0, None), Arm(1, 11.0, None), "insufficient_n"),
        (Arm(0, None, None), Arm(9, 10.0, 1.0), "missing_arm"),
        (Arm(5, 10.0, 0.0), Arm(5, 10.0, 1e-13), "deterministic"),
    ],
)
def test_what_cannot_be_inferred_says_why(reference, treatment, reason):
    for found in (compare.fieller(reference, treatment), compare.welch(reference, treatment).diff):
        assert (found.low, found.high, found.reason) == (None, None, reason)


@pytest.mark.parametrize("mean", [0.0, -3.0])
def test_a_mean_that_is_not_positive_has_no_ratio(mean):
    assert compare.fieller(Arm(5, mean, 1.0), Arm(5, 2.0, 1.0)).reason == "nonpositive_mean"


def test_one_constant_arm_leaves_the_other_to_carry_the_uncertainty():
    found = compare.welch(Arm(5, 10.0, 0.0), Arm(7, 10.5, 0.3))
    assert found.df == pytest.approx(6)


def test_the_paired_change_is_a_t_interval_on_log_ratios():
    logs = np.log(np.asarray(TREATMENT) / np.asarray(REFERENCE[:5]))
    low, high = stats.t.interval(0.95, 4, logs.mean(), stats.sem(logs))
    found = compare.paired_change(5, 5, logs.mean(), logs.std(ddof=1))
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (100 * (math.exp(logs.mean()) - 1), 100 * (math.exp(low) - 1), 100 * (math.exp(high) - 1))
    )


@given(
    st.lists(st.floats(50, 150), min_size=3, max_size=12),
    st.lists(st.floats(50, 150), min_size=3, max_size=12),
    st.floats(1e-3, 1e6),
)
def test_a_percentage_does_not_depend_on_the_unit_of_measure(reference, treatment, factor):
    one = compare.fieller(arm(reference), arm(treatment))
    other = compare.fieller(arm(np.multiply(reference, factor)), arm(np.multiply(treatment, factor)))
    assert one.reason == other.reason or "deterministic" in (one.reason, other.reason)
    if one.low is not None and other.low is not None:
        assert one.low <= one.estimate <= one.high
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-6, abs=1e-6)


def test_an_injected_effect_is_found_and_nothing_is_claimed_of_an_absent_one(tmp_path):
    effects = {"docker-baseline": -2.0, "docker-tuned": 0.0}
    con = sql.connect(
        synthetic.write(
            tmp_path,
            models=("tiny",),
            environments=("native-chroot", *effects),
            repetitions=20,
            effects_pct=effects,
            telemetry_hz=0,
        )
    )
    found = compare.comparisons(con).set_index(["treatment", "metric"])
    baseline = found.loc[("docker-baseline", "token_throughput_tok_s")]
    tuned = found.loc[("docker-tuned", "token_throughput_tok_s")]
    assert baseline.verdict == "different"
    assert baseline.pct_low < -2.0 < baseline.pct_high
    assert baseline.overhead_pct == pytest.approx(-baseline.pct)
    assert tuned.verdict == "inconclusive"
    assert baseline.method == "blocks, t on log ratios"


def test_few_blocks_fall_back_to_independent_arms_and_two_runs_to_nothing(tmp_path):
    few = compare.comparisons(sql.connect(synthetic.write(tmp_path / "few", repetitions=4, telemetry_hz=0)))
    assert set(few.loc[few.pct_low.notna(), "method"]) == {"independent arms, Fieller"}
    two = compare.comparisons(sql.connect(synthetic.write(tmp_path / "two", repetitions=2, telemetry_hz=0)))
    throughput = two[two.metric == "token_throughput_tok_s"]
    assert set(throughput.verdict) == {"insufficient_n"}
    assert throughput.pct.notna().all()
    assert throughput[["pct_low", "pct_high", "welch_p"]].isna().all(axis=None)


def test_arms_measured_one_after_the_other_are_not_interpreted(tmp_path):
    import json

    synthetic.write(tmp_path, models=("tiny",), repetitions=5, rejections=False, telemetry_hz=0)
    for path in tmp_path.glob("attempts/*docker*/1/metadata.json"):
        metadata = json.loads(path.read_text())
        metadata["started_utc_ns"] += 10**13
        path.write_text(json.dumps(metadata))
    found = compare.comparisons(sql.connect(tmp_path))
    assert set(found[found.metric == "token_throughput_tok_s"].verdict) == {"not_interpretable"}


def test_an_empty_campaign_has_no_comparison_and_all_columns(tmp_path):
    empty = compare.comparisons(sql.connect(synthetic.write(tmp_path / "a", done=0)))
    full = compare.comparisons(sql.connect(synthetic.write(tmp_path / "b", repetitions=1)))
    assert empty.empty
    assert list(empty.columns) == list(full.columns)
