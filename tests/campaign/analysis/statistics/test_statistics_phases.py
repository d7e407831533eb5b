"""Several arms, several units: which contrast is asked follows from the arms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from run_tables import METRIC

from campaign.analysis.statistics import analyze_runs
from campaign.analysis.statistics.contrasts import Roles, by_name, plan_contrasts, roles_of
from campaign.analysis.statistics.reduction import against_prediction


def blocks(arms: dict[str, float], n: int = 10, *, units: int = 1, seed: int = 1, phase: str = "2A") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(units):
        order = 0
        for block in range(1, n + 1):
            weather = rng.normal(0, 0.5)
            for arm in rng.permutation(list(arms)):
                order += 1
                rows.append((phase, f"u{unit}", "m", arm, block, order, 100 + weather + arms[arm] + rng.normal(0, 0.2)))
    names = ["phase", "unit", "model", "environment", "repetition", "sequence_index", METRIC]
    return pd.DataFrame(rows, columns=names)


def test_contrasts_follow_from_the_arms() -> None:
    two = plan_contrasts("2A", ["native-chroot", "docker-baseline"], "native-chroot")
    assert [(c.treatment, c.reference, c.kind) for c in two] == [("docker-baseline", "native-chroot", "main")]
    three = plan_contrasts("2D", ["docker-optimised", "native", "docker-baseline"], "native")
    assert {(c.treatment, c.reference) for c in three} == {
        ("docker-baseline", "native"), ("docker-optimised", "native"), ("docker-optimised", "docker-baseline"),
    }  # fmt: skip
    many = plan_contrasts("2B", ["native", "docker-baseline", "docker-a", "docker-b"], "native")
    assert [(c.treatment, c.reference) for c in many[1:]] == [
        ("docker-a", "docker-baseline"), ("docker-b", "docker-baseline"),
    ]  # fmt: skip


def test_an_aa_arm_is_compared_with_the_reference_like_any_other() -> None:
    contrasts = plan_contrasts(None, ["native", "native-again", "docker-baseline"], "native")
    assert {c.reference for c in contrasts} == {"native"}


def test_declared_roles_hold_whatever_the_arms_are_called() -> None:
    arms = ["bare", "shipped", "a", "b"]
    roles = Roles("bare", "shipped", ("a", "b"))
    screen = plan_contrasts("screening", arms, roles)
    assert [(c.treatment, c.reference, c.kind) for c in screen] == [
        ("shipped", "bare", "screen_base"), ("a", "shipped", "screen"), ("b", "shipped", "screen"),
    ]  # fmt: skip
    three = plan_contrasts("validation", arms[:3], roles)
    assert [(c.treatment, c.reference, c.kind) for c in three] == [
        ("shipped", "bare", "three_arm"), ("a", "bare", "three_arm"), ("a", "shipped", "three_arm"),
    ]  # fmt: skip
    assert {c.kind for c in plan_contrasts("baseline", arms, roles)} == {"main"}


def test_without_a_declared_baseline_names_decide_nothing() -> None:
    arms = ["native", "docker-baseline", "docker-optimised", "docker-a"]
    contrasts = plan_contrasts("baseline", arms, Roles("native"))
    assert [(c.treatment, c.reference, c.kind) for c in contrasts] == [(arm, "native", "main") for arm in arms[1:]]
    assert {c.kind for c in plan_contrasts("baseline", arms, by_name(arms, "native"))} == {"screen_base", "screen"}


def test_what_an_option_sets_and_not_its_name_forbids_to_choose_it() -> None:
    arms = [
        {"name": "native"}, {"name": "shipped", "ipc": "host"}, {"name": "harmless", "ipc": "host", "privileged": True},
        {"name": "not-privileged", "ipc": "host"}, {"name": "apart", "ipc": "private"},
    ]  # fmt: skip
    config = {"reference": "native", "baseline": "shipped", "environments": arms}
    roles = roles_of(config | {"options": ["harmless", "not-privileged", "apart"]})
    assert roles is not None
    assert roles.never == {"harmless": "diagnostic_only", "apart": "ablation"}


def test_a_folder_of_before_there_were_roles_says_that_nobody_declared_any() -> None:
    assert roles_of({"reference": "native"}) is None
    assert roles_of(None) is None
    declared = {"reference": "native", "baseline": "docker", "options": ["a"]}
    assert roles_of(declared) == Roles("native", "docker", ("a",))
    assert roles_of({"reference": "native", "baseline": None, "options": []}) == Roles("native")


def test_the_screen_finds_the_option_that_helps_and_promises_nothing() -> None:
    arms = {"native": 1.0, "docker-baseline": 0.0, "docker-good": 1.0, "docker-same": 0.0, "docker-bad": -5.0}
    out = analyze_runs(blocks(arms, phase="2B"))
    assert out["ranking"][0] == "docker-good"
    assert out["ranking"][-1] == "docker-bad"
    assert out["selection"] == ["docker-good"]
    assert out["screen"]["m"]["note"] == "screening, biased upwards"
    assert out["screen"]["m"]["configs"]["docker-good"]["paired_reduction"] == pytest.approx(1, abs=0.3)


def test_an_option_that_misses_runs_still_gets_its_numbers() -> None:
    arms = {"native": 1.0, "docker-baseline": 0.0, "docker-a": 0.5, "docker-b": 0.0, "docker-c": 0.2}
    table = blocks(arms, phase="2B")
    table = table.drop(table[(table.environment == "docker-a") & (table.repetition > 6)].index)
    screen = analyze_runs(table)["screen"]["m"]
    assert 0 <= screen["configs"]["docker-a"]["dunnett_p"] <= 1
    assert 0 <= screen["rcbd_dunnett"]["docker-a"]["p"] <= 1


def test_validation_says_how_much_was_won_back() -> None:
    out = analyze_runs(blocks({"native": 2.0, "docker-baseline": 0.0, "docker-optimised": 1.4}, 30, phase="2D"))
    reduction = out["validation"]["m"]["reduction"]
    assert reduction["point"] == pytest.approx(0.7, abs=0.06)
    assert reduction["paired_low"] < 0.7 < reduction["paired_high"]
    assert set(out["families"]) == {"F_three_arm"}


def test_a_reduction_of_nothing_has_no_interval() -> None:
    out = analyze_runs(blocks({"native": 0.0, "docker-baseline": 0.0, "docker-optimised": 0.0}, 12, phase="2D"))
    reduction = out["validation"]["m"]["reduction"]
    assert reduction["status"] == "denominator_not_distinguishable_from_zero"
    assert reduction["paired_low"] is None


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.62, 0.78, "supported"), (0.5, 0.7, "compatible"), (0.1, 0.5, "refuted"), (None, None, "undecided")],
)
def test_a_prediction_is_supported_only_from_inside(low: float | None, high: float | None, word: str) -> None:
    assert against_prediction(low, high) == word


def test_one_unit_says_nothing_about_units() -> None:
    model = analyze_runs(blocks({"native": 0.0, "docker-baseline": -1.0}))["models"][0]
    assert model["reason"] == "single_unit"
    assert model["two_stage_log_ratio"] is None
    assert model["per_unit"]["u0"]["n"] == 10


def test_two_units_are_computed_and_called_uninformative() -> None:
    model = analyze_runs(blocks({"native": 0.0, "docker-baseline": -1.0}, units=2))["models"][0]
    assert model["two_stage_diff"]["df"] == 1
    assert "uninformative" in model["caution"]


def test_each_unit_has_its_own_comparison_in_one_family() -> None:
    out = analyze_runs(blocks({"native": 0.0, "docker-baseline": -1.0}, units=2))
    assert [c["unit"] for c in out["comparisons"][:2]] == ["u0", "u1"]
    assert out["families"]["F_doc"]["m_planned"] == 2  # units pay for each other
