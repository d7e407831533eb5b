"""Units in this process: a driver's fleet whose actors are small objects that do as a test says.
Everything above them is the real one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from ray.exceptions import RayActorError

from actors import host
from actors.clock import REAL, Clock
from actors.gpu.actor import Chosen
from actors.types import (
    Attempt,
    Evidence,
    Exit,
    GateRecord,
    Metric,
    Prepared,
    Report,
    TelemetrySummary,
    UnitFacts,
)
from campaign.analysis.metrics import primary
from campaign.cluster import Unit
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.record import journal
from campaign.record.snapshot import Snapshot
from campaign.record.store import Store
from campaign.run.driver import Driver

PROJECT = Path(__file__).parents[3]
CONFIG = """\
name: small
engine: llamacpp
seed: 7
models: [random-llama-8m]
environments: [native-host, docker-baseline]
without: [gpu]
workloads:
  - {name: tiny, requests: 6, input_tokens: 16, output_tokens: 24, concurrency: 2, warmup_requests: 1, timeout_s: 60}
repetitions: 3
breaker: 50
shakedown: false
gate: {cooldown_s: 0, ceiling_c: null, dwell_s: 0, memory_tolerance_gib: null, timeout_s: 30}
"""


class Lost(Exception):
    """Raised by a script: the unit's node goes away under the attempt."""


class Died(Exception):
    """Raised by a script: the GpuActor dies under the attempt, its node lives."""


Script = Callable[[str, Attempt], Evidence]


def good(order: Attempt, throughput: float = 100.0) -> Evidence:
    """What an attempt that nothing is wrong with leaves."""
    metrics = tuple(
        Metric(
            name=name,
            value=throughput if name == "token_throughput_tok_s" else 1.0,
            unit_of_measure="x",
            source="engine",
        )
        for name in primary()
    )
    requests = order.workload.requests
    return Evidence(
        run_id=order.run_id,
        attempt=order.attempt,
        unit=order.unit,
        outcome="completed",
        exit=Exit(code=0),
        report=Report(
            metrics=metrics,
            model_identity=order.prepared.model_identity,
            requests_expected=requests,
            requests_answered=requests,
            tokens_expected=requests * order.workload.output_tokens,
            tokens_generated=requests * order.workload.output_tokens,
        ),
        gate=GateRecord(opened=True, waited_s=0.0, rest_s=0.0, mem_available_gib=8.0),
        telemetry=TelemetrySummary(
            samples_expected=10,
            samples=10,
            coverage_pct=100.0,
            jitter_p50_ms=0.1,
            jitter_p99_ms=1.0,
            longest_gap_ms=101.0,
            sampler_cpu_pct=0.5,
            throttle_reasons=0,
            duration_s=1.0,
        ),
        metrics=metrics,
        started_utc_ns=1,
        ended_utc_ns=2_000_000_001,
    )


def bad(order: Attempt, why: str = "engine said no") -> Evidence:
    """An attempt that counts against its run."""
    return good(order).model_copy(update={"outcome": "failed", "exit": Exit(code=1), "failure": why})


def gate_closed(order: Attempt) -> Evidence:
    return good(order).model_copy(
        update={
            "outcome": "gate_timeout", "failure": "too warm for 30 s", "exit": None, "report": Report(), "metrics": (),
            "gate": GateRecord(opened=False, waited_s=30.0, rest_s=0.0),
        }
    )  # fmt: skip


class Handle:
    """``handle.method.remote(…)`` is a reference; what it gives, or raises, shows when it is asked for."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._actor, name)

        @dataclass(frozen=True)
        class Remote:
            def remote(self, *arguments: Any) -> Callable[[], Any]:
                if name in ("attempt", "salvage", "prepare", "conditions", "reap", "piece"):
                    return lambda: method(*arguments)
                answer = method(*arguments)
                return lambda: answer

        return Remote()


class Gpu:
    def __init__(self, fleet: Units, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.alive = True

    def _require(self) -> None:
        if not self.alive or self.name not in self.fleet.names:
            raise RayActorError()

    def reap(self) -> list[str]:
        self._require()
        return []

    def prepare(self, engine: str, image: Any, environments: Any, pairs: Any) -> UnitFacts:
        self._require()
        prepared = {
            f"{model.name}/{workload.name}": Prepared(facts={"model_identity": model.name}) for model, workload in pairs
        }
        return UnitFacts(
            unit=self.name, machine="x86_64", gpu="none", cpus=2, mem_total_gib=8.0,
            code_digest=self.fleet.other_code.get(self.name, host.code_digest()),
            prepared=prepared,
        )  # fmt: skip

    def conditions(self) -> dict[str, str]:
        self._require()
        return {}

    def attempt(self, order: Attempt) -> Evidence:
        self._require()
        self.fleet.ordered.append((self.name, order.run_id, order.attempt))
        try:
            return self.fleet.script(self.name, order)
        except Lost:
            self.fleet.names.discard(self.name)
            self.alive = False
        except Died:
            self.alive = False
        raise RayActorError()

    def salvage(self, order: Attempt) -> Evidence:
        self._require()
        self.fleet.salvaged.append((order.run_id, order.attempt))
        return bad(order).model_copy(update={"outcome": "interrupted", "failure": "the actor died"})

    def piece(self, run_id: str, attempt: int, name: str, offset: int) -> bytes:
        self._require()
        try:
            return self.fleet.kept[name][offset : offset + 5]
        except Died:
            self.alive = False
        raise RayActorError()

    def trouble(self) -> str | None:
        return None

    def cache_digest(self, key: str) -> str | None:
        return None

    def status(self) -> Any:
        raise ValueError("nobody looks")

    def acknowledge(self, run_id: str, attempt: int) -> None:
        self.fleet.acknowledged.append((run_id, attempt))

    def abort(self) -> None: ...

    def forget(self) -> None: ...


class Telemetry:
    def ready(self) -> list[Any]:
        return []

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Units:
    """A fleet of them."""

    grows = True
    about: Mapping[str, Any] = {}
    simulated = False
    clock: Clock = REAL
    idle_s = 0.01

    def __init__(self, *names: str, script: Script = lambda unit, order: good(order)) -> None:
        self.names = set(names)
        self.order = names
        self.script = script
        self.ordered: list[tuple[str, str, int]] = []
        """Unit, run and attempt, as the actors were asked."""
        self.salvaged: list[tuple[str, int]] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.kept: dict[str, bytes] = {}
        """Large files that wait on a unit."""
        self.other_code: dict[str, str] = {}
        """Unit to the digest of the code that it runs instead of the driver's."""
        self.looked: dict[str, int] = defaultdict(int)
        self.when_looked: Callable[[Units], None] = lambda units: None
        """Called whenever the driver looks after its lanes."""

    def start(self, campaign: Campaign, tell: Callable[[str], None]) -> None: ...

    def stop(self) -> None: ...

    def require(self) -> None: ...

    def units(self) -> list[Unit]:
        return [Unit(name, f"node-{name}", "here") for name in self.order if name in self.names]

    def choose_gpu(self, unit: Unit, wanted: tuple[str, ...], before: str | None) -> Chosen:
        return Chosen(None)

    def telemetry(self, unit: Unit, spool: Path, rate_hz: float, gpu_uuid: str | None) -> Any:
        return Handle(Telemetry())

    def gpu(self, unit: Unit, campaign_id: str, spool: Path, telemetry: Any, gpu_uuid: str | None) -> Any:
        return Handle(Gpu(self, unit.name))

    def get(self, reference: Any, timeout: float | None = None) -> Any:
        return reference()

    def kill(self, actor: Any) -> None: ...

    def begin(self, lane: Thread) -> None:
        lane.start()

    def wait(self, news: Event, stopping: bool) -> bool:
        news.wait(0.02)
        self.when_looked(self)
        return True


@dataclass
class Site:
    """A campaign's file and its results folder."""

    folder: Path
    campaign: Campaign
    said: list[str]

    @property
    def root(self) -> Path:
        return self.folder / "results"

    @property
    def events(self) -> list[dict[str, Any]]:
        return journal.read(self.root / "journal.jsonl")[0]

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in kinds]

    @property
    def state(self) -> journal.State:
        return journal.fold(self.events)

    def driver(self, units: Units, **more: Any) -> Driver:
        store = Store(self.root, durable=False)
        store.lock()
        return Driver(self.campaign, store, fleet=units, tell=self.said.append, **more)

    def run(self, units: Units, **more: Any) -> Snapshot:
        driver = self.driver(units, **more)
        try:
            return driver.run()
        finally:
            driver.store.unlock()
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]


def site(folder: Path, **changed: object) -> Site:
    """A campaign in ``folder``, with the values of top-level keys replaced or added."""
    lines = [line for line in CONFIG.splitlines() if line.partition(":")[0] not in changed]
    lines += [f"{key}: {value}" for key, value in changed.items()]
    path = folder / "small.yaml"
    path.write_text("\n".join([*lines, f"library: {PROJECT / 'configs'}", ""]))
    return Site(folder, load(path), [])
