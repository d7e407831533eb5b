"""How a campaign stands, read from its folder by anyone at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors import processes
from campaign.errors import nearest
from campaign.record import journal, untrusted
from campaign.record.attempt import AttemptRecord
from campaign.record.durable import StoreError
from campaign.record.snapshot import Snapshot
from campaign.record.store import Store


class NotCarriedOut(StoreError):
    """A run that is planned and that nobody has attempted yet."""


def standing(folder: Path) -> tuple[Snapshot, bool]:
    """The campaign's snapshot, and whether its driver runs."""
    store = Store(folder)
    info = store.info()
    events, _, _ = journal.read(store.journal_path)
    state = journal.fold(events)
    try:
        snapshot = Snapshot.model_validate_json(untrusted.read_bytes(folder / "status.json"))
    except (OSError, ValueError, untrusted.Unreadable):
        snapshot = Snapshot(campaign=info["campaign"], results=str(folder))
    running = _drives(snapshot.pid)
    planned = [row["run_id"] for row in store.plan()]
    stage = snapshot.stage if running else "completed" if state.completed else "stopped; the same command goes on"
    update = {
        "total": len(planned),
        "stage": stage,
        **state.count(planned),
    }
    if not running:
        update |= {"lanes": {}, "eta_s": None}
    return snapshot.model_copy(update=update), running


def _drives(pid: int) -> bool:
    return pid > 0 and "campaign" in processes.command_line(pid)


def describe_run(folder: Path, run_id: str, command_only: bool = False) -> str:
    """A run's attempts and verdicts, or the exact command of the accepted (else the last) attempt. Raises
    :class:`NotCarriedOut`, or :class:`StoreError` where no such run is planned."""
    store = Store(folder)
    if reason := untrusted.bad_name(run_id):
        raise StoreError(f"{run_id!r}: not a run ({reason})")
    attempts = sorted(int(path.name) for path in (folder / "attempts" / run_id).glob("[0-9]*") if path.name.isdigit())
    if not attempts:
        known = [row["run_id"] for row in store.plan()]
        if run_id in known:
            raise NotCarriedOut(f"{run_id}: planned, not carried out yet")
        raise StoreError(f"{run_id}: no such run in {folder}. {nearest(run_id, known, most=3)}")
    events, _, _ = journal.read(store.journal_path)
    number = journal.fold(events).run(run_id).accepted or attempts[-1]
    command = _read(store.attempt_path(run_id, number) / "command.json")
    if command_only:
        return _command_text(command)
    lines = [run_id]
    for attempt in attempts:
        record = _record(store.attempt_path(run_id, attempt) / "metadata.json")
        lines.append(
            f"attempt {attempt} on {record.unit}: {record.outcome}, {'accepted' if record.accepted else 'rejected'}"
        )
        lines += [
            f"  {'?' if check.passed is None else '+' if check.passed else '-'} {check.check}: {check.figure}"
            f" (asked: {check.limit})" + (f", {check.reason}" if check.reason else "")
            for check in record.verdict
        ]
    return "\n".join([*lines, "", _command_text(command)])


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(untrusted.read_bytes(path))
    except (OSError, ValueError, RecursionError, untrusted.Unreadable) as problem:
        raise _unreadable(path, problem) from None
    return value


def _record(path: Path) -> AttemptRecord:
    try:
        return AttemptRecord.read(untrusted.read_bytes(path))
    except (OSError, ValueError, RecursionError, untrusted.Unreadable) as problem:
        raise _unreadable(path, problem) from None


def _unreadable(path: Path, problem: Exception) -> StoreError:
    said = str(problem).splitlines()[0]
    return StoreError(f"{path}: unreadable ({said}). Restore it from a backup; `campaign verify` says more.")


def _command_text(command: dict[str, object]) -> str:
    return "\n".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, indent=1)}" for key, value in command.items()
    )
