"""Mounts at or below a folder: found, and undone before anything there is deleted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def unmount_below(folder: Path) -> None:
    """Undo every mount at or below ``folder``, deepest first. Raises OSError if one stays:
    then nothing may be deleted."""
    for _ in range(3):  # mounts may be stacked
        points = mounts_below(folder)
        if not points:
            return
        for point in reversed(points):
            subprocess.run(["umount", "--lazy", "--no-mtab", str(point)], capture_output=True, check=False)
    if points := mounts_below(folder):
        raise OSError(f"{points[0]} is still mounted: umount it, then try again")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points at or below ``folder``, parents first (mountinfo(5): field 5, with octal escapes). psutil reads the
    older table, where the point of a mount that names no source cannot be told from its type."""
    root = os.path.realpath(folder)
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = line.split()[4].decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
        if point == root or point.startswith(root + "/"):
            found.append(Path(point))
    return sorted(found)
