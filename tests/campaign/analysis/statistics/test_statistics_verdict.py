"""A verdict answers two questions, and the sentence says no more than the verdict."""

from __future__ import annotations

import pytest
from run_tables import METRIC, drawn, run_table

from campaign.analysis.statistics import analyze_runs
from campaign.analysis.statistics.verdict import four_way


@pytest.mark.parametrize(
    ("p", "q", "verdict"),
    [
        (0.01, 0.5, "different"),
        (0.01, 0.01, "different_but_negligible"),
        (0.5, 0.01, "equivalent"),
        (0.5, 0.5, "inconclusive"),
        (0.05, 0.05, "inconclusive"),
        (None, None, "inconclusive"),
    ],
)
def test_difference_and_equivalence_are_two_questions(p: float | None, q: float | None, verdict: str) -> None:
    assert four_way(p, q) == verdict


def test_a_large_difference_is_claimed_with_its_interval_and_its_side() -> None:
    found = analyze_runs(drawn(30, shift=-5.0))["comparisons"][0]
    assert found["verdict"] == "different"
    assert (
        "is 5.0 % lower than under native, which is worse (95 % interval −5.5 to −4.4 %; 30 complete blocks)"
        in found["claim"]
    )
    assert found["verdict_detail"]["test"] == "paired_t"


def test_a_small_certain_difference_is_called_negligible_only_with_the_margin() -> None:
    found = analyze_runs(drawn(30, shift=-1.0), margin_pct=2.0)["comparisons"][0]
    assert found["verdict"] == "different_but_negligible"
    assert "inside the ±2 % margin" in found["claim"]


def test_a_margin_that_nobody_declared_is_said_to_be_none() -> None:
    table = drawn(30)
    found = analyze_runs(table)
    equal, negligible = found["comparisons"][0], analyze_runs(drawn(30, shift=-1.0))["comparisons"][0]
    assert (equal["verdict"], negligible["verdict"]) == ("equivalent", "different_but_negligible")
    for one in (equal, negligible):
        assert "±2 % (the default, no margin was declared)" in one["claim"]
        assert one["claim_detail"]["margin_declared"] is False
    assert found["settings"]["margin_not_declared"] == [METRIC]
    declared = analyze_runs(table, margin_pct=2.0)
    assert "no margin was declared" not in declared["comparisons"][0]["claim"]
    assert declared["settings"]["margin_not_declared"] == []


def test_the_declared_margin_decides() -> None:
    table = drawn(30)
    assert analyze_runs(table, margin_pct=2.0)["comparisons"][0]["verdict"] == "equivalent"
    strict = analyze_runs(table, margin_pct={METRIC: 0.01})["comparisons"][0]
    assert strict["verdict"] == "inconclusive"
    assert "undecided" in strict["claim"]
    assert "needs N = " in strict["claim"]


def test_too_few_runs_are_undecided_and_told_how_many_it_takes() -> None:
    found = analyze_runs(run_table([90.0, 110, 100], [95.0, 105, 102]))["comparisons"][0]
    assert found["verdict"] == "inconclusive"
    assert found["verdict_detail"]["test"] == "welch"
    assert "runs per arm" in found["claim"]


def test_constants_are_compared_without_a_p_value() -> None:
    equal = analyze_runs(run_table([7.5] * 5, [7.5] * 5))["comparisons"][0]
    apart = analyze_runs(run_table([7.5] * 5, [8.0] * 5))["comparisons"][0]
    assert equal["claim"].endswith("did not vary within either arm: the same value in every run (n = 5 and 5).")
    assert "did not vary within either arm: +6.67 % against native, which is better" in apart["claim"]
