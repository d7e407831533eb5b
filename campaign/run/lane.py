"""A lane: one unit's blocks, in a thread of its own.

It takes whole blocks from the driver, orders their attempts one by one from its unit's GpuActor, judges what comes back and has it made
durable before it goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import ray

from actors import host, software
from actors.gpu import machine
from actors.gpu.actor import Chosen
from actors.types import Attempt, Evidence, Model, Status, UnitFacts, Workload
from campaign import cluster
from campaign.errors import DriverError, UnitLost
from campaign.plan.design import Planned
from campaign.plan.forecast import parts_s
from campaign.record.drift import changes, lasting
from campaign.record.store import to_json
from campaign.run import shakedown
from campaign.run.acceptance import Verdict, judge_by
from campaign.run.limits import limit_s
from campaign.run.shakedown import Cell, Finding

if TYPE_CHECKING:
    from campaign.run.driver import Driver

FIRST_START_S = 600.0
"""More patience with a first start, which compiles what later ones find compiled."""

PATIENCE_S = 600.0
"""How long a lane waits for what its unit lacks before the campaign pauses."""
FAULTS_MAX = 5
"""Faults of the unit's in a row, each followed by a unit that says it is well, after which waiting is no use."""

ACTOR_STARTS = 3
"""How often a GpuActor may die while it starts before its unit counts as lost."""


class Lane(Thread):
    """One unit's blocks."""

    def __init__(self, driver: Driver, unit: cluster.Unit) -> None:
        super().__init__(name=f"lane-{unit.name}", daemon=True)
        self.driver = driver
        self.fleet = driver.fleet
        self.unit = unit
        self.error: Exception | None = None
        self.lost = False
        self.shaken = Event()
        """Every cell of this unit has been tried."""
        self.go = Event()
        """What cannot run is settled: blocks may be carried out."""
        self._faults = 0
        """Faults of the unit's since the last attempt that ended otherwise."""
        self.tried = 0
        """Cells tried in this session."""
        self.gpu: Any = None
        self.telemetry: Any = None
        self.facts: UnitFacts | None = None
        self.gpu_uuid: str | None = None

    def run(self) -> None:
        block: list[Planned] | None = None
        try:
            self._open()
            self._shake_down()
            self.shaken.set()
            self.driver.news.set()
            while not self.fleet.clock.wait(self.go, self.fleet.idle_s) and not self.driver.stopping.is_set():
                pass
            while not self.driver.stopping.is_set() and (block := self.driver.take(self.unit.name)) is not None:
                self._carry_out(block)
                block = None
            self._pull_telemetry()
        except UnitLost as problem:
            self.lost = True
            self.driver.tell(f"lost {self.unit.name}: {problem}")
            self.driver.give_back(self.unit.name, block)
        except Exception as problem:
            self.error = problem
        finally:
            self.driver.news.set()

    # --- the unit's actors -------------------------------------------------------------------------------

    def _open(self) -> None:
        self._choose_gpu()
        self._start_telemetry()
        self._start_gpu()
        for row in self.driver.plan:
            state = self.driver.state.run(row.run_id)
            if state.open and state.open[1] == self.unit.name:
                self._interrupted(row, state.open[0])

    def _choose_gpu(self) -> None:
        """The unit is one GPU, the same as long as the campaign lives."""
        path = self.driver.store.root / "units" / f"{self.unit.name}.json"
        before = UnitFacts.model_validate_json(path.read_bytes()).gpu_uuid if path.exists() else None
        wanted = self.driver.campaign.gpus
        try:
            chosen = self._choose(wanted, before)
        except DriverError:
            if before is None or not self.driver.accept_drift:
                raise
            chosen = self._choose(wanted, None)
        if chosen.words:
            self.driver.tell(f"{self.unit.name}: on {chosen.words}")
        self.gpu_uuid = chosen.uuid

    def _choose(self, wanted: tuple[str, ...], before: str | None) -> Chosen:
        try:
            return self.fleet.choose_gpu(self.unit, wanted, before)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.unit.name}: {problem.cause}") from problem

    def _start_telemetry(self) -> None:
        campaign = self.driver.campaign
        spool = host.home() / "spool" / self.driver.info["campaign_id"] / self.unit.name
        self.telemetry = self.fleet.telemetry(self.unit, spool, campaign.telemetry.rate_hz, self.gpu_uuid)

    def _start_gpu(self) -> None:
        """A GpuActor with everything in place, also after the last one died. Raises UnitLost when there can be none."""
        info = self.driver.info
        spool = Path("spool") / info["campaign_id"] / self.unit.name
        for _ in range(ACTOR_STARTS):
            if self.gpu is not None:
                self.fleet.kill(self.gpu)
                if self.unit.node_id not in {unit.node_id for unit in self.fleet.units()}:
                    raise UnitLost("its Ray node is gone")
            self.gpu = self.fleet.gpu(self.unit, info["campaign_id"], spool, self.telemetry, self.gpu_uuid)
            try:
                for line in self._get(self.gpu.reap.remote()):
                    self.driver.tell(f"{self.unit.name}: {line}")
                self._prepare()
            except (ray.exceptions.RayActorError, ray.exceptions.ActorUnschedulableError):
                self.driver.tell(f"{self.unit.name}: the GpuActor died while it was starting")
            else:
                return
        raise UnitLost(f"its GpuActor died {ACTOR_STARTS} times while it was starting")

    def _get(self, reference: Any) -> Any:
        try:
            return self.fleet.get(reference)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.unit.name}: {problem.cause}") from problem

    def _prepare(self) -> None:
        """Put everything in place on the unit and hold it against what the campaign began with."""
        driver, campaign = self.driver, self.driver.campaign
        pairs: list[tuple[Model, Workload]] = []
        for model in campaign.models:
            for workload in campaign.workloads:
                pairs.append((model, campaign.asked(model.name, workload.name)))
                if campaign.shakedown:
                    pairs.append((model, shakedown.small(campaign, model.name, workload.name)))
        facts: UnitFacts = self._get(
            self.gpu.prepare.remote(campaign.engine, campaign.image, tuple(campaign.environments), tuple(pairs))
        )
        if facts.code_digest != host.code_digest():
            other = f"{facts.code_digest[:12]}, not {host.code_digest()[:12]}"
            driver.check(
                f"code of {self.unit.name}",
                [f"{self.unit.name} runs other code than the driver ({other})"],
                now=f"{facts.code_digest[:16]} {host.code_digest()[:16]}",
                unit=self.unit.name,
            )
        if facts.unprepared and not campaign.shakedown:
            raise DriverError("\n".join(f"{pair}: {why}" for pair, why in facts.unprepared.items()))
        if facts.refused_options:
            raise DriverError(
                "\n".join(
                    f"environment {name}: {self.unit.name} refuses {why}" for name, why in facts.refused_options.items()
                )
                + "\nLeave the option out in configs/environments.yaml, or run where it is allowed. Nothing was measured."
            )
        path = driver.store.root / "units" / f"{self.unit.name}.json"
        if path.exists():
            then = UnitFacts.model_validate_json(path.read_bytes())
            differences = changes(lasting(then), lasting(facts))
            driver.check(
                self.unit.name,
                [f"{self.unit.name}: {line}" for line in differences],
                now=hashlib.sha256(json.dumps(lasting(facts), sort_keys=True, default=str).encode()).hexdigest()[:16],
                unit=self.unit.name,
            )
        else:
            driver.store.write(f"units/{self.unit.name}.json", to_json(facts.model_dump(mode="json")))
        self.facts = facts
        self._check_conditions(facts.conditions)

    def _check_conditions(self, now: dict[str, str]) -> None:
        """Hold the unit's conditions against those that its runs are measured under."""
        driver = self.driver
        then = driver.state.conditions.get(self.unit.name)
        differences = machine.changes(then, now) if then is not None else []
        driver.check(
            f"conditions of {self.unit.name}",
            [f"{self.unit.name}: {change}" for change in differences],
            unit=self.unit.name,
        )
        if then is None or differences:
            driver.record("conditions", unit=self.unit.name, facts=now)

    def status(self) -> Status | None:
        if self.gpu is None or not self.is_alive():
            return None
        try:
            status: Status = self.fleet.get(self.gpu.status.remote(), timeout=0.5)
        except (ray.exceptions.RayError, ValueError):
            return None  # it is starting, or dying; the next tick tells
        return status

    def abort(self) -> None:
        if self.gpu is not None:
            self.gpu.abort.remote()

    def release(self, completed: bool) -> None:
        """End the unit's actors. A completed campaign needs its spool no more."""
        if completed and not self.lost:
            with contextlib.suppress(ray.exceptions.RayError):
                self.fleet.get(self.telemetry.close.remote(), timeout=10)
                self._pull_telemetry()
                self.fleet.get(self.gpu.forget.remote(), timeout=10)
        for actor in (self.gpu, self.telemetry):
            if actor is not None:
                self.fleet.kill(actor)

    # --- a block -----------------------------------------------------------------------------------------

    def _carry_out(self, block: list[Planned]) -> None:
        driver = self.driver
        try:
            self._check_conditions(self._get(self.gpu.conditions.remote()))
        except ray.exceptions.RayActorError:
            driver.tell(f"{self.unit.name}: the GpuActor died; starting another")
            self._start_gpu()  # which checks them
        waiting = deque(row for row in block if not driver.state.done(row.run_id))
        while waiting and not driver.stopping.is_set():
            row = waiting.popleft()
            if f"{row.model}__{row.environment}" in driver.state.breakers:
                continue
            state = driver.state.run(row.run_id)
            self._attempt(row, state.attempts + 1)
            if not state.done and not driver.stopping.is_set():
                if state.rejected >= driver.campaign.attempts_max:
                    reason = f"{state.rejected} rejected attempts, the campaign allows {driver.campaign.attempts_max}"
                    driver.record("exhausted", run_id=row.run_id, attempts=state.attempts, reason=reason)
                    driver.tell(f"gave up {row.run_id}: {reason}")
                else:
                    waiting.append(row)

    def _attempt(self, row: Planned, number: int) -> None:
        driver = self.driver
        order = self._order(row, number)
        driver.record("dispatched", run_id=row.run_id, attempt=number, unit=self.unit.name, block=row.block)
        if driver.stopping.is_set():  # interrupted meanwhile: the actor would not know
            self._commit(
                row, order, interrupted_evidence(order, "stopped before it started", self.fleet.clock.utc_ns())
            )
            return
        try:
            evidence: Evidence = self.fleet.get(self.gpu.attempt.remote(order))
        except ray.exceptions.RayActorError:
            driver.tell(f"{self.unit.name}: the GpuActor died; starting another")
            self._start_gpu()
            self._interrupted(row, number)
            return
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.unit.name}: {row.run_id}: {problem.cause}") from problem
        self._commit(row, order, evidence)
        if evidence.outcome == "infrastructure":
            self._wait_for_the_unit(evidence.failure or "the unit is at fault")
        elif evidence.outcome == "gate_timeout":
            self._gate_closed(row, evidence)
        elif evidence.gate and evidence.gate.mem_available_gib and self.unit.name not in driver.state.references:
            driver.record("reference", unit=self.unit.name, mem_available_gib=evidence.gate.mem_available_gib)

    def _wait_for_the_unit(self, what: str) -> None:
        """A fault of the unit's is nobody's run: wait for it with back-off, then pause with the remedy."""
        driver = self.driver
        driver.tell(f"{self.unit.name}: {what.partition(chr(10))[0]}; this counts against no run")
        self._faults += 1
        waited_s, pause_s = 0.0, 2.0
        trouble: str | None = what
        while (
            waited_s < PATIENCE_S and self._faults <= FAULTS_MAX and not self.fleet.clock.wait(driver.stopping, pause_s)
        ):
            waited_s, pause_s = waited_s + pause_s, min(60.0, 2 * pause_s)
            try:
                trouble = self.fleet.get(self.gpu.trouble.remote())
            except ray.exceptions.RayActorError:
                self._start_gpu()
                continue
            if trouble is None:
                return
            driver.tell(f"{self.unit.name}: waiting: {trouble.partition(chr(10))[0]}")
        if not driver.stopping.is_set():
            driver.pause_reason = f"infrastructure of {self.unit.name}: {trouble or what}"
            driver.tell(f"paused: {driver.pause_reason}")
            driver.interrupt()

    def _order(self, row: Planned, number: int) -> Attempt:
        """A measured attempt."""
        campaign, state = self.driver.campaign, self.driver.state
        workload = campaign.asked(row.model, row.workload)
        cell = str(Cell(row.model, row.environment, row.workload))
        found = state.shakedowns.get((self.unit.name, cell))
        known_w = Finding.from_json(found).power_w if found else None
        powers = state.power_w.get(cell) or ([known_w] if known_w else [])
        return self._base_order(row, number, workload).model_copy(
            update={
                "gate": campaign.gate_of(row.environment),
                "reference_gib": state.references.get(self.unit.name),
                "canary": campaign.canary,
                "limit_s": limit_s(
                    campaign.watchdog,
                    workload,
                    expected_s=self._expected_s(row, workload),
                    accepted_s=state.accepted_s.get(cell, ()),
                ),
                "usual_power_w": sum(powers) / len(powers) if powers else None,
            }
        )

    def _base_order(self, row: Planned, number: int, workload: Workload) -> Attempt:
        """What measured and unmeasured attempts have in common."""
        campaign, facts = self.driver.campaign, self.facts
        assert facts is not None
        prepared = facts.prepared[software.prepared_key(row.model, workload.name, campaign.variant(row.environment))]
        compiled = self._caches_key(row.model, row.environment)
        if (sealed := self.driver.state.caches.get((self.unit.name, compiled))) is not None:
            prepared = prepared.model_copy(update={"digests": {**prepared.digests, "caches": sealed}})
        return Attempt(
            campaign=campaign.name,
            campaign_id=self.driver.info["campaign_id"],
            run_id=row.run_id,
            attempt=number,
            unit=self.unit.name,
            engine=row.engine,
            model=campaign.model_in(row.environment, row.model),
            workload=workload,
            environment=campaign.environment(row.environment),
            gate=campaign.gate,
            prepared=prepared,
            image=facts.images.get(campaign.image_key(row.environment)),
            watchdog=campaign.watchdog,
            caches=facts.caches.get(compiled) if campaign.shakedown else None,
            gpu_uuid=facts.gpu_uuid,
            simulated=row.simulated,
        )

    def _caches_key(self, model: str, environment: str) -> str:
        """Of the compile caches that the arm's software fills."""
        return software.of_variant(model, self.driver.campaign.variant(environment))

    def _expected_s(self, row: Planned, workload: Workload) -> float:
        """Seconds from exec to exit, by the cell's shakedown where it had one; ``workload`` may be the shakedown's own."""
        campaign = self.driver.campaign
        before, answering = parts_s(campaign, row, shakedown.speeds(self.driver.state, [self.unit.name]))
        share = workload.requests / campaign.asked(row.model, row.workload).requests
        return before - campaign.gate.cooldown_s - campaign.gate.dwell_s + share * answering

    # --- the shakedown -----------------------------------------------------------------------------------

    def _shake_down(self) -> None:
        """Try every cell that has runs to do and was not tried as it is now, then seal what the engines compiled."""
        driver = self.driver
        if not driver.campaign.shakedown:
            return
        assert self.facts is not None
        open_runs = [row for row in driver.plan if not driver.state.run(row.run_id).done]
        rows = {Cell(row.model, row.environment, row.workload): row for row in reversed(open_runs)}
        cells = [cell for cell in shakedown.cells(driver.plan) if cell in rows]
        spoilt = {key for key in self.facts.caches if self._spoilt(key)}
        compiled = {cell: self._caches_key(cell.model, cell.environment) for cell in cells}
        untried = [cell for cell in cells if compiled[cell] in spoilt or self._untried(cell, rows[cell])]
        for number, cell in enumerate(untried, 1):
            if driver.stopping.is_set():
                return
            driver.say_shakedown(f"{number} of {len(untried)}: {cell.model} in {cell.environment}, {cell.workload}")
            self._try(cell, rows[cell])
            self.tried += 1
        if untried and not driver.stopping.is_set():
            for key in dict.fromkeys(compiled[cell] for cell in untried):
                self._seal(key)

    def _untried(self, cell: Cell, row: Planned) -> bool:
        """Whether the cell has yet to be tried as it is now. One that failed and was settled is tried again when a person asks."""
        state = self.driver.state
        event = state.shakedowns.get((self.unit.name, str(cell)))
        if event is None or event["fingerprint"] != self._fingerprint(cell, row):
            return True
        return not event["passed"] and (self.driver.only_shakedown or str(cell) not in state.left_out)

    def _fingerprint(self, cell: Cell, row: Planned) -> str:
        assert self.facts is not None
        if (why := self._unprepared(cell)) is not None:
            return hashlib.sha256(why.encode()).hexdigest()[:16]
        return shakedown.fingerprint(self._shakedown_order(cell, row, 1))

    def _unprepared(self, cell: Cell) -> str | None:
        """Why the engine refuses the cell before anything runs, and on further lines what to do."""
        assert self.facts is not None
        small = shakedown.small(self.driver.campaign, cell.model, cell.workload)
        refusals, variant = self.facts.unprepared, self.driver.campaign.variant(cell.environment)
        keys = (software.prepared_key(cell.model, name, variant) for name in (cell.workload, small.name))
        return next((refusals[key] for key in keys if key in refusals), None)

    def _shakedown_order(self, cell: Cell, row: Planned, number: int) -> Attempt:
        campaign = self.driver.campaign
        small = shakedown.small(campaign, cell.model, cell.workload)
        order = self._base_order(replace(row, run_id=f"{cell}__s{number:02d}"), number, small)
        unsealed = {role: digest for role, digest in order.prepared.digests.items() if role != "caches"}
        return order.model_copy(
            update={
                "prepared": order.prepared.model_copy(update={"digests": unsealed}),
                "gate": shakedown.gate_of(campaign.gate_of(cell.environment)),
                "limit_s": limit_s(
                    campaign.watchdog.model_copy(update={"slack_s": campaign.watchdog.slack_s + FIRST_START_S}),
                    small,
                    expected_s=self._expected_s(row, small),
                ),
                "fills_caches": True,
            }
        )

    def _try(self, cell: Cell, row: Planned) -> None:
        """One unmeasured attempt; a second where the first failed otherwise than by hanging."""
        driver = self.driver
        before = driver.state.shakedowns.get((self.unit.name, str(cell)))
        number = 1 + (before["attempt"] if before else 0)
        if (why := self._unprepared(cell)) is not None:
            cause, _, remedy = why.partition("\n")
            refused = Finding(cell, self.unit.name, self._fingerprint(cell, row), False, number, cause, remedy)
            driver.record("shakedown", outcome="environment_error", **refused.to_json())
            return
        for last in (False, True):
            found, outcome = self._try_once(cell, row, number)
            if found is None or found.passed or last or outcome in ("hung", "timeout"):
                return
            driver.tell(f"once more {cell}: {found.cause}")
            number += 1

    def _try_once(self, cell: Cell, row: Planned, number: int) -> tuple[Finding | None, str]:
        """Finding and outcome; None where the attempt was stopped from outside and says nothing."""
        order = self._shakedown_order(cell, row, number)
        for _ in range(ACTOR_STARTS + FAULTS_MAX):
            try:
                evidence: Evidence = self.fleet.get(self.gpu.attempt.remote(order))
            except ray.exceptions.RayActorError:
                self.driver.tell(f"{self.unit.name}: the GpuActor died; starting another")
                self._start_gpu()
                continue
            except ray.exceptions.RayTaskError as problem:
                raise DriverError(f"{self.unit.name}: {order.run_id}: {problem.cause}") from problem
            if evidence.outcome != "infrastructure":
                self._faults = 0
                break
            self._wait_for_the_unit(evidence.failure or "the unit is at fault")
            if self.driver.stopping.is_set():
                return None, evidence.outcome
        else:
            raise UnitLost(f"no attempt of {order.run_id} could be carried out")
        if self.driver.stopping.is_set() and evidence.outcome == "aborted":
            return None, evidence.outcome
        verdict = self._judge(order, evidence)
        found = shakedown.finding(cell, order, evidence, verdict)
        self._pull_telemetry(flush=evidence.telemetry is None)
        self.driver.commit_shakedown(replace(row, run_id=order.run_id), order, evidence, verdict, found)
        self.gpu.acknowledge.remote(order.run_id, number)
        return found, evidence.outcome

    def _spoilt(self, key: str) -> bool:
        """Whether the compile caches are no longer those that the campaign's runs began with."""
        sealed = self.driver.state.caches.get((self.unit.name, key))
        return sealed is not None and self._get(self.gpu.cache_digest.remote(key)) != sealed

    def _seal(self, key: str) -> None:
        """Record what the engines compiled: every measured attempt starts from a copy of just that."""
        driver = self.driver
        digest = self._get(self.gpu.cache_digest.remote(key))
        before = driver.state.caches.get((self.unit.name, key))
        if digest is None or digest == before:
            return
        runs = (row for row in driver.plan if self._caches_key(row.model, row.environment) == key)
        if before is not None and any(driver.state.run(row.run_id).accepted is not None for row in runs):
            driver.check(
                f"compile caches of {key} on {self.unit.name}",
                [f"{self.unit.name}: compile caches of {key} were {before[:12]}, are {digest[:12]}"],
                unit=self.unit.name,
            )
        driver.record("caches", unit=self.unit.name, model=key, digest=digest)

    def _interrupted(self, row: Planned, number: int) -> None:
        """Commit what a crash left of an attempt."""
        order = self._order(row, number)
        while True:
            try:
                self._commit(row, order, self._get(self.gpu.salvage.remote(order)))
                return
            except ray.exceptions.RayActorError:
                self._start_gpu()

    def _commit(self, row: Planned, order: Attempt, evidence: Evidence) -> None:
        driver = self.driver
        self._pull_telemetry(flush=evidence.telemetry is None)  # else the unit has just done it
        if evidence.outcome != "infrastructure":
            self._faults = 0
        driver.commit(row, order, evidence, self._judge(order, evidence))
        self.gpu.acknowledge.remote(row.run_id, evidence.attempt)

    def _judge(self, order: Attempt, evidence: Evidence) -> Verdict:
        return judge_by(
            self.driver.campaign,
            evidence,
            order.gate,
            model_identity=order.prepared.model_identity,
            canary_best_gb_s=self.driver.state.canaries.get(self.unit.name),
        )

    def _pull_telemetry(self, flush: bool = True) -> None:
        """Bring finished telemetry files to the results folder. A sampler that is down keeps its files."""
        try:
            if flush:
                self.telemetry.flush.remote()
            ready: list[tuple[str, bytes]] = self.fleet.get(self.telemetry.ready.remote(), timeout=60)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return
        for name, data in ready:
            self.driver.store.commit_telemetry(self.unit.name, name, data)
        if ready:
            self.telemetry.acknowledge.remote([name for name, _ in ready])

    def _gate_closed(self, row: Planned, evidence: Evidence) -> None:
        driver = self.driver
        reason = f"gate of {row.run_id}: {evidence.failure}"
        if driver.campaign.gate.on_timeout == "skip":
            driver.record("exhausted", run_id=row.run_id, attempts=evidence.attempt, reason=reason)
            driver.tell(f"skipped {reason}")
        else:
            driver.pause_reason = reason
            driver.tell(f"paused at {reason}")
            driver.interrupt()


def identity(order: Attempt) -> str:
    """A run's identity: model + environment + workload + resolved configuration + image digest, hashed."""
    parts = {
        "engine": order.engine,
        "model": order.model.model_dump(mode="json"),
        "environment": order.environment.model_dump(mode="json"),
        "workload": order.workload.model_dump(mode="json"),
        "gate": order.gate.model_dump(mode="json"),
        "prepared": order.prepared.digests,
        "image": order.image.digest if order.image else None,
        "run": order.run_id,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def interrupted_evidence(order: Attempt, why: str, now: int) -> Evidence:
    return Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome="aborted",
        failure=why,
        started_utc_ns=now,
        ended_utc_ns=now,
        simulated=order.simulated,
    )
