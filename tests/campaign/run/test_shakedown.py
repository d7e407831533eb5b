"""What the shakedown decides: which cells are tried, what a finding says, and what is left out with them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from actors.types import Gate
from campaign.config.loading import load
from campaign.plan.design import plan
from campaign.plan.forecast import CellSpeed
from campaign.plan.preview import plain
from campaign.record import journal
from campaign.run import shakedown
from campaign.run.shakedown import Cell, Finding, left_out

SPARK = load(Path(__file__).parents[3] / "configs/campaigns/spark.yaml")
ARMS = ("native", "docker", "shm")


def test_every_cell_is_tried_once_with_a_handful_of_requests() -> None:
    cells = shakedown.cells(plan(SPARK))
    assert len(cells) == len(set(cells)) == len(SPARK.models) * 2
    for cell in cells:
        small, whole = shakedown.small(SPARK, cell.model, cell.workload), SPARK.asked(cell.model, cell.workload)
        assert small.requests == max(4, 2 * SPARK.model(cell.model).batch_size) < whole.requests
        assert (small.input_tokens, small.output_tokens) == (whole.input_tokens, whole.output_tokens)
        assert small.name == f"{whole.name}.shakedown"


def test_it_waits_for_memory_and_not_for_the_cold() -> None:
    gate = shakedown.gate_of(Gate(ceiling_c=45, cooldown_s=300, cache="drop"))
    assert (gate.ceiling_c, gate.cooldown_s, gate.cache, gate.on_timeout) == (None, 0.0, "drop", "flag")
    assert gate.memory_tolerance_gib is not None and gate.foreign_gpu_processes == "forbid"


def cells_of(*models: str) -> list[Cell]:
    return [Cell(model, arm, "w") for model in models for arm in ARMS]


def test_without_its_reference_a_model_has_nothing_to_be_compared_with() -> None:
    every = cells_of("a", "b")
    found = left_out(every, {Cell("a", "native", "w"): "out_of_memory"}, "native").reasons
    assert set(found) == set(cells_of("a"))
    assert found[Cell("a", "native", "w")] == "out_of_memory"
    assert found[Cell("a", "shm", "w")] == "nothing to compare with: native cannot run"


def test_one_option_that_fails_costs_the_others_nothing() -> None:
    every = cells_of("a", "b")
    assert set(left_out(every, {Cell("a", "shm", "w"): "x"}, "native").reasons) == {Cell("a", "shm", "w")}


def test_a_reference_alone_is_measured_for_no_comparison() -> None:
    failing = {Cell("a", "docker", "w"): "x", Cell("a", "shm", "w"): "y"}
    assert set(left_out(cells_of("a"), failing, "native").reasons) == set(cells_of("a"))


def test_a_campaign_of_one_arm_compares_nothing_anyway() -> None:
    alone = [Cell("a", "native", "w"), Cell("b", "native", "w")]
    assert set(left_out(alone, {alone[0]: "x"}, "native").reasons) == {alone[0]}


@given(st.sets(st.sampled_from(cells_of("a", "b", "c"))))
def test_whatever_fails_what_remains_can_be_compared(failing: set[Cell]) -> None:
    every = cells_of("a", "b", "c")
    gone = left_out(every, dict.fromkeys(failing, "x"), "native").reasons
    assert failing <= set(gone)
    for model in "abc":
        kept = [cell.environment for cell in every if cell.model == model and cell not in gone]
        assert not kept or ("native" in kept and len(kept) >= 2)
        if not any(cell.model == model for cell in failing):
            assert len(kept) == len(ARMS), "a model that runs loses nothing"


def finding(cell: Cell, **changes: object) -> Finding:
    facts = {
        "unit": "spark-1",
        "fingerprint": "k",
        "passed": True,
        "attempt": 1,
        "start_s": 90.0,
        "run_s": 100.0,
        "tok_s": 50.0,
    }
    return Finding(cell=cell, **(facts | changes))  # type: ignore[arg-type]


def test_a_finding_survives_the_journal() -> None:
    cell = Cell("a", "docker", "w")
    found = finding(cell, passed=False, cause="out_of_memory: x", remedy="take less\nor more")
    state = journal.State()
    journal.apply(state, {"event": "shakedown", "seq": 3, "outcome": "failed", **found.to_json()})
    assert Finding.from_json(state.shakedowns["spark-1", str(cell)]) == found


def test_the_table_names_what_cannot_run_with_its_whole_remedy_and_both_durations() -> None:
    cells = shakedown.cells(plan(SPARK))
    bad = next(cell for cell in cells if cell.environment != SPARK.reference)
    remedy = (
        "Export TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas in the environment's variables.\nOr take a newer image."
    )
    findings = [
        finding(
            cell, **({"passed": False, "cause": "toolchain_too_old: sm_121a", "remedy": remedy} if cell == bad else {})
        )
        for cell in cells
    ]
    without = left_out(cells, {bad: "toolchain_too_old: sm_121a"}, SPARK.reference)
    speeds: dict[tuple[str, str, str], CellSpeed] = {found.cell: found.speed for found in findings if found.speed}
    total, rest = (shakedown.total_s(SPARK, plan(SPARK), speeds, gone) for gone in ({}, without.reasons))
    said = plain(shakedown.describe(SPARK, findings, without, total_s=total, without_s=rest), width=100)
    assert "cannot run" in said and "toolchain_too_old: sm_121a" in said
    for line in remedy.splitlines():
        assert line in said.replace("\n", " ") or line[:60] in said
    assert "nothing to compare with" in said
    per_run = SPARK.gate.cooldown_s + SPARK.gate.dwell_s + 90.0
    assert rest < total and total > per_run * len(plan(SPARK))
