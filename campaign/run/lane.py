"""A lane: one unit's blocks, in a thread of its own.

It takes whole blocks, orders their attempts one by one from its unit's GpuActor, judges what comes back and has it made
durable before it goes on.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from threading import Event, Thread

from actors.types import Attempt, Evidence, Status
from campaign import cluster
from campaign.errors import UnitLost
from campaign.plan.design import Planned
from campaign.run.acceptance import Verdict, judge
from campaign.run.breaker import pair_of
from campaign.run.course import Course
from campaign.run.dispatch import Block
from campaign.run.orders import interrupted_evidence
from campaign.run.unit import ACTOR_STARTS, ActorDied, UnitActors
from campaign.run.unit_shakedown import UnitShakedown

PATIENCE_S = 600.0
"""How long a lane waits for what its unit lacks before the campaign pauses."""
FAULTS_MAX = 5
"""Faults of the unit's in a row, each followed by a unit that says it is well, after which waiting is no use."""


class Lane(Thread):
    """One unit's blocks."""

    def __init__(self, course: Course, unit: cluster.Unit, joins: bool = False) -> None:
        """``joins``: the campaign went on without this unit so far, and does so if it cannot be used."""
        super().__init__(name=f"lane-{unit.name}", daemon=True)
        self.course = course
        self.unit = unit
        self.actors = UnitActors(course, unit)
        self.shakedown = UnitShakedown(course, self.actors, self)
        self.error: Exception | None = None
        self.lost = False
        self.shaken = Event()
        """Every cell of this unit has been tried."""
        self.go = Event()
        """What cannot run is settled: blocks may be carried out."""
        self.joins = joins
        """True until the unit has its share of the blocks."""
        self.turned_away = Event()
        self._faults = 0
        """Faults of the unit's since the last attempt that ended otherwise."""

    def run(self) -> None:
        course, block = self.course, None
        try:
            self._open()
            self.shakedown.carry_out()
            self.shaken.set()
            course.news.set()
            while not course.fleet.clock.wait(self.go, course.fleet.idle_s) and not course.stopping.is_set():
                if self.turned_away.is_set():
                    return
            while (block := self._next_block()) is not None:
                self._carry_out(block)
                block = None
            self.actors.pull_telemetry()
        except UnitLost as problem:
            self.lost = True
            course.tell(f"lost {self.unit.name}: {problem}")
            course.dispatch.give_back(self.unit.name, block)
        except Exception as problem:
            self.error = problem
        finally:
            course.news.set()

    def status(self) -> Status | None:
        return self.actors.status() if self.is_alive() else None

    def abort(self) -> None:
        self.actors.abort()

    def release(self, completed: bool) -> None:
        """End the unit's actors. A completed campaign needs its spool no more."""
        self.actors.release(forget=completed and not self.lost)

    def _open(self) -> None:
        """The unit's actors; then commit what a crash left of attempts that were under way here."""
        self.actors.open()
        for row in self.course.ledger.plan:
            state = self.course.ledger.state.run(row.run_id)
            if state.open and state.open[1] == self.unit.name:
                self._interrupted(row, state.open[0])

    # --- blocks ----------------------------------------------------------------------------------------------

    def _next_block(self) -> Block | None:
        """A unit that has nothing to do waits while another works, because that one may be lost. None at the end."""
        course = self.course
        while not course.stopping.is_set():
            taken = course.dispatch.take(self.unit.name)
            if taken is None:
                return None
            if taken != "later":
                if taken.owner != self.unit.name:
                    course.ledger.move(taken.block, taken.owner, self.unit.name)
                return taken.block
            course.fleet.clock.wait(course.stopping, course.fleet.idle_s)
        return None

    def _carry_out(self, block: Block) -> None:
        """Every run of the block that is not done; a rejected one again at its end."""
        course, state = self.course, self.course.ledger.state
        try:
            self.actors.check_conditions()
        except ActorDied:
            self.actors.replace_gpu()  # which checks them
        waiting = deque(row for row in block if not state.done(row.run_id))
        while waiting and not course.stopping.is_set():
            row = waiting.popleft()
            if pair_of(row) in state.breakers:
                continue
            run = state.run(row.run_id)
            self._attempt(row, run.attempts + 1)
            if run.done or course.stopping.is_set():
                continue
            if run.rejected >= course.campaign.attempts_max:
                reason = f"{run.rejected} rejected attempts, the campaign allows {course.campaign.attempts_max}"
                course.ledger.record("exhausted", run_id=row.run_id, attempts=run.attempts, reason=reason)
                course.tell(f"gave up {row.run_id}: {reason}")
            else:
                waiting.append(row)

    # --- an attempt ------------------------------------------------------------------------------------------

    def _attempt(self, row: Planned, number: int) -> None:
        course, unit = self.course, self.unit.name
        order = self.actors.orders.measured(row, number)
        course.ledger.record("dispatched", run_id=row.run_id, attempt=number, unit=unit, block=row.block)
        if course.stopping.is_set():  # interrupted meanwhile: the actor would not know
            now = course.fleet.clock.utc_ns()
            self._commit(row, order, interrupted_evidence(order, "stopped before it started", now))
            return
        try:
            evidence = self.actors.attempt(order, self._place(row, number))
        except ActorDied:
            self.actors.replace_gpu()
            self._interrupted(row, number)
            return
        self._commit(row, order, evidence)
        if evidence.outcome == "infrastructure":
            self.wait_for_the_unit(evidence.failure or "the unit is at fault")
        elif evidence.outcome == "gate_timeout":
            self._gate_closed(row, evidence)
        elif evidence.gate and evidence.gate.mem_available_gib and unit not in course.ledger.state.references:
            course.ledger.record("reference", unit=unit, mem_available_gib=evidence.gate.mem_available_gib)

    def _place(self, row: Planned, number: int) -> Path:
        return self.course.ledger.store.attempt_path(row.run_id, number)

    def _interrupted(self, row: Planned, number: int) -> None:
        """Commit what a crash left of an attempt."""
        for _ in range(ACTOR_STARTS):
            order = self.actors.orders.measured(row, number)
            try:
                evidence = self.actors.salvage(order, self._place(row, number))
            except ActorDied:
                self.actors.replace_gpu()
                continue
            self._commit(row, order, evidence)
            return
        raise UnitLost(f"its GpuActor died {ACTOR_STARTS} times over what is left of {row.run_id}")

    def _commit(self, row: Planned, order: Attempt, evidence: Evidence) -> None:
        self.actors.pull_telemetry(flush=evidence.telemetry is None)  # else the unit has just done it
        if evidence.outcome != "infrastructure":
            self._faults = 0
        verdict = self.judge(order, evidence)
        self.course.ledger.commit(row, order, evidence, verdict)
        self.course.progress.ended(row.model, (evidence.ended_utc_ns - evidence.started_utc_ns) / 1e9)
        self._count(row, evidence, verdict)
        self.actors.acknowledge(row.run_id, evidence.attempt)

    def judge(self, order: Attempt, evidence: Evidence) -> Verdict:
        campaign, best = self.course.campaign, self.course.ledger.state.canaries.get(self.unit.name)
        return judge(
            evidence,
            order.gate,
            campaign.acceptance,
            model_identity=order.prepared.model_identity,
            canary_best_gb_s=best if campaign.canary else None,
        )

    def _count(self, row: Planned, evidence: Evidence, verdict: Verdict) -> None:
        """Say why an attempt was rejected, and journal a breaker that this opens."""
        course = self.course
        failures = course.breaker.count(row, evidence, verdict)
        if not failures:
            return
        by = ", ".join(verdict.rejected_by)
        course.tell(
            f"rejected {row.run_id} attempt {evidence.attempt}: {by}"
            + (f" ({evidence.failure})" if evidence.failure else "")
        )
        if failures < course.breaker.limit or pair_of(row) in course.ledger.state.breakers:
            return
        reason = f"{failures} attempts in a row were rejected, the last by {by}"
        course.ledger.record("breaker", model=row.model, environment=row.environment, failures=failures, reason=reason)
        course.tell(f"{row.model} in {row.environment}: {reason}. Its remaining runs wait for the next `campaign run`.")

    # --- what is not the run's fault -------------------------------------------------------------------------

    def recovered(self) -> None:
        """An attempt has ended otherwise than by a fault of the unit's."""
        self._faults = 0

    def wait_for_the_unit(self, what: str) -> None:
        """A fault of the unit's is nobody's run: wait for it with back-off, then pause with the remedy."""
        course, name = self.course, self.unit.name
        course.tell(f"{name}: {what.partition(chr(10))[0]}; this counts against no run")
        self._faults += 1
        waited_s, pause_s = 0.0, 2.0
        trouble: str | None = what
        while (
            waited_s < PATIENCE_S
            and self._faults <= FAULTS_MAX
            and not course.fleet.clock.wait(course.stopping, pause_s)
        ):
            waited_s, pause_s = waited_s + pause_s, min(60.0, 2 * pause_s)
            try:
                trouble = self.actors.trouble()
            except ActorDied:
                self.actors.start_gpu()
                continue
            if trouble is None:
                return
            course.tell(f"{name}: waiting: {trouble.partition(chr(10))[0]}")
        if not course.stopping.is_set():
            course.pause(f"infrastructure of {name}: {trouble or what}")

    def _gate_closed(self, row: Planned, evidence: Evidence) -> None:
        course = self.course
        reason = f"gate of {row.run_id}: {evidence.failure}"
        if course.campaign.gate.on_timeout == "skip":
            course.ledger.record("exhausted", run_id=row.run_id, attempts=evidence.attempt, reason=reason)
            course.tell(f"skipped {reason}")
        else:
            course.pause(reason)
