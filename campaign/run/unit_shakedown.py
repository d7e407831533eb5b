"""The shakedown of one unit: its cells tried one by one, and what the engines compiled meanwhile sealed."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from actors.types import Attempt, Evidence
from campaign.errors import UnitLost
from campaign.plan.design import Planned
from campaign.record.layout import attempt_folder
from campaign.run import shakedown
from campaign.run.acceptance import Verdict
from campaign.run.course import Course
from campaign.run.shakedown import Cell, Finding
from campaign.run.unit import ActorDied, UnitActors

TRIES = 8
"""Attempts of a cell that end by a fault of the unit's or of its actor, before the unit counts as lost."""


class Judge(Protocol):
    """What a lane does for the shakedown."""

    def judge(self, order: Attempt, evidence: Evidence) -> Verdict: ...

    def recovered(self) -> None: ...

    def wait_for_the_unit(self, what: str) -> None: ...


class UnitShakedown:
    """Tries the cells of a unit."""

    def __init__(self, course: Course, actors: UnitActors, lane: Judge) -> None:
        self.course = course
        self.actors = actors
        self.lane = lane
        self.tried = 0
        """Cells tried in this session."""

    def carry_out(self) -> None:
        """Try every cell that has runs to do and was not tried as it is now, then seal what the engines compiled."""
        course, orders = self.course, self.actors.orders
        if not course.campaign.shakedown:
            return
        open_runs = [row for row in course.ledger.plan if not course.ledger.state.run(row.run_id).done]
        rows = {Cell(row.model, row.environment, row.workload): row for row in reversed(open_runs)}
        cells = [cell for cell in shakedown.cells(course.ledger.plan) if cell in rows]
        spoilt = {key for key in orders.facts.caches if self._spoilt(key)}
        compiled = {cell: orders.caches_key(cell.model, cell.environment) for cell in cells}
        untried = [cell for cell in cells if compiled[cell] in spoilt or self._untried(cell, rows[cell])]
        for number, cell in enumerate(untried, 1):
            if course.stopping.is_set():
                return
            course.tell(f"shakedown {number} of {len(untried)}: {cell.model} in {cell.environment}, {cell.workload}")
            course.progress.say("shakedown")
            self._try(cell, rows[cell])
            self.tried += 1
        if untried and not course.stopping.is_set():
            for key in dict.fromkeys(compiled[cell] for cell in untried):
                self._seal(key)

    def _untried(self, cell: Cell, row: Planned) -> bool:
        """Whether the cell has yet to be tried as it is now.
        One that failed and was settled is tried again when a person asks."""
        state = self.course.ledger.state
        event = state.shakedowns.get((self.actors.name, str(cell)))
        if event is None or event["fingerprint"] != self.actors.orders.fingerprint(cell, row):
            return True
        return not event["passed"] and (self.course.only_shakedown or str(cell) not in state.left_out)

    def _try(self, cell: Cell, row: Planned) -> None:
        """One unmeasured attempt; a second where the first failed otherwise than by hanging."""
        ledger, orders, unit = self.course.ledger, self.actors.orders, self.actors.name
        before = ledger.state.shakedowns.get((unit, str(cell)))
        number = 1 + (before["attempt"] if before else 0)
        if (why := orders.refused(cell)) is not None:
            cause, _, remedy = why.partition("\n")
            refused = Finding(cell, unit, orders.fingerprint(cell, row), False, number, cause, remedy)
            ledger.record("shakedown", outcome="environment_error", **refused.to_json())
            return
        for last in (False, True):
            found, outcome = self._try_once(cell, row, number)
            if found is None or found.passed or last or outcome in ("hung", "timeout"):
                return
            self.course.tell(f"once more {cell}: {found.cause}")
            number += 1

    def _try_once(self, cell: Cell, row: Planned, number: int) -> tuple[Finding | None, str]:
        """Finding and outcome; None where the attempt was stopped from outside and says nothing."""
        order = self.actors.orders.unmeasured(cell, row, number)
        evidence = self._attempted(order, cell)
        if evidence.outcome == "infrastructure" or (self.course.stopping.is_set() and evidence.outcome == "aborted"):
            return None, evidence.outcome
        verdict = self.lane.judge(order, evidence)
        found = shakedown.finding(cell, order, evidence, verdict)
        self.actors.pull_telemetry(flush=evidence.telemetry is None)
        self.course.ledger.commit_shakedown(replace(row, run_id=order.run_id), order, evidence, verdict, found)
        self.actors.acknowledge(order.run_id, number)
        return found, evidence.outcome

    def _attempted(self, order: Attempt, cell: Cell) -> Evidence:
        """The attempt's evidence; a fault of the unit's only where the campaign stops over it."""
        event = {"event": "shakedown", **cell._asdict(), "unit": self.actors.name, "attempt": order.attempt}
        place = self.course.ledger.store.root / attempt_folder(event)
        for _ in range(TRIES):
            try:
                evidence = self.actors.attempt(order, place)
            except ActorDied:
                self.actors.replace_gpu()
                continue
            if evidence.outcome != "infrastructure":
                self.lane.recovered()
                return evidence
            self.lane.wait_for_the_unit(evidence.failure or "the unit is at fault")
            if self.course.stopping.is_set():
                return evidence
        raise UnitLost(f"no attempt of {order.run_id} could be carried out")

    def _spoilt(self, key: str) -> bool:
        """Whether the compile caches are no longer those that the campaign's runs began with."""
        sealed = self.course.ledger.state.caches.get((self.actors.name, key))
        return sealed is not None and self.actors.cache_digest(key) != sealed

    def _seal(self, key: str) -> None:
        """Record what the engines compiled: every measured attempt starts from a copy of just that."""
        ledger, orders, unit = self.course.ledger, self.actors.orders, self.actors.name
        digest = self.actors.cache_digest(key)
        before = ledger.state.caches.get((unit, key))
        if digest is None or digest == before:
            return
        runs = (row for row in ledger.plan if orders.caches_key(row.model, row.environment) == key)
        if before is not None and any(ledger.state.run(row.run_id).accepted is not None for row in runs):
            self.course.drift.check(
                f"compile caches of {key} on {unit}",
                [f"{unit}: compile caches of {key} were {before[:12]}, are {digest[:12]}"],
                unit=unit,
            )
        ledger.record("caches", unit=unit, model=key, digest=digest)
