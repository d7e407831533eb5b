"""Which attempts count is decided by technical criteria, and all four readings are shown."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from run_tables import METRIC, drawn

from campaign.analysis.statistics import analyze_runs
from campaign.analysis.statistics.descriptive import three_sigma


def attempt(table: pd.DataFrame, row: int, number: int, value: float, **columns: Any) -> pd.DataFrame:
    """One more attempt of the run in ``row``."""
    extra = table.iloc[[row]].assign(attempt=number, run_id=f"{table.run_id[row]}-again", sequence_index=1000 + row)
    return pd.concat([table, extra.assign(**{METRIC: value}, **columns)], ignore_index=True)


def sets_of(table: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = analyze_runs(table)["comparisons"][0]
    return found


def test_a_failed_first_attempt_gives_way_to_the_second_in_every_set() -> None:
    table = drawn(12)
    table.loc[0, ["status", METRIC]] = ["failed", float("nan")]
    found = sets_of(attempt(table, 0, 2, 100.0, status="ok"))
    assert all(s["n"] == {"docker_baseline": 12, "native": 12} for s in found["analysis_sets"].values())
    assert found["exclusions"]["failed"] == ["m-native-1"]
    assert found["accounting"]["reference"] == {
        "planned": 12, "attempted": 13, "failed": 1, "throttled": 0, "repeated": 1, "analysed": 12,
    }  # fmt: skip


def test_a_throttled_attempt_stays_in_the_intention_to_treat_reading_only() -> None:
    table = drawn(12)
    table.loc[3, ["throttled", METRIC]] = [1, 60.0]
    found = sets_of(attempt(table, 3, 2, 100.0, throttled=0))
    first, protocol = (found["analysis_sets"][name] for name in ("all_valid_first_attempt", "protocol"))
    assert first["mean"]["native"] < protocol["mean"]["native"]
    assert found["exclusions"]["throttled"] == ["m-native-4"]


def test_attempts_of_one_run_share_its_id_and_are_told_apart_nevertheless() -> None:
    table = drawn(12)
    table.loc[3, ["throttled", METRIC]] = [1, 60.0]
    again = attempt(table, 3, 2, 100.0, throttled=0)
    again["run_id"] = again["run_id"].str.removesuffix("-again")
    found = sets_of(again)
    means = {name: found["analysis_sets"][name]["mean"]["native"] for name in ("all_valid_first_attempt", "protocol")}
    assert means["protocol"] - means["all_valid_first_attempt"] == pytest.approx(40 / 12)
    assert found["desc"]["reference"]["mean"] == means["protocol"]


def test_a_hot_start_is_outside_the_protocol() -> None:
    table = drawn(12)
    table.loc[5, "start_temp_c"] = 45.0
    found = sets_of(table)
    assert found["exclusions"]["start_temp_not_below_45"] == ["m-native-6"]
    assert found["analysis_sets"]["protocol"]["n"]["native"] == 11
    assert found["analysis_sets"]["all_valid_first_attempt"]["n"]["native"] == 12


def test_an_outlier_is_replaced_by_the_next_valid_attempt_or_removed() -> None:
    table = drawn(14)
    table.loc[2, METRIC] = 140.0
    removed = sets_of(table)
    assert removed["exclusions"]["outlier_3sigma_within_protocol_set"] == ["m-native-3"]
    assert removed["analysis_sets"]["document_rerun_outliers"]["n"]["native"] == 13
    replaced = sets_of(attempt(table, 2, 2, 100.5))
    assert replaced["analysis_sets"]["document_rerun_outliers"]["n"]["native"] == 14
    assert replaced["analysis_sets"]["protocol"]["n"]["native"] == 14
    assert replaced["analysis_sets"]["protocol_minus_outliers"]["n"]["native"] == 13
    assert replaced["analysis_sets"]["document_rerun_outliers"]["mean"]["native"] < 101


def test_a_replacement_that_is_itself_hot_does_not_count() -> None:
    table = drawn(14)
    table.loc[2, METRIC] = 140.0
    found = sets_of(attempt(table, 2, 2, 100.5, start_temp_c=50.0))
    assert found["analysis_sets"]["document_rerun_outliers"]["n"]["native"] == 13


def test_a_verdict_that_hangs_on_exclusions_is_flagged() -> None:
    table = drawn(14, shift=-1.5)
    table.loc[2, METRIC] = 160.0
    found = sets_of(table)
    assert len(set(found["verdict_by_set"].values())) > 1
    assert "sensitive_to_exclusions" in found["flags"]


def test_losing_runs_in_one_arm_only_is_tested() -> None:
    table = drawn(12)
    table.loc[12:19, ["status", METRIC]] = ["failed", float("nan")]
    assert sets_of(table)["accounting"]["failed_fisher_p"] < 0.01


def test_three_sigma_cannot_fire_below_eleven_values() -> None:
    import numpy as np

    extreme = np.array([0.0] * 9 + [1e6])
    assert not three_sigma(extreme).any()
    assert three_sigma(np.array([0.0] * 10 + [1e6])).any()
