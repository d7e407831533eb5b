"""Whatever goes wrong in a rehearsal, it ends as the campaign says, verifies,
and accepts nothing that it should not."""

from __future__ import annotations

from pathlib import Path

from small_study import BEGAN_NS, rehearsed

from campaign.audit.verification import verify
from campaign.record import journal
from campaign.rehearsal.rehearse import Rehearsed

ONE = {"models": "[qwen2-1.5b]", "repetitions": "1", "attempts_max": "2"}


def not_accepted(went: Rehearsed) -> set[tuple[str, str]]:
    """Outcome and first check of every attempt that was not accepted."""
    events = journal.finished(journal.read(went.store.journal_path)[0])
    return {(event["outcome"], event["rejected_by"][0]) for event in events if not event["accepted"]}


def failures(went: Rehearsed) -> list[object]:
    events = journal.finished(journal.read(went.store.journal_path)[0])
    return [went.store.metadata(it["run_id"], it["attempt"])["failure"] for it in events]


def figures(went: Rehearsed, metric: str) -> list[float]:
    """Of the accepted attempts."""
    accepted = [it for it in journal.finished(journal.read(went.store.journal_path)[0]) if it["accepted"]]
    found = [went.store.metadata(it["run_id"], it["attempt"])["metrics"] for it in accepted]
    return [entry["value"] for metrics in found for entry in metrics if entry["name"] == metric]


def test_an_engine_that_crashes_is_rejected_and_given_up(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="crash=1", shakedown="false", breaker="100", **ONE)
    assert went.completed and went.snapshot.accepted == 0 and went.snapshot.exhausted == 2
    assert not_accepted(went) == {("failed", "outcome")}
    assert all("illegal memory access" in str(failure) for failure in failures(went))
    assert verify(went.store) == []


def test_an_engine_that_hangs_is_ended_by_the_watchdog(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="hang=1", shakedown="false", breaker="100", **ONE)
    assert went.snapshot.accepted == 0
    assert not_accepted(went) == {("hung", "outcome")}
    assert verify(went.store) == []


def test_where_no_cell_can_run_nothing_is_measured(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="crash=1", **ONE)
    assert not went.completed and went.snapshot.accepted == 0
    assert went.snapshot.message.startswith("no cell of this campaign can run here")
    assert verify(went.store) == []


def test_heat_from_outside_throttles_and_is_rejected(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="throttle=1", breaker="100", **ONE)
    assert went.snapshot.accepted == 0
    assert not_accepted(went) == {("completed", "throttling")}
    assert verify(went.store) == []


def test_a_full_disk_pauses_and_goes_on_once_a_person_was_there(tmp_path: Path) -> None:
    alone = rehearsed(tmp_path / "alone", faults="disk=12", asked={"seed": 98}, **ONE)
    assert not alone.completed
    assert alone.snapshot.message.startswith("infrastructure of spark: /simulated cannot be written to")
    assert not_accepted(alone) == {("infrastructure", "outcome")}
    assert verify(alone.store) == []
    helped = rehearsed(tmp_path / "helped", faults="disk=12", asked={"seed": 98, "person_s": 7200.0}, **ONE)
    assert helped.completed and helped.snapshot.accepted == 2
    assert helped.pauses and all(waited_s == 7200 for _, waited_s in helped.pauses)
    assert verify(helped.store) == []


def test_the_blocks_of_a_unit_that_goes_away_are_measured_on_another(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="lost=8", asked={"seed": 28, "units": 2}, repetitions="3")
    events = journal.read(went.store.journal_path)[0]
    assert went.completed and went.snapshot.accepted == 12
    assert any(event["event"] == "requeued" for event in events)
    assert verify(went.store) == []


def test_a_unit_that_is_back_before_anybody_took_its_block_goes_on_with_it(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="lost=8", asked={"seed": 28, "units": 2}, repetitions="4")
    assert went.completed and went.snapshot.accepted == 16
    events = journal.read(went.store.journal_path)[0]
    assert all(event["from"] != event["to"] for event in events if event["event"] == "requeued")
    assert {event["unit"] for event in journal.finished(events) if event["t_utc_ns"] > BEGAN_NS + 1439 * 10**9} > {
        "spark-1"
    }
    assert verify(went.store) == []


def test_a_slow_state_that_no_flag_shows_is_caught_by_the_canary(tmp_path: Path) -> None:
    went = rehearsed(tmp_path, faults="slow=24", asked={"seed": 28}, breaker="100", **ONE | {"repetitions": "4"})
    assert ("completed", "canary") in not_accepted(went)
    rates = figures(went, "token_throughput_tok_s")
    assert min(rates) > 0.9 * max(rates), "none of the accepted runs was slow"
    assert verify(went.store) == []
