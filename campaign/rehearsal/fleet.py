"""The units of a rehearsal, as a driver speaks with its own: handles in Ray's shape, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from ray.exceptions import RayActorError

from actors.clock import Clock
from actors.gpu.actor import Chosen
from actors.types import Attempt, Evidence
from campaign.cluster import Unit
from campaign.config import Campaign
from campaign.rehearsal.site import Settings
from campaign.rehearsal.unit import Done, SimulatedUnit
from campaign.rehearsal.virtual import VirtualTime

NS = 1_000_000_000
LOOK_S = 1.0
"""Of real time: how often the display is drawn."""
IDLE_S = 60.0
"""Of virtual time: how often a lane without work looks for some."""


class SimulatedFleet:
    """Keeps its units, and their time, from one driver to the next."""

    grows = False
    simulated = True
    idle_s = IDLE_S

    def __init__(
        self,
        names: tuple[str, ...],
        settings: Settings,
        began_utc_ns: int,
        spool: Path,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.about: Mapping[str, Any] = about or {}
        self.epoch_ns = began_utc_ns
        self.time = VirtualTime(began_utc_ns)
        self.clock = Clock(
            monotonic_ns=lambda: self.time.now_ns - self.epoch_ns,
            wait=self.time.wait,
            utc_ns=lambda: self.time.now_ns,
        )
        self.members = {name: SimulatedUnit(name, settings, began_utc_ns, 0.0, spool / name) for name in names}

    @property
    def now_s(self) -> float:
        """Since it began."""
        return (self.time.now_ns - self.epoch_ns) / NS

    # --- what a driver asks --------------------------------------------------------------------------------------

    def start(self, campaign: Campaign, tell: Callable[[str], None]) -> None:
        self.time.join()

    def stop(self) -> None:
        self.time.part()

    def require(self) -> None:
        """Nothing holds them together that could be gone."""

    def units(self) -> list[Unit]:
        now_s = self.now_s
        return [
            Unit(name, f"node-{name}", "simulated")
            for name, member in self.members.items()
            if member.episode("lost", now_s) is None
        ]

    def choose_gpu(self, unit: Unit, wanted: tuple[str, ...], before: str | None) -> Chosen:
        return Chosen(None)

    def telemetry(self, unit: Unit, spool: Path, rate_hz: float, gpu_uuid: str | None) -> Any:
        return Handle(TelemetryDesk(self, self.members[unit.name]))

    def gpu(self, unit: Unit, campaign_id: str, spool: Path, telemetry: Any, gpu_uuid: str | None) -> Any:
        return Handle(GpuDesk(self, self.members[unit.name]))

    def get(self, reference: Any, timeout: float | None = None) -> Any:
        return reference()

    def kill(self, actor: Any) -> None:
        """Nothing is left of it."""

    def begin(self, lane: Thread) -> None:
        self.time.begin(lane)

    def wait(self, news: Event, stopping: bool) -> bool:
        return self.time.look(news, self._next_return_ns(), LOOK_S)

    def _next_return_ns(self) -> int | None:
        """When the next of the units that are away comes back."""
        now_s = self.now_s
        away = [it.ends_s for member in self.members.values() if (it := member.episode("lost", now_s)) is not None]
        return self._ns(min(away)) if away else None

    # --- what the rehearsal asks ---------------------------------------------------------------------------------

    def pass_to(self, moment_s: float) -> None:
        """Between drivers: nobody is at work until then."""
        self.time.now_ns = max(self.time.now_ns, self._ns(moment_s))

    def mend(self) -> list[str]:
        """A person looks after the units. What was mended."""
        return [f"{name}: {kind}" for name, member in self.members.items() for kind in member.mend(self.now_s)]

    def all_back_s(self) -> float:
        """When every unit that is away now is back."""
        now_s = self.now_s
        away = [it.ends_s for member in self.members.values() if (it := member.episode("lost", now_s)) is not None]
        return max(away, default=now_s)

    def _ns(self, moment_s: float) -> int:
        return self.epoch_ns + math.ceil(moment_s * NS)


class Handle:
    """``handle.method.remote(…)`` is a reference: called, by :meth:`SimulatedFleet.get`, it gives the answer or raises.
    Whoever does not ask for the answer has called the method all the same."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Call:
        return Call(getattr(self._desk, name))


@dataclass(frozen=True)
class Call:
    method: Callable[..., Any]

    def remote(self, *arguments: Any) -> Callable[[], Any]:
        try:
            answer = self.method(*arguments)
        except RayActorError as gone:
            problem = gone

            def fails() -> Any:
                raise problem

            return fails
        return answer if isinstance(answer, Pending) else lambda: answer


@dataclass
class Pending:
    """An attempt under way."""

    desk: GpuDesk
    order: Attempt
    done: Done

    def __call__(self) -> Evidence:
        return self.desk.finish(self)


class Desk:
    """Whatever is asked of a unit that is away, or of an actor from before it went, fails as Ray says it."""

    def __init__(self, fleet: SimulatedFleet, unit: SimulatedUnit) -> None:
        self.fleet, self.unit = fleet, unit
        self.since_s = fleet.now_s
        self.alive()

    def alive(self) -> None:
        loss = next((it for it in self.unit.episodes if it.kind == "lost" and it.ends_s > self.since_s), None)
        if loss is not None and loss.begins_s <= self.fleet.now_s:
            raise RayActorError()


class GpuDesk(Desk):
    """A unit's GpuActor."""

    def __init__(self, fleet: SimulatedFleet, unit: SimulatedUnit) -> None:
        self.aborted = Event()
        self.fleet, self.unit = fleet, unit
        self.since_s = fleet.now_s

    def reap(self) -> list[str]:
        self.alive()
        self.unit.rest(self.fleet.now_s)
        return []

    def prepare(self, *arguments: Any) -> Any:
        self.alive()
        return self.unit.prepare(*arguments)

    def conditions(self) -> dict[str, str]:
        self.alive()
        return {}

    def attempt(self, order: Attempt) -> Pending:
        self.alive()
        self.aborted.clear()
        return Pending(self, order, self.unit.attempt(order, self.fleet.now_s))

    def finish(self, pending: Pending) -> Evidence:
        """Wait until the attempt's end, or until it is aborted or the unit goes away."""
        fleet, unit, ends_s = self.fleet, self.unit, pending.done.ends_s
        loss = unit.next_loss(fleet.now_s)
        lost = loss is not None and loss.begins_s < ends_s
        fleet.time.until(self.aborted, fleet._ns(loss.begins_s if lost and loss else ends_s))
        if fleet.now_s < min(ends_s, loss.begins_s if lost and loss else math.inf) and self.aborted.is_set():
            began_s = (pending.done.evidence.started_utc_ns - fleet.epoch_ns) / NS
            return unit.take(unit.attempt(pending.order, began_s, abort_s=fleet.now_s))
        if lost:
            unit.rest(fleet.now_s)
            raise RayActorError()
        return unit.take(pending.done)

    def trouble(self) -> str | None:
        self.alive()
        return self.unit.trouble(self.fleet.now_s)

    def cache_digest(self, model: str) -> str | None:
        return None

    def salvage(self, order: Attempt) -> Evidence:
        self.alive()
        return self.unit.lost_evidence(order, self.fleet.time.now_ns)

    def acknowledge(self, run_id: str, attempt: int) -> None: ...

    def forget(self) -> None: ...

    def status(self) -> Any:
        return self.unit.status()

    def abort(self) -> None:
        self.aborted.set()


class TelemetryDesk:
    """A unit's TelemetryActor, which outlives its node: what it sampled is on a disk."""

    def __init__(self, fleet: SimulatedFleet, unit: SimulatedUnit) -> None:
        self.fleet, self.unit = fleet, unit

    def flush(self) -> None:
        self.unit.sending = True

    def close(self) -> None:
        self.unit.idle_until(self.fleet.now_s)
        self.unit.sending = True

    def ready(self) -> list[tuple[str, bytes]]:
        return self.unit.ready()

    def acknowledge(self, names: list[str]) -> None: ...
