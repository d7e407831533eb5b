"""A simulated unit: what its GpuActor and TelemetryActor would answer. Attempts are carried out by the same code as on
a real one (:func:`actors.attempt.carry_out`, gate, watchdog and parsers included);
simulated are the machine and the program."""

from __future__ import annotations

import io
import itertools
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from actors import host
from actors.clock import Clock
from actors.engines import Engine, EngineError
from actors.engines.registry import engine as engine_of
from actors.environments import software
from actors.gpu import attempt as attempts
from actors.gpu.evidence import discard
from actors.types import (
    Attempt,
    Environment,
    Evidence,
    Image,
    ImageIdentity,
    Launch,
    Model,
    Prepared,
    Report,
    Status,
    UnitFacts,
    Workload,
)
from campaign.plan.forecast import described, weight_bytes
from campaign.rehearsal import reports, sampling
from campaign.rehearsal.heat import Body, Room
from campaign.rehearsal.injected import Episode, Kind, episodes, generator
from campaign.rehearsal.machine import to_json
from campaign.rehearsal.sampling import Basis, Columns, Doing
from campaign.rehearsal.site import NS, PLACE, Local, Scene, Settings, Site, State

HORIZON_DAYS = 3650.0
ROWS_A_FILE = 50_000
"""Of telemetry; the store's own files have a run each."""


@dataclass(frozen=True)
class Done:
    """An attempt carried out to its end, to be taken in when its time has come."""

    evidence: Evidence
    ends_s: float
    state: State
    rows: list[Columns]


class SimulatedUnit:
    """One unit. Times are seconds since ``epoch_ns`` (UTC); the fleet says what time it is."""

    def __init__(self, name: str, settings: Settings, epoch_ns: int, now_s: float, spool: Path) -> None:
        self.name = name
        self.settings = settings
        self.epoch_ns = epoch_ns
        self.spool = spool
        self.watch = attempts.Watch()
        kind = settings.kind
        room = Room.drawn(kind.heat, generator(settings.seed, name, "room"))
        self.state = State(
            body=Body.at_rest(room, now_s, kind.power.idle_w),
            drift=float(generator(settings.seed, name, "drift").standard_normal()),
            memory=0.0,
            rest_since_s=now_s,
            sampled_s=now_s,
        )
        self.episodes = episodes(settings.faults, settings.seed, name, HORIZON_DAYS)
        self.rows: list[Columns] = []
        self.sending = False
        self.basis = Basis(
            name,
            kind.gpu is not None,
            settings.rate_hz or 1.0,
            epoch_ns,
            kind.memory.total_gib,
            kind.memory.used_gib,
        )

    # --- what befalls it -----------------------------------------------------------------------------------

    def episode(self, kind: Kind, now_s: float) -> Episode | None:
        """The one of this kind that lasts now."""
        return next((it for it in self.episodes if it.kind == kind and it.begins_s <= now_s < it.ends_s), None)

    def next_loss(self, now_s: float) -> Episode | None:
        """The next time that it goes away, or this one."""
        return next((it for it in self.episodes if it.kind == "lost" and it.ends_s > now_s), None)

    def mend(self, now_s: float) -> list[str]:
        """A person is here: what waits for one is over. What was mended."""
        mended = [it.kind for it in self.episodes if it.begins_s <= now_s < it.ends_s and math.isinf(it.ends_s)]
        self.episodes = [
            replace(it, ends_s=now_s) if it.begins_s <= now_s < it.ends_s and math.isinf(it.ends_s) else it
            for it in self.episodes
        ]
        return [str(kind) for kind in mended]

    def rest(self, now_s: float) -> None:
        """Whatever ran is over: it was switched off, or its actor was."""
        if self.state.body.power_w != self.settings.kind.power.idle_w:
            self.state.body.draw(now_s, self.settings.kind.power.idle_w)
        self.state.rest_since_s = self.state.sampled_s = now_s

    # --- before ----------------------------------------------------------------------------------------------

    def prepare(
        self,
        engine: str,
        image: Image,
        environments: tuple[Environment, ...],
        pairs: tuple[tuple[Model, Workload], ...],
    ) -> UnitFacts:
        program = engine_of(engine)
        ready: dict[str, Prepared] = {}
        refused: dict[str, str] = {}
        arms = software.Arms(environments, image, engine)
        for (variant, environment), (model, workload) in itertools.product(arms.variants().items(), pairs):
            key = software.prepared_key(model.name, workload.name, variant)
            own = software.model_in(environment, model, engine)
            try:
                prepared = prepare(engine, own, workload)
                program.command(own, workload, prepared)
                ready[key] = prepared
            except EngineError as error:
                refused[key] = str(error)
        images = {}
        for key, wanted in arms.images().items():
            reference = software.name_of(wanted)
            digest = reports.digest("image", reference)
            images[key] = ImageIdentity(reference=reference, digest=f"sha256:{digest}", content_digest=digest)
        kind = self.settings.kind
        return UnitFacts(
            unit=self.name,
            machine="aarch64" if kind.gpu else os.uname().machine,
            gpu=kind.gpu or "none",
            cpus=20 if kind.gpu else 2,
            mem_total_gib=kind.memory.total_gib,
            code_digest=host.code_digest(),
            details={"simulated": to_json(kind), "sensors": {"simulated": {"rate_hz": self.settings.rate_hz}}},
            images=images,
            prepared=ready,
            unprepared=refused,
            simulated=True,
        )

    # --- an attempt ------------------------------------------------------------------------------------------

    def attempt(self, order: Attempt, now_s: float, abort_s: float = math.inf) -> Done:
        """Carry ``order`` out from now on, or up to where it is aborted.
        Nothing of the unit changes until :meth:`take` is told."""
        clock = Local(self.epoch_ns, now_s, abort_s)
        state = self.state.copy()
        rng = generator(self.settings.seed, self.name, order.run_id, order.attempt)
        phi = self.settings.noise.memory
        state.drift = phi * state.drift + math.sqrt(1 - phi**2) * float(rng.standard_normal())
        state.memory = 0.8 * state.memory + 0.6 * float(rng.standard_normal())
        scene = Scene(self.name, self.settings, order, clock, state, rng, self.basis, self.episode)
        site = Site(scene)
        evidence = attempts.carry_out(
            order,
            engine=Marked(engine_of(order.engine)),
            arm=site,
            telemetry=site,
            observe=site,
            spool=self.spool,
            rest_since_ns=round(state.rest_since_s * NS),
            stop=scene.stopped,
            watch=self.watch,
            surroundings=attempts.Surroundings(
                clock=Clock(clock.mono_ns, site.wait, clock.utc_ns),
                cache=lambda mode, files, stop: ({"drop": "dropped", "warm": "warmed"}.get(mode, "kept"), None),
                canary=site.canary,
                asleep_ns=lambda: 0,
            ),
        )
        discard(self.spool, order.run_id, order.attempt)
        state.rest_since_s = clock.now_s
        return Done(evidence, clock.now_s, state, site.rows)

    def take(self, done: Done) -> Evidence:
        """Its time has come: what the attempt did is the unit's past now."""
        self.state = done.state
        self.state.body.forget()
        self.rows += done.rows
        return done.evidence

    def lost_evidence(self, order: Attempt, now_ns: int) -> Evidence:
        """Of an attempt that the unit went away in."""
        return Evidence(
            run_id=order.run_id,
            attempt=order.attempt,
            unit=self.name,
            outcome="interrupted",
            failure="the campaign was interrupted while this attempt ran",
            started_utc_ns=now_ns,
            ended_utc_ns=now_ns,
            simulated=True,
        )

    def trouble(self, now_s: float) -> str | None:
        if self.episode("disk", now_s) is not None:
            return (
                f"{PLACE} cannot be written to: No space left on device. Make space, or raise the limit that it names"
            )
        return None

    def status(self) -> Status:
        order = self.watch.order
        return Status(
            unit=self.name,
            run_id=order.run_id if order else None,
            attempt=order.attempt if order else None,
            stage=self.watch.stage,
        )

    # --- telemetry -------------------------------------------------------------------------------------------

    def idle_until(self, now_s: float) -> None:
        """Samples of a unit that does nothing, up to now."""
        if self.settings.rate_hz and now_s > self.state.sampled_s:
            doing = Doing(self.state.body, marks=[(self.state.sampled_s, None, None, "idle")])
            rng = generator(self.settings.seed, self.name, "idle", round(now_s))
            rows, self.state.energy_j = sampling.sample(
                self.basis, doing, self.state.sampled_s, now_s, self.state.energy_j, rng
            )
            self.rows.append(rows)
            self.state.sampled_s = now_s

    def ready(self) -> list[tuple[str, bytes]]:
        """A file of telemetry, where enough came together or everything is asked for."""
        count = sum(len(part["t_utc_ns"]) for part in self.rows)
        if not count or (count < ROWS_A_FILE and not self.sending):
            return []
        parts = [part for part in self.rows if len(part["t_utc_ns"])]
        self.rows, self.sending = [], False
        return [(f"{int(parts[0]['t_utc_ns'][0])}.parquet", sampling.to_parquet(parts))]


class Marked:
    """An engine whose parser reads what was simulated: ``requests.parquet`` says so in every row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        return prepare(self.name, model, workload)

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        return self._engine.command(model, workload, prepared)

    def texts(self, output: Path) -> tuple[str, ...] | None:
        return self._engine.texts(output)

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        report = self._engine.parse(output, model, workload, prepared)
        path = output.parent / "requests.parquet"
        if path.exists():
            rows = parquet.ParquetFile(io.BytesIO(path.read_bytes())).read(use_threads=False)
            rows = rows.append_column("simulated", pa.repeat(pa.scalar(True), len(rows)))
            parquet.write_table(rows, path, compression="zstd")
        return report


def prepare(engine: str, model: Model, workload: Workload) -> Prepared:
    """What an engine's ``prepare`` would have put in place. Raises EngineError."""
    known = described(model)
    facts: dict[str, float | int | str] = {"weight_bytes": int(weight_bytes(known)), "simulated": "true"}
    if known.kv_bytes_per_token:
        facts["kv_bytes_per_token"] = known.kv_bytes_per_token
    if engine == "llamacpp":
        files = {role: str(PLACE / model.name / role) for role in ("weights", "dataset", "program")}
        parameters = known.parameters or int(weight_bytes(known) / 2)
        facts |= {
            "model_identity": model.name,
            "general_name": model.name,
            "parameters": parameters,
            "threads": 1,
        }
    else:
        from actors.engines.trtllm import options as trtllm
        from actors.engines.vllm import options as vllm

        module = {"trtllm": trtllm, "vllm": vllm}.get(engine)
        expected = engine_of(engine).expect(model, workload, PLACE)
        if module is None or expected is None:
            raise EngineError(f"{engine} cannot be rehearsed: nobody wrote down what its reports look like")
        files = expected.files
        facts["model_identity"] = module.identity(model)
    digests = {role: reports.digest(role, model.name, workload.name) for role in files}
    return Prepared(files=files, digests=digests, facts=facts)
