"""The Ray driver: one lane for each unit, dispatch, acceptance, retries, resume.

A lane is a thread that takes whole blocks, orders their attempts one by one from its unit's GpuActor, judges what comes
back and makes it durable before it goes on. The driver alone writes the results folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import ray

from actors import account, gpu, host, telemetry
from actors.types import Attempt, Evidence, Model, Status, UnitFacts, Workload
from campaign import cluster, journal, prepare, provenance
from campaign.acceptance import Verdict, canaries, judge
from campaign.config import Campaign
from campaign.outliers import outliers
from campaign.plan import Planned, plan, plan_hash, to_table
from campaign.snapshot import Snapshot
from campaign.store import Store, to_json

IDLE_S = 0.2
"""How often a unit without work asks for some."""

TICK_S = 1.0
"""How often units are asked for their status. Each answer costs a unit about a millisecond."""

ACTOR_STARTS = 3
"""How often a GpuActor may die while it starts before its unit counts as lost."""

SAME = ("code_digest", "machine", "mem_total_gib", "gpu")
"""Facts of a unit that must not change within a campaign, besides its images."""


class DriverError(Exception):
    """The campaign cannot start or go on. The message is for the person."""


class Drift(DriverError):
    """Something that decides the results differs from what the campaign began with."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        super().__init__(
            "this campaign began under other conditions:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nStart another with NEW=1 (or --new), or go on all the same with --accept-drift, which is journalled."
        )


class UnitLost(Exception):
    """The unit of a lane no longer answers."""


class Driver:
    """One invocation of ``campaign run``."""

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        *,
        chosen_because: str = "",
        address: str | None = None,
        accept_drift: bool = False,
        tell: Callable[[str], None] = lambda line: None,
        show: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:
        self.campaign = campaign
        self.store = store
        self.chosen_because = chosen_because
        self.address = address
        self.accept_drift = accept_drift
        self.tell = tell
        self.show = show
        self.stopping = Event()
        self.pause_reason: str | None = None
        self.snapshot = Snapshot(campaign=campaign.name, results=str(store.root), pid=os.getpid())
        self.lanes: dict[str, Lane] = {}
        self._lock = Lock()
        self._failures: Counter[str] = Counter()
        self._durations: dict[str, list[float]] = {}
        self._began = time.monotonic()

    # --- the whole ---------------------------------------------------------------------------------------

    def run(self) -> Snapshot:
        """Carry the campaign out as far as it goes. Everything is durable when this returns or raises."""
        if self.store.exists() and not self.store.began():
            self.store.clear()
        if self.store.exists() and not self.accept_drift and (differences := self._drift(self.store.info())):
            raise Drift(differences)
        self._say_stage("connecting")
        if self.address is None:
            prepare.require(self.campaign, host.home())
            for line in cluster.reap():
                self.tell(line)
        cluster.start(self.address)
        try:
            wanted = self.campaign.units
            units = [unit for unit in cluster.units() if not wanted or unit.name in wanted]
            if missing := set(wanted) - {unit.name for unit in units}:
                self.tell(f"without {', '.join(sorted(missing))}: no alive Ray node has that name")
            if not units:
                raise DriverError(
                    "no unit: no alive Ray node has a GPU slot. Start nodes with `ray start --num-gpus=1`."
                )
            self.info = self.store.info() if self.store.exists() else self._create(units)
            self.journal = journal.Journal(self.store.journal_path)
            self.state = journal.fold(self.journal.events)
            self.check("the driver", self._drift(self.info))
            self.record("opened", pid=os.getpid(), host=os.uname().nodename, units=[unit.name for unit in units])
            self.plan = [Planned(**row) for row in self.store.plan()]
            self.snapshot.total = len(self.plan)
            self._adopt()
            self._carry_out(units)
            if self._reopen_outliers():
                self._carry_out(units)
            self._conclude()
        finally:
            for lane in self.lanes.values():
                lane.release(self.snapshot.stage == "completed")
            cluster.stop()
            self._write_status()
        return self.snapshot

    def _create(self, units: list[cluster.Unit]) -> dict[str, Any]:
        planned = plan(self.campaign, lanes=len(units))
        created = time.time_ns()
        hash_ = plan_hash(planned)
        code = provenance.code()
        info = {
            "campaign": self.campaign.name,
            "campaign_id": hashlib.sha256(f"{self.campaign.config_hash}{hash_}{created}".encode()).hexdigest()[:12],
            "config_hash": self.campaign.config_hash,
            "plan_hash": hash_,
            "seed": self.campaign.seed,
            "created_utc_ns": created,
            "simulated": False,
            "chosen_because": self.chosen_because,
            "lanes": [unit.name for unit in units],
            "code": code,
            "host": host.describe(),
            "config": self.campaign.model_dump(mode="json"),
        }
        import io

        from pyarrow import parquet

        buffer = io.BytesIO()
        parquet.write_table(to_table(planned), buffer)
        self.store.write("plan.parquet", buffer.getvalue())
        self.store.write("campaign.json", to_json(info))
        writer = journal.Journal(self.store.journal_path)
        if not writer.events:
            writer.append(
                "created",
                campaign_id=info["campaign_id"],
                config_hash=info["config_hash"],
                plan_hash=hash_,
                code_digest=code["digest"],
            )
        writer.close()
        return info

    def _drift(self, info: dict[str, Any]) -> list[str]:
        """How config and code differ from what the campaign began with."""
        differences = []
        if info["config_hash"] != self.campaign.config_hash:
            then, now = info["config"], self.campaign.model_dump(mode="json")
            differences += [f"config: {line}" for line in _differences(then, now)]
        if info["code"]["digest"] != (digest := host.code_digest()):
            differences.append(f"code: digest was {info['code']['digest'][:12]}, is {digest[:12]}")
        return differences

    def check(self, what: str, differences: list[str]) -> None:
        if not differences:
            return
        if not self.accept_drift:
            raise Drift(differences)
        self.record("override", what=what, difference=differences)

    def record(self, event: str, **fields: Any) -> None:
        """Journal an event, durable on return, and fold it into the state."""
        with self._lock:
            journal.apply(self.state, self.journal.append(event, **fields))

    def _adopt(self) -> None:
        """Journal attempts whose files became durable just before the line that speaks of them."""
        known = {(event["run_id"], event["attempt"]) for event in journal.finished(self.journal.events)}
        for place in sorted(self.store.root.glob("attempts/*/[0-9]*/metadata.json")):
            run_id, number = place.parent.parent.name, int(place.parent.name)
            if (run_id, number) in known:
                continue
            metadata = json.loads(place.read_bytes())
            self.record(
                "finished",
                run_id=run_id,
                attempt=number,
                unit=metadata["unit"],
                outcome=metadata["outcome"],
                accepted=metadata["accepted"],
                rejected_by=[check["check"] for check in metadata["verdict"] if check["passed"] is False],
                evidence=hashlib.sha256(place.read_bytes()).hexdigest(),
                adopted=True,
            )
            self.tell(f"took in {run_id} attempt {number}, which had finished when the driver was killed")

    # --- lanes -------------------------------------------------------------------------------------------

    def _carry_out(self, units: list[cluster.Unit]) -> None:
        names: list[str] = self.info.get("lanes", [])
        self._queues = self._deal(names, [unit.name for unit in units])
        self._orphans: deque[tuple[str, list[Planned]]] = deque()
        self._at_work: set[str] = set()
        if not self._blocks_left():
            return
        self._say_stage("preparing")
        self._start_lanes(units)
        self._say_stage("running")
        while any(lane.is_alive() for lane in self.lanes.values()):
            self._tick()
            self._first_error()
            time.sleep(TICK_S if not self.stopping.is_set() else 0.1)
            if self._blocks_left() and not self.stopping.is_set():
                self._welcome_back()
        self._tick()
        self._first_error()

    def _reopen_outliers(self) -> bool:
        """Once everything is done, open outliers again where the campaign says so; each run at most once."""
        states = self.state.runs
        if self.campaign.outliers != "rerun" or not all(self.state.run(row.run_id).done for row in self.plan):
            return False
        again = {event["run_id"] for event in self.journal.events if event["event"] == "reopened"}
        accepted = {run_id: run.accepted for run_id, run in states.items() if run.accepted is not None}
        found = outliers(self.store, self.plan, accepted, self.campaign.acceptance.outlier_sigma)
        for run_id, reason in found.items():
            if run_id not in again:
                self.record("reopened", run_id=run_id, reason=reason)
                self.tell(f"once more {run_id}: {reason}")
        return bool(found.keys() - again)

    def _deal(self, lanes: list[str], present: list[str]) -> dict[str, deque[list[Planned]]]:
        """Unfinished blocks by unit, in order. Those of a unit that is away go to the units that are here."""
        queues: dict[str, deque[list[Planned]]] = {name: deque() for name in present}
        blocks: dict[str, list[Planned]] = {}
        for row in self.plan:
            blocks.setdefault(row.block, []).append(row)
        homeless = []
        for rows in blocks.values():
            if all(self.state.run(row.run_id).done for row in rows):
                continue
            owner = lanes[rows[0].lane] if rows[0].lane < len(lanes) else ""
            if owner in queues:
                queues[owner].append(rows)
            else:
                homeless.append((owner, rows))
        for number, (owner, rows) in enumerate(homeless):
            heir = present[number % len(present)]
            self.move(rows, owner, heir)
            queues[heir].append(rows)
        return queues

    def move(self, rows: list[Planned], old: str, new: str) -> None:
        """Journal that a block goes to another unit, whole: what the old unit measured of it is measured again."""
        self.record("requeued", block=rows[0].block, **{"from": old, "to": new})
        for row in rows:
            if self.state.run(row.run_id).accepted is not None:
                self.record("reopened", run_id=row.run_id, reason=f"its block moved from {old} to {new}")

    def _blocks_left(self) -> bool:
        return bool(self._orphans) or any(self._queues.values())

    def _start_lanes(self, units: list[cluster.Unit]) -> None:
        for unit in units:
            if (ended := self.lanes.get(unit.name)) is not None:
                ended.release(completed=False)
            lane = Lane(self, unit)
            self.lanes[unit.name] = lane
            lane.start()

    def _welcome_back(self) -> None:
        """Start a lane again whose unit was lost and is back."""
        ended = [name for name, lane in self.lanes.items() if not lane.is_alive() and lane.lost]
        for unit in cluster.units() if ended else []:
            if unit.name in ended:
                self.tell(f"{unit.name} is back")
                self._start_lanes([unit])

    def take(self, unit: str) -> list[Planned] | None:
        """The next block for ``unit``: its own, else one of a unit that was lost.

        A unit that has nothing to do waits while another works, because that one may be lost. None at the end.
        """
        while not self.stopping.is_set():
            with self._lock:
                self._at_work.discard(unit)
                if self._queues.get(unit):
                    self._at_work.add(unit)
                    return self._queues[unit].popleft()
                orphan = self._orphans.popleft() if self._orphans else None
                if orphan is not None:
                    self._at_work.add(unit)
                elif not self._at_work and not any(self._queues.values()):
                    return None
            if orphan is not None:
                owner, block = orphan
                self.move(block, owner, unit)
                return block
            time.sleep(IDLE_S)
        return None

    def give_back(self, unit: str, block: list[Planned] | None) -> None:
        """A lost unit's blocks, the unfinished one first, go to whoever is free."""
        with self._lock:
            self._at_work.discard(unit)
            blocks = [*([] if block is None else [block]), *self._queues.pop(unit, ())]
            self._orphans.extend((unit, each) for each in blocks)

    def _first_error(self) -> None:
        for lane in self.lanes.values():
            if lane.error is not None:
                self.stopping.set()
                if not any(other.is_alive() for other in self.lanes.values()):
                    self.record("stopped", reason=str(lane.error))
                    raise lane.error

    # --- verdicts ----------------------------------------------------------------------------------------

    def commit(self, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict) -> None:
        """Make an attempt durable: its folder, then its journal line."""
        files = dict(evidence.files)
        metadata = {
            "run_id": row.run_id,
            "attempt": evidence.attempt,
            "unit": evidence.unit,
            "campaign_id": self.info["campaign_id"],
            **{key: getattr(row, key) for key in ("phase", "model", "environment", "workload", "engine")},
            **{key: getattr(row, key) for key in ("repetition", "block", "position")},
            "simulated": evidence.simulated,
            "outcome": evidence.outcome,
            "failure": evidence.failure,
            "accepted": verdict.accepted,
            "verdict": verdict.to_json(),
            **evidence.model_dump(
                mode="json", include={"exit", "gate", "stages", "metrics", "started_utc_ns", "ended_utc_ns"}
            ),
            "telemetry": evidence.telemetry.model_dump(mode="json", exclude={"metrics"})
            if evidence.telemetry
            else None,
            "report": evidence.report.model_dump(mode="json", exclude={"metrics"}),
            "identity": identity(order),
            "image_digest": order.image.digest if order.image else None,
            "userland_digest": order.image.userland if order.image else None,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files["metadata.json"] = to_json(metadata)
        digest = self.store.commit_attempt(row.run_id, evidence.attempt, files)
        self.record(
            "finished",
            run_id=row.run_id,
            attempt=evidence.attempt,
            unit=evidence.unit,
            outcome=evidence.outcome,
            accepted=verdict.accepted,
            rejected_by=list(verdict.rejected_by),
            evidence=digest,
            **({"canary_gb_s": max(sung)} if (sung := canaries(evidence)) else {}),
        )
        self._durations.setdefault(row.model, []).append((evidence.ended_utc_ns - evidence.started_utc_ns) / 1e9)
        self._count_failure(row, evidence, verdict)

    def _count_failure(self, row: Planned, evidence: Evidence, verdict: Verdict) -> None:
        if verdict.accepted:
            self._failures[row.environment] = 0
        elif evidence.outcome not in journal.NOT_COUNTED:
            self._failures[row.environment] += 1
            self.tell(
                f"rejected {row.run_id} attempt {evidence.attempt}: {', '.join(verdict.rejected_by)}"
                + (f" ({evidence.failure})" if evidence.failure else "")
            )
            failures = self._failures[row.environment]
            if failures >= self.campaign.breaker and row.environment not in self.state.breakers:
                reason = f"{failures} attempts in a row were rejected, the last by {', '.join(verdict.rejected_by)}"
                self.record("breaker", environment=row.environment, failures=failures, reason=reason)
                self.tell(f"{row.environment}: {reason}. Its remaining runs wait for the next `campaign run`.")

    # --- what one sees -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        snapshot = self.snapshot
        runs = self.state.runs.values()
        snapshot.accepted = sum(run.accepted is not None for run in runs)
        snapshot.exhausted = sum(run.exhausted and run.accepted is None for run in runs)
        snapshot.rejected_attempts = sum(run.rejected for run in runs)
        snapshot.elapsed_s = time.monotonic() - self._began
        snapshot.eta_s = self._eta_s()
        for name, lane in self.lanes.items():
            if (status := lane.status()) is not None:
                snapshot.lanes[name] = status
        self._write_status()
        self.show(snapshot)

    def _write_status(self) -> None:
        self.snapshot.updated_utc_ns = time.time_ns()
        partial = self.store.root / ".status.json.new"
        partial.write_bytes(to_json(self.snapshot.to_json()))
        account.give(partial)
        partial.rename(self.store.root / "status.json")

    def _eta_s(self) -> float | None:
        """Mean duration of this session's attempts by model, over what is left."""
        everything = [seconds for values in self._durations.values() for seconds in values]
        if not everything:
            return None
        overall = sum(everything) / len(everything)
        left = 0.0
        for row in self.plan:
            if not self.state.run(row.run_id).done:
                known = self._durations.get(row.model)
                left += sum(known) / len(known) if known else overall
        return left / max(1, sum(lane.is_alive() for lane in self.lanes.values()))

    def _say_stage(self, stage: str) -> None:
        self.snapshot.stage = stage
        self.show(self.snapshot)

    def _conclude(self) -> None:
        self._tick()
        left = [row for row in self.plan if not self.state.run(row.run_id).done]
        if not left:
            if not self.state.completed:
                self.record("completed", accepted=self.snapshot.accepted, exhausted=self.snapshot.exhausted)
            self._say_stage("completed")
            return
        if self.pause_reason:
            reason = self.pause_reason
        elif self.stopping.is_set():
            reason = "interrupt"
        elif self.state.breakers:
            reason = "breaker: " + ", ".join(sorted(self.state.breakers))
        else:
            reason = "no unit left"
        self.record("stopped", reason=reason, left=len(left))
        self.snapshot.message = reason
        self._say_stage("stopped")

    def interrupt(self) -> None:
        """End the current attempts, journal them, stop. The same command goes on later."""
        self.stopping.set()
        for lane in self.lanes.values():
            lane.abort()


class Lane(Thread):
    """One unit's blocks."""

    def __init__(self, driver: Driver, unit: cluster.Unit) -> None:
        super().__init__(name=f"lane-{unit.name}", daemon=True)
        self.driver = driver
        self.unit = unit
        self.error: Exception | None = None
        self.lost = False
        self.gpu: Any = None
        self.telemetry: Any = None
        self.facts: UnitFacts | None = None

    def run(self) -> None:
        block: list[Planned] | None = None
        try:
            self._open()
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

    # --- the unit's actors -------------------------------------------------------------------------------

    def _open(self) -> None:
        self._start_telemetry()
        self._start_gpu()
        for row in self.driver.plan:
            state = self.driver.state.run(row.run_id)
            if state.open and state.open[1] == self.unit.name:
                self._interrupted(row, state.open[0])

    def _start_telemetry(self) -> None:
        campaign = self.driver.campaign
        spool = host.home() / "spool" / self.driver.info["campaign_id"] / self.unit.name
        self.telemetry = (
            telemetry.remote_class()
            .options(num_cpus=0, max_restarts=-1, scheduling_strategy=cluster.on(self.unit))
            .remote(self.unit.name, str(spool), campaign.telemetry.rate_hz)
        )

    def _start_gpu(self) -> None:
        """A GpuActor with everything in place, also after the last one died. Raises UnitLost when there can be none."""
        info = self.driver.info
        spool = Path("spool") / info["campaign_id"] / self.unit.name
        for _ in range(ACTOR_STARTS):
            if self.gpu is not None:
                ray.kill(self.gpu)
                if self.unit.node_id not in {unit.node_id for unit in cluster.units()}:
                    raise UnitLost("its Ray node is gone")
            self.gpu = (
                gpu.remote_class()
                .options(num_cpus=0, num_gpus=1, scheduling_strategy=cluster.on(self.unit))
                .remote(self.unit.name, info["campaign_id"], str(spool), self.telemetry)
            )
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
            return ray.get(reference)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.unit.name}: {problem.cause}") from problem

    def _prepare(self) -> None:
        """Put everything in place on the unit and hold it against what the campaign began with."""
        driver, campaign = self.driver, self.driver.campaign
        pairs: list[tuple[Model, Workload]] = [
            (model, campaign.asked(model.name, workload.name))
            for model in campaign.models
            for workload in campaign.workloads
        ]
        facts: UnitFacts = self._get(
            self.gpu.prepare.remote(campaign.engine, campaign.image, tuple(campaign.environments), tuple(pairs))
        )
        for line in facts.warnings:
            driver.tell(f"{self.unit.name}: {line}")
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
            changes = _differences(_lasting(then), _lasting(facts))
            driver.check(self.unit.name, [f"{self.unit.name}: {line}" for line in changes])
        else:
            driver.store.write(f"units/{self.unit.name}.json", to_json(facts.model_dump(mode="json")))
        self.facts = facts

    def status(self) -> Status | None:
        if self.gpu is None or not self.is_alive():
            return None
        try:
            status: Status = ray.get(self.gpu.status.remote(), timeout=0.5)
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
                ray.get(self.telemetry.close.remote(), timeout=10)
                self._pull_telemetry()
                ray.get(self.gpu.forget.remote(), timeout=10)
        for actor in (self.gpu, self.telemetry):
            if actor is not None:
                ray.kill(actor)

    # --- a block -----------------------------------------------------------------------------------------

    def _carry_out(self, block: list[Planned]) -> None:
        driver = self.driver
        waiting = deque(row for row in block if not driver.state.run(row.run_id).done)
        while waiting and not driver.stopping.is_set():
            row = waiting.popleft()
            if row.environment in driver.state.breakers:
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
            self._commit(row, order, interrupted_evidence(order, "stopped before it started"))
            return
        try:
            evidence: Evidence = ray.get(self.gpu.attempt.remote(order))
        except ray.exceptions.RayActorError:
            driver.tell(f"{self.unit.name}: the GpuActor died; starting another")
            self._start_gpu()
            self._interrupted(row, number)
            return
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.unit.name}: {row.run_id}: {problem.cause}") from problem
        self._commit(row, order, evidence)
        if evidence.outcome == "gate_timeout":
            self._gate_closed(row, evidence)
        elif evidence.gate and evidence.gate.mem_available_gib and self.unit.name not in driver.state.references:
            driver.record("reference", unit=self.unit.name, mem_available_gib=evidence.gate.mem_available_gib)

    def _order(self, row: Planned, number: int) -> Attempt:
        campaign, facts = self.driver.campaign, self.facts
        assert facts is not None
        model = next(model for model in campaign.models if model.name == row.model)
        workload = campaign.asked(row.model, row.workload)
        environment = next(item for item in campaign.environments if item.name == row.environment)
        return Attempt(
            campaign=campaign.name,
            campaign_id=self.driver.info["campaign_id"],
            run_id=row.run_id,
            attempt=number,
            unit=self.unit.name,
            engine=row.engine,
            model=model,
            workload=workload,
            environment=environment,
            gate=campaign.gate_of(row.environment),
            prepared=facts.prepared[f"{model.name}/{workload.name}"],
            image=facts.images.get("image"),
            reference_gib=self.driver.state.references.get(self.unit.name),
            canary=campaign.canary,
            simulated=row.simulated,
        )

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
        driver, campaign = self.driver, self.driver.campaign
        verdict = judge(
            evidence,
            order.gate,
            model_identity=order.model.name,
            coverage_min_pct=campaign.acceptance.coverage_min_pct,
            error_rate_max=campaign.acceptance.error_rate_max,
            sw_thermal_max_pct=campaign.acceptance.sw_thermal_max_pct,
            canary_min_pct=campaign.acceptance.canary_min_pct,
            canary_best_gb_s=driver.state.canaries.get(self.unit.name) if order.canary else None,
        )
        self._pull_telemetry(flush=evidence.telemetry is None)  # else the unit has just done it
        driver.commit(row, order, evidence, verdict)
        self.gpu.acknowledge.remote(row.run_id, evidence.attempt)

    def _pull_telemetry(self, flush: bool = True) -> None:
        """Bring finished telemetry files to the results folder. A sampler that is down keeps its files."""
        try:
            if flush:
                self.telemetry.flush.remote()
            ready: list[tuple[str, bytes]] = ray.get(self.telemetry.ready.remote(), timeout=60)
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


def interrupted_evidence(order: Attempt, why: str) -> Evidence:
    now = time.time_ns()
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


def _lasting(facts: UnitFacts) -> dict[str, Any]:
    """What must not change. An image that was imported again has another ID and the same files."""
    images = {
        name: image.model_dump(exclude={"digest", "rootfs", "content_digest"}) | {"userland": image.userland}
        for name, image in facts.images.items()
    }
    return facts.model_dump(include=set(SAME)) | {"images": images}


def _differences(then: Any, now: Any, path: str = "") -> list[str]:
    """What changed between two JSON values, a line each."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            line
            for key in dict.fromkeys([*then, *now])
            for line in _differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
        pairs = zip(then, now, strict=True)
        return [line for number, (a, b) in enumerate(pairs) for line in _differences(a, b, f"{path}[{number}]")]
    return [] if then == now else [f"{path} was {_short(then)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
