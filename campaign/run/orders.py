"""What a unit is ordered to carry out: attempts, from the plan, the unit's own facts and what the journal knows.
Nothing is asked or written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from actors.environments import software
from actors.types import Attempt, Evidence, UnitFacts, Workload
from campaign.config.schema import Campaign
from campaign.plan.design import Planned
from campaign.plan.forecast import parts_s
from campaign.record.journal import State
from campaign.run import shakedown
from campaign.run.limits import limit_s
from campaign.run.shakedown import Cell, Finding

FIRST_START_S = 600.0
"""More patience with a first start, which compiles what later ones find compiled."""


@dataclass(frozen=True)
class Orders:
    """Of one unit as it was prepared."""

    campaign: Campaign
    campaign_id: str
    unit: str
    facts: UnitFacts
    state: State

    def measured(self, row: Planned, number: int) -> Attempt:
        """A measured attempt."""
        workload = self.campaign.asked(row.model, row.workload)
        cell = str(Cell(row.model, row.environment, row.workload))
        found = self.state.shakedowns.get((self.unit, cell))
        known_w = Finding.from_json(found).power_w if found else None
        powers = self.state.power_w.get(cell) or ([known_w] if known_w else [])
        return self._base(row, number, workload).model_copy(
            update={
                "gate": self.campaign.gate_of(row.environment),
                "reference_gib": self.state.references.get(self.unit),
                "canary": self.campaign.canary,
                "limit_s": limit_s(
                    self.campaign.watchdog,
                    workload,
                    expected_s=self._expected_s(row, workload),
                    accepted_s=self.state.accepted_s.get(cell, ()),
                ),
                "usual_power_w": sum(powers) / len(powers) if powers else None,
            }
        )

    def unmeasured(self, cell: Cell, row: Planned, number: int) -> Attempt:
        """An attempt of the shakedown."""
        small = shakedown.small(self.campaign, cell.model, cell.workload)
        order = self._base(replace(row, run_id=f"{cell}__s{number:02d}"), number, small)
        unsealed = {role: digest for role, digest in order.prepared.digests.items() if role != "caches"}
        return order.model_copy(
            update={
                "prepared": order.prepared.model_copy(update={"digests": unsealed}),
                "gate": shakedown.gate_of(self.campaign.gate_of(cell.environment)),
                "limit_s": limit_s(
                    self.campaign.watchdog.model_copy(
                        update={"slack_s": self.campaign.watchdog.slack_s + FIRST_START_S}
                    ),
                    small,
                    expected_s=self._expected_s(row, small),
                ),
                "fills_caches": True,
            }
        )

    def fingerprint(self, cell: Cell, row: Planned) -> str:
        """Of everything that decides how a cell runs here."""
        if (why := self.refused(cell)) is not None:
            return hashlib.sha256(why.encode()).hexdigest()[:16]
        return shakedown.fingerprint(self.unmeasured(cell, row, 1))

    def refused(self, cell: Cell) -> str | None:
        """Why the engine refuses the cell before anything runs, and on further lines what to do."""
        small = shakedown.small(self.campaign, cell.model, cell.workload)
        refusals, variant = self.facts.unprepared, self.campaign.variant(cell.environment)
        keys = (software.prepared_key(cell.model, name, variant) for name in (cell.workload, small.name))
        return next((refusals[key] for key in keys if key in refusals), None)

    def caches_key(self, model: str, environment: str) -> str:
        """Of the compile caches that the arm's software fills."""
        return software.of_variant(model, self.campaign.variant(environment))

    def _base(self, row: Planned, number: int, workload: Workload) -> Attempt:
        """What measured and unmeasured attempts have in common."""
        campaign, facts = self.campaign, self.facts
        prepared = facts.prepared[software.prepared_key(row.model, workload.name, campaign.variant(row.environment))]
        compiled = self.caches_key(row.model, row.environment)
        if (sealed := self.state.caches.get((self.unit, compiled))) is not None:
            prepared = prepared.model_copy(update={"digests": {**prepared.digests, "caches": sealed}})
        return Attempt(
            campaign=campaign.name,
            campaign_id=self.campaign_id,
            run_id=row.run_id,
            attempt=number,
            unit=self.unit,
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

    def _expected_s(self, row: Planned, workload: Workload) -> float:
        """Seconds from exec to exit, by the cell's shakedown where it had one;
        ``workload`` may be the shakedown's own."""
        before, answering = parts_s(self.campaign, row, shakedown.speeds(self.state, [self.unit]))
        share = workload.requests / self.campaign.asked(row.model, row.workload).requests
        return before - self.campaign.gate.cooldown_s - self.campaign.gate.dwell_s + share * answering


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
    """Of an attempt that was dispatched and never began."""
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
