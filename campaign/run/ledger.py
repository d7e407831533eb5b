"""What a driver writes down: state and journal of the campaign that it carries out, and the evidence of its attempts.

One lock serialises the lanes. Whatever a method here has done is durable when it returns.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from threading import Lock
from typing import Any

from actors import host
from actors.clock import Clock
from actors.types import Attempt, Evidence
from campaign.config import redaction
from campaign.config.schema import Campaign
from campaign.plan import registration
from campaign.plan.design import Planned, plan, plan_hash, to_table
from campaign.record import journal, provenance
from campaign.record.attempt import AttemptRecord, kept_of
from campaign.record.durable import to_json
from campaign.record.layout import attempt_folder, journalled, stored_name
from campaign.record.store import Store
from campaign.run import adoption
from campaign.run.acceptance import Verdict, canaries
from campaign.run.orders import identity
from campaign.run.outliers import outliers
from campaign.run.shakedown import Finding

Tell = Callable[[str], None]


class Ledger:
    """State and journal of one campaign under way, and its results folder."""

    def __init__(self, store: Store, writer: journal.Journal, secrets: Set[str] = frozenset()) -> None:
        """Of a folder that holds ``campaign.json`` and the plan. ``secrets`` are kept out of whatever is written."""
        self.store = store
        self.info = store.info()
        self.plan: tuple[Planned, ...] = tuple(Planned(**row) for row in store.plan())
        self.state = journal.fold(writer.events)
        self._journal = writer
        self._secrets = secrets
        self._lock = Lock()

    @property
    def events(self) -> list[dict[str, Any]]:
        return self._journal.events

    def record(self, event: str, **fields: Any) -> None:
        """Journal an event, durable on return, and fold it into the state."""
        with self._lock:
            fields = redaction.published(fields, self._secrets)
            journal.apply(self.state, self._journal.append(event, **fields, **self.store.take_unbound()))

    def blocks(self) -> dict[str, list[Planned]]:
        """The plan's rows by block, in its order."""
        found: dict[str, list[Planned]] = {}
        for row in self.plan:
            found.setdefault(row.block, []).append(row)
        return found

    def done(self, rows: Iterable[Planned]) -> bool:
        """Whether nothing more is to be done for any of the runs."""
        return all(self.state.done(row.run_id) for row in rows)

    def untouched(self, rows: Iterable[Planned]) -> bool:
        """Whether none of the runs counts yet."""
        return all(self.state.run(row.run_id).accepted is None for row in rows)

    def left(self) -> list[Planned]:
        """Runs for which something is to be done."""
        return [row for row in self.plan if not self.state.done(row.run_id)]

    # --- before the lanes ----------------------------------------------------------------------------------

    def register(self, tell: Tell) -> None:
        """Take the registration in that lies beside the results folder, as long as nothing was measured."""
        if any(event["event"] == "registered" for event in self.events):
            return
        inside, beside = self.store.root / registration.NAME, registration.place_beside(self.store.root)
        if not inside.exists() and not beside.exists():
            return
        if self.store.began():
            tell(f"{beside}: not taken in, since the first run had begun: a registration after it shows nothing")
            return
        if inside.exists():  # a driver was killed before it could journal it
            data, registered = registration.read(inside)
            self.store.enlist([registration.NAME])
        else:
            data, registered = registration.read(beside)
            self.store.write(registration.NAME, data)
        self.record("registered", sha256=registration.sha256(data))
        tell(f"registered: sha256 {registration.sha256(data)}")
        for line in registration.deviations(registered, self.info, self.events):
            tell(f"deviation from the registration: {line}")

    def adopt(self, tell: Tell) -> None:
        """Journal attempts whose files became durable just before the line that speaks of them."""
        for place in adoption.unknown(self.store, journalled(self.events)):
            try:
                record, digest = adoption.evidence(self.store, place, self.info, self.state)
            except adoption.Strange as problem:
                where = self.store.set_aside(place)
                tell(f"set {place.relative_to(self.store.root)} aside: {problem}; it lies in {where}")
                continue
            self.store.enlist(str(path.relative_to(self.store.root)) for path in place.rglob("*") if path.is_file())
            self.record(
                "finished",
                **{key: getattr(record, key) for key in ("run_id", "attempt", "unit", "outcome", "accepted")},
                rejected_by=record.rejected_by,
                evidence=digest,
                adopted=True,
            )
            tell(f"took in {record.run_id} attempt {record.attempt}, which had finished when the driver was killed")

    # --- runs that are measured again ------------------------------------------------------------------------

    def move(self, block: Sequence[Planned], old: str, new: str) -> None:
        """Journal that a block goes to another unit, whole: what the old unit measured of it is measured again."""
        self.record("requeued", block=block[0].block, **{"from": old, "to": new})
        for row in block:
            if self.state.run(row.run_id).accepted is not None:
                self.record("reopened", run_id=row.run_id, reason=f"its block moved from {old} to {new}")

    def begin_session(self, what: str, differences: list[str], now: str, unit: str | None) -> None:
        """Go on under other conditions: runs of blocks that had begun before are measured again, so that no block holds
        runs of two sessions. ``unit`` is the one whose conditions changed, None the whole campaign."""
        self.record("override", what=what, difference=differences, now=now, session=self.state.session + 1)
        for rows in self.blocks().values():
            measured = [row.run_id for row in rows if self.state.run(row.run_id).accepted is not None]
            if not measured or self.done(rows):
                continue
            if unit is None or any(self.state.run(run_id).unit == unit for run_id in measured):
                for run_id in measured:
                    self.record("reopened", run_id=run_id, reason=f"its block began before a change of {what}")

    def reopen_outliers(self, sigma: float, tell: Tell) -> bool:
        """Open the outliers of a campaign that is done again, each run at most once. Whether there are any."""
        if self.left():
            return False
        again = {event["run_id"] for event in self.events if event["event"] == "reopened"}
        accepted = {run_id: run.accepted for run_id, run in self.state.runs.items() if run.accepted is not None}
        found = outliers(self.store, list(self.plan), accepted, sigma)
        for run_id, reason in found.items():
            if run_id not in again:
                self.record("reopened", run_id=run_id, reason=reason)
                tell(f"once more {run_id}: {reason}")
        return bool(found.keys() - again)

    # --- attempts --------------------------------------------------------------------------------------------

    def commit(self, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict) -> None:
        """Make an attempt durable: its folder, then its journal line."""
        place = self.store.attempt_path(row.run_id, evidence.attempt)
        digest = self.store.commit_folder(place, self._files(place, row, order, evidence, verdict))
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

    def commit_shakedown(
        self, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict, found: Finding
    ) -> None:
        """Keep an unmeasured attempt apart from the results, and journal what it showed."""
        place = self.store.root / attempt_folder({"event": "shakedown", **found.to_json()})
        digest = self.store.commit_folder(place, self._files(place, row, order, evidence, verdict))
        self.record("shakedown", outcome=evidence.outcome, evidence=digest, **found.to_json())

    def receive(self, place: Path, large: Mapping[str, Iterable[bytes]]) -> None:
        """Files of an attempt that did not come with its evidence, by name, each in pieces;
        :meth:`commit` of ``place`` takes them in."""
        self.store.forget_received(place)
        for name, pieces in large.items():
            told = pieces if is_binary(name) else redaction.without_in(pieces, self._secrets)
            self.store.receive(place, stored_name(name), told)

    def _files(
        self, place: Path, row: Planned, order: Attempt, evidence: Evidence, verdict: Verdict
    ) -> dict[str, bytes]:
        """The files of an attempt that are in memory: its evidence,
        and ``metadata.json`` with the digests of it all."""
        files = {
            stored_name(name): data if is_binary(name) else redaction.without(data, self._secrets)
            for name, data in evidence.files.items()
        }
        record = AttemptRecord(
            **kept_of(evidence),
            **{name: getattr(row, name) for name in ("phase", "model", "environment", "workload", "engine")},
            **{name: getattr(row, name) for name in ("repetition", "block", "position")},
            campaign_id=self.info["campaign_id"],
            accepted=verdict.accepted,
            verdict=verdict.checks,
            identity=identity(order),
            model_identity=order.prepared.model_identity,
            gpu_uuid=order.gpu_uuid,
            session=self.state.session,
            caches_digest=order.prepared.digests.get("caches"),
            image_digest=order.image.digest if order.image else None,
            userland_digest=order.image.userland if order.image else None,
            files={
                **{name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
                **self.store.received_digests(place),
            },
        )
        return {**files, "metadata.json": to_json(redaction.published(record.to_json(), self._secrets))}


def is_binary(name: str) -> bool:
    """A file whose bytes are no text, so that replacing some would only break it."""
    return name.endswith(".parquet")


def power_w(evidence: Evidence) -> float | None:
    """Mean GPU power of the attempt; None where the unit cannot tell."""
    return next((metric.value for metric in evidence.metrics if metric.name == "power_mean_w"), None)


# --- a campaign's folder -----------------------------------------------------------------------------------


def open_ledger(
    campaign: Campaign,
    store: Store,
    units: Sequence[str],
    *,
    clock: Clock,
    simulated: bool,
    about: Mapping[str, Any] | None = None,
    chosen_because: str = "",
    secrets: Set[str] = frozenset(),
) -> Ledger:
    """The ledger of ``campaign`` in ``store``, whose folder is made where there is none; ``units`` are then what the
    plan is for, and ``about`` what ``campaign.json`` says of them besides."""

    def writer() -> journal.Journal:
        return journal.Journal(store.journal_path, utc_ns=clock.utc_ns, durable=store.durable, simulated=simulated)

    if not store.exists():
        _create(campaign, store, units, clock, simulated, about or {}, chosen_because, writer)
    return Ledger(store, writer(), secrets)


def _create(
    campaign: Campaign,
    store: Store,
    units: Sequence[str],
    clock: Clock,
    simulated: bool,
    about: Mapping[str, Any],
    chosen_because: str,
    writer: Callable[[], journal.Journal],
) -> None:
    from pyarrow import parquet

    planned = plan(campaign, lanes=len(units), simulated=simulated)
    created = clock.utc_ns()
    hash_ = plan_hash(planned)
    code = provenance.code()
    info = {
        "campaign": campaign.name,
        "campaign_id": hashlib.sha256(f"{campaign.config_hash}{hash_}{created}".encode()).hexdigest()[:12],
        "config_hash": campaign.config_hash,
        "plan_hash": hash_,
        "seed": campaign.seed,
        "created_utc_ns": created,
        "simulated": simulated,
        "chosen_because": chosen_because,
        "lanes": list(units),
        "code": code,
        "host": host.describe(),
        "config": campaign.published(),
        **about,
    }
    buffer = io.BytesIO()
    parquet.write_table(to_table(planned), buffer)
    store.write("plan.parquet", buffer.getvalue())
    store.write("campaign.json", to_json(info))
    first = writer()
    if not first.events:
        first.append(
            "created",
            campaign_id=info["campaign_id"],
            config_hash=info["config_hash"],
            plan_hash=hash_,
            code_digest=code["digest"],
            **store.take_unbound(),
        )
    first.close()
