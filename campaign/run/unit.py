"""One unit's actors: made, asked, replaced where they die, and held against what the campaign began with."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from actors import host
from actors.gpu import machine
from actors.gpu.actor import Chosen
from actors.types import Attempt, Evidence, Status, UnitFacts
from campaign import cluster
from campaign.errors import DriverError, UnitLost
from campaign.record.drift import changes, lasting
from campaign.record.durable import to_json
from campaign.run import shakedown
from campaign.run.course import Course
from campaign.run.orders import Orders

ACTOR_STARTS = 3
"""How often a GpuActor may die while it starts before its unit counts as lost."""

ActorDied = ray.exceptions.RayActorError


class UnitActors:
    """The GpuActor and the TelemetryActor of one unit."""

    def __init__(self, course: Course, unit: cluster.Unit) -> None:
        self.course = course
        self.unit = unit
        self.name = unit.name
        self.gpu: Any = None
        self.telemetry: Any = None
        self.gpu_uuid: str | None = None
        self._orders: Orders | None = None

    @property
    def orders(self) -> Orders:
        """By the facts of the last preparation. Raises DriverError before the first."""
        if self._orders is None:
            raise DriverError(f"{self.name}: nothing can be ordered from a unit that is not prepared")
        return self._orders

    # --- made ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Both actors, with everything in place. Raises UnitLost where there can be none,
        and whatever forbids to use the unit."""
        self.gpu_uuid = self._choose_gpu()
        spool = host.home() / "spool" / self.course.ledger.info["campaign_id"] / self.name
        rate_hz = self.course.campaign.telemetry.rate_hz
        self.telemetry = self.course.fleet.telemetry(self.unit, spool, rate_hz, self.gpu_uuid)
        self.start_gpu()

    def _facts_path(self) -> Path:
        return self.course.ledger.store.root / "units" / f"{self.name}.json"

    def _choose_gpu(self) -> str | None:
        """The unit is one GPU, the same as long as the campaign lives."""
        path = self._facts_path()
        before = UnitFacts.model_validate_json(path.read_bytes()).gpu_uuid if path.exists() else None
        wanted = self.course.campaign.gpus
        try:
            chosen = self._chosen(wanted, before)
        except DriverError:
            if before is None or not self.course.drift.accept:
                raise
            chosen = self._chosen(wanted, None)
        if chosen.words:
            self.course.tell(f"{self.name}: on {chosen.words}")
        return chosen.uuid

    def _chosen(self, wanted: tuple[str, ...], before: str | None) -> Chosen:
        try:
            return self.course.fleet.choose_gpu(self.unit, wanted, before)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.name}: {problem.cause}") from problem

    def start_gpu(self) -> None:
        """A GpuActor with everything in place, also after the last one died. Raises UnitLost when there can be none."""
        fleet, campaign_id = self.course.fleet, self.course.ledger.info["campaign_id"]
        spool = Path("spool") / campaign_id / self.name
        for _ in range(ACTOR_STARTS):
            if self.gpu is not None:
                fleet.kill(self.gpu)
                if self.unit.node_id not in {unit.node_id for unit in fleet.units()}:
                    raise UnitLost("its Ray node is gone")
            self.gpu = fleet.gpu(self.unit, campaign_id, spool, self.telemetry, self.gpu_uuid)
            try:
                for line in self.get(self.gpu.reap.remote()):
                    self.course.tell(f"{self.name}: {line}")
                self._prepare()
            except (ActorDied, ray.exceptions.ActorUnschedulableError):
                self.course.tell(f"{self.name}: the GpuActor died while it was starting")
            else:
                return
        raise UnitLost(f"its GpuActor died {ACTOR_STARTS} times while it was starting")

    def replace_gpu(self) -> None:
        """After an :data:`ActorDied`."""
        self.course.tell(f"{self.name}: the GpuActor died; starting another")
        self.start_gpu()

    def _prepare(self) -> None:
        """Put everything in place on the unit and hold it against what the campaign began with."""
        campaign = self.course.campaign
        pairs = [
            (model, workload)
            for model in campaign.models
            for asked in campaign.workloads
            for workload in (
                campaign.asked(model.name, asked.name),
                *([shakedown.small(campaign, model.name, asked.name)] if campaign.shakedown else []),
            )
        ]
        facts: UnitFacts = self.get(
            self.gpu.prepare.remote(campaign.engine, campaign.image, tuple(campaign.environments), tuple(pairs))
        )
        self._require(facts)
        self._hold_facts(facts)
        info, state = self.course.ledger.info, self.course.ledger.state
        self._orders = Orders(campaign, info["campaign_id"], self.name, facts, state)
        self._hold_conditions(facts.conditions)

    def _require(self, facts: UnitFacts) -> None:
        """The driver's code, and nothing refused that no shakedown would tell."""
        if facts.code_digest != host.code_digest():
            other = f"{facts.code_digest[:12]}, not {host.code_digest()[:12]}"
            self.course.drift.check(
                f"code of {self.name}",
                [f"{self.name} runs other code than the driver ({other})"],
                now=f"{facts.code_digest[:16]} {host.code_digest()[:16]}",
                unit=self.name,
            )
        rest = self.course.campaign.rest
        if rest is not None and not facts.simulated and (facts.gpu if facts.gpu != "none" else None) != rest.gpu:
            raise DriverError(
                f"{self.name} has {facts.gpu}, and the rest of {rest.cooldown_s:g} s was calibrated on "
                f"{rest.gpu or 'a machine without a GPU'}: another machine cools otherwise. Calibrate it by a pilot "
                "on this one, or write gate.cooldown_s in seconds."
            )
        if facts.unprepared and not self.course.campaign.shakedown:
            raise DriverError("\n".join(f"{pair}: {why}" for pair, why in facts.unprepared.items()))
        if facts.refused_options:
            refused = "\n".join(
                f"environment {name}: {self.name} refuses {why}" for name, why in facts.refused_options.items()
            )
            raise DriverError(
                f"{refused}\nLeave the option out in configs/environments.yaml, or run where it is allowed. "
                "Nothing was measured."
            )

    def _hold_facts(self, facts: UnitFacts) -> None:
        """What must last, against what the unit was when the campaign began on it."""
        path = self._facts_path()
        if not path.exists():
            self.course.ledger.store.write(f"units/{self.name}.json", to_json(facts.model_dump(mode="json")))
            return
        then, now = lasting(UnitFacts.model_validate_json(path.read_bytes())), lasting(facts)
        self.course.drift.check(
            self.name,
            [f"{self.name}: {line}" for line in changes(then, now)],
            now=hashlib.sha256(json.dumps(now, sort_keys=True, default=str).encode()).hexdigest()[:16],
            unit=self.name,
        )

    def check_conditions(self) -> None:
        """Before a block. Raises :data:`ActorDied`."""
        self._hold_conditions(self.get(self.gpu.conditions.remote()))

    def _hold_conditions(self, now: dict[str, str]) -> None:
        """The unit's conditions against those that its runs are measured under."""
        then = self.course.ledger.state.conditions.get(self.name)
        differences = machine.changes(then, now) if then is not None else []
        self.course.drift.check(
            f"conditions of {self.name}", [f"{self.name}: {change}" for change in differences], unit=self.name
        )
        if then is None or differences:
            self.course.ledger.record("conditions", unit=self.name, facts=now)

    # --- asked -----------------------------------------------------------------------------------------------

    def get(self, reference: Any) -> Any:
        """The value of an actor's answer. An exception of the actor's own code is a DriverError with its words."""
        try:
            return self.course.fleet.get(reference)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.name}: {problem.cause}") from problem

    def attempt(self, order: Attempt, place: Path) -> Evidence:
        """Carry an attempt out; its large files are received for ``place``, its folder. Raises :data:`ActorDied`."""
        try:
            evidence: Evidence = self.course.fleet.get(self.gpu.attempt.remote(order))
            self._receive(place, evidence)
        except ray.exceptions.RayTaskError as problem:
            raise DriverError(f"{self.name}: {order.run_id}: {problem.cause}") from problem
        return evidence

    def salvage(self, order: Attempt, place: Path) -> Evidence:
        """What a crash left of an attempt, its large files received for ``place``. Raises :data:`ActorDied`."""
        evidence: Evidence = self.get(self.gpu.salvage.remote(order))
        self._receive(place, evidence)
        return evidence

    def _receive(self, place: Path, evidence: Evidence) -> None:
        """Bring what was too large to come with the evidence."""

        def pieces(name: str) -> Iterator[bytes]:
            offset = 0
            while data := self.get(self.gpu.piece.remote(evidence.run_id, evidence.attempt, name, offset)):
                offset += len(data)
                yield data

        self.course.ledger.receive(place, {name: pieces(name) for name in evidence.large})

    def acknowledge(self, run_id: str, attempt: int) -> None:
        """The attempt's evidence is durable here."""
        self.gpu.acknowledge.remote(run_id, attempt)

    def trouble(self) -> str | None:
        """What the unit lacks to carry out an attempt; None where it is well. Raises :data:`ActorDied`."""
        trouble: str | None = self.course.fleet.get(self.gpu.trouble.remote())
        return trouble

    def cache_digest(self, key: str) -> str | None:
        digest: str | None = self.get(self.gpu.cache_digest.remote(key))
        return digest

    def status(self) -> Status | None:
        """None while it is starting, or dying; the next look tells."""
        if self.gpu is None:
            return None
        try:
            status: Status = self.course.fleet.get(self.gpu.status.remote(), timeout=0.5)
        except (ray.exceptions.RayError, ValueError):
            return None
        return status

    def pull_telemetry(self, flush: bool = True) -> None:
        """Bring finished telemetry files to the results folder. A sampler that is down keeps its files."""
        try:
            if flush:
                self.telemetry.flush.remote()
            ready: list[tuple[str, bytes]] = self.course.fleet.get(self.telemetry.ready.remote(), timeout=60)
        except (ActorDied, ray.exceptions.GetTimeoutError):
            return
        for name, data in ready:
            self.course.ledger.store.commit_telemetry(self.name, name, data)
        if ready:
            self.telemetry.acknowledge.remote([name for name, _ in ready])

    # --- ended -----------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """End the attempt that is under way."""
        if self.gpu is not None:
            self.gpu.abort.remote()

    def release(self, forget: bool) -> None:
        """End the actors; ``forget`` what they keep on the unit."""
        if forget:
            with contextlib.suppress(ray.exceptions.RayError):
                self.course.fleet.get(self.telemetry.close.remote(), timeout=10)
                self.pull_telemetry()
                self.course.fleet.get(self.gpu.forget.remote(), timeout=10)
        for actor in (self.gpu, self.telemetry):
            if actor is not None:
                self.course.fleet.kill(actor)
