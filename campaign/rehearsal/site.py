"""One attempt on a simulated unit: its clock, its arm, its sensors, its sampler, and the program that it runs."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from actors.environments.registry import kind
from actors.gpu.gate import Reading
from actors.heat import HW_THERMAL, SW_THERMAL
from actors.types import Attempt, Exit, ImageIdentity, Launch, Metric, TelemetrySummary
from campaign.rehearsal import reports, sampling
from campaign.rehearsal.engine import Course, course, served
from campaign.rehearsal.heat import Body
from campaign.rehearsal.injected import Effects, Episode, Faults, Kind, Noise, generator
from campaign.rehearsal.machine import Unit
from campaign.rehearsal.sampling import Basis, Columns, Doing, Phase
from campaign.rehearsal.served import SAID, stamped

NS = 1_000_000_000
PLACE = Path("/simulated")
"""Where prepared files would lie; nothing is there."""
SLOW_SPEED = 0.6
"""Of a unit in a hidden slow state: 63 against 94 ms a step was seen, and 799 against 2281 MHz."""
HUNG_W = 20.0
HEATED_SHARE = 0.2
"""Of its measured part that a run throttles where heat comes from outside."""
CRASHED = (
    "terminate called after throwing an instance of 'c10::AcceleratorError'",
    "  what():  CUDA error: an illegal memory access was encountered",
)
"""What a program of PyTorch says as it dies of its GPU."""


@dataclass(frozen=True)
class Settings:
    """What all units of a rehearsal have in common."""

    kind: Unit
    effects: Effects = field(default_factory=Effects)
    noise: Noise = field(default_factory=Noise)
    faults: Faults = field(default_factory=Faults)
    seed: int = 1
    rate_hz: float = 1.0
    """Of telemetry; 0 keeps no samples."""


@dataclass
class State:
    """What a unit carries from one attempt to the next. Seconds of its clock."""

    body: Body
    drift: float
    memory: float
    rest_since_s: float
    sampled_s: float
    energy_j: float = 0.0

    def copy(self) -> State:
        return replace(self, body=self.body.copy())


class Local:
    """The unit's own clock while it carries out an attempt: units share nothing,
    so none has to wait for another meanwhile. Seconds."""

    def __init__(self, epoch_ns: int, now_s: float, abort_s: float = math.inf) -> None:
        self.epoch_ns = epoch_ns
        self.now_s = now_s
        self.abort_s = abort_s
        self.until = math.inf
        """What the gate waits for next changes then; it need not look before."""

    def mono_ns(self) -> int:
        return round(self.now_s * NS)

    def utc_ns(self) -> int:
        return self.epoch_ns + self.mono_ns()

    def pass_to(self, moment_s: float, stop: Event) -> bool:
        """Go on to that moment, or to where somebody stops the attempt, and say so; whether it was stopped."""
        if moment_s >= self.abort_s:
            self.now_s = max(self.now_s, self.abort_s)
            stop.set()
        else:
            self.now_s = max(self.now_s, moment_s)
        return stop.is_set()


@dataclass
class Scene:
    """What an attempt's parts share."""

    unit: str
    settings: Settings
    order: Attempt
    clock: Local
    state: State
    rng: np.random.Generator
    basis: Basis
    episode: Callable[[Kind, float], Episode | None]
    stopped: Event = field(default_factory=Event)
    doing: Doing = field(init=False)

    def __post_init__(self) -> None:
        self.doing = Doing(self.state.body)

    def chance(self, what: str) -> np.random.Generator:
        """A stream of its own, so that one thing asked for changes nothing else."""
        return generator(self.settings.seed, self.unit, self.order.run_id, self.order.attempt, what)

    def full_disk(self) -> None:
        """Raises OSError where the unit's disk is full now."""
        if self.episode("disk", self.clock.now_s) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(PLACE))

    @property
    def speed(self) -> float:
        return SLOW_SPEED if self.episode("slow", self.clock.now_s) is not None else 1.0


class Program:
    """The process in its arm (:class:`actors.environments.Process`)."""

    def __init__(self, scene: Scene, launch: Launch, folder: Path) -> None:
        self.scene = scene
        self.folder = folder
        self.pid: int | None = None
        self.cgroup: str | None = None
        self.entrypoint_s: float | None = None
        self.entrypoint_unknown = "the image has no entry point"
        self.began_s = self.ends_s = self.stands_s = math.inf
        self.code = 0
        self.its: Course | None = None
        self.command: dict[str, Any] = {
            "simulated": True,
            "argv": list(launch.argv),
            "variables": launch.variables,
            "mounts": [mount.model_dump() for mount in launch.mounts],
            "workdir": launch.workdir,
            "environment": scene.order.environment.name,
            "shell": "# simulated: this command was never run\n" + " ".join(launch.argv),
        }

    def start(self) -> int:
        scene, settings, order = self.scene, self.scene.settings, self.scene.order
        start, arm = settings.kind.start, order.environment
        lasts_s = (start.docker_s if kind(arm.kind).is_container else start.native_s) * settings.effects.factor(
            arm.name, "start"
        )
        scene.clock.now_s += lasts_s * math.exp(start.spread * scene.rng.standard_normal())
        self.began_s = now_s = scene.clock.now_s
        self.its = its = course(
            order,
            settings.kind,
            settings.effects,
            settings.noise,
            drift=scene.state.drift,
            memory_gib=settings.kind.memory.sd_gib * scene.state.memory,
            speed=scene.speed,
            rng=scene.rng,
        )
        loaded_s = now_s + its.load_s
        scene.doing.phases = [
            Phase(now_s, settings.kind.power.load_w, 3.0, its.memory.weights_gib, 1.0),
            Phase(loaded_s, its.run_w, 96.0, its.memory.engine_gib, its.cpu_share),
        ]
        warm_s = loaded_s + its.warmup_s
        self.ends_s = warm_s + self._heated(warm_s, its)
        self._befalls(now_s, its)
        return scene.clock.mono_ns()

    def _heated(self, begins_s: float, its: Course) -> float:
        """Seconds of the measured part, slower while it throttles; and what the driver's counters say of it."""
        scene, heat, doing = self.scene, self.scene.settings.kind.heat, self.scene.doing
        if scene.settings.kind.gpu is None:
            return its.steady_s
        doing.counters = {"sw_therm_slowdown": 0, "hw_therm_slowdown": 0}
        lost = 1 / heat.throttled_speed - 1
        if scene.chance("throttle").random() < scene.settings.faults.throttle:
            lasts_s = HEATED_SHARE * its.steady_s * (1 + lost)
            doing.throttled = (begins_s, begins_s + lasts_s, HW_THERMAL)
            doing.counters["hw_therm_slowdown"] = round(lasts_s * 1e6)
            return its.steady_s * (1 + HEATED_SHARE * lost)
        body = scene.state.body.copy()
        for phase in doing.phases:
            body.draw(phase.begins_s, phase.power_w)
        step_s = max(1.0, its.steady_s / 500)
        grid = np.arange(begins_s, begins_s + its.steady_s, step_s)
        hot = np.floor(body.history(grid)[0]) >= heat.throttle_c
        if not hot.any():
            return its.steady_s
        first_s, throttled_s = float(grid[np.argmax(hot)]), float(hot.sum()) * step_s * (1 + lost)
        doing.throttled = (first_s, first_s + throttled_s, SW_THERMAL)
        doing.counters["sw_therm_slowdown"] = round(throttled_s * 1e6)
        return its.steady_s + throttled_s * lost

    def _befalls(self, now_s: float, its: Course) -> None:
        """A crash, or a hang, somewhere on the way."""
        scene, faults = self.scene, self.scene.settings.faults
        chance = scene.chance("fault")
        crash, hang, share = chance.random(), chance.random(), chance.uniform(0.05, 0.95)
        moment_s = now_s + share * (self.ends_s - now_s)
        if crash < faults.crash:
            self.ends_s, self.code = moment_s, -6
        elif hang < faults.hang:
            self.ends_s, self.stands_s = math.inf, moment_s
            phases = [phase for phase in scene.doing.phases if phase.begins_s < moment_s]
            scene.doing.phases = [*phases, Phase(moment_s, HUNG_W, 96.0, its.memory.engine_gib, 0.01)]

    def wait(self, timeout_s: float) -> Exit | None:
        """Goes on to its end at once, where that comes before anybody would have stopped it."""
        scene, order = self.scene, self.scene.order
        limit_s = min(order.workload.timeout_s, math.inf if order.limit_s is None else order.limit_s)
        later_s = scene.clock.now_s + timeout_s
        moment_s = self.ends_s if self.ends_s < self.began_s + limit_s else min(self.ends_s, later_s)
        if scene.clock.pass_to(moment_s, scene.stopped) or scene.clock.now_s < self.ends_s:
            return None
        self._gone()
        scene.full_disk()
        if self.code or self.its is None:
            self._said(*CRASHED)
            return Exit(code=self.code)
        its = self.its
        answers = served(
            order,
            its,
            self.ends_s - self.began_s - its.load_s - its.warmup_s,
            scene.clock.epoch_ns + round(self.began_s * NS),
            scene.settings.kind,
            scene.settings.noise,
            scene.rng,
        )
        reports.write(order, answers, self.folder / "output")
        return Exit(code=0)

    def output_bytes(self) -> int | None:
        """More and more, as long as it moves."""
        return int(1000 * (min(self.scene.clock.now_s, self.stands_s) - self.began_s))

    def stop(self, grace_s: float = 5.0) -> Exit:
        self._gone()
        self._said()
        return Exit(code=-15)

    def close(self) -> None:
        self._gone()
        if self.its is not None:
            self.scene.clock.now_s += self.its.teardown_s

    def _said(self, *lines: str) -> None:
        now_ns = self.scene.clock.utc_ns()
        (self.folder / "stdout.log").write_text(stamped([(now_ns, SAID)]))
        (self.folder / "stderr.log").write_text(stamped((now_ns, line) for line in lines))

    def _gone(self) -> None:
        """What it drew is the unit's past."""
        scene = self.scene
        if not scene.doing.phases or scene.doing.ended_s is not None:
            return
        end_s = scene.clock.now_s
        for phase in scene.doing.phases:
            if phase.begins_s < end_s:
                scene.state.body.draw(phase.begins_s, phase.power_w)
        scene.state.body.draw(end_s, scene.settings.kind.power.idle_w)
        scene.doing.ended_s = end_s


class Site:
    """The unit around the program: the arm that creates it, the sensors that the gate asks, the gate's waiting,
    the canary, the sampler."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.spec = scene.order.environment
        self.program: Program | None = None
        self.rows: list[Columns] = []

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> Program:
        scene = self.scene
        scene.full_disk()
        effects, start = scene.settings.effects, scene.settings.kind.start
        create_s = start.docker_create_s if kind(self.spec.kind).is_container else 0.002
        create_s *= effects.factor(self.spec.name, "create") * math.exp(start.spread * scene.rng.standard_normal())
        scene.clock.now_s += create_s
        self.program = Program(scene, launch, logs)
        if image is not None and image.entrypoint:
            self.program.entrypoint_s = 0.02 * effects.factor(self.spec.name, "entrypoint")
        return self.program

    # --- sensors -------------------------------------------------------------------------------------------------

    @property
    def gpu_name(self) -> str | None:
        return self.scene.settings.kind.gpu

    @property
    def gpu_uuid(self) -> str | None:
        return None

    def __call__(self) -> Reading:
        scene, kind, now_s = self.scene, self.scene.settings.kind, self.scene.clock.now_s
        ends_s = self.program.ends_s if self.program else math.inf
        phase = next((it for it in reversed(scene.doing.phases) if it.begins_s <= now_s < ends_s), None)
        held_gib = phase.engine_gib if phase else 0.0
        available = kind.memory.total_gib - kind.memory.used_gib - held_gib - 0.1 * abs(scene.state.memory)
        celsius = float(math.floor(scene.state.body.temperature_c(now_s)))
        gpu = kind.gpu is not None
        return Reading(
            t_mono_ns=scene.clock.mono_ns(),
            gpu_temperature_c=celsius if gpu else None,
            host_temperature_c=celsius + 6 if gpu else celsius,
            mem_available_gib=available,
            mem_free_gib=available - 0.6,
            mem_cached_gib=0.6,
            swap_used_gib=0.0,
            power_w=(phase.power_w if phase else kind.power.idle_w) if gpu else None,
            gpu_utilization_pct=(phase.busy_pct if phase else 0.0) if gpu else None,
            foreign_gpu_pids=() if gpu else None,
        )

    def canary(self, when: str, gpu: str | None, uuid: str | None) -> Metric:
        scene = self.scene
        scene.clock.now_s += 0.6
        figure = scene.settings.kind.canary_gb_s * math.exp(0.004 * scene.rng.standard_normal()) * scene.speed
        return Metric(name=f"canary_{when}_gb_s", value=figure, unit_of_measure="GB/s", source="canary: simulated")

    # --- the gate's waiting --------------------------------------------------------------------------------------

    def wait(self, stop: Event, seconds: float) -> bool:
        """As the gate polls. Polls between which nothing that it looks at can change are passed over,
        on its own grid."""
        clock, poll_s = self.scene.clock, self.scene.order.gate.poll_s
        if seconds >= poll_s - 1e-9 and (changes_s := self._changes()) is not None:
            seconds = max(seconds, math.floor((changes_s - clock.now_s) / poll_s) * poll_s)
        return clock.pass_to(clock.now_s + seconds, stop)

    def _changes(self) -> float | None:
        """When something next changes that the gate waits for; None where every look counts."""
        gate, state, now_s = self.scene.order.gate, self.scene.state, self.scene.clock.now_s
        rested_s = state.rest_since_s + gate.cooldown_s
        if gate.ceiling_c is None or math.floor(state.body.temperature_c(now_s)) < gate.ceiling_c:
            return rested_s if now_s < rested_s else None
        last_s = max(now_s, rested_s) + gate.timeout_s
        cold_s = state.body.cold_at(now_s, gate.ceiling_c, last_s, gate.poll_s)
        later = [moment for moment in (rested_s, cold_s or last_s) if moment > now_s]
        return min(later) if later else None

    # --- sampler -------------------------------------------------------------------------------------------------

    def mark(self, run_id: str | None, attempt: int | None, stage: str, pid: int | None, cgroup: str | None) -> None:
        self.scene.doing.marks.append((self.scene.clock.now_s, run_id, attempt, stage))

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary | None:
        scene, state, now_s = self.scene, self.scene.state, self.scene.clock.now_s
        began_s = min(self.program.began_s if self.program else now_s, now_s)
        kept = scene.settings.rate_hz > 0
        # Where no samples are kept, enough are taken to sum the attempt up.
        basis = scene.basis if kept else replace(scene.basis, rate_hz=max(0.05, 20 / max(1.0, now_s - began_s)))
        from_s = state.sampled_s if kept else began_s
        rows, energy_j = sampling.sample(basis, scene.doing, from_s, now_s, state.energy_j, scene.chance("samples"))
        if kept:
            self.rows.append(rows)
            state.sampled_s, state.energy_j = now_s, energy_j
        return sampling.summary(basis, rows, began_s, now_s, scene.doing.counters)
