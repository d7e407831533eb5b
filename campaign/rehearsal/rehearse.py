"""Carrying a rehearsal out: the driver on simulated units, and a person who comes where it pauses."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign.config import Campaign
from campaign.errors import DriverError
from campaign.plan.design import plan
from campaign.plan.forecast import CPU, estimate_s
from campaign.record.snapshot import Snapshot
from campaign.record.store import Store
from campaign.rehearsal import machine
from campaign.rehearsal.fleet import SimulatedFleet
from campaign.rehearsal.injected import Effects, Faults, Noise
from campaign.rehearsal.machine import Unit
from campaign.rehearsal.site import Settings
from campaign.run.driver import Driver

SAMPLES_A_RUN = 30
"""Of telemetry, in the shortest run: its figures are means and maxima of so many."""
LEAST_HZ = 0.2
SESSIONS_MAX = 50
"""Drivers one after the other, after which nobody comes again."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class Asked:
    """What is rehearsed, besides the campaign."""

    kind: Unit
    effects: Effects = field(default_factory=Effects)
    noise: Noise = field(default_factory=Noise)
    faults: Faults = field(default_factory=Faults)
    seed: int = 1
    units: int = 1
    rate_hz: float | None = None
    """Of telemetry; None chooses."""
    person_s: float | None = 8 * HOUR_S
    """After so long somebody looks where it paused, mends what is to be mended, and gives the command again.
    None: nobody does."""


@dataclass
class Rehearsed:
    """How it went."""

    store: Store
    snapshot: Snapshot
    began_utc_ns: int
    ended_utc_ns: int
    pauses: list[tuple[str, float]]
    """Why it stopped, and seconds until a person had come."""
    took_s: float
    """Real time."""
    telemetry_hz: float

    @property
    def completed(self) -> bool:
        return self.snapshot.stage == "completed"


def telemetry_hz(campaign: Campaign) -> float:
    """Enough for the figures of the shortest run, not the campaign's own rate:
    at 10 Hz three weeks are 18 million samples."""
    runs = {(run.model, run.environment, run.workload): run for run in plan(campaign)}
    gate_s = campaign.gate.cooldown_s + campaign.gate.dwell_s
    shortest_s = min(estimate_s(campaign, run) - gate_s for run in runs.values())
    return min(campaign.telemetry.rate_hz, max(LEAST_HZ, SAMPLES_A_RUN / max(shortest_s, 1e-3)))


def rehearsed(campaign: Campaign, asked: Asked) -> tuple[Campaign, dict[str, Any]]:
    """The campaign as it is rehearsed, and what ``campaign.json`` says of the rehearsal."""
    rate_hz = telemetry_hz(campaign) if asked.rate_hz is None else asked.rate_hz
    changed = campaign.model_copy(
        update={
            "telemetry": campaign.telemetry.model_copy(update={"rate_hz": max(rate_hz, 1e-3)}),
            "units": (),
            "gpus": (),
        }
    )
    return changed, {
        "rehearsal": {
            "seed": asked.seed,
            "units": asked.units,
            "machine": machine.to_json(asked.kind),
            "effects": list(asked.effects.asked),
            "noise": asdict(asked.noise),
            "faults": asdict(asked.faults),
            "telemetry_hz": rate_hz,
            "config_hash": campaign.config_hash,
            "person_s": asked.person_s,
        }
    }


def rehearse(
    campaign: Campaign,
    store: Store,
    asked: Asked,
    *,
    tell: Callable[[str], None] = lambda line: None,
    show: Callable[[Snapshot, int], None] = lambda snapshot, now_ns: None,
    at_work: Callable[[Driver], None] = lambda driver: None,
    began_utc_ns: int | None = None,
) -> Rehearsed:
    """Carry ``campaign`` out in ``store``, which must be empty and locked. ``show`` is given the virtual time too,
    ``at_work`` every driver."""
    began = time.monotonic()
    began_utc_ns = time.time_ns() if began_utc_ns is None else began_utc_ns
    campaign, about = rehearsed(campaign, asked)
    rate_hz = about["rehearsal"]["telemetry_hz"]
    settings = Settings(asked.kind, asked.effects, asked.noise, asked.faults, asked.seed, rate_hz)
    name = "spark" if asked.kind.rates is not CPU else "local"
    names = tuple(f"{name}-{number}" for number in range(1, asked.units + 1)) if asked.units > 1 else (name,)
    pauses: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="campaign-rehearsal-") as spool:
        fleet = SimulatedFleet(names, settings, began_utc_ns, Path(spool), about)
        for _ in range(SESSIONS_MAX):
            driver = Driver(
                campaign,
                store,
                chosen_because="rehearsed",
                fleet=fleet,
                tell=tell,
                show=lambda snapshot: show(snapshot, fleet.time.now_ns),
            )
            at_work(driver)
            try:
                snapshot = driver.run()
            except DriverError as refused:
                snapshot = driver.snapshot.model_copy(update={"stage": "stopped", "message": str(refused)})
            if snapshot.stage == "completed" or asked.person_s is None or snapshot.message == "interrupt":
                break
            since_s = fleet.now_s
            fleet.pass_to(max(since_s + asked.person_s, fleet.all_back_s()))
            mended = fleet.mend()
            pauses.append((snapshot.message, fleet.now_s - since_s))
            tell(
                f"a person came after {(fleet.now_s - since_s) / HOUR_S:.1f} h: "
                f"{', '.join(mended) or 'nothing to mend'}"
            )
    return Rehearsed(
        store=store,
        snapshot=snapshot,
        began_utc_ns=began_utc_ns,
        ended_utc_ns=fleet.time.now_ns,
        pauses=pauses,
        took_s=time.monotonic() - began,
        telemetry_hz=rate_hz,
    )
