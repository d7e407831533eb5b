"""A study's folder: ``study.json``, the journal of its decisions (``study.jsonl``),
and a results folder for each phase.

The journal is written and chained like a campaign's. Folding it tells what every phase was decided to be, by whom, and
how far the study is; how far a phase is, its own journal tells.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors import host
from campaign.record import journal
from campaign.record import untrusted as foreign
from campaign.record.durable import StoreError, to_json, write_durably
from campaign.record.store import Store
from campaign.study.asked import Choice
from campaign.study.config import Study

FACTS = "study.json"
JOURNAL = "study.jsonl"


@dataclass
class PhaseState:
    """What the study's journal says of one phase."""

    choice: Choice | None = None
    """As decided last; None where nothing was."""
    decision: dict[str, Any] | None = None
    """The event of the rule's decision, with its evidence."""
    overrides: list[dict[str, Any]] = field(default_factory=list)
    """Events ``overridden``: what a person decided instead, and why."""
    began: bool = False
    ended: dict[str, Any] | None = None
    skipped: str | None = None
    paused: bool = False
    """The study stopped for this decision to be looked at, and nobody went on since."""


@dataclass
class StudyState:
    """The study's journal folded."""

    phases: dict[str, PhaseState] = field(default_factory=dict)
    hash: str = ""
    """Of the config that was accepted last."""
    completed: bool = False

    def phase(self, name: str) -> PhaseState:
        return self.phases.setdefault(name, PhaseState())


def is_study(folder: Path) -> bool:
    """Whether a results folder is a study's."""
    return (folder / FACTS).exists()


def phase_store(folder: Path, phase: str) -> Store:
    """Where a phase's results lie."""
    return Store(folder / phase)


def facts(folder: Path) -> dict[str, Any]:
    """``study.json``. Raises StoreError where it is not that of a study."""
    path = folder / FACTS
    try:
        value = json.loads(foreign.read_bytes(path))
    except FileNotFoundError:
        raise StoreError(
            f"{folder}: no study here (no {FACTS}). Start one with `campaign run`, or name its folder."
        ) from None
    except (ValueError, RecursionError, foreign.Unreadable) as problem:
        raise StoreError(f"{path}: damaged ({problem}). Restore it from a backup.") from None
    if not isinstance(value, dict) or not {"study", "study_hash", "phases"} <= set(value):
        raise StoreError(f"{path}: damaged (not what a study writes). Restore it from a backup.")
    return value


def begin(folder: Path, study: Study, simulated: bool = False) -> journal.Journal:
    """The study's journal, open for writing; makes the folder's ``study.json`` where there is none. Raises StoreError
    where it is another study's."""
    known = (folder / FACTS).exists()
    if known:
        if (name := facts(folder)["study"]) != study.name:
            raise StoreError(f"{folder}: holds the study {name}, not {study.name}. Choose another --results folder.")
    else:
        about = {
            "study": study.name,
            "description": study.description,
            "study_hash": study.hash,
            "created_utc_ns": time.time_ns(),
            "simulated": simulated,
            "config": str(study.path.absolute()),
            "code": host.code_digest(),
            "on_decision": study.on_decision,
            "phases": [phase.model_dump(mode="json") for phase in study.phases],
        }
        write_durably(folder / FACTS, to_json(about))
    writer = journal.Journal(folder / JOURNAL)
    if not writer.events:
        digest = hashlib.sha256((folder / FACTS).read_bytes()).hexdigest()
        writer.append("created", study=study.name, study_hash=study.hash, files={FACTS: digest})
    return writer


def read(folder: Path) -> list[dict[str, Any]]:
    """All events of the study's journal."""
    return journal.read(folder / JOURNAL)[0]


def fold(events: list[dict[str, Any]]) -> StudyState:
    """The state after ``events``; unknown ones are skipped."""
    state = StudyState()
    for event in events:
        apply(state, event)
    return state


def apply(state: StudyState, event: dict[str, Any]) -> None:
    kind = event["event"]
    phase = state.phase(event["phase"]) if "phase" in event else PhaseState()
    if kind in ("created", "accepted"):
        state.hash = event["study_hash"]
    elif kind == "decided":
        phase.choice, phase.decision, phase.skipped = Choice.from_json(event["choice"]), event, None
    elif kind == "overridden":
        phase.choice, phase.paused, phase.skipped = Choice.from_json(event["choice"]), False, None
        phase.overrides.append(event)
        state.completed = False
        _open_again(state, event)
    elif kind == "paused":
        phase.paused = True
    elif kind == "went_on":
        phase.paused = False
    elif kind == "began":
        phase.began = True
    elif kind == "ended":
        phase.ended = event
    elif kind == "skipped":
        phase.skipped = event["reason"]
    elif kind == "completed":
        state.completed = True


def _open_again(state: StudyState, event: dict[str, Any]) -> None:
    """What a rule decided after the phase that a person now decides rests on what was decided before:
    it is decided anew."""
    here = state.phase(event["phase"]).decision
    for name, phase in state.phases.items():
        later = phase.decision is not None and here is not None and phase.decision["seq"] > here["seq"]
        if name != event["phase"] and later and not phase.began and not phase.overrides:
            phase.choice = phase.decision = phase.skipped = None
            phase.paused = False


def study_folder(root: Path, name: str, new: bool) -> Path:
    """The folder of the latest study called ``name`` below ``root``, or of another one beside it."""

    def numbered(number: int) -> Path:
        return root / (name if number == 1 else f"{name}-{number}")

    number = 1
    while numbered(number + 1).exists():
        number += 1
    folder = numbered(number + 1) if new and is_study(numbered(number)) else numbered(number)
    if folder.exists() and not is_study(folder) and any(folder.glob("[!.]*")):
        raise StoreError(f"{folder}: not empty and not a study. Move it away, or choose another --results folder.")
    return folder
