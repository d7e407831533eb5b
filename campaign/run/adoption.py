"""Attempts whose files became durable just before the journal line that speaks of them,
and what only looks like one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign.record import untrusted
from campaign.record.attempt import AttemptRecord
from campaign.record.journal import State
from campaign.record.store import Store


class Strange(Exception):
    """Not an attempt of this campaign that was under way. The message says why."""


def unknown(store: Store, known: set[str]) -> Iterator[Path]:
    """Everything in ``attempts/`` and ``shakedown/`` that is not one of the folders ``known`` (see
    :func:`campaign.record.layout.journalled`)."""
    for kind in ("attempts", "shakedown"):
        folder = store.root / kind
        for run in sorted(folder.iterdir()) if folder.is_dir() else ():
            if run.is_symlink() or not run.is_dir():
                yield run
                continue
            for place in sorted(run.iterdir()):
                if str(place.relative_to(store.root)) not in known:
                    yield place


def evidence(store: Store, place: Path, info: dict[str, Any], state: State) -> tuple[AttemptRecord, str]:
    """Record and digest of the attempt in ``place``. Raises :class:`Strange` unless it is the one that the journal says
    was under way, whole and with all its files."""
    if place.is_symlink() or not place.is_dir() or not place.name.isdecimal():
        raise Strange("not the folder of an attempt")
    if place.parent.parent.name != "attempts":
        raise Strange("an attempt of the shakedown that never ended; it is made again")
    run_id, number = place.parent.name, int(place.name)
    open_ = state.runs[run_id].open if run_id in state.runs else None
    if open_ is None or str(open_[0]) != place.name:
        raise Strange("the journal knows of no such attempt under way")
    try:
        data = untrusted.read_bytes(place / "metadata.json")
        record = AttemptRecord.read(data)
    except (OSError, ValueError, RecursionError, untrusted.Unreadable) as problem:
        raise Strange(f"its metadata.json cannot be read ({type(problem).__name__}: {problem})") from None
    expected = {"run_id": run_id, "attempt": number, "unit": open_[1], "campaign_id": info["campaign_id"]}
    for key, value in expected.items():
        if (found := getattr(record, key)) != value:
            raise Strange(f"its metadata.json speaks of {key} {found}, expected is {value}")
    for name, digest in record.files.items():
        try:
            whole = untrusted.sha256(place / name) == digest
        except (OSError, untrusted.Unreadable):
            whole = False
        if not whole:
            raise Strange(f"{untrusted.plain(name)} is not as its metadata.json has it")
    return record, hashlib.sha256(data).hexdigest()
