"""Who looked before the end: each report of an unfinished campaign is noted, chained like the journal, in a file of its
own, because the journal has one writer and a reader may come while it writes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.record import journal

NAME = "interim_views.jsonl"


def note(results: Path, blocks: Mapping[str, int], *, simulated: bool = False) -> int:
    """Write down that somebody looks now, with the complete blocks of each model and workload; how often anybody has.
    Raises OSError, and JournalError where the file was changed."""
    path = results / NAME
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = journal.Journal(path, simulated=simulated)
        try:
            writer.append("interim_view", blocks=dict(blocks))
            return len(writer.events)
        finally:
            writer.close()
    finally:
        os.close(lock)


def read(results: Path) -> list[dict[str, Any]]:
    """Every view, in order. Raises JournalError where the file was changed."""
    return [event for event in journal.read(results / NAME)[0] if event["event"] == "interim_view"]
