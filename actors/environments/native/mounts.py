"""What is mounted in a native attempt's root, in its order."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from actors.environments import resolve
from actors.types import Mount

LARGEST_HOME = 64 * 2**20
"""Bytes of the image's home folder that are copied for each attempt; a larger one is seen read-only."""


def chroot_mounts(
    root: str, who: resolve.User, mounts: tuple[Mount, ...], scratch: Path, notes: list[str]
) -> list[dict[str, Any]]:
    """Everything mounted below the chroot's root, in order; makes the scratch folders."""
    entries = [*fixed_mounts(), *fresh_folders(scratch)]
    for entry in fresh_folders(scratch):
        folder = Path(entry["source"])
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    if who.home != "/":
        original = Path(root, who.home.strip("/"))
        if bytes_below(original, LARGEST_HOME) > LARGEST_HOME:
            notes.append(
                f"{who.home} of the image is over {LARGEST_HOME >> 20} MiB and read-only; mount what is written"
            )
        else:
            folder = scratch / "home"
            if original.is_dir():
                shutil.copytree(original, folder, symlinks=True)
            else:
                folder.mkdir()
            os.chown(folder, who.uid, who.gid)
            entries.append(bind(str(folder), who.home))
    return in_order(entries, mounts)


def fixed_mounts() -> list[dict[str, Any]]:
    """The kernel's folders, /dev/shm as large as the host's, and the files that Docker too takes from the host."""
    shm = os.statvfs("/dev/shm")
    size = shm.f_blocks * shm.f_frsize
    return [
        *(bind(path, path) for path in ("/proc", "/sys", "/dev")),
        {"kind": "tmpfs", "source": "tmpfs", "target": "/dev/shm", "read_only": False, "size": size},
        *(bind(path, path, read_only=True) for path in resolve.HOST_FILES if Path(path).is_file()),
    ]


def fresh_folders(scratch: Path) -> list[dict[str, Any]]:
    return [bind(str(scratch / target.strip("/").replace("/", "-")), target) for target in resolve.WRITABLE]


def in_order(entries: list[dict[str, Any]], mounts: tuple[Mount, ...]) -> list[dict[str, Any]]:
    """One entry for each target; what the engine and the environment mount wins."""
    given = [bind(mount.source, mount.target, mount.read_only) for mount in mounts]
    by_target = {entry["target"].rstrip("/"): entry for entry in (*entries, *given)}
    return list(by_target.values())


def bind(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    return {"kind": "bind", "source": source, "target": target, "read_only": read_only}


def bytes_below(folder: Path, enough: int) -> int:
    total = 0
    for path in folder.rglob("*"):
        total += path.lstat().st_size
        if total > enough:
            break
    return total
