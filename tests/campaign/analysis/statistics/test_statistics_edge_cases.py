"""Bad and meagre data: the stated status, no traceback, no claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_tables import METRIC, drawn, run_table

from campaign.analysis.result import as_json
from campaign.analysis.statistics import TableError, analyze_file, analyze_requests, analyze_runs
from campaign.analysis.statistics.compare import Inference

BANNED = ("identical", "no overhead", "within measurement error", "same performance")


def only(table: pd.DataFrame, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = analyze_runs(table, **settings)["comparisons"][0]
    return found


@pytest.mark.parametrize(
    ("native", "docker", "status"),
    [
        ([np.nan] * 3, [1.0, 2.0, 3.0], "missing_arm"),
        ([1.0], [1.0, 2.0, 3.0], "insufficient_n"),
        ([1.0, 2.0], [1.0, 2.0], "insufficient_n"),
        ([5.0] * 4, [5.0] * 4, "deterministic"),
        ([5.0] * 4, [6.0] * 4, "deterministic"),
        ([5.0, 5.0 + 1e-13, 5.0, 5.0], [5.0] * 4, "deterministic"),
        ([np.nan] * 3, [np.nan] * 3, "no_data"),
        ([1.0, 2.0, 4.0], [1.0, 2.5, 3.0], "ok"),
    ],
)
def test_the_data_decide_what_may_be_tested(native: list[float], docker: list[float], status: str) -> None:
    found = only(run_table(native, docker))
    assert found["status"] == status
    if status != "ok":
        assert all(found[field] is None for field in as_json(Inference()) if field != "reasons")
        assert found["verdict"] == status
    assert json.dumps(found, allow_nan=False)


def test_a_claim_without_proof_of_equivalence_uses_none_of_the_banned_words() -> None:
    for table in (drawn(4), drawn(12), drawn(30, 0.3), run_table([1.0], [2.0])):
        found = only(table)
        if found["verdict"] not in ("equivalent", "different_but_negligible"):
            assert not any(word in found["claim"] for word in BANNED)


def test_infinity_is_dropped_and_flagged() -> None:
    table = drawn(6)
    table.loc[0, METRIC] = np.inf
    found = only(table)
    assert found["flags"] == ["nonfinite_dropped"]
    assert found["desc"]["reference"]["n"] == 5
    assert found["paired"]["n_pairs"] == 5


def test_a_metric_around_zero_has_no_ratio_but_a_difference() -> None:
    found = only(run_table([-1.0, 0.5, -0.2, 0.1], [0.3, -0.4, 0.9, 0.2]))
    assert found["status"] == "ok"
    assert found["ratio"] is None
    assert found["tost_ratio"] is None
    assert found["reasons"]["ratio"] == "nonpositive_mean"
    assert found["welch"]["p"] is not None


def test_a_reference_near_zero_has_no_fieller_limits_and_says_why() -> None:
    found = only(run_table([0.01, 2.0, -1.5, 0.2], [3.0, 2.0, 4.0, 3.5]))
    assert found["ratio"]["fieller_g"] >= 1
    assert found["ratio"]["fieller_low"] is None
    assert found["ratio"]["reason"] == "denominator_not_distinguishable_from_zero"


def test_arms_that_ran_one_after_the_other_are_not_interpreted() -> None:
    found = only(run_table([100.0, 101, 99, 100, 102], [90.0, 91, 89, 92, 90], alternate=False))
    assert "confounded_with_time" in found["flags"]
    assert found["verdict"] == "not_interpretable"
    assert found["paired"]["status"] == "no_blocks"


def test_pairs_of_a_full_randomisation_are_refused() -> None:
    rng = np.random.default_rng(4)
    table = drawn(15)
    table["sequence_index"] = rng.permutation(len(table)) + 1
    assert only(table)["paired"]["status"] == "no_blocks"


def test_without_any_order_nothing_is_paired_and_nothing_is_said_about_time() -> None:
    out = analyze_runs(drawn(12).drop(columns="sequence_index"))
    assert out["comparisons"][0]["paired"]["status"] == "no_blocks"
    assert out["series"][0]["reason"] == "order_not_recorded"


def test_a_duplicate_is_fatal_and_named() -> None:
    table = drawn(5)
    twin = table.iloc[[7]].assign(run_id="twin")
    found = only(pd.concat([table, twin]))
    assert found["status"] == "error_duplicate_cell"
    assert found["duplicate_run_ids"] == ["m-docker_baseline-3", "twin"]
    assert found["welch"] is None


def test_weights_or_software_that_change_forbid_statistics() -> None:
    table = drawn(5)
    table["image_digest"] = ["a"] * 5 + ["b"] * 5
    assert only(table)["status"] == "error_environment_changed"
    table = drawn(5)
    table["weights_sha256"] = ["a"] * 9 + ["b"]
    assert only(table)["status"] == "error_model_identity"
    assert only(drawn(5), refused={"m": "error_implausible"})["status"] == "error_implausible"


def test_few_runs_are_cautioned() -> None:
    assert only(drawn(9))["cautions"] == ["small_n", "bootstrap_small_n"]
    assert only(drawn(10))["cautions"] == []
    assert only(drawn(10))["outliers"]["sigma_rule_can_trigger"]["treatment"] is False


def test_an_unplanned_shortfall_is_flagged() -> None:
    assert "incomplete" in only(drawn(9), planned_repetitions=30)["flags"]


def test_metrics_that_say_the_same_are_flagged() -> None:
    table = drawn(8)
    table["request_throughput_req_s"] = table[METRIC] / 128
    assert all("redundant_metrics" in c["flags"] for c in analyze_runs(table)["comparisons"])


def test_models_of_different_size_that_cannot_be_told_apart_are_suspected() -> None:
    twins = pd.concat([drawn(8, model="a", parameters=7e9), drawn(8, seed=3, model="b", parameters=72e9)])
    assert all("suspicious_identical_models" in c["flags"] for c in analyze_runs(twins)["comparisons"])
    apart = pd.concat([drawn(8, model="a", parameters=7e9), drawn(8, 50.0, model="b", parameters=72e9)])
    apart.loc[apart["model"] == "b", METRIC] /= 9
    assert not any("suspicious_identical_models" in c["flags"] for c in analyze_runs(apart)["comparisons"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda t: t.drop(columns="model"), "column 'model' is missing"),
        (lambda t: t.drop(columns=METRIC), "no metric"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.assign(environment="docker"), "no arm is called native"),
        (lambda t: t.assign(repetition=1.5), "column 'repetition' holds"),
        (lambda t: t.assign(status="perhaps"), "column 'status' holds 'perhaps' in row 2"),
        (lambda t: t.assign(throttled="often"), "column 'throttled' holds 'often'"),
        (lambda t: t.assign(start_temp_c="warm"), "column 'start_temp_c' holds 'warm'"),
        (
            lambda t: t.assign(**{METRIC: ["fast", *map(str, t[METRIC][1:])]}),
            f"column '{METRIC}' holds 'fast' in row 2",
        ),
        (lambda t: t.assign(model=[None, *t["model"][1:]]), "column 'model' is empty in row 2"),
    ],
)
def test_a_bad_table_is_refused_with_its_column_and_a_remedy(spoil: Any, says: str) -> None:
    with pytest.raises(TableError, match=r"column|rows|metric") as error:
        analyze_runs(spoil(drawn(4)))
    assert says in str(error.value)


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(TableError, match="choose the reference among native"):
        analyze_runs(drawn(4), reference="podman")


def test_request_tables_are_checked_too() -> None:
    with pytest.raises(TableError, match="latency_ms"):
        analyze_requests(pd.DataFrame({"model": ["m"], "environment": ["native"], "repetition": [1]}))


def test_files_are_read_as_csv_or_parquet_and_the_json_is_strict(tmp_path: Path) -> None:
    table = drawn(5)
    table.to_csv(tmp_path / "runs.csv", index=False)
    table.to_parquet(tmp_path / "runs.parquet")
    out = tmp_path / "deep" / "out.json"
    first = analyze_file(tmp_path / "runs.csv", out, None, None)
    written = json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(f"{word} in the JSON"))
    assert written == json.loads(json.dumps(first))
    again = analyze_file(tmp_path / "runs.parquet", out, None, None)
    assert again["comparisons"][0]["desc"] == first["comparisons"][0]["desc"]
    with pytest.raises(TableError, match="no such file"):
        analyze_file(tmp_path / "none.csv", out, None, None)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TableError, match="not readable"):
        analyze_file(tmp_path / "empty.csv", out, None, None)
