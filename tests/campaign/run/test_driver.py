"""A driver and its lanes over units that do as they are told: what is dispatched, what is given up,
what goes on after a loss."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.clock import REAL
from actors.types import Attempt, Evidence
from campaign.audit.legality import illegal
from campaign.audit.verification import verify
from campaign.errors import Drift
from campaign.record.store import Store
from campaign.run import ledger as ledgers
from tests.campaign.run.given_units import Died, Lost, Units, bad, gate_closed, good, site

NATIVE, DOCKER = "native-host", "docker-baseline"


def test_every_run_is_accepted_once_and_in_the_order_of_the_plan(tmp_path: Path) -> None:
    here, units = site(tmp_path), Units("a")
    snapshot = here.run(units)
    assert (snapshot.stage, snapshot.accepted, snapshot.total) == ("completed", 6, 6)
    planned = [row["run_id"] for row in Store(here.root).plan()]
    assert [run_id for _, run_id, _ in units.ordered] == planned
    assert units.acknowledged == [(run_id, 1) for run_id in planned]
    assert verify(Store(here.root)) == []


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_is_set_changes_nothing_that_counts(tmp_path: Path, jump_s: int) -> None:
    """By an hour, in the middle: order is that of the journal's lines."""
    ahead_ns = 0

    def clock_is_set(unit: str, order: Attempt) -> Evidence:
        nonlocal ahead_ns
        if order.run_id.endswith("r02"):
            ahead_ns = jump_s * 10**9
        return good(order)

    here, units = site(tmp_path), Units("a", script=clock_is_set)
    units.clock = replace(REAL, utc_ns=lambda: time.time_ns() + ahead_ns)
    assert here.run(units).accepted == 6
    times = [event["t_utc_ns"] for event in here.events]
    assert abs(times[-1] - times[0] - ahead_ns) < 600 * 10**9
    assert verify(Store(here.root)) == []


def test_a_rejected_run_comes_again_at_the_end_of_its_block(tmp_path: Path) -> None:
    def first_fails(unit: str, order: Attempt) -> Evidence:
        return bad(order) if order.attempt == 1 and "__r01" in order.run_id and DOCKER in order.run_id else good(order)

    here, units = site(tmp_path), Units("a", script=first_fails)
    assert here.run(units).accepted == 6
    first_block = [(run_id.split("__")[1], attempt) for _, run_id, attempt in units.ordered if "__r01" in run_id]
    assert first_block == [(NATIVE, 1), (DOCKER, 1), (DOCKER, 2)]
    assert any("engine said no" in line for line in here.said)


def test_a_run_that_keeps_failing_is_given_up_after_the_attempts_that_the_campaign_allows(tmp_path: Path) -> None:
    def one_run_fails(unit: str, order: Attempt) -> Evidence:
        return bad(order) if order.run_id.endswith(f"{DOCKER}__tiny__r02") else good(order)

    here = site(tmp_path, attempts_max=2)
    snapshot = here.run(Units("a", script=one_run_fails))
    assert (snapshot.stage, snapshot.accepted, snapshot.exhausted) == ("completed", 5, 1)
    (event,) = here.of_kind("exhausted")
    assert event["attempts"] == 2 and "2 rejected attempts" in event["reason"]


def test_the_breaker_spares_an_arm_that_fails_again_and_again_and_the_next_start_tries_it_once_more(
    tmp_path: Path,
) -> None:
    def docker_fails(unit: str, order: Attempt) -> Evidence:
        return bad(order) if DOCKER in order.run_id else good(order)

    here = site(tmp_path, breaker=2, attempts_max=9, repetitions=4)
    units = Units("a", script=docker_fails)
    snapshot = here.run(units)
    assert snapshot.stage == "stopped" and snapshot.message == f"breaker: random-llama-8m__{DOCKER}"
    assert [run_id for _, run_id, _ in units.ordered if DOCKER in run_id] == [
        "random-llama-8m__docker-baseline__tiny__r01"
    ] * 2
    assert snapshot.accepted == 4  # the other arm went on
    (event,) = here.of_kind("breaker")
    assert event["failures"] == 2
    assert here.run(Units("a")).stage == "completed"


def test_a_success_between_failures_keeps_the_breaker_shut(tmp_path: Path) -> None:
    here = site(tmp_path, breaker=2, attempts_max=9)
    seen: list[str] = []

    def every_other(unit: str, order: Attempt) -> Evidence:
        if DOCKER not in order.run_id:
            return good(order)
        seen.append(order.run_id)
        return bad(order) if len(seen) % 2 else good(order)

    assert here.run(Units("a", script=every_other)).stage == "completed"
    assert not here.of_kind("breaker")


def test_a_gate_that_stays_closed_pauses_the_campaign_and_the_same_command_goes_on(tmp_path: Path) -> None:
    here = site(tmp_path)
    units = Units("a", script=lambda unit, order: gate_closed(order) if "__r02" in order.run_id else good(order))
    snapshot = here.run(units)
    assert snapshot.stage == "stopped" and "too warm" in snapshot.message
    assert len(units.ordered) == 3  # nothing after it
    assert here.of_kind("stopped")[-1]["reason"] == snapshot.message
    assert here.run(Units("a")).accepted == 6
    assert here.state.runs[units.ordered[-1][1]].rejected == 0  # counts against no run


def test_a_gate_that_stays_closed_skips_the_run_where_the_campaign_says_so(tmp_path: Path) -> None:
    closed = "{cooldown_s: 0, ceiling_c: null, dwell_s: 0, memory_tolerance_gib: null, timeout_s: 30, on_timeout: skip}"
    here = site(tmp_path, gate=closed)
    units = Units("a", script=lambda unit, order: gate_closed(order) if "__r02" in order.run_id else good(order))
    snapshot = here.run(units)
    assert (snapshot.stage, snapshot.accepted, snapshot.exhausted) == ("completed", 4, 2)
    assert len(here.of_kind("exhausted")) == 2


def test_an_outlier_of_a_complete_cell_is_measured_once_more_and_never_a_third_time(tmp_path: Path) -> None:
    def one_is_far_off(unit: str, order: Attempt) -> Evidence:
        number = int(order.run_id.rpartition("__r")[2])
        return good(order, 50.0 if number == 5 and NATIVE in order.run_id else 100.0 + number / 10)

    here = site(tmp_path, repetitions=20, outliers="rerun")
    units = Units("a", script=one_is_far_off)
    snapshot = here.run(units)
    assert snapshot.stage == "completed"
    (event,) = here.of_kind("reopened")
    assert event["run_id"] == f"random-llama-8m__{NATIVE}__tiny__r05" and "SD from its cell's mean" in event["reason"]
    assert [attempt for _, run_id, attempt in units.ordered if run_id == event["run_id"]] == [1, 2]
    assert len(list((here.root / "attempts" / event["run_id"]).glob("[0-9]"))) == 2  # both values stay


def test_an_attempt_whose_journal_line_was_lost_is_taken_in_and_not_made_again(tmp_path: Path) -> None:
    here = site(tmp_path)
    driver = here.driver(Units("a"))

    original = ledgers.Ledger.record

    def spy(self: ledgers.Ledger, event: str, **fields: object) -> None:
        if event == "finished" and str(fields["run_id"]).endswith("__r02"):
            raise OSError("no line of the journal after the folder")
        original(self, event, **fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledgers.Ledger, "record", spy)
        with pytest.raises(OSError, match="no line"):
            driver.run()
    driver.store.unlock()
    (lost,) = [run for run in here.state.runs.values() if run.open]
    units = Units("a")
    assert here.run(units).accepted == 6
    (event,) = [event for event in here.of_kind("finished") if event.get("adopted")]
    assert (event["run_id"], event["attempt"]) not in {(run_id, attempt) for _, run_id, attempt in units.ordered}
    assert lost.open and event["attempt"] == lost.open[0]
    assert list(illegal(here.events, Store(here.root).plan(), {})) == []


def test_an_attempt_that_an_actor_died_under_is_salvaged_counts_against_no_run_and_is_made_again(
    tmp_path: Path,
) -> None:
    died: list[str] = []

    def dies_once(unit: str, order: Attempt) -> Evidence:
        if not died:
            died.append(order.run_id)
            raise Died
        return good(order)

    here, units = site(tmp_path), Units("a", script=dies_once)
    assert here.run(units).accepted == 6
    assert units.salvaged == [(died[0], 1)]
    assert here.state.runs[died[0]].rejected == 0 and here.state.runs[died[0]].accepted == 2


def test_an_actor_that_dies_over_every_salvage_costs_the_unit_and_ends(tmp_path: Path) -> None:
    class Doomed(Units):
        def gpu(self, *arguments: object) -> object:
            handle = super().gpu(*arguments)  # type: ignore[arg-type]

            def salvage(order: Attempt) -> Evidence:
                handle._actor.alive = False
                return handle._actor._require()

            handle._actor.salvage = salvage
            return handle

    def dies(unit: str, order: Attempt) -> Evidence:
        raise Died

    here = site(tmp_path)
    units = Doomed("a", script=dies)
    units.when_looked = lambda them: them.names.discard("a") if any("lost a" in line for line in here.said) else None
    snapshot = here.run(units)
    assert snapshot.stage == "stopped" and snapshot.message == "no unit left"
    assert any("over what is left of" in line for line in here.said)


def test_two_lanes_that_race_share_the_blocks_whole_and_each_run_once(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)
    begun: set[str] = set()

    def together(unit: str, order: Attempt) -> Evidence:
        if unit not in begun:
            begun.add(unit)
            both.wait()  # neither goes on before the other has taken a block
        return good(order)

    here, units = site(tmp_path, repetitions=12), Units("a", "b", script=together)
    assert here.run(units).accepted == 24
    by_block: dict[str, set[str]] = {}
    for unit, run_id, _ in units.ordered:
        by_block.setdefault(run_id.rpartition("__r")[2], set()).add(unit)
    assert all(len(of) == 1 for of in by_block.values()) and begun == {"a", "b"}
    assert len({run_id for _, run_id, _ in units.ordered}) == len(units.ordered) == 24
    assert verify(Store(here.root)) == []


def test_a_lost_units_block_moves_whole_and_what_it_had_measured_of_it_is_measured_again(tmp_path: Path) -> None:
    def b_is_lost_in_mid_block(unit: str, order: Attempt) -> Evidence:
        if unit == "b" and len([run for who, run, _ in units.ordered if who == "b"]) == 2:
            raise Lost
        return good(order)

    here = site(tmp_path, repetitions=4)
    units = Units("a", "b", script=b_is_lost_in_mid_block)
    snapshot = here.run(units)
    assert snapshot.stage == "completed" and snapshot.accepted == 8
    assert "b" not in snapshot.lanes
    moved = {event["block"] for event in here.of_kind("requeued")}
    assert all((event["from"], event["to"]) == ("b", "a") for event in here.of_kind("requeued"))
    first = next(run for who, run, _ in units.ordered if who == "b")
    assert first in {event["run_id"] for event in here.of_kind("reopened")}
    assert {here.state.runs[row["run_id"]].unit for row in Store(here.root).plan() if row["block"] in moved} == {"a"}
    assert verify(Store(here.root)) == []


def test_a_unit_that_comes_back_takes_part_again(tmp_path: Path) -> None:
    back, at_work = threading.Event(), threading.Event()

    def b_goes_and_a_waits_for_it(unit: str, order: Attempt) -> Evidence:
        if unit == "b" and not back.is_set():
            raise Lost
        if unit == "b":
            at_work.set()
        else:
            assert at_work.wait(20)
        return good(order)

    def returns(them: Units) -> None:
        if any("lost b" in line for line in here.said) and not back.is_set():
            back.set()
            them.names.add("b")

    here = site(tmp_path, repetitions=8)
    units = Units("a", "b", script=b_goes_and_a_waits_for_it)
    units.when_looked = returns
    assert here.run(units).accepted == 16
    assert "b is back" in here.said
    assert len([run for who, run, _ in units.ordered if who == "b"]) > 1


def late(units: Units, name: str, after: int) -> Units:
    """``units`` with one more, which joins once so many attempts were ordered."""
    units.names.discard(name)
    units.when_looked = lambda units: units.names.add(name) if len(units.ordered) >= after else None
    return units


def slowly(unit: str, order: Attempt) -> Evidence:
    threading.Event().wait(0.05)
    return good(order)


def test_a_unit_that_joins_late_gets_its_share_and_the_campaign_stays_whole(tmp_path: Path) -> None:
    here = site(tmp_path, repetitions=12)
    units = late(Units("a", "b", script=slowly), "b", after=3)
    assert here.run(units).stage == "completed"
    assert [event["unit"] for event in here.of_kind("joined")] == ["b"]
    of_b = {event["block"] for event in here.of_kind("requeued")}
    assert 3 <= len(of_b) <= 6, "half of what waited"
    dispatched = here.of_kind("dispatched")
    assert {event["block"] for event in dispatched if event["unit"] == "b"} == of_b
    assert not of_b & {event["block"] for event in dispatched if event["unit"] == "a"}, "a block was split"
    assert len(dispatched) == 24
    assert verify(Store(here.root)) == []


def test_what_a_unit_that_joined_has_begun_it_goes_on_with(tmp_path: Path) -> None:
    """The same command again: its blocks are its own, although the plan was made without it."""
    here = site(tmp_path, repetitions=12)

    def until_b_works(unit: str, order: Attempt) -> Evidence:
        if unit == "b" and order.run_id.endswith("tiny__r12"):
            driver.interrupt()
        return slowly(unit, order)

    driver = here.driver(late(Units("a", "b", script=until_b_works), "b", after=3))
    try:
        assert driver.run().stage == "stopped"
    finally:
        driver.store.unlock()
    of_b = {event["block"] for event in here.of_kind("requeued")}
    assert here.run(Units("a", "b", script=slowly)).stage == "completed"
    assert {event["block"] for event in here.of_kind("dispatched") if event["unit"] == "b"} == of_b
    assert verify(Store(here.root)) == []


def test_a_unit_that_joins_and_runs_other_code_is_done_without(tmp_path: Path) -> None:
    here = site(tmp_path, repetitions=8)
    units = late(Units("a", "b", script=slowly), "b", after=3)
    units.other_code["b"] = "f" * 64
    assert here.run(units).stage == "completed"
    assert any(line.startswith("without b, which had joined: ") and "other code" in line for line in here.said)
    assert {unit for unit, _, _ in units.ordered} == {"a"}
    assert verify(Store(here.root)) == []


def test_a_unit_that_runs_other_code_from_the_beginning_is_refused(tmp_path: Path) -> None:
    """Its parser doubled every throughput once, and nobody said a word."""
    units = Units("a", "b")
    units.other_code["b"] = "f" * 64
    with pytest.raises(Drift, match="b runs other code than the driver"):
        site(tmp_path).run(units)


def test_a_campaign_that_names_its_units_takes_no_other(tmp_path: Path) -> None:
    here = site(tmp_path, repetitions=8, units="[a]")
    units = late(Units("a", "b", script=slowly), "b", after=3)
    assert here.run(units).stage == "completed"
    assert here.of_kind("joined") == []


def test_large_files_are_fetched_in_pieces_without_secrets_and_are_evidence_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_aVeryLongTokenOfAPerson")

    def leaves_much(unit: str, order: Attempt) -> Evidence:
        return good(order).model_copy(update={"files": {"small.log": b"x"}, "large": {"output/large.log": 0}})

    here, units = site(tmp_path, repetitions=1), Units("a", script=leaves_much)
    units.kept["output/large.log"] = b"before hf_aVeryLongTokenOfAPerson after " * 20
    assert here.run(units).stage == "completed"
    for run in (here.root / "attempts").iterdir():
        assert (run / "1" / "output" / "large.log").read_bytes() == b"before [removed] after " * 20
        assert sorted(path.name for path in run.iterdir()) == ["1"]
    assert verify(Store(here.root)) == []


def test_an_actor_that_dies_while_a_large_file_is_fetched_costs_nothing(tmp_path: Path) -> None:
    fetched: list[str] = []

    class Dying(dict[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            fetched.append(name)
            if len(fetched) == 2:
                raise Died
            return super().__getitem__(name)

    def leaves_much(unit: str, order: Attempt) -> Evidence:
        return good(order).model_copy(update={"large": {"large.log": 0}})

    here, units = site(tmp_path, repetitions=1), Units("a", script=leaves_much)
    units.kept = Dying({"large.log": b"1234567890"})
    assert here.run(units).stage == "completed"
    assert sum(event["accepted"] for event in here.of_kind("finished")) == 2
    assert verify(Store(here.root)) == []


def test_a_pause_of_one_lane_stops_the_other(tmp_path: Path) -> None:
    here = site(tmp_path, repetitions=20)
    units = Units("a", "b", script=lambda unit, order: gate_closed(order) if unit == "a" else good(order))
    snapshot = here.run(units)
    assert snapshot.stage == "stopped" and "too warm" in snapshot.message
    assert snapshot.accepted < 40


def test_other_code_is_refused_and_accepted_once_it_begins_another_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = site(tmp_path, repetitions=4)
    here.run(
        Units(
            "a",
            script=lambda unit, order: (
                gate_closed(order) if order.run_id.endswith(f"{NATIVE}__tiny__r02") else good(order)
            ),
        )
    )
    monkeypatch.setattr("actors.host.code_digest", lambda *_: "f" * 64)
    with pytest.raises(Drift, match="code: digest was"):
        here.run(Units("a"))
    assert here.run(Units("a"), accept_drift=True).stage == "completed"
    assert here.state.session == 3  # the code of the driver, and of its unit
    again = {event["run_id"] for event in here.of_kind("reopened")}
    assert len(again) == 1 and all("began before a change" in event["reason"] for event in here.of_kind("reopened"))


def test_a_folder_that_measured_nothing_is_begun_anew(tmp_path: Path) -> None:
    here = site(tmp_path)

    class Unpreparable(Units):
        def gpu(self, *arguments: object) -> object:
            raise ValueError("no actor")

    with pytest.raises(ValueError, match="no actor"):
        here.run(Unpreparable("a"))
    assert (here.root / "campaign.json").exists()
    other = site(tmp_path, seed=8)
    assert other.run(Units("a")).accepted == 6
    shutil.rmtree(here.root)
