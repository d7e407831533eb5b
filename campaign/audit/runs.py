"""Every attempt against its evidence, and every verdict judged again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from campaign.audit.again import campaign_of, judge_again, other_code
from campaign.audit.words import RESTORE, STRANGE, Event
from campaign.record import journal, untrusted
from campaign.record.layout import attempt_folder
from campaign.record.store import Problem, Store


def runs_problems(store: Store, info: dict[str, Any], events: list[Event], plan: list[Event]) -> Iterator[Problem]:
    state = yield from _attempts(store, info, events, plan)
    accepted: Counter[str] = Counter()
    for event in journal.finished(events):
        accepted[event["run_id"]] += bool(event["accepted"])
    reopened = Counter(event["run_id"] for event in events if event["event"] == "reopened")
    for run_id, number in accepted.items():
        if number > 1 + reopened[run_id]:
            yield Problem("journal.jsonl", f"{run_id} has {number} accepted attempts", RESTORE)
    for run_id, run in state.runs.items():
        if run.open and state.completed:
            yield Problem("journal.jsonl", f"{run_id}: attempt {run.open[0]} never ended", "Run the campaign again")
    for place in sorted(store.root.glob("attempts/*/[0-9]*")):
        if place.name.isdecimal() and state.run(place.parent.name).attempts < int(place.name):
            yield Problem(
                untrusted.plain(str(place.relative_to(store.root))),
                "not in the journal",
                "`campaign run` takes it in, or sets it aside, at its next start",
            )


def _attempts(
    store: Store, info: dict[str, Any], events: list[Event], plan: list[Event]
) -> Generator[Problem, None, journal.State]:
    """Each attempt that the journal tells of, against its evidence; returns the state that the journal leads to."""
    rows = {row["run_id"]: row for row in plan}
    campaign = campaign_of(info)
    changed = False  # the config, with --accept-drift: later verdicts rest on one that is not in the folder
    state = journal.State()
    for event in events:
        if event["event"] == "override":
            changed |= any(str(line).startswith("config:") for line in event["difference"])
        if event["event"] == "finished":
            metadata = yield from _metadata(store, attempt_folder(event), event["evidence"])
            if metadata is not None and (row := rows.get(event["run_id"])) is not None:
                yield from _attempt(info, row, event, metadata)
                if campaign is not None and not changed:
                    yield from _verdict(info, campaign, state, event, metadata)
        elif event["event"] == "shakedown" and event.get("evidence"):
            yield from _metadata(store, attempt_folder(event), event["evidence"])
        journal.apply(state, event)
    return state


def _metadata(store: Store, name: str, expected: str) -> Generator[Problem, None, dict[str, Any] | None]:
    """An attempt's metadata (returned, None where it is not what the journal speaks of), and its files against it."""
    path = store.root / name / "metadata.json"
    if not path.exists() or untrusted.why_not(path):
        yield Problem(name, "the journal says it finished, but its files are missing", RESTORE)
        return None
    if untrusted.sha256(path) != expected:
        yield Problem(f"{name}/metadata.json", "its digest differs from the journal's", RESTORE)
        return None
    metadata: dict[str, Any] = json.loads(untrusted.read_bytes(path))
    files = metadata.get("files", {})
    for file, digest in files.items():
        place = store.root / name / file
        if not place.exists() or untrusted.why_not(place):
            yield Problem(f"{name}/{untrusted.plain(file)}", "named in metadata.json but missing", RESTORE)
        elif untrusted.sha256(place) != digest:
            yield Problem(f"{name}/{untrusted.plain(file)}", "its digest differs from metadata.json", RESTORE)
    for file, _ in untrusted.walk(store.root / name):
        if file not in files and file != "metadata.json":
            yield Problem(f"{name}/{untrusted.plain(file)}", "not named in metadata.json: it came later", STRANGE)
    return metadata


def _attempt(info: dict[str, Any], row: Event, event: Event, metadata: dict[str, Any]) -> Iterator[Problem]:
    """Whether the evidence is that of this attempt of this run of this campaign."""
    name = f"{attempt_folder(event)}/metadata.json"
    planned = ("run_id", "phase", "model", "environment", "workload", "engine", "repetition", "block", "position")
    expected = {key: row.get(key) for key in planned} | {
        "attempt": event["attempt"],
        "unit": event["unit"],
        "campaign_id": info.get("campaign_id"),
        "outcome": event["outcome"],
    }
    for key, value in expected.items():
        if metadata.get(key) != value:
            yield Problem(name, f"its {key} is {metadata.get(key)!r}, that of plan and journal is {value!r}", RESTORE)
    failed = [check["check"] for check in metadata.get("verdict", ()) if check["passed"] is False]
    if metadata.get("accepted") != event["accepted"] or failed != event["rejected_by"]:
        yield Problem(name, "its verdict differs from the journal's", RESTORE)


def _verdict(
    info: dict[str, Any], campaign: Any, state: journal.State, event: Event, metadata: dict[str, Any]
) -> Iterator[Problem]:
    """The verdict as the evidence gives it, before the event is taken into ``state``."""
    name = f"{attempt_folder(event)}/metadata.json"
    try:
        found = [asdict(check) for check in judge_again(campaign, metadata, state.canaries.get(event["unit"]))]
    except (ValidationError, KeyError, StopIteration) as problem:
        yield Problem(name, f"cannot be judged again{other_code(info)}: {str(problem).splitlines()[0]}", RESTORE)
        return
    for check, written in zip(found, metadata["verdict"], strict=False):
        if check != written:
            yield Problem(
                name,
                f"the evidence gives {check['check']}: {_word(check)} ({check['figure']}), written is "
                f"{written['check']}: {_word(written)} ({written['figure']}){other_code(info)}",
                RESTORE,
            )
            return
    if len(found) != len(metadata["verdict"]):
        yield Problem(name, f"the evidence gives {len(found)} checks, written are {len(metadata['verdict'])}", RESTORE)


def _word(check: dict[str, Any]) -> str:
    return {True: "passed", False: "failed", None: "not made"}[check["passed"]]
