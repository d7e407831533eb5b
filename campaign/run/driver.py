"""The Ray driver: dispatch, acceptance, retries, resume. Its lanes (:mod:`campaign.run.lane`), one for each unit, carry blocks out.

The driver alone writes the results folder. Before the first measured run every cell is tried once (:mod:`campaign.run.shakedown`).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal

from actors import account, host
from actors.types import Attempt, Evidence
from campaign.analysis import looks
from campaign.cluster import Unit
from campaign.config import redaction
from campaign.config.loading import Campaign
from campaign.errors import Drift, DriverError
from campaign.plan import registration
from campaign.plan.design import Planned, plan, plan_hash, to_table
from campaign.record import journal, provenance
from campaign.record.drift import changes
from campaign.record.snapshot import Snapshot, digest_of
from campaign.record.store import Store, attempt_folder, journalled, stored_name, to_json
from campaign.run import adoption, shakedown
from campaign.run.acceptance import Verdict, canaries
from campaign.run.fleet import TICK_S, Fleet, RayFleet
from campaign.run.lane import Lane, identity
from campaign.run.looks import Looks
from campaign.run.looks import words as look_in_words
from campaign.run.outliers import outliers
from campaign.run.shakedown import Cell, Finding, LeftOut

if TYPE_CHECKING:
    from rich.console import RenderableType

ITSELF = "the driver"
"""What config and code are called where they differ."""

Choice = Literal["without", "stop"]
"""What is done about cells that cannot run: go on without them, or stop."""


JUDGED = {
    "exit",
    "gate",
    "stages",
    "metrics",
    "kernel",
    "kernel_unavailable",
    "paused_s",
    "coherence",
    "started_utc_ns",
    "ended_utc_ns",
}
"""What ``metadata.json`` keeps of the evidence as it is: with the report and the telemetry's summary, all that the verdict rests on."""


class Driver:
    """One invocation of ``campaign run``."""

    def __init__(
        self,
        campaign: Campaign,
        store: Store,
        *,
        chosen_because: str = "",
        fleet: Fleet | None = None,
        accept_drift: bool = False,
        tell: Callable[[str], None] = lambda line: None,
        show: Callable[[Snapshot], None] = lambda snapshot: None,
        present: Callable[[RenderableType], None] = lambda table: None,
        choose: Callable[[LeftOut], tuple[Choice, str]] = lambda failing: ("without", "unattended"),
        only_shakedown: bool = False,
    ) -> None:
        """``fleet`` are the units, this machine unless given. ``choose`` says what is done about cells that cannot run, and who decided; ``only_shakedown`` tries every cell, those too that
        failed before, and measures nothing."""
        self.campaign = campaign
        self.store = store
        self.chosen_because = chosen_because
        self.fleet: Fleet = RayFleet() if fleet is None else fleet
        self.accept_drift = accept_drift
        self.tell = tell
        self.show = show
        self.present = present
        self.choose = choose
        self.only_shakedown = only_shakedown
        self.stopping = Event()
        self.news = Event()
        self._ticked_s = 0.0
        self.pause_reason: str | None = None
        self.snapshot = Snapshot(campaign=campaign.name, results=str(store.root), pid=os.getpid())
        self.lanes: dict[str, Lane] = {}
        self._lock = Lock()
        self._failures: Counter[str] = Counter()
        self._durations: dict[str, list[float]] = {}
        self._decided: set[str] = set()
        self.looks: Looks | None = None
        self._secrets = redaction.secrets(campaign.model_dump(mode="json")) | redaction.of_surroundings()
        self._began = time.monotonic()

    # --- the whole ---------------------------------------------------------------------------------------

    def run(self) -> Snapshot:
        """Carry the campaign out as far as it goes. Everything is durable when this returns or raises."""
        self.store.require_kind(self.fleet.simulated)
        if self.store.exists() and not self.store.began() and not self._shaken_as_now():
            self.store.clear()
        if self.store.exists() and not self.accept_drift and (differences := self._drift(self.store.info())):
            accepted = journal.fold(journal.read(self.store.journal_path)[0]).accepted
            if accepted.get(ITSELF) != self._now():
                raise Drift(differences)
        self._say_stage("connecting")
        self.fleet.start(self.campaign, self.tell)
        try:
            wanted = self.campaign.units
            units = [unit for unit in self.fleet.units() if not wanted or unit.name in wanted]
            if missing := set(wanted) - {unit.name for unit in units}:
                self.tell(f"without {', '.join(sorted(missing))}: no alive Ray node has that name")
            if not units:
                raise DriverError(
                    "no unit: no alive Ray node has a GPU slot. Start nodes with `ray start --num-gpus=1`."
                )
            self.info = self.store.info() if self.store.exists() else self._create(units)
            self.journal = self._writer()
            self.state = journal.fold(self.journal.events)
            self.check(ITSELF, self._drift(self.info), now=self._now())
            self.record(
                "opened",
                pid=os.getpid(),
                units=[unit.name for unit in units],
                accept_drift=self.accept_drift,
            )
            self.plan = [Planned(**row) for row in self.store.plan()]
            self.snapshot.total = len(self.plan)
            self._open_looks(units)
            self._register()
            self._adopt()
            self._carry_out(units)
            if not self.only_shakedown and self._reopen_outliers():
                self._carry_out(units)
            self._conclude()
        finally:
            for lane in self.lanes.values():
                lane.release(self.snapshot.stage == "completed")
            self.fleet.stop()
            self._write_last_status()
        return self.snapshot

    def _writer(self) -> journal.Journal:
        return journal.Journal(
            self.store.journal_path,
            utc_ns=self.fleet.clock.utc_ns,
            durable=self.store.durable,
            simulated=self.fleet.simulated,
        )

    def _shaken_as_now(self) -> bool:
        """Whether a folder without measured attempts holds a shakedown of this very campaign."""
        events, _, _ = journal.read(self.store.journal_path)
        return any(event["event"] == "shakedown" for event in events) and not self._drift(self.store.info())

    def _create(self, units: list[Unit]) -> dict[str, Any]:
        planned = plan(self.campaign, lanes=len(units), simulated=self.fleet.simulated)
        created = self.fleet.clock.utc_ns()
        hash_ = plan_hash(planned)
        code = provenance.code()
        info = {
            "campaign": self.campaign.name,
            "campaign_id": hashlib.sha256(f"{self.campaign.config_hash}{hash_}{created}".encode()).hexdigest()[:12],
            "config_hash": self.campaign.config_hash,
            "plan_hash": hash_,
            "seed": self.campaign.seed,
            "created_utc_ns": created,
            "simulated": self.fleet.simulated,
            "chosen_because": self.chosen_because,
            "lanes": [unit.name for unit in units],
            "code": code,
            "host": host.describe(),
            "config": self.campaign.published(),
        }
        import io

        from pyarrow import parquet

        buffer = io.BytesIO()
        parquet.write_table(to_table(planned), buffer)
        self.store.write("plan.parquet", buffer.getvalue())
        self.store.write("campaign.json", to_json(info))
        writer = self._writer()
        if not writer.events:
            writer.append(
                "created",
                campaign_id=info["campaign_id"],
                config_hash=info["config_hash"],
                plan_hash=hash_,
                code_digest=code["digest"],
                **self.store.take_unbound(),
            )
        writer.close()
        return info

    def _open_looks(self, units: list[Unit]) -> None:
        planned = looks.planned(self.campaign.model_dump(mode="json"))
        if planned is None:
            return
        if len(units) > 1:
            raise DriverError(
                f"looks are taken over the blocks of one unit, and here are {', '.join(unit.name for unit in units)}: name one of them in `units`, "
                "or leave `sequential` out"
            )
        self.looks = Looks(self.store.root, planned, self.store.plan(), self.journal.events)

    def _look(self) -> None:
        """Take the looks that are due: what they decide needs no further blocks."""
        for event in self.looks.take(self.state) if self.looks is not None else ():
            self.record("look", **event)
            for line in look_in_words(event):
                self.tell(line)

    def _register(self) -> None:
        """Take the registration in that lies beside the results folder, as long as nothing was measured."""
        if any(event["event"] == "registered" for event in self.journal.events):
            return
        inside, beside = self.store.root / registration.NAME, registration.place_beside(self.store.root)
        if not inside.exists() and not beside.exists():
            return
        if self.store.began():
            self.tell(f"{beside}: not taken in, since the first run had begun: a registration after it shows nothing")
            return
        if inside.exists():  # a driver was killed before it could journal it
            data, registered = registration.read(inside)
            self.store.enlist([registration.NAME])
        else:
            data, registered = registration.read(beside)
            self.store.write(registration.NAME, data)
        self.record("registered", sha256=registration.sha256(data))
        self.tell(f"registered: sha256 {registration.sha256(data)}")
        for line in registration.deviations(registered, self.info, self.journal.events):
            self.tell(f"deviation from the registration: {line}")

    def _drift(self, info: dict[str, Any]) -> list[str]:
        """How config and code differ from what the campaign began with."""
        differences = []
        if info["config_hash"] != self.campaign.config_hash:
            then, now = info["config"], self.campaign.published()
            differences += [f"config: {line}" for line in changes(then, now)]
        if info["code"]["digest"] != (digest := host.code_digest()):
            differences.append(f"code: digest was {info['code']['digest'][:12]}, is {digest[:12]}")
        return differences

    def _now(self) -> str:
        """Of config and code as they are."""
        return f"{self.campaign.config_hash[:16]} {host.code_digest()[:16]}"

    def check(self, what: str, differences: list[str], *, now: str = "", unit: str | None = None) -> None:
        """Refuses differences of ``what`` from the campaign's beginning, or begins another session with them: no block holds runs of two. What was
        accepted once, told by ``now``, stays accepted; a return to the beginning is a change as well. ``unit`` is the one that they are of,
        None the whole campaign."""
        accepted = self.state.accepted.get(what)
        if now and accepted == now:
            return
        if now and accepted is not None and not differences:
            differences = [f"{what}: back to what the campaign began with, after something else had been accepted"]
        if not differences:
            return
        if not self.accept_drift:
            raise Drift(differences)
        self.record("override", what=what, difference=differences, now=now, session=self.state.session + 1)
        for line in differences:
            self.tell(f"accepted: {line}")
        blocks: dict[str, list[str]] = {}
        for row in self.store.plan():
            blocks.setdefault(row["block"], []).append(row["run_id"])
        for runs in blocks.values():
            measured = [run_id for run_id in runs if self.state.run(run_id).accepted is not None]
            if not measured or all(self.state.done(run_id) for run_id in runs):
                continue
            if unit is None or any(self.state.run(run_id).unit == unit for run_id in measured):
                for run_id in measured:
                    self.record("reopened", run_id=run_id, reason=f"its block began before a change of {what}")

    def record(self, event: str, **fields: Any) -> None:
        """Journal an event, durable on return, and fold it into the state."""
        with self._lock:
            journal.apply(
                self.state,
                self.journal.append(event, **redaction.published(fields, self._secrets), **self.store.take_unbound()),
            )

    def _adopt(self) -> None:
        """Journal attempts whose files became durable just before the line that speaks of them."""
        for place in adoption.unknown(self.store, journalled(self.journal.events)):
            try:
                metadata, digest = adoption.evidence(self.store, place, self.info, self.state)
            except adoption.Strange as problem:
                where = self.store.set_aside(place)
                self.tell(f"set {place.relative_to(self.store.root)} aside: {problem}; it lies in {where}")
                continue
            self.store.enlist(str(path.relative_to(self.store.root)) for path in place.rglob("*") if path.is_file())
            self.record(
                "finished",
                **{key: metadata[key] for key in ("run_id", "attempt", "unit", "outcome", "accepted")},
                rejected_by=[check["check"] for check in metadata["verdict"] if check["passed"] is False],
                evidence=digest,
                adopted=True,
            )
            self.tell(
                f"took in {metadata['run_id']} attempt {metadata['attempt']}, which had finished when the driver was killed"
            )

    # --- lanes -------------------------------------------------------------------------------------------

    def _carry_out(self, units: list[Unit]) -> None:
        self._look()
        names: list[str] = self.info.get("lanes", [])
        self._queues = self._deal(names, [unit.name for unit in units])
        self._orphans: deque[tuple[str, list[Planned]]] = deque()
        self._at_work: set[str] = set()
        if self.stopping.is_set() or not (self._blocks_left() or self.only_shakedown):
            return
        self._say_stage("preparing")
        self._start_lanes(units)
        while any(lane.is_alive() for lane in self.lanes.values()):
            if time.monotonic() - self._ticked_s >= TICK_S:
                self._tick()
            self._first_error()
            self._decide()
            if self.fleet.wait(self.news, self.stopping.is_set()):
                self.news.clear()
                if self._blocks_left() and not self.stopping.is_set():
                    self._welcome_back()
        self._tick()
        self._first_error()

    def _reopen_outliers(self) -> bool:
        """Once everything is done, open outliers again where the campaign says so; each run at most once."""
        states = self.state.runs
        if self.campaign.outliers != "rerun" or not all(self.state.done(row.run_id) for row in self.plan):
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
            if all(self.state.done(row.run_id) for row in rows):
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

    def _start_lanes(self, units: list[Unit]) -> None:
        for unit in units:
            if (ended := self.lanes.get(unit.name)) is not None:
                ended.release(completed=False)
            lane = Lane(self, unit)
            self.lanes[unit.name] = lane
            self.fleet.begin(lane)

    def _welcome_back(self) -> None:
        """Start a lane again whose unit was lost and is back."""
        ended = [name for name, lane in self.lanes.items() if not lane.is_alive() and lane.lost]
        for unit in self.fleet.units() if ended else []:
            if unit.name in ended:
                self.tell(f"{unit.name} is back")
                self._start_lanes([unit])

    def take(self, unit: str) -> list[Planned] | None:
        """The next block for ``unit``: its own, else one of a unit that was lost.

        A unit that has nothing to do waits while another works, because that one may be lost. None at the end.
        """
        while not self.stopping.is_set():
            self._look()
            with self._lock:
                self._at_work.discard(unit)
                while self._queues.get(unit):
                    block = self._queues[unit].popleft()
                    if not all(self.state.spared(row.run_id) for row in block):
                        self._at_work.add(unit)
                        return block
                orphan = self._orphans.popleft() if self._orphans else None
                if orphan is not None:
                    self._at_work.add(unit)
                elif not self._at_work and not any(self._queues.values()):
                    return None
            if orphan is not None:
                owner, block = orphan
                self.move(block, owner, unit)
                return block
            self.fleet.clock.wait(self.stopping, self.fleet.idle_s)
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
        files = self._files(row, order, evidence, verdict)
        digest = self.store.commit_attempt(row.run_id, evidence.attempt, files)
        figures = {"run_s": evidence.telemetry.duration_s if evidence.telemetry else None, "power_w": power_w(evidence)}
        self.record(
            "finished",
            run_id=row.run_id,
            attempt=evidence.attempt,
            unit=evidence.unit,
            outcome=evidence.outcome,
            accepted=verdict.accepted,
            rejected_by=list(verdict.rejected_by),
            evidence=digest,
            **{name: value for name, value in figures.items() if value is not None},
            **({"canary_gb_s": max(sung)} if (sung := canaries(evidence)) else {}),
        )
        self._durations.setdefault(row.model, []).append((evidence.ended_utc_ns - evidence.started_utc_ns) / 1e9)
        self._count_failure(row, evidence, verdict)

    def commit_shakedown(
        self, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict, found: Finding
    ) -> None:
        """Keep an unmeasured attempt apart from the results, and journal what it showed."""
        files = self._files(row, order, evidence, verdict)
        place = self.store.root / attempt_folder({"event": "shakedown", **found.to_json()})
        digest = self.store.commit_folder(place, files)
        self.record("shakedown", outcome=evidence.outcome, evidence=digest, **found.to_json())

    def _files(self, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict) -> dict[str, bytes]:
        """The folder of an attempt: its evidence, and ``metadata.json`` with the digests of it."""
        files = {stored_name(name): redaction.without(data, self._secrets) for name, data in evidence.files.items()}
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
            **evidence.model_dump(mode="json", include=JUDGED),
            "telemetry": evidence.telemetry.model_dump(mode="json", exclude={"metrics"})
            if evidence.telemetry
            else None,
            "report": evidence.report.model_dump(mode="json", exclude={"metrics"}),
            "identity": identity(order),
            "model_identity": order.prepared.model_identity,
            "gpu_uuid": order.gpu_uuid,
            "session": self.state.session,
            "caches_digest": order.prepared.digests.get("caches"),
            "image_digest": order.image.digest if order.image else None,
            "userland_digest": order.image.userland if order.image else None,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        return {**files, "metadata.json": to_json(redaction.published(metadata, self._secrets))}

    def _count_failure(self, row: Planned, evidence: Evidence, verdict: Verdict) -> None:
        """Give a model in an environment up for now where it keeps failing: another model may well run there."""
        pair = f"{row.model}__{row.environment}"
        if verdict.accepted:
            self._failures[pair] = 0
        elif evidence.outcome not in journal.NOT_COUNTED:
            self._failures[pair] += 1
            self.tell(
                f"rejected {row.run_id} attempt {evidence.attempt}: {', '.join(verdict.rejected_by)}"
                + (f" ({evidence.failure})" if evidence.failure else "")
            )
            failures = self._failures[pair]
            if failures >= self.campaign.breaker and pair not in self.state.breakers:
                reason = f"{failures} attempts in a row were rejected, the last by {', '.join(verdict.rejected_by)}"
                self.record("breaker", model=row.model, environment=row.environment, failures=failures, reason=reason)
                self.tell(
                    f"{row.model} in {row.environment}: {reason}. Its remaining runs wait for the next `campaign run`."
                )

    # --- the shakedown's decision --------------------------------------------------------------------------

    def _decide(self) -> None:
        """Once every unit has tried its cells: show what was found, and settle what happens to cells that cannot run."""
        alive = {name: lane for name, lane in self.lanes.items() if lane.is_alive()}
        waiting = {name: lane for name, lane in alive.items() if not lane.go.is_set()}
        if not waiting or not all(lane.shaken.is_set() for lane in alive.values()) or self.stopping.is_set():
            return
        every = shakedown.cells(self.plan)
        findings = self._findings(every)
        failing = {found.cell: found.cause for found in findings if not found.passed}
        without = shakedown.left_out(every, failing, self.campaign.reference)
        if any(lane.tried for lane in waiting.values()) or self.only_shakedown:
            known = shakedown.speeds(self.state, self.lanes)
            self.present(
                shakedown.describe(
                    self.campaign,
                    findings,
                    without,
                    total_s=shakedown.total_s(self.campaign, self.plan, known, {}),
                    without_s=shakedown.total_s(self.campaign, self.plan, known, without.reasons),
                )
            )
        self._settle(every, without)
        for lane in waiting.values():
            lane.go.set()
        if not self.stopping.is_set():
            self._say_stage("running")

    def _findings(self, every: list[Cell]) -> list[Finding]:
        by_unit = [
            self.state.shakedowns[unit, str(cell)]
            for cell in every
            for unit in self.lanes
            if (unit, str(cell)) in self.state.shakedowns
        ]
        return [Finding.from_json(event) for event in by_unit]

    def _settle(self, every: list[Cell], without: LeftOut) -> None:
        """Journal what is left out. Asked only about what was not settled before."""
        cells = {str(cell): why for cell, why in without.reasons.items()}
        if set(cells) != set(self.state.left_out):
            if without and set(cells) - set(self.state.left_out):
                if self.only_shakedown:
                    self.stopping.set()
                    return
                if len(cells) == len(every):
                    causes = "\n".join(f"  {cell}: {why}" for cell, why in cells.items())
                    raise DriverError(f"no cell of this campaign can run here:\n{causes}\nNothing was measured.")
                choice, by = self.choose(without)
                if choice == "stop":
                    self.pause_reason = f"shakedown: {len(cells)} cells cannot run; mend them, or go on --without them"
                    self.stopping.set()
                    return
                self.tell(f"going on without {len(cells)} cells ({by})")
                self.record("left_out", cells=cells, by=by)
            else:
                self.record("left_out", cells=cells, by="the shakedown: what could not run before runs now")
        if self.only_shakedown:
            self.stopping.set()

    # --- what one sees -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticked_s = time.monotonic()
        self.store.require_lock()
        snapshot = self.snapshot
        for name, count in self.state.count(row.run_id for row in self.plan).items():
            setattr(snapshot, name, count)
        snapshot.elapsed_s = time.monotonic() - self._began
        snapshot.eta_s = self._eta_s()
        for name, lane in self.lanes.items():
            if (status := lane.status()) is not None:
                snapshot.lanes[name] = status
        snapshot.updated_utc_ns = time.time_ns()
        self._write_status()
        self.show(snapshot)

    def _write_status(self) -> None:
        partial = self.store.root / ".status.json.new"
        partial.write_bytes(to_json(redaction.published(self.snapshot.to_json(), self._secrets)))
        account.give(partial)
        partial.rename(self.store.root / "status.json")

    def _write_last_status(self) -> None:
        """With the heads of journal and manifest, so that an end that is removed later is missed."""
        self.snapshot.journal, self.snapshot.manifest = self.store.head("journal"), self.store.head("manifest")
        self.snapshot.updated_utc_ns = time.time_ns()
        self.snapshot.digest = digest_of(self.snapshot)
        self._write_status()

    def _eta_s(self) -> float | None:
        """Mean duration of this session's attempts by model, over what is left."""
        everything = [seconds for values in self._durations.values() for seconds in values]
        if not everything:
            return None
        overall = sum(everything) / len(everything)
        left = 0.0
        for row in self.plan:
            if not self.state.done(row.run_id):
                known = self._durations.get(row.model)
                left += sum(known) / len(known) if known else overall
        return left / max(1, sum(lane.is_alive() for lane in self.lanes.values()))

    def say_shakedown(self, detail: str) -> None:
        self.tell(f"shakedown {detail}")
        self._say_stage("shakedown")

    def _say_stage(self, stage: str) -> None:
        self.snapshot.stage = stage
        self.show(self.snapshot)

    def _conclude(self) -> None:
        self._look()
        self._tick()
        left = [row for row in self.plan if not self.state.done(row.run_id)]
        if not left:
            if not self.state.completed:
                self.record(
                    "completed",
                    accepted=self.snapshot.accepted,
                    exhausted=self.snapshot.exhausted,
                    left_out=self.snapshot.left_out,
                    **({"spared": self.snapshot.spared} if self.snapshot.spared else {}),
                )
            self._say_stage("completed")
            return
        if self.pause_reason:
            reason = self.pause_reason
        elif self.only_shakedown:
            reason = "shakedown"
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


def power_w(evidence: Evidence) -> float | None:
    """Mean GPU power of the attempt; None where the unit cannot tell."""
    return next((metric.value for metric in evidence.metrics if metric.name == "power_mean_w"), None)
