"""Runs whose partner was lost still say something, and no more than they can."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from run_tables import METRIC, drawn, run_table

from campaign.analysis.statistics.interblock import Recovered, estimate, interblock
from campaign.analysis.statistics.paired import Paired, paired
from campaign.analysis.statistics.runs import analyze_runs
from campaign.analysis.statistics.sets import Sample
from campaign.analysis.statistics.time_series import order_effect


def sample(repetition, value):
    repetition = np.array(repetition, dtype=np.int64)
    nothing = np.full(len(repetition), np.nan)
    return Sample([str(i) for i in repetition], repetition, np.array(value, dtype=float), repetition * 1.0, nothing)


def blocks(n, effect=1.0, seed=3, block_sd=2.0):
    rng = np.random.default_rng(seed)
    block = rng.normal(100, block_sd, n)
    return block + effect + rng.normal(0, 0.5, n), block + rng.normal(0, 0.5, n)


@pytest.mark.parametrize("block_sd", [0.0, 2.0])
def test_with_every_block_complete_it_is_the_paired_t_test_and_its_fieller_interval(block_sd):
    t, r = blocks(14, block_sd=block_sd)
    found, plain = estimate(sample(range(14), t), sample(range(14), r)), paired(t, r, 1, 30)
    assert isinstance(plain, Paired) and isinstance(found, Recovered)
    assert found.diff == pytest.approx(plain.mean_diff, rel=1e-9)
    for ours, theirs in (("df", "df"), ("p", "p"), ("ci_low", "ci_low"), ("ci_high", "ci_high")):
        assert getattr(found, ours) == pytest.approx(getattr(plain, theirs), rel=1e-5)
    # Fieller's interval differs only by the variance of the reference arm, which the model shares between the arms.
    assert found.percent.pct_low == pytest.approx(100 * (plain.ratio.fieller_low - 1), rel=0.02)
    assert interblock(sample(range(14), t), sample(range(14), r)).status == "complete_blocks"


def test_with_place_in_the_model_it_is_the_effect_free_of_the_period():
    t, r = blocks(15)
    reference_first = np.arange(15) % 2 == 0
    place = np.where(reference_first, 0.5, -0.5)
    found = estimate(sample(range(15), t), sample(range(15), r), (place, -place))
    expected = order_effect(t - r, reference_first).treatment_adjusted
    assert isinstance(found, Recovered) and found.place_in_model
    assert found.diff == pytest.approx(expected.estimate, rel=1e-9)
    assert found.p == pytest.approx(expected.p, rel=1e-5)


def test_it_is_the_generalised_least_squares_estimate_at_the_likeliest_variances():
    """Against the restricted likelihood of the whole covariance matrix, maximised without the rotation."""
    t, r = blocks(16, seed=8)
    keep_t, keep_r = [i for i in range(16) if i not in (2, 7, 11)], [i for i in range(16) if i not in (5, 9)]
    found = interblock(sample(keep_t, t[keep_t]), sample(keep_r, r[keep_r]))
    y = np.concatenate([t[keep_t], r[keep_r]])
    x = np.column_stack([np.ones(len(y)), [1.0] * len(keep_t) + [0.0] * len(keep_r)])
    label = np.array(keep_t + keep_r)
    same = (label[:, None] == label[None, :]).astype(float)

    def fit(log_variances):
        v = math.exp(log_variances[0]) * np.eye(len(y)) + math.exp(log_variances[1]) * same
        inverse = np.linalg.inv(v)
        information = x.T @ inverse @ x
        beta = np.linalg.solve(information, x.T @ inverse @ y)
        rest = y - x @ beta
        deviance = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1] + rest @ inverse @ rest
        return deviance, beta[1], math.sqrt(np.linalg.inv(information)[1, 1])

    best = scipy.optimize.minimize(
        lambda p: fit(p)[0], [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}
    )
    _, diff, se = fit(best.x)
    assert isinstance(found, Recovered)
    assert (found.n_pairs, found.n_lone) == (11, 5)
    assert found.diff == pytest.approx(diff, rel=1e-5)
    assert found.se == pytest.approx(se, rel=1e-5)
    # More than 11 differences say, less than 27 independent runs would.
    assert 9.5 < found.df < 25


def test_a_known_effect_is_recovered_and_its_interval_covers_it_as_often_as_it_says():
    covered, estimates = 0, []
    for seed in range(400):
        t, r = blocks(14, seed=seed)
        found = interblock(sample(range(10), t[:10]), sample(range(2, 14), r[2:]))
        assert isinstance(found, Recovered)
        covered += found.ci_low <= 1.0 <= found.ci_high
        estimates.append(found.diff)
    # 400 drawings: the Monte-Carlo limits of 95 % are 92.9 and 97.1 %; of the mean, four standard errors.
    assert 0.925 <= covered / 400 <= 0.975
    assert np.mean(estimates) == pytest.approx(1.0, abs=4 * float(np.std(estimates)) / 20)


def test_a_table_with_lost_runs_shows_the_model_beside_the_verdict_and_is_decided_without_it():
    table = drawn(14, shift=3.0)
    table.loc[[3, 8], "status"] = "failed"
    (whole,) = [c for c in analyze_runs(drawn(14, shift=3.0))["comparisons"] if c["analysis_set"] == "protocol"]
    (found,) = [c for c in analyze_runs(table)["comparisons"] if c["analysis_set"] == "protocol"]
    assert whole["interblock"] == {"n_pairs": 14, "n_lone": 0, "status": "complete_blocks"}
    assert (
        found["interblock"] | {"n_pairs": 12, "n_lone": 2, "status": "ok", "place_in_model": True}
        == found["interblock"]
    )
    assert found["interblock"]["ci_low"] < found["interblock"]["diff"] < found["interblock"]["ci_high"]
    assert found["verdict_detail"]["test"] == "paired_t"
    assert found["claim_detail"]["n_treatment"] == 12


def test_where_nothing_can_be_recovered_it_says_why():
    t, r = blocks(6)
    assert interblock(sample([0, 1, 2], t[:3]), sample([1, 2, 3], r[1:4])).status == "insufficient_n"
    assert interblock(sample(range(6), r + 1), sample(range(5), r[:5])).status == "deterministic"
    scattered = run_table(list(t), list(r), metric=METRIC, alternate=False)
    scattered.loc[0, "status"] = "failed"
    assert all(c["interblock"]["status"] == "no_blocks" for c in analyze_runs(scattered)["comparisons"])
