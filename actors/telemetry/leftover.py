"""Spools that campaigns left on this machine and that nobody may ever resume: what they hold, and how old they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from actors.files.beneath import Folder
from actors.files.removal import remove

IN_USE_S = 600.0
"""A spool that was written to so lately may be at work."""


@dataclass(frozen=True)
class Spool:
    """What a campaign that was not finished keeps on this machine:
    samples and evidence that its driver has not taken over."""

    campaign_id: str
    folder: Path
    size_bytes: int
    age_s: float
    """Since anything in it was last written."""


def spools(home: Path) -> list[Spool]:
    """Every campaign's spool below ``home``, the largest first."""
    found = []
    for folder in (home / "spool").glob("*"):
        if folder.is_symlink() or not folder.is_dir():
            continue
        size, newest = 0, folder.lstat().st_mtime
        with Folder(folder) as spool:
            for _, facts in spool.entries(lenient=True):
                size, newest = size + facts.st_size, max(newest, facts.st_mtime)
        found.append(Spool(folder.name, folder, size, max(0.0, time.time() - newest)))
    return sorted(found, key=lambda spool: -spool.size_bytes)


def clear(found: list[Spool]) -> list[Spool]:
    """Remove those that nobody writes to; returns them."""
    old = [spool for spool in found if spool.age_s >= IN_USE_S]
    for spool in old:
        remove(spool.folder)
    return old
