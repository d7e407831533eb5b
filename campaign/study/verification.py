"""What ``campaign verify`` does with a study: every phase as a campaign, and the record above them: its chain, its
decisions made again from the phases' evidence, and that nothing is confirmed on the runs that chose it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign.audit.verification import verify as verify_campaign
from campaign.errors import CampaignError
from campaign.record import journal
from campaign.record.durable import StoreError
from campaign.record.store import Problem, Store
from campaign.study import decision as decisions
from campaign.study import loading as studies
from campaign.study import record

RESTORE = "Restore it from a backup; what it proves is lost otherwise"
STRANGE = "Move it out of the folder"
TOLERANCE = 1e-6
"""Relative: figures that are made again on another machine may differ in their last digits."""
KNOWN = (record.FACTS, record.JOURNAL, "report", ".driver.lock")


def verify(folder: Path, config: Path | None = None) -> Iterator[Problem]:
    """Everything wrong with a study's folder. ``config`` is the study's file where it was moved."""
    try:
        about = record.facts(folder)
        events = record.read(folder)
    except (StoreError, journal.JournalError) as problem:
        yield Problem(folder.name, str(problem).rstrip("."), "Nothing else was checked")
        return
    names = [str(phase["name"]) for phase in about["phases"]]
    yield from _record(folder, events, names)
    for path in sorted(folder.iterdir()):
        if path.name not in (*KNOWN, *names):
            yield Problem(path.name, "not a file of this study", STRANGE)
    yield from _phases(folder, events, names)
    yield from _reuse(folder, about)
    yield from _decisions(folder, about, events, config)
    for name in names:
        store = record.phase_store(folder, name)
        if store.exists():
            for found in verify_campaign(store, None):
                yield Problem(f"{name}/{found.path}", found.what, found.remedy)


def _record(folder: Path, events: list[dict[str, Any]], names: list[str]) -> Iterator[Problem]:
    """The journal's own lines, as far as they tell whether a study could have written them."""
    if not events or events[0]["event"] != "created":
        yield Problem(record.JOURNAL, "does not begin with `created`", RESTORE)
        return
    digest = hashlib.sha256((folder / record.FACTS).read_bytes()).hexdigest()
    if events[0]["files"].get(record.FACTS) != digest:
        yield Problem(record.FACTS, "its digest differs from that in the first line of the journal", RESTORE)
    decided: set[str] = set()
    for line, event in enumerate(events, 1):
        name = event.get("phase")
        if name is not None and name not in names:
            yield Problem(record.JOURNAL, f"line {line}: no phase is called {name!r}", RESTORE)
        if event["event"] in ("decided", "overridden"):
            decided.add(str(name))
        if event["event"] in ("began", "skipped", "ended") and name not in decided:
            yield Problem(
                record.JOURNAL, f"line {line}: {name} {event['event']} before anything was decided for it", RESTORE
            )
        if event["event"] == "overridden" and not event.get("reason"):
            yield Problem(record.JOURNAL, f"line {line}: {name} was decided by a person without a reason", RESTORE)


def _phases(folder: Path, events: list[dict[str, Any]], names: list[str]) -> Iterator[Problem]:
    """Each phase's own record against what the study's journal says of it."""
    for name in names:
        store = record.phase_store(folder, name)
        mine = [event for event in events if event.get("phase") == name]
        if not store.exists():
            if any(event["event"] == "ended" for event in mine):
                yield Problem(name, "ended by the study's journal, but its results are not there", RESTORE)
            continue
        own = journal.read(store.journal_path)[0]
        first = next((event["t_utc_ns"] for event in own if event["event"] == "dispatched"), None)
        for event in mine:
            if event["event"] == "ended":
                lines, _, _ = event["journal"].partition(":")
                if store.head("journal", int(lines)) != event["journal"]:
                    yield Problem(
                        f"{name}/journal.jsonl",
                        "the study knows it with another end: lines were removed or changed since",
                        RESTORE,
                    )
            if event["event"] in ("decided", "overridden") and first is not None and event["t_utc_ns"] > first:
                yield Problem(
                    record.JOURNAL,
                    f"line {event['seq'] + 1}: {name} was decided after its first run had begun",
                    RESTORE,
                )


def _reuse(folder: Path, about: dict[str, Any]) -> Iterator[Problem]:
    """No attempt of a screen stands in the phases that confirm what it chose."""
    kinds = {phase["phase"]: record.phase_store(folder, phase["name"]) for phase in about["phases"]}
    screened = _attempts(kinds.get("screening"))
    for kind in ("combination", "validation"):
        if shared := screened & _attempts(kinds.get(kind)):
            yield Problem(
                kinds[kind].root.name,
                f"error_screen_data_reused: {len(shared)} attempts of the screen are among its own",
                RESTORE,
            )


def _attempts(store: Store | None) -> set[str]:
    if store is None or not store.exists():
        return set()
    return {str(event["evidence"]) for event in journal.read(store.journal_path)[0] if event["event"] == "finished"}


def _decisions(
    folder: Path, about: dict[str, Any], events: list[dict[str, Any]], config: Path | None
) -> Iterator[Problem]:
    """Every decision of the rule, made again from the phases it rested on."""
    path = config or Path(about["config"])
    try:
        study = studies.load(path)
    except (OSError, CampaignError) as problem:
        yield Problem(
            record.JOURNAL,
            f"decisions were not made again: {path} cannot be read ({str(problem).splitlines()[0]})",
            "Name the study's file with --config",
        )
        return
    if study.hash != record.fold(events).hash:
        yield Problem(
            record.JOURNAL,
            f"decisions were not made again: {path} is not what the study was carried out with",
            "Name the right file with --config",
        )
        return
    for number, event in enumerate(events):
        if event["event"] != "decided" or event["by"] != "the rule":
            continue
        try:
            choice, evidence = decisions.decide(
                study, study.phase(event["phase"]), folder, record.fold(events[:number])
            )
        except CampaignError as problem:
            yield Problem(record.JOURNAL, f"line {number + 1}: cannot be decided again ({problem})", RESTORE)
            continue
        if choice.to_json() != event["choice"]:
            yield Problem(
                record.JOURNAL,
                f"line {number + 1}: the evidence gives {json.dumps(choice.to_json())} for {event['phase']}, written "
                f"is {json.dumps(event['choice'])}",
                RESTORE,
            )
        elif (where := _differs(evidence, event["evidence"])) is not None:
            yield Problem(
                record.JOURNAL, f"line {number + 1}: the evidence for {event['phase']} is another: {where}", RESTORE
            )


def _differs(a: Any, b: Any, path: str = "") -> str | None:
    """Where two pieces of evidence differ; None where they agree."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{path}: {sorted(a.keys() ^ b.keys())}"
        return next((found for key in a if (found := _differs(a[key], b[key], f"{path}.{key}")) is not None), None)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next(
            (found for i, (x, y) in enumerate(zip(a, b, strict=True)) if (found := _differs(x, y, f"{path}[{i}]"))),
            None,
        )
    if isinstance(a, float) and isinstance(b, float):
        return None if abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1e-3) else f"{path}: {a} and {b}"
    return None if a == b else f"{path}: {a!r} and {b!r}"
