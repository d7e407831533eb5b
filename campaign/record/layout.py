"""What lies where in a results folder."""

from __future__ import annotations

import re
from typing import Any

from campaign.record import journal, untrusted

DERIVED = (
    "analysis/",
    "report/",
    "set-aside/",
    "status.json",
    ".status.json.new",
    ".driver.lock",
    "MANIFEST.sha256",
    "journal.jsonl",
    "interim_views.jsonl",
)
"""Beginnings of names that the manifest does not list: derived, set aside, or still growing."""

FINISHED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"campaign\.json|plan\.parquet|registration\.json",
        r"units/[^/]+\.json",
        r"(attempts|shakedown)/[^/.][^/]*/[0-9]+/.+",
        r"telemetry/[^/]+/[^/.][^/]*\.parquet",
    )
)
"""Files that never change once they are there; the manifest lists them all."""

PARTIALS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(units/|telemetry/[^/]+/|report/|analysis/)?\.[^/]+\.partial",
        r"(attempts|shakedown)/[^/]+/\.[0-9]+(\.large)?\.partial(/.*)?",
    )
)
"""What is being written: beside its place, to be renamed."""


def journalled(events: list[dict[str, Any]]) -> set[str]:
    """Folders of attempts, measured or not, that the journal knows to have finished."""
    return {attempt_folder(event) for event in events if event["event"] in ("finished", "shakedown")}


def attempt_folder(event: dict[str, Any]) -> str:
    """Path within the results folder of the attempt whose end an event ``finished`` or ``shakedown`` tells."""
    if event["event"] == "finished":
        return f"attempts/{event['run_id']}/{event['attempt']}"
    return f"shakedown/{journal.tried_cell(event)}__{event['unit']}/{event['attempt']}"


def stored_name(name: str) -> str:
    """The name under which a file of an attempt is kept: its own,
    but for parts that no list of files could hold on a line."""
    return "/".join(part if untrusted.bad_name(part) is None else untrusted.file_name(part) for part in name.split("/"))
