"""GpuActor: holds the unit's GPU and serialises gate, attempt and evidence.

A plain class that the driver hands to Ray with ``num_gpus=1``. Attempts run one at a time in the default concurrency
group; ``status`` and ``abort`` answer meanwhile in the group ``control``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pyarrow
import ray

from actors import extensions, host
from actors.engines import EngineError
from actors.engines.registry import engine as engine_of
from actors.environments import Arm, EnvironmentError_, alike, reap, software
from actors.environments.preflight import refused
from actors.environments.registry import arm, kind
from actors.environments.software import Arms
from actors.files import leavings, removal
from actors.gpu import attempt as attempts
from actors.gpu import caches, capabilities, evidence, machine, placing
from actors.gpu.gate import Observe
from actors.gpu.hold import hold
from actors.gpu.kernel_log import KernelLog
from actors.gpu.lifeline import Lifeline
from actors.sensors import gpus
from actors.types import (
    Attempt,
    Environment,
    Evidence,
    Image,
    ImageIdentity,
    Model,
    Status,
    TelemetrySummary,
    UnitFacts,
    Workload,
)


class RemoteTelemetry:
    """The unit's TelemetryActor as an attempt sees it. A dead sampler costs the attempt its coverage, not its life."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._flushing: Any = None

    def mark(self, run_id: str | None, attempt: int | None, stage: str, pid: int | None, cgroup: str | None) -> None:
        self._handle.mark.remote(run_id, attempt, stage, pid, cgroup)

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary | None:
        try:
            summary: TelemetrySummary = ray.get(self._handle.summary.remote(run_id, attempt), timeout=30)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError, ray.exceptions.RayTaskError):
            return None
        self._flushing = self._handle.flush.remote()
        return summary

    def settle(self) -> None:
        """Wait until the samples up to the last summary are in a finished file."""
        if self._flushing is not None:
            ray.wait([self._flushing], timeout=30)
            self._flushing = None

    def close(self) -> None:
        """End the sampling."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._handle.close.remote(), timeout=10)


class NoGpu(EnvironmentError_):
    """The GPU that is asked for is not here, or none is free. The message is for the person."""


@dataclass(frozen=True)
class Chosen:
    """The GPU of a unit and why it is that one; ``uuid`` is None where the unit has none."""

    uuid: str | None
    words: str = ""


def choose_gpu(wanted: tuple[str, ...], assigned: tuple[str, ...] = (), before: str | None = None) -> Chosen:
    """The unit's GPU: the one it had ``before``, else the first of ``wanted`` (the campaign's ``gpus``) that is here,
    else the one that Ray ``assigned``, else the only one, else the first that nobody uses. Raises NoGpu."""
    found = [one for one in gpus.gpus() if not one.divided]
    if not found:
        if wanted or before:
            raise NoGpu(f"no GPU answers here, and the campaign asks for {before or ', '.join(wanted)}")
        return Chosen(None)
    if before is not None:
        try:
            return Chosen(gpus.pick(found, before).uuid)
        except LookupError as problem:
            raise NoGpu(
                f"{problem}. The campaign began on that one; --accept-drift goes on with another card, "
                "as another session"
            ) from None
    if wanted:
        for name in wanted:
            with contextlib.suppress(LookupError):
                return Chosen((one := gpus.pick(found, name)).uuid, f"{one}, as `gpus:` asks" if len(found) > 1 else "")
        here = "; ".join(map(str, found))
        raise NoGpu(f"gpus: none of {', '.join(wanted)} is here: {here}")
    if len(found) == 1:
        return Chosen(found[0].uuid)
    if len(assigned) == 1:
        one = gpus.pick(found, assigned[0])
        return Chosen(one.uuid, f"{one}, which Ray assigned")
    free = next((one for one in found if not one.in_use), None)
    if free is None:
        raise NoGpu(
            f"all {len(found)} GPUs here are in use: {'; '.join(map(str, found))}. Free one, or name it in `gpus:`"
        )
    return Chosen(
        free.uuid, f"{free}, the first of {len(found)} that nobody uses; `gpus:` in the campaign chooses another"
    )


def assigned_gpu(wanted: tuple[str, ...], before: str | None, shared_node: bool) -> Chosen:
    """:func:`choose_gpu` as a Ray task on the unit. Only a node that others started says
    by Ray's assignment which GPU is meant."""
    ids = tuple(map(str, ray.get_runtime_context().get_accelerator_ids().get("GPU", ()))) if shared_node else ()
    return choose_gpu(wanted, ids, before)


LAST_WORDS_S = 2.0

LEAST_FREE_BYTES = 64 * 2**20


class GpuActor:
    """One unit's attempts. ``spool`` keeps what the driver has not yet acknowledged,
    ``gpu_uuid`` is its GPU (:func:`choose_gpu`)."""

    def __init__(self, unit: str, campaign_id: str, spool: str, telemetry: Any, gpu_uuid: str | None = None) -> None:
        self.unit = unit
        self.campaign_id = campaign_id
        self.home = host.home()
        self.spool = self.home / spool
        self.spool.mkdir(parents=True, exist_ok=True)
        self.spool.chmod(0o700)  # engines get their folders by mounts: nobody else has anything to do there
        self.telemetry = RemoteTelemetry(telemetry)
        self.observe = Observe(uuid=gpu_uuid)
        self.kernel_log = KernelLog()
        self.rest_since_ns = time.monotonic_ns()
        self.arms: dict[str, Arm] = {}
        self.caches: dict[str, Path] = {}
        self.stop = Event()
        self.driver = Lifeline()
        self.lock: socket.socket | None = None
        self.watch = attempts.Watch()
        self._one_at_a_time = Lock()

    def pid(self) -> int:
        return os.getpid()

    def reap(self) -> list[str]:
        """Remove what crashes left on the unit."""
        return reap.reap(self.home)

    def prepare(
        self,
        engine: str,
        image_spec: Image,
        environments: tuple[Environment, ...],
        pairs: tuple[tuple[Model, Workload], ...],
    ) -> UnitFacts:
        """Put images, root filesystems, weights and datasets in place; find out which options this host refuses."""
        if self.lock is None:
            self.lock = hold(self.observe.gpu_uuid or f"machine-{self.unit}")
        pyarrow.array([0.0])  # loads pandas: a second or two that would otherwise follow the first run
        if any(environment.user and not kind(environment.kind).has_mounts for environment in environments):
            self.spool.chmod(0o711)  # without mounts another user has to come to its folder by its path
        arms = Arms(environments, image_spec, engine)
        keys = {one.name: arms.image_key(one) for one in environments}
        variants = arms.variants()
        inputs = list(placing.place_inputs(arms, pairs, self.home))
        prepared = {one.key: one.prepared for one in inputs if one.prepared is not None}
        unprepared = {one.key: str(one.error) for one in inputs if one.error is not None}
        images = self._images(arms)
        refusals = self._take_arms(environments, {name: images.get(key) for name, key in keys.items()})
        told = self._told(engine, keys, images)
        by_arm = {name: images.get(keys[name]) for name in self.arms}
        if unlike := alike.arms_alike(list(self.arms.values()), by_arm):
            raise EnvironmentError_(
                "the arms do not show an engine the same:\n" + "\n".join(f"  {line}" for line in unlike)
            )
        program = engine_of(engine)
        for (variant, environment), (model, workload) in itertools.product(variants.items(), pairs):
            place = software.prepared_key(model.name, workload.name, variant)
            if place not in prepared:
                continue
            if facts := told.get(keys[environment.name]):
                prepared[place] = prepared[place].model_copy(update={"facts": {**prepared[place].facts, **facts}})
            try:  # what an engine's own version does not offer is found out before anything runs
                program.command(software.model_in(environment, model, engine), workload, prepared[place])
            except EngineError as error:
                unprepared[place] = str(error)
        self.caches = {
            software.of_variant(model.name, variant): caches.folder(
                self.home, engine, software.of_variant(model.name, variant), images.get(keys[environment.name])
            )
            for variant, environment in variants.items()
            for model, _ in pairs
            if engine_of(engine).cache_variables
        }
        return UnitFacts(
            unit=self.unit,
            machine=os.uname().machine,
            gpu=self.observe.gpu_name or "none",
            cpus=os.cpu_count() or 0,
            mem_total_gib=host.mem_total_gib(),
            code_digest=host.code_digest(),
            details={"host": host.describe(), "sensors": self.observe.describe()},
            images=images,
            prepared=prepared,
            unprepared=unprepared,
            caches={model: str(place) for model, place in self.caches.items()},
            gpu_uuid=self.observe.gpu_uuid,
            conditions=self.conditions(),
            refused_options=refusals,
        )

    def _take_arms(
        self, environments: tuple[Environment, ...], images: Mapping[str, ImageIdentity | None]
    ) -> dict[str, str]:
        """Make every arm that this host does not refuse; why it does, of the others."""
        refusals: dict[str, str] = {}
        for environment in environments:
            problems = refused(environment, images[environment.name], self.home, self.observe.gpu_uuid)
            if problems:
                refusals[environment.name] = "; ".join(f"{option}: {why}" for option, why in problems.items())
            else:
                self.arms[environment.name] = arm(environment, self.home, self.observe.gpu_uuid)
        return refusals

    def _told(
        self, engine: str, keys: Mapping[str, str], images: Mapping[str, ImageIdentity]
    ) -> dict[str, dict[str, str]]:
        """What the engine of each image says of itself, asked in the first arm that runs it."""
        told: dict[str, dict[str, str]] = {}
        for key in dict.fromkeys(keys.values()):
            sharing = [one for name, one in self.arms.items() if keys[name] == key]
            if sharing:
                told[key] = capabilities.ask(engine, sharing[0], images.get(key), self.home)
        return told

    def _images(self, arms: Arms) -> dict[str, ImageIdentity]:
        """Every image that an arm runs, in place. Raises what stands in the way."""
        found: dict[str, ImageIdentity] = {}
        for placed in placing.place_images(arms, self.home):
            if placed.error is not None:
                raise placed.error
            if placed.identity is not None:
                found[placed.key] = placed.identity
        return found

    def attempt(self, order: Attempt) -> Evidence:
        """Carry out one attempt."""
        with self._one_at_a_time, self.driver.held(self.stop, order.watchdog.driver_s):
            found = attempts.carry_out(
                order,
                engine=engine_of(order.engine),
                arm=self.arms[order.environment.name],
                telemetry=self.telemetry,
                observe=self.observe,
                spool=self.spool,
                rest_since_ns=self.rest_since_ns,
                stop=self.stop,
                watch=self.watch,
                cache_variables=dict(engine_of(order.engine).cache_variables),
                kernel_log=self.kernel_log,
            )
            self.rest_since_ns = time.monotonic_ns()
            self.telemetry.settle()
            # Nobody would ever release the GPU otherwise; a driver that is back starts another actor.
            if self.driver.broken and ray.is_initialized():
                Thread(target=self._end, daemon=True).start()
            return found

    def _end(self) -> None:
        """End this process, and the sampler's work, a little later: what was just returned may still reach somebody."""
        self.telemetry.close()
        time.sleep(LAST_WORDS_S)
        os._exit(1)

    def trouble(self) -> str | None:
        """What of the unit's own stands in the way of any attempt now, with what to do; None where nothing does."""
        for name in dict.fromkeys(one.spec.kind for one in self.arms.values()):
            if (trouble := kind(name).trouble(self.home)) is not None:
                return trouble
        try:
            free = shutil.disk_usage(self.spool).free
            with tempfile.NamedTemporaryFile(dir=self.spool) as probe:
                probe.write(b"x" * 2**16)
                probe.flush()
        except OSError as problem:
            return (
                f"{self.spool} cannot be written to: {problem.strerror}. Make space, or raise the limit that it names"
            )
        if free < LEAST_FREE_BYTES:
            return f"{self.spool} has {free >> 20} MiB left, {LEAST_FREE_BYTES >> 20} MiB are needed: make space"
        return None

    def conditions(self) -> dict[str, str]:
        """What must not change in silence, as it is now; cheap enough for every block."""
        found = machine.machine_facts(self.home, self.observe.gpu_uuid)
        for name in dict.fromkeys(one.spec.kind for one in self.arms.values()):
            engine = kind(name).engine
            if engine is not None and engine.name != "docker":
                found |= machine.of_container_engine(engine, self.home)
        return found | {f"extension {name}": version for name, version in extensions.installed().items()}

    def cache_digest(self, key: str) -> str | None:
        """Of a model's compile caches (``UnitFacts.caches``) as they are now; None where there are none."""
        return caches.digest(self.caches[key]) if key in self.caches else None

    def salvage(self, order: Attempt) -> Evidence:
        """Whatever an interrupted attempt left on this unit."""
        return evidence.salvage(order, self.spool)

    def piece(self, run_id: str, attempt: int, name: str, offset: int) -> bytes:
        """The next bytes of one of the evidence's ``large`` files."""
        return evidence.piece(self.spool, run_id, attempt, name, offset)

    def acknowledge(self, run_id: str, attempt: int) -> None:
        """The driver has the attempt's evidence on its disk."""
        evidence.discard(self.spool, run_id, attempt)

    def forget(self) -> None:
        """The driver has everything: the spool is no longer needed."""
        with contextlib.suppress(OSError):
            removal.remove(self.spool)
        with contextlib.suppress(OSError):  # another unit on this machine may still need it
            self.spool.parent.rmdir()

    def status(self) -> Status:
        self.driver.heard()
        watch = self.watch
        order, output = watch.order, watch.output
        progress = throughput = None
        detail = watch.detail
        if output is not None and watch.stage == "run":
            try:
                told = json.loads(leavings.small(output / "progress.json") or b"")
                detail = told["stage"]
                progress = told["answered"] / told["expected"] if told["expected"] else None
                throughput = told.get("throughput_tok_s")
            except (ValueError, KeyError, TypeError):
                pass  # not written yet
        return Status(
            unit=self.unit,
            run_id=order.run_id if order else None,
            attempt=order.attempt if order else None,
            stage=watch.stage,
            since_utc_ns=watch.since_utc_ns,
            detail=detail,
            temperature_c=self.observe.temperature_c(),
            progress=progress,
            throughput_tok_s=throughput,
            pid=watch.pid,
        )

    def abort(self) -> None:
        """End the current attempt soon, and begin none after it:
        the call may arrive just before the attempt that it is meant for."""
        self.stop.set()


CONTROL = ("status", "abort", "pid")
"""Methods that answer while an attempt runs."""


def remote_class() -> Any:
    """The actor class for Ray, its control methods in a concurrency group of their own."""
    methods = {name: ray.method(concurrency_group="control")(getattr(GpuActor, name)) for name in CONTROL}
    return ray.remote(concurrency_groups={"control": 2})(type("GpuActor", (GpuActor,), methods))
