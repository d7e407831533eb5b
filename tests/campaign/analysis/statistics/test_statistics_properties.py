"""What must not change a conclusion does not change it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tables import METRIC, drawn, run_table

from campaign.analysis.statistics import analyze_runs
from campaign.analysis.statistics.compare import compare
from campaign.analysis.statistics.output import json_ready
from campaign.analysis.statistics.sets import Sample

values = st.lists(st.integers(900, 1100).map(lambda x: x / 10), min_size=3, max_size=12)


def sample(x: list[float] | Any) -> Sample:
    n = len(x)
    order = np.arange(n, dtype=float)
    return Sample([f"r{i}" for i in range(n)], np.arange(n), np.array(x, dtype=float), order, np.full(n, 40.0))


def compared(treatment: list[float], reference: list[float], better: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json_ready(compare(sample(treatment), sample(reference), better, blocked=True))
    return found


def close(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(a == pytest.approx(b, rel=1e-7, abs=1e-9))


@given(values, values)
def test_swapping_the_arms_flips_signs_and_keeps_p(a: list[float], b: list[float]) -> None:
    there, back = compared(a, b), compared(b, a)
    assert there["status"] == back["status"]
    assert close(there["diff"], -back["diff"])
    if there["status"] != "ok":
        return
    for test in ("student", "welch"):
        assert close(there[test]["t"], -back[test]["t"])
        assert close(there[test]["p"], back[test]["p"])
        assert close(there[test]["ci_low"], -back[test]["ci_high"])
    assert close(there["mwu"]["p"], back["mwu"]["p"])
    assert close(there["mwu"]["cliffs_delta"], -back["mwu"]["cliffs_delta"])
    assert close(there["hodges_lehmann"]["shift"], -back["hodges_lehmann"]["shift"])
    assert close(there["hodges_lehmann"]["ci_low"], -back["hodges_lehmann"]["ci_high"])
    assert close(there["effect"]["hedges_g"], -back["effect"]["hedges_g"])
    assert close(there["effect"]["d_ci_low"], -back["effect"]["d_ci_high"])
    assert close(there["ratio"]["ratio"] * back["ratio"]["ratio"], 1.0)
    assert close(there["ratio"]["fieller_low"] * back["ratio"]["fieller_high"], 1.0)
    assert close(there["variance"]["brown_forsythe"] and there["variance"]["brown_forsythe"]["p"],
                 back["variance"]["brown_forsythe"] and back["variance"]["brown_forsythe"]["p"])  # fmt: skip


@given(values, values, st.sampled_from([1e-6, 0.25, 4.0, 1024.0]))
def test_changing_the_unit_of_a_metric_changes_only_units(a: list[float], b: list[float], unit: float) -> None:
    plain, scaled = compared(a, b), compared([unit * x for x in a], [unit * x for x in b])
    assert plain["status"] == scaled["status"]
    assert close(plain["pct_change"], scaled["pct_change"])
    if plain["status"] != "ok":
        return
    assert scaled["diff"] == pytest.approx(unit * plain["diff"], rel=1e-6, abs=unit * 1e-9)
    for path in (("welch", "p"), ("student", "t"), ("mwu", "p"), ("effect", "cohens_d"), ("ratio", "fieller_low")):
        assert close(plain[path[0]][path[1]], scaled[path[0]][path[1]])
    for margin in ("1", "2", "5"):
        assert close(plain["tost_ratio"][margin]["p"], scaled["tost_ratio"][margin]["p"])
    assert plain["decision"]["document_test"] == scaled["decision"]["document_test"]


@given(values, values, st.integers(-400, 400).map(lambda x: x / 10))
def test_adding_a_constant_to_every_run_changes_no_difference(a: list[float], b: list[float], constant: float) -> None:
    plain, moved = compared(a, b), compared([x + constant for x in a], [x + constant for x in b])
    assert close(plain["diff"], moved["diff"])
    if plain["status"] == "ok":
        assert close(plain["welch"]["p"], moved["welch"]["p"])
        assert close(plain["effect"]["cohens_d"], moved["effect"]["cohens_d"])


@given(values, values)
def test_equivalence_is_the_ninety_percent_interval_inside_the_margin(a: list[float], b: list[float]) -> None:
    found = compared(a, b)
    if found["status"] != "ok":
        return
    entries = [found["tost_ratio"][margin] for margin in ("1", "2", "3", "5")]
    p = [entry["p"] for entry in entries]
    assert p == sorted(p, reverse=True), "a wider margin is never harder to meet"
    for entry in entries:
        assert entry["equivalent"] == (max(entry["p_low"], entry["p_high"]) < 0.05)


@given(values, values)
def test_the_two_directions_of_a_metric_differ_in_the_sign_of_overhead_only(a: list[float], b: list[float]) -> None:
    up, down = compared(a, b, 1), compared(a, b, -1)
    assert close(up["overhead_pct"], -down["overhead_pct"])
    assert compared(a, b, 0)["overhead_pct"] is None


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random: Any) -> None:
    table = pd.concat([drawn(6, 1.0, model="a"), drawn(6, seed=2, model="b")])
    rows = list(range(len(table)))
    random.shuffle(rows)
    there, back = analyze_runs(table, seed=7), analyze_runs(table.iloc[rows], seed=7)
    first = {(c["model"], c["analysis_set"]): c for c in there["comparisons"]}
    for c in back["comparisons"]:
        expected = first[(c["model"], c["analysis_set"])]
        assert c["verdict"] == expected["verdict"]
        assert c["welch"]["p"] == pytest.approx(expected["welch"]["p"], rel=1e-9)
        assert c["bootstrap"]["mean_diff_bca"]["seed"] == expected["bootstrap"]["mean_diff_bca"]["seed"]


def test_a_result_does_not_depend_on_which_other_comparisons_ran() -> None:
    alone = analyze_runs(drawn(8, model="a"), seed=3)["comparisons"][0]
    together = analyze_runs(pd.concat([drawn(8, seed=5, model="z"), drawn(8, model="a")]), seed=3)["comparisons"]
    found = next(c for c in together if c["model"] == "a")
    for key in ("desc", "welch", "paired", "bootstrap", "effect"):
        assert found[key] == alone[key]


def test_another_seed_moves_the_bootstrap_within_its_noise_and_nothing_else() -> None:
    a, b = (analyze_runs(drawn(12), seed=s)["comparisons"][0] for s in (1, 2))
    x, y = (c["bootstrap"]["mean_diff_bca"] for c in (a, b))
    assert x != y
    assert abs(x["low"] - y["low"]) < 0.1 * (x["high"] - x["low"])
    assert a["welch"] == b["welch"]


def test_a_start_up_cost_recorded_beside_throughput_changes_no_throughput() -> None:
    table = drawn(8)
    slower = table.assign(load_s=np.linspace(10, 30, len(table)))
    plain, more = analyze_runs(table)["comparisons"], analyze_runs(slower)["comparisons"]
    assert next(c for c in more if c["metric"] == METRIC)["welch"] == plain[0]["welch"]


@given(st.lists(st.floats(50, 150), min_size=10, max_size=20, unique=True))
@settings(max_examples=15)
def test_an_arm_against_itself_is_never_different(x: list[float]) -> None:
    found = analyze_runs(run_table(x, x))["comparisons"][0]
    assert found["verdict"] in ("equivalent", "inconclusive", "deterministic")
