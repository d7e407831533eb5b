"""Heads of journal and manifest against those that are kept, and derived files against their journal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from campaign.analysis import seal
from campaign.audit.words import RESTORE, Event
from campaign.record import journal, untrusted
from campaign.record.snapshot import Snapshot, digest_of
from campaign.record.store import Problem, Store


def heads_problems(store: Store, events: list[Event], kept: str | None) -> Iterator[Problem]:
    """The heads that were written down elsewhere, against the lines that are there now."""
    heads: list[tuple[str, str, str]] = []
    if kept:
        heads.append(("the head that was kept", "journal", kept))
    status = status_of(store)
    if status is not None:
        heads += [("status.json", "journal", status.journal), ("status.json", "manifest", status.manifest)]
    if (page := head_in_page(store)) is not None:
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


def head_in_page(store: Store) -> str | None:
    try:
        return untrusted.read_bytes(store.root / "report" / "index.html").decode(errors="replace")
    except (OSError, untrusted.Unreadable):
        return None


def status_of(store: Store) -> Snapshot | None:
    try:
        return Snapshot.model_validate_json(untrusted.read_bytes(store.root / "status.json"))
    except (OSError, ValueError, untrusted.Unreadable):
        return None


def derived_problems(store: Store, events: list[Event]) -> Iterator[Problem]:
    """Files that anybody can make again, where they claim to be what they are not."""
    state = journal.fold(events)
    status = status_of(store)
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
