"""The campaign's memory: one line per transition, appended and fsynced, each carrying the hash of the one before.

Folding the journal over the plan gives the state. A line is durable or it does not exist: the only damage a crash
can do is a torn last line, which the writer cuts off and remembers. Anything else that breaks the chain
is an error, because it means that somebody changed the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from actors import account
from campaign.errors import CampaignError
from campaign.record import untrusted

GENESIS = "0" * 64


class JournalError(CampaignError):
    """The journal cannot be trusted. The message names file, line and remedy."""


def digest(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()


def read(path: Path) -> tuple[list[dict[str, Any]], int, str]:
    """All whole events, the byte offset behind the last of them, and its hash.

    A last line without a newline, or one that is not JSON, counts as torn and is left out. Any other defect raises
    :class:`JournalError`.
    """
    events: list[dict[str, Any]] = []
    offset, previous = 0, GENESIS
    try:
        data = untrusted.read_bytes(path)
    except FileNotFoundError:
        data = b""
    except untrusted.Unreadable as problem:
        raise JournalError(
            f"{path}: {problem}. Restore it from a backup, or start another campaign with NEW=1."
        ) from None
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        last = number == len(lines)
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no newline")
            event = json.loads(line)
            if not isinstance(event, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as problem:
            if last:
                break
            raise JournalError(
                f"{path}:{number}: unreadable line ({problem}). The journal was damaged after it was written; "
                "restore it from a backup, or start another campaign with NEW=1."
            ) from None
        if event.get("seq") != number - 1 or event.get("prev") != previous:
            raise JournalError(
                f"{path}:{number}: the hash chain is broken: the line before was changed or removed. "
                "Restore the file from a backup, or start another campaign with NEW=1."
            )
        events.append(event)
        previous = digest(line)
        offset += len(line)
    return events, offset, previous


class Journal:
    """The writer. Only the driver has one; appends are serialised across its lanes."""

    def __init__(
        self,
        path: Path,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        durable: bool = True,
        simulated: bool = False,
    ) -> None:
        """``utc_ns`` dates events; where not ``durable``, the disk is not waited for;
        ``simulated`` is said in every event."""
        self.path = path
        self._utc_ns = utc_ns
        self._durable = durable
        self.events, offset, self._previous = read(path)
        marked = simulated or (bool(self.events) and self.events[0].get("simulated") is True)
        self._mark = {"simulated": True} if marked else {}
        self._lock = Lock()
        torn = (path.stat().st_size if path.exists() else 0) - offset
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        account.give(path)
        self._end = offset
        if torn:
            os.ftruncate(self._file, offset)
            self.append("recovered", torn_bytes=torn)

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one event and return once it is on the disk."""
        with self._lock:
            record = {
                "seq": len(self.events),
                "t_utc_ns": self._utc_ns(),
                "event": event,
                **self._mark,
                **fields,
                "prev": self._previous,
            }
            self._require_untouched()
            line = json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n"
            start = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) != len(line):
                    raise OSError("short write: the disk is full")
                if self._durable:
                    os.fdatasync(self._file)
            except OSError:
                # Half a line would pass for damage once another follows it.
                os.ftruncate(self._file, start)
                raise
            self._previous = digest(line)
            self._end = start + len(line)
            self.events.append(record)
            return record

    def _require_untouched(self) -> None:
        """Raises JournalError where the file under our name is no longer the one that we write to, or holds more or
        less than we wrote: going on would measure for a record that nobody can follow."""
        try:
            named = self.path.stat()
        except OSError as problem:
            raise JournalError(
                f"{self.path}: taken away while the campaign ran ({problem.strerror}). Put it back where it was; "
                "the same command goes on."
            ) from None
        ours = os.fstat(self._file)
        if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino) or ours.st_size != self._end:
            raise JournalError(
                f"{self.path}: changed by somebody else while the campaign ran. Nothing more was measured; restore "
                "it from a backup, or start another campaign with NEW=1."
            )

    def close(self) -> None:
        os.close(self._file)


@dataclass
class RunState:
    """What the journal says of one run."""

    attempts: int = 0
    """Highest attempt number ever dispatched."""
    accepted: int | None = None
    """Number of the accepted attempt."""
    open: tuple[int, str] | None = None
    """Attempt and unit dispatched without an end."""
    rejected: int = 0
    """Attempts that count against the limit: ended, not accepted, and not for a reason of ours."""
    exhausted: bool = False
    unit: str | None = None
    """Where it was accepted."""

    @property
    def done(self) -> bool:
        return self.accepted is not None or self.exhausted


@dataclass
class State:
    """The journal folded."""

    runs: dict[str, RunState] = field(default_factory=dict)
    completed: bool = False
    opened: int = 0
    breakers: dict[str, str] = field(default_factory=dict)
    """``model__environment`` to the reason its breaker opened, since the last start."""
    left_out: dict[str, str] = field(default_factory=dict)
    """``model__environment__workload`` to why the campaign goes on without it."""
    closed: dict[str, str] = field(default_factory=dict)
    """``model__workload`` to why a look gave it no further blocks."""
    shakedowns: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Unit and cell to the last event of its shakedown."""
    caches: dict[tuple[str, str], str] = field(default_factory=dict)
    """Unit and model (``name``, or ``name@variant`` for arms with software of their own) to the digest of the compile
    caches that its runs began with."""
    conditions: dict[str, dict[str, str]] = field(default_factory=dict)
    """Unit to the conditions that its runs are measured under, as last accepted."""
    accepted: dict[str, str] = field(default_factory=dict)
    """What had changed to what it was when the change was accepted."""
    session: int = 1
    """Raised whenever something else was accepted than what the campaign began with:
    runs before and after are different blocks."""
    accepted_s: dict[str, list[float]] = field(default_factory=dict)
    """Cell to the seconds from exec to exit of its accepted runs."""
    power_w: dict[str, list[float]] = field(default_factory=dict)
    """Cell to the mean GPU power of its accepted runs."""
    moved: dict[str, str] = field(default_factory=dict)
    """Block to the unit that it was last moved to."""
    references: dict[str, float] = field(default_factory=dict)
    """Unit to its reference MemAvailable, GiB."""
    canaries: dict[str, float] = field(default_factory=dict)
    """Unit to the best figure its canary ever gave, GB/s."""

    def run(self, run_id: str) -> RunState:
        return self.runs.setdefault(run_id, RunState())

    def done(self, run_id: str) -> bool:
        """Whether nothing more is to be done for the run: accepted, given up, of a cell that is left out,
        or not needed."""
        return self.run(run_id).done or cell_of(run_id) in self.left_out or self.spared(run_id)

    def spared(self, run_id: str) -> bool:
        """Whether the run was never needed, because a look decided its model before."""
        return bool(self.closed) and not self.run(run_id).done and pair_of(run_id) in self.closed

    def count(self, run_ids: Iterable[str]) -> dict[str, int]:
        """How planned runs stand, as :class:`campaign.record.snapshot.Snapshot` counts them."""
        planned, runs = list(run_ids), list(self.runs.values())
        spared = sum(self.spared(run_id) for run_id in planned)
        return {
            "accepted": sum(run.accepted is not None for run in runs),
            "exhausted": sum(run.exhausted and run.accepted is None for run in runs),
            "left_out": sum(self.done(run_id) and not self.run(run_id).done for run_id in planned) - spared,
            "spared": spared,
            "rejected_attempts": sum(run.rejected for run in runs),
        }


def cell_of(run_id: str) -> str:
    """``model__environment__workload`` of a run's id."""
    return run_id.rpartition("__")[0]


def pair_of(run_id: str) -> str:
    """``model__workload`` of a run's id."""
    model, _, workload, _ = run_id.split("__")
    return f"{model}__{workload}"


def tried_cell(event: dict[str, Any]) -> str:
    """``model__environment__workload`` that an event ``shakedown`` is about."""
    return f"{event['model']}__{event['environment']}__{event['workload']}"


NOT_COUNTED = frozenset({"aborted", "interrupted", "gate_timeout", "infrastructure"})
"""Outcomes that say nothing against the run: we stopped it, it never started, or the unit was at fault."""


def fold(events: list[dict[str, Any]]) -> State:
    """State after ``events``. Unknown events are skipped, so that an older reader survives a newer writer."""
    state = State()
    for event in events:
        apply(state, event)
    return state


def apply(state: State, event: dict[str, Any]) -> None:
    """Change ``state`` by one event."""
    if (change := EVENTS.get(event["event"])) is not None:
        change(state, event)


def _dispatched(state: State, event: dict[str, Any]) -> None:
    run = state.run(event["run_id"])
    run.attempts = max(run.attempts, event["attempt"])
    run.open = (event["attempt"], event["unit"])


def _finished(state: State, event: dict[str, Any]) -> None:
    run = state.run(event["run_id"])
    run.attempts = max(run.attempts, event["attempt"])
    if run.open and run.open[0] == event["attempt"]:
        run.open = None
    if best := event.get("canary_gb_s"):
        state.canaries[event["unit"]] = max(best, state.canaries.get(event["unit"], 0.0))
    if event["accepted"]:
        run.accepted, run.unit = event["attempt"], event["unit"]
        for name, into in (("run_s", state.accepted_s), ("power_w", state.power_w)):
            if (value := event.get(name)) is not None:
                into.setdefault(cell_of(event["run_id"]), []).append(value)
    elif event["outcome"] not in NOT_COUNTED:
        run.rejected += 1


def _exhausted(state: State, event: dict[str, Any]) -> None:
    state.run(event["run_id"]).exhausted = True


def _reopened(state: State, event: dict[str, Any]) -> None:
    run = state.run(event["run_id"])
    run.exhausted, run.rejected, run.accepted = False, 0, None
    state.completed = False


def _requeued(state: State, event: dict[str, Any]) -> None:
    state.moved[event["block"]] = event["to"]


def _breaker(state: State, event: dict[str, Any]) -> None:
    cell = f"{event['model']}__{event['environment']}" if "model" in event else event["environment"]
    state.breakers[cell] = event["reason"]


def _shakedown(state: State, event: dict[str, Any]) -> None:
    state.shakedowns[event["unit"], tried_cell(event)] = event


def _left_out(state: State, event: dict[str, Any]) -> None:
    state.left_out = dict(event["cells"])
    state.completed = False


def _look(state: State, event: dict[str, Any]) -> None:
    state.closed |= event["stopped"]


def _override(state: State, event: dict[str, Any]) -> None:
    state.session += 1
    state.accepted[event["what"]] = event.get("now", "")


def _conditions(state: State, event: dict[str, Any]) -> None:
    state.conditions[event["unit"]] = event["facts"]


def _caches(state: State, event: dict[str, Any]) -> None:
    state.caches[event["unit"], event["model"]] = event["digest"]


def _opened(state: State, event: dict[str, Any]) -> None:
    state.opened += 1
    state.breakers.clear()


def _reference(state: State, event: dict[str, Any]) -> None:
    state.references.setdefault(event["unit"], event["mem_available_gib"])


def _completed(state: State, event: dict[str, Any]) -> None:
    state.completed = True


EVENTS: dict[str, Callable[[State, dict[str, Any]], None]] = {
    "dispatched": _dispatched,
    "finished": _finished,
    "exhausted": _exhausted,
    "reopened": _reopened,
    "requeued": _requeued,
    "breaker": _breaker,
    "shakedown": _shakedown,
    "left_out": _left_out,
    "look": _look,
    "override": _override,
    "conditions": _conditions,
    "caches": _caches,
    "opened": _opened,
    "reference": _reference,
    "completed": _completed,
}
"""Event to what it changes; of every other nothing follows."""


def finished(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (event for event in events if event["event"] == "finished")
