"""The units that a driver works with, and how it speaks with their actors: through Ray,
or with a rehearsal's in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

from actors import host
from actors.clock import REAL, Clock
from actors.gpu.actor import Chosen
from campaign import cluster
from campaign.cluster import Unit
from campaign.config.schema import Campaign

IDLE_S = 0.2
"""How often a unit without work asks for some."""

TICK_S = 1.0
"""How often units are asked for their status. Each answer costs a unit about a millisecond."""


class Fleet(Protocol):
    """Handles of actors have Ray's shape: ``actor.method.remote(…)`` gives a reference, :meth:`get` its value; whatever
    Ray raises where an actor or its node is gone is raised here too."""

    grows: bool
    """Whether units may join while the campaign runs."""
    simulated: bool
    """Whether nothing that its units say was measured."""
    about: Mapping[str, Any]
    """What ``campaign.json`` says of them."""
    clock: Clock
    idle_s: float
    """How often a lane without work looks for some."""

    def start(self, campaign: Campaign, tell: Callable[[str], None]) -> None:
        """Make the units reachable."""
        ...

    def stop(self) -> None: ...

    def require(self) -> None:
        """Raises where what holds the units together is gone."""
        ...

    def units(self) -> list[Unit]:
        """Those that are alive."""
        ...

    def choose_gpu(self, unit: Unit, wanted: tuple[str, ...], before: str | None) -> Chosen: ...

    def telemetry(self, unit: Unit, spool: Path, rate_hz: float, gpu_uuid: str | None) -> Any:
        """A handle of a TelemetryActor on the unit."""
        ...

    def gpu(self, unit: Unit, campaign_id: str, spool: Path, telemetry: Any, gpu_uuid: str | None) -> Any:
        """A handle of a GpuActor on the unit."""
        ...

    def get(self, reference: Any, timeout: float | None = None) -> Any: ...

    def kill(self, actor: Any) -> None: ...

    def begin(self, lane: Thread) -> None:
        """Start a lane's thread."""
        ...

    def wait(self, news: Event, stopping: bool) -> bool:
        """Wait until there is ``news``, or for as long as the display may stand still;
        whether the driver has to look after its lanes."""
        ...


class RayFleet:
    """The nodes of a Ray cluster: the one at ``address``, or where that is None this machine under a Ray of our own."""

    simulated = False
    about: Mapping[str, Any] = {}
    clock = REAL
    idle_s = IDLE_S

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self.grows = address is not None

    def start(self, campaign: Campaign, tell: Callable[[str], None]) -> None:
        if self.address is None:
            from campaign.preflight import prepare

            prepare.require(campaign, host.home())
            for line in cluster.reap():
                tell(line)
        cluster.start(self.address)
        if self.address is not None:
            self._require_prepared(campaign)

    def _require_prepared(self, campaign: Campaign) -> None:
        """Raises NotPrepared where a unit lacks what a run does not make by itself."""
        from campaign.preflight import prepare, units

        lacking = [
            f"{unit.name}: {line}"
            for unit in self.units()
            for line in units.answers(unit, prepare.missing_here, campaign)
        ]
        if lacking:
            raise prepare.NotPrepared(lacking, self.address)

    def stop(self) -> None:
        cluster.stop()

    def require(self) -> None:
        cluster.require_head()

    def units(self) -> list[Unit]:
        return cluster.units()

    def choose_gpu(self, unit: Unit, wanted: tuple[str, ...], before: str | None) -> Chosen:
        import ray

        from actors.gpu import actor as gpu

        task = ray.remote(gpu.assigned_gpu).options(
            num_cpus=0, num_gpus=1, scheduling_strategy=cluster.on(unit), max_retries=0
        )
        chosen: Chosen = ray.get(task.remote(wanted, before, self.address is not None))
        return chosen

    def telemetry(self, unit: Unit, spool: Path, rate_hz: float, gpu_uuid: str | None) -> Any:
        from actors.telemetry import actor as telemetry

        return (
            telemetry.remote_class()
            .options(num_cpus=0, max_restarts=-1, scheduling_strategy=cluster.on(unit))
            .remote(unit.name, str(spool), rate_hz, gpu_uuid=gpu_uuid)
        )

    def gpu(self, unit: Unit, campaign_id: str, spool: Path, telemetry: Any, gpu_uuid: str | None) -> Any:
        from actors.gpu import actor as gpu

        return (
            gpu.remote_class()
            .options(num_cpus=0, num_gpus=1, scheduling_strategy=cluster.on(unit))
            .remote(unit.name, campaign_id, str(spool), telemetry, gpu_uuid)
        )

    def get(self, reference: Any, timeout: float | None = None) -> Any:
        import ray

        return ray.get(reference, timeout=timeout)

    def kill(self, actor: Any) -> None:
        import ray

        ray.kill(actor)

    def begin(self, lane: Thread) -> None:
        lane.start()

    def wait(self, news: Event, stopping: bool) -> bool:
        time.sleep(TICK_S if not stopping else 0.1)
        return True
