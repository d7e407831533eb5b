"""Power and sample size say what the methodology's reviewer would compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analysis.statistics import plan_runs, planning, power_table
from campaign.analysis.statistics.deciding import arms, blocks
from campaign.analysis.statistics.families import holm
from campaign.analysis.statistics.power import (
    detectable_d,
    detectable_dz,
    independent_power,
    paired_power,
    pairs_needed,
    runs_per_arm,
)
from campaign.analysis.statistics.seeds import derived_seed, generator


def test_thirty_runs_per_arm_have_half_the_power_the_document_hopes_for() -> None:
    assert independent_power(0.5, 30, 30, 0.05) == pytest.approx(0.478, abs=5e-4)
    assert independent_power(0.5, 30, 30, 0.05 / 30) == pytest.approx(0.099, abs=5e-4)
    assert [round(detectable_d(30, 30, a), 3) for a in (0.05, 0.05 / 30, 0.05 / 50, 0.05 / 90)] == [
        0.736, 1.075, 1.119, 1.169,
    ]  # fmt: skip
    assert (runs_per_arm(0.5, 0.05, 0.8), runs_per_arm(0.5, 0.05 / 30, 0.8)) == (64, 130)
    assert paired_power(0.5, 30, 0.05) == pytest.approx(0.754, abs=5e-4)
    assert (round(detectable_dz(30, 0.05), 3), round(detectable_dz(30, 0.05 / 30), 3)) == (0.529, 0.796)


def test_the_plan_says_so_in_words() -> None:
    plan = plan_runs(effect_pct=1.0, margin_pct=2.0, cv_pct=2.0, rho=0.6, n=30, m=30)
    assert "30 runs per arm have 48 % power for d = 0.5" in plan["statement"]
    assert "correlate by 0.55 or more" in plan["statement"]


@given(st.floats(0.05, 3), st.integers(3, 80), st.sampled_from([0.05, 0.05 / 30]))
def test_more_runs_or_a_larger_effect_never_cost_power(d: float, n: int, alpha: float) -> None:
    power = independent_power(d, n, n, alpha)
    assert alpha - 1e-9 <= power <= 1
    assert independent_power(d, n + 1, n + 1, alpha) >= power - 1e-12
    assert independent_power(d * 1.1, n, n, alpha) >= power - 1e-12


@given(st.integers(3, 100), st.sampled_from([0.05, 0.05 / 90]), st.sampled_from([0.8, 0.9]))
def test_the_detectable_effect_is_detected_with_the_stated_power(n: int, alpha: float, power: float) -> None:
    assert independent_power(detectable_d(n, n, alpha, power), n, n, alpha) == pytest.approx(power, abs=1e-9)
    assert paired_power(detectable_dz(n, alpha, power), n, alpha) == pytest.approx(power, abs=1e-9)


def test_the_runs_needed_are_the_fewest_that_suffice() -> None:
    n = pairs_needed(0.4, 0.05, 0.8)
    assert paired_power(0.4, n, 0.05) >= 0.8 > paired_power(0.4, n - 1, 0.05)


def test_a_planned_n_has_the_power_it_is_named_for_under_the_rule_that_decides() -> None:
    m, margin = 30, 1.0
    n = plan_runs(effect_pct=1.0, margin_pct=margin, cv_pct=1.0, n=30, m=m)["blocks"].n_equivalence_each
    assert n is not None and n > 30  # a textbook TOST without adjustment would say 19
    rng = np.random.default_rng(3)
    alike = [blocks(rng.normal(100, 1, n), rng.normal(100, 1, n), None).p_equivalence(margin) for _ in range(600)]
    rates = [
        np.mean(np.array(holm([max(alike[int(i)] or (1, 1)) for i in rng.integers(0, 600, m)], m)) < 0.05)
        for _ in range(200)
    ]
    assert 0.77 < np.mean(rates) < 0.93  # the N before the next step of the grid would have less


@pytest.mark.parametrize("n", [3, 5, 6, 12, 30])
def test_the_simulated_rule_is_the_rule_that_decides(n: int) -> None:
    """The plan holds the rule a second time, over all tables at once;
    the same tables one by one must give the same p."""
    in_blocks = generator(derived_seed(0, "planning", "blocks", str(n))).standard_normal((planning.TABLES, n))
    in_arms = generator(derived_seed(0, "planning", "arms", str(n))).standard_normal((2, planning.TABLES, n)) / 2**0.5
    drawn = {blocked: planning.drawn(n, blocked).p_difference(0.0) for blocked in (True, False)}
    for i in range(50):
        layer = blocks(in_blocks[i], np.zeros(n), None)
        assert layer.p_difference() == pytest.approx(drawn[True][i], abs=1e-10)
        layer = arms(in_arms[0, i], in_arms[1, i])
        if layer.scale == "difference":
            assert layer.p_difference() == pytest.approx(drawn[False][i], abs=1e-10)


def test_the_n_for_equivalence_falls_with_the_margin_and_rises_with_spread_and_family() -> None:
    def n(margin: float = 2.0, cv: float = 1.0, m: int = 10) -> int:
        found = plan_runs(effect_pct=1.0, margin_pct=margin, cv_pct=cv, n=20, m=m)["blocks"]
        assert found.n_equivalence_all >= found.n_equivalence_each
        return int(found.n_equivalence_each)

    assert n(margin=4.0) < n() < n(margin=1.0)
    assert n(cv=0.5) < n() < n(cv=2.0)
    assert n(m=1) < n() < n(m=90)


def test_the_table_holds_the_planning_numbers() -> None:
    row = next(r for r in power_table()["grid"] if r["n"] == 30 and r["alpha"] == 0.05)
    assert row["power_d05"] == pytest.approx(0.478, abs=5e-4)
    assert row["paired_power_dz05"] == pytest.approx(0.754, abs=5e-4)


@pytest.mark.parametrize("bad", [{"cv_pct": 0.0}, {"cv_pct": 1.0, "rho": 1.0}])
def test_an_impossible_plan_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        plan_runs(effect_pct=1.0, margin_pct=2.0, **bad)
