"""What ``campaign verify`` does: everything that can be computed again is computed again,
and held against what is written.

Files against their digests, the journal's chain and every event of it against the rules of a driver, hashes of config
and plan, the plan from config and seed, every verdict from its evidence, and the heads of journal and manifest against
those that ``status.json`` and the report keep. What cannot be noticed this way stands in docs/threat-model.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import ValidationError

from actors import host
from campaign.analysis import seal
from campaign.audit.legality import illegal
from campaign.plan import registration
from campaign.record import journal, untrusted
from campaign.record.attempt import AttemptRecord
from campaign.record.snapshot import Snapshot, digest_of
from campaign.record.store import DERIVED, PARTIALS, Problem, Store, StoreError, attempt_folder

RESTORE = "Restore it from a backup; what it proves is lost otherwise"
STRANGE = "Move it out of the folder"

Event = dict[str, Any]


def verify(store: Store, kept: str | None = None) -> list[Problem]:
    """Everything wrong with a results folder; nothing where it is clean.

    ``kept`` is a head of the journal (``LINES:SHA256``) that was kept elsewhere, in a signed tag say.
    """
    return list(_problems(store, kept))


def _problems(store: Store, kept: str | None) -> Iterator[Problem]:
    try:
        info, plan = store.info(), store.plan()
    except StoreError as problem:
        yield Problem(untrusted.plain(str(store.root)), str(problem).rstrip("."), "Nothing else was checked")
        return
    manifest = yield from _manifest(store)
    yield from _files(store, manifest)
    events = yield from _journal(store, info)
    if events is None:
        return
    yield from _bound_files(store, events)
    yield from _registration(store, events)
    for line, what in illegal(events, plan, info.get("config") or {}):
        yield Problem("journal.jsonl", f"line {line}: {what}", RESTORE)
    yield from _plan(info, plan)
    yield from _looks(store, info, events)
    yield from _runs(store, info, events, plan)
    yield from _heads(store, events, kept)
    yield from _derived(store, events)


# --- files ------------------------------------------------------------------------------------------------------


def _manifest(store: Store) -> Generator[Problem, None, dict[str, str]]:
    """Returns name to digest."""
    entries: dict[str, str] = {}
    try:
        text = untrusted.read_bytes(store.manifest).decode("utf-8")
    except FileNotFoundError:
        text = ""
    except (untrusted.Unreadable, UnicodeDecodeError) as problem:
        yield Problem("MANIFEST.sha256", f"unreadable ({problem})", RESTORE)
        return {}
    whole, _, torn = text.rpartition("\n")
    if torn:
        yield Problem("MANIFEST.sha256", "the last line is torn", "`campaign run` cuts it off at its next start")
    for number, line in enumerate(whole.split("\n") if whole else (), 1):
        value, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}", value) or not store.is_finished_file(name):
            yield Problem("MANIFEST.sha256", f"line {number} is none that a campaign writes", RESTORE)
        elif name in entries:
            yield Problem("MANIFEST.sha256", f"line {number} lists {name} again", RESTORE)
        else:
            entries[name] = value
    return entries


def _files(store: Store, manifest: dict[str, str]) -> Iterator[Problem]:
    """Every file there is: known, regular and unchanged; and every one that is listed is there."""
    there = set()
    for name, why in untrusted.walk(store.root):
        shown = untrusted.plain(name).replace("\n", "\\n")
        if name.startswith(DERIVED):
            continue
        if any(pattern.fullmatch(name) for pattern in PARTIALS):
            yield Problem(shown, "left by a crash", "`campaign run` removes it at its next start")
        elif why is not None:
            yield Problem(shown, why, STRANGE)
        elif store.is_finished_file(name):
            there.add(name)
            yield from _unlike_manifest(store, name, shown, manifest)
        else:
            yield Problem(shown, "not a file of this campaign", STRANGE)
    for name in manifest:
        if name not in there:
            yield Problem(name, "listed in MANIFEST.sha256 but missing", RESTORE)
    for place in sorted(store.root.glob("attempts/*/*")):
        if place.is_dir() and not place.name.isdecimal() and not place.name.startswith("."):
            yield Problem(
                untrusted.plain(str(place.relative_to(store.root))), "not an attempt's folder",
                "`campaign run` sets it aside where the campaign is unfinished; else move it away",
            )  # fmt: skip


def _unlike_manifest(store: Store, name: str, shown: str, manifest: dict[str, str]) -> Iterator[Problem]:
    if name not in manifest:
        yield Problem(shown, "not in MANIFEST.sha256", "`campaign run` completes the manifest at its next start")
    elif untrusted.sha256(store.root / name) != manifest[name]:
        yield Problem(shown, "its digest differs from MANIFEST.sha256: it was changed after it was written", RESTORE)


def _bound_files(store: Store, events: list[Event]) -> Iterator[Problem]:
    """Files whose digests stand in the journal, which has them in its chain."""
    for event in events:
        for name, expected in (event.get("files") or {}).items():
            path = store.root / name
            if untrusted.why_not(path) is None and untrusted.sha256(path) != expected:
                yield Problem(name, f"its digest differs from that in line {event['seq'] + 1} of the journal", RESTORE)
            elif not path.exists():
                yield Problem(name, f"named in line {event['seq'] + 1} of the journal but missing", RESTORE)


def _registration(store: Store, events: list[Event]) -> Iterator[Problem]:
    """A registration that the journal does not know may have been written when the results were."""
    path = store.root / registration.NAME
    taken = [event for event in events if event["event"] == "registered"]
    if not taken and path.exists():
        yield Problem(registration.NAME, "the journal does not know it: it shows nothing", STRANGE)
    elif taken and (untrusted.why_not(path) is not None or untrusted.sha256(path) != taken[0].get("sha256")):
        yield Problem(registration.NAME, f"not the one of line {taken[0]['seq'] + 1} of the journal", RESTORE)


# --- journal and plan -----------------------------------------------------------------------------------------


def _journal(store: Store, info: dict[str, Any]) -> Generator[Problem, None, list[Event] | None]:
    """All events (returned), or None where nothing can be said of them."""
    try:
        events, offset, _ = journal.read(store.journal_path)
    except journal.JournalError as problem:
        what = str(problem).removeprefix(f"{store.journal_path}:").rstrip(".")
        yield Problem("journal.jsonl", f"line {what}", "Nothing in it can be trusted behind that line")
        return None
    if not store.journal_path.exists():
        yield Problem("journal.jsonl", "missing", RESTORE)
        return None
    if store.journal_path.stat().st_size != offset:
        yield Problem("journal.jsonl", "the last line is torn", "`campaign run` cuts it off at its next start")
    first = events[0] if events else {}
    same = ("campaign_id", "config_hash", "plan_hash")
    if first.get("event") != "created" or any(first.get(key) != info.get(key) for key in same):
        yield Problem("journal.jsonl", "does not begin with the creation of this campaign", RESTORE)
    elif first.get("code_digest") != (info.get("code") or {}).get("digest"):
        yield Problem("campaign.json", "its code digest differs from that in the journal", RESTORE)
    return events


def _plan(info: dict[str, Any], plan: list[Event]) -> Iterator[Problem]:
    """Hashes of config and plan, and the plan as config and seed give it."""
    from campaign.plan.design import Planned, plan_hash
    from campaign.plan.design import plan as planned

    if hash_of(info.get("config")) != info.get("config_hash"):
        yield Problem("campaign.json", "its config does not have the hash that is written beside it", RESTORE)
    try:
        rows = tuple(Planned(**row) for row in plan)
    except TypeError:
        yield Problem("plan.parquet", "its columns are not those of a plan", RESTORE)
        return
    if plan_hash(rows) != info.get("plan_hash"):
        yield Problem("plan.parquet", "does not have the hash that stands in campaign.json", RESTORE)
    campaign = _campaign(info)
    if campaign is None:
        yield Problem(
            "campaign.json", "its config cannot be read by the code that is here, "
                "so plan and verdicts were not computed again",
            f"Verify with the code of the campaign, commit {(info.get('code') or {}).get('git_commit')}",
        )  # fmt: skip
    elif planned(campaign, max(1, len(info.get("lanes") or ())), info.get("simulated") is True) != rows:
        yield Problem("plan.parquet", f"is not the plan that config and seed give{_other_code(info)}", RESTORE)


def _looks(store: Store, info: dict[str, Any], events: list[Event]) -> Iterator[Problem]:
    """Every look, made again from the attempts that there were when it was taken."""
    if not any(event["event"] == "look" for event in events):
        return
    from campaign.analysis import inputs, looks, views

    try:
        planned = looks.planned(info.get("config"))
        if planned is None:
            yield Problem("journal.jsonl", "it holds looks, which the config does not have", RESTORE)
            return
        con = views.connect(store.root)
        for line, what in looks.problems(partial(inputs.run_table_at, con), planned, events):
            yield Problem("journal.jsonl", f"line {line}: {what}{_other_code(info)}", RESTORE)
    except (KeyError, TypeError, ValueError, StopIteration, RuntimeError, views.ResultsError) as problem:
        yield Problem("journal.jsonl", f"its looks cannot be made again ({problem!r}){_other_code(info)}", RESTORE)


def hash_of(config: Any) -> str:
    """As :attr:`campaign.config.schema.Campaign.config_hash`, of a config that is already JSON."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def _campaign(info: dict[str, Any]) -> Any:
    """The config as it is read here; None where it cannot be, or where a name in it leads nowhere:
    no file says that, only damage does."""
    from campaign.config.schema import Campaign

    try:
        found = Campaign.model_validate_json(json.dumps(info.get("config")))
    except (ValidationError, ValueError):
        return None
    models, arms = {model.name for model in found.models}, {arm.name for arm in found.environments}
    return found if models == set(found.repetitions) and found.reference in arms else None


def _other_code(info: dict[str, Any]) -> str:
    """What to bear in mind where other code computes again than measured."""
    then = str((info.get("code") or {}).get("digest"))
    return "" if then == host.code_digest() else f" (computed by other code than the campaign's, {then[:12]})"


# --- runs -----------------------------------------------------------------------------------------------------


def _runs(store: Store, info: dict[str, Any], events: list[Event], plan: list[Event]) -> Iterator[Problem]:
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
    campaign = _campaign(info)
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
        yield Problem(name, f"cannot be judged again{_other_code(info)}: {str(problem).splitlines()[0]}", RESTORE)
        return
    for check, written in zip(found, metadata["verdict"], strict=False):
        if check != written:
            yield Problem(
                name,
                f"the evidence gives {check['check']}: {_word(check)} ({check['figure']}), written is "
                f"{written['check']}: {_word(written)} ({written['figure']}){_other_code(info)}",
                RESTORE,
            )
            return
    if len(found) != len(metadata["verdict"]):
        yield Problem(name, f"the evidence gives {len(found)} checks, written are {len(metadata['verdict'])}", RESTORE)


def judge_again(campaign: Any, metadata: dict[str, Any], canary_best_gb_s: float | None) -> Any:
    """The checks of an attempt from what its ``metadata.json`` keeps of the evidence."""
    from campaign.run.acceptance import judge

    record = AttemptRecord.read(json.dumps(metadata))
    return judge(
        record.evidence(),
        campaign.gate_of(record.environment),
        campaign.acceptance,
        model_identity=metadata["model_identity"],
        canary_best_gb_s=canary_best_gb_s if campaign.canary else None,
    ).checks


def _word(check: dict[str, Any]) -> str:
    return {True: "passed", False: "failed", None: "not made"}[check["passed"]]


# --- heads and derived files ------------------------------------------------------------------------------------


def _heads(store: Store, events: list[Event], kept: str | None) -> Iterator[Problem]:
    """The heads that were written down elsewhere, against the lines that are there now."""
    heads: list[tuple[str, str, str]] = []
    if kept:
        heads.append(("the head that was kept", "journal", kept))
    status = _status(store)
    if status is not None:
        heads += [("status.json", "journal", status.journal), ("status.json", "manifest", status.manifest)]
    if (page := _page(store)) is not None:
        heads += [("report/index.html", kind, head) for kind, head in META.findall(page)]
    for where, kind, head in heads:
        lines, _, digest = head.partition(":")
        if not head:
            continue
        name = "journal.jsonl" if kind == "journal" else "MANIFEST.sha256"
        if not lines.isdecimal() or store.head(kind, int(lines)) != head:
            yield Problem(
                name,
                f"{where} knows it with {lines} lines and another end ({digest[:12]}): "
                "lines were removed or changed since",
                RESTORE,
            )


META = re.compile(r'<meta name="campaign-(journal|manifest)" content="([0-9]+:[0-9a-f]{64})">')


def _page(store: Store) -> str | None:
    try:
        return untrusted.read_bytes(store.root / "report" / "index.html").decode(errors="replace")
    except (OSError, untrusted.Unreadable):
        return None


def _status(store: Store) -> Snapshot | None:
    try:
        return Snapshot.model_validate_json(untrusted.read_bytes(store.root / "status.json"))
    except (OSError, ValueError, untrusted.Unreadable):
        return None


def _derived(store: Store, events: list[Event]) -> Iterator[Problem]:
    """Files that anybody can make again, where they claim to be what they are not."""
    state = journal.fold(events)
    status = _status(store)
    if status is None:
        if state.completed:
            yield Problem(
                "status.json", "missing or unreadable: it keeps the heads of journal and manifest, "
                    "so a removed end would not be noticed",
                "`campaign run` writes it again; compare the journal's head with one that was kept elsewhere",
            )  # fmt: skip
    else:
        if status.journal and status.digest != digest_of(status):
            yield Problem("status.json", "was changed after it was written", "`campaign run` writes it again")
        runs = state.runs.values()
        true = {
            "accepted": sum(run.accepted is not None for run in runs),
            "exhausted": sum(run.exhausted and run.accepted is None for run in runs),
        }
        if status.stage == "completed" and any(getattr(status, key) != value for key, value in true.items()):
            yield Problem("status.json", "its counts are not the journal's", "`campaign run` writes it again")
    for folder in ("analysis", "report"):
        if seal.changed(store.root, folder):
            yield Problem(
                f"{folder}/",
                "was changed after it was written; nothing in it is believed",
                "`campaign report` makes it again",
            )
