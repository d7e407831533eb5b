"""What ``campaign verify`` does: everything that can be computed again is computed again,
and held against what is written.

Files against their digests, the journal's chain and every event of it against the rules of a driver, hashes of config
and plan, the plan from config and seed, every verdict from its evidence, and the heads of journal and manifest against
those that ``status.json`` and the report keep. What cannot be noticed this way stands in docs/threat-model.md.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from campaign.audit.again import campaign_of, hash_of, other_code
from campaign.audit.files import bound_files, files_problems, manifest_of, registration_problems
from campaign.audit.heads import derived_problems, heads_problems
from campaign.audit.legality import illegal
from campaign.audit.runs import runs_problems
from campaign.audit.words import RESTORE, Event
from campaign.record import journal, untrusted
from campaign.record.durable import StoreError
from campaign.record.store import Problem, Store


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
    manifest = yield from manifest_of(store)
    yield from files_problems(store, manifest)
    events = yield from _journal(store, info)
    if events is None:
        return
    yield from bound_files(store, events)
    yield from registration_problems(store, events)
    for line, what in illegal(events, plan, info.get("config") or {}):
        yield Problem("journal.jsonl", f"line {line}: {what}", RESTORE)
    yield from _plan(info, plan)
    yield from _looks(store, info, events)
    yield from runs_problems(store, info, events, plan)
    yield from heads_problems(store, events, kept)
    yield from derived_problems(store, events)


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
    campaign = campaign_of(info)
    if campaign is None:
        yield Problem(
            "campaign.json", "its config cannot be read by the code that is here, "
                "so plan and verdicts were not computed again",
            f"Verify with the code of the campaign, commit {(info.get('code') or {}).get('git_commit')}",
        )  # fmt: skip
    elif planned(campaign, max(1, len(info.get("lanes") or ())), info.get("simulated") is True) != rows:
        yield Problem("plan.parquet", f"is not the plan that config and seed give{other_code(info)}", RESTORE)


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
            yield Problem("journal.jsonl", f"line {line}: {what}{other_code(info)}", RESTORE)
    except (KeyError, TypeError, ValueError, StopIteration, RuntimeError, views.ResultsError) as problem:
        yield Problem("journal.jsonl", f"its looks cannot be made again ({problem!r}){other_code(info)}", RESTORE)
