"""Processes, mounts and scratch folders of native attempts whose actor is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from actors import processes
from actors.environments import ownership
from actors.environments.docker.mounts import mounts_below
from actors.files import removal

MNT_DETACH = 2


def reap(home: Path, campaign_id: str | None) -> list[str]:
    """A line for each thing done, or that could not be done."""
    return [*_processes(campaign_id), *_mounts(home), *_scratch(home)]


def _processes(campaign_id: str | None) -> list[str]:
    prefix = f"{campaign_id}/" if campaign_id is not None else ""

    def leftovers() -> list[int]:
        return [pid for pid in ownership.carrying(prefix) if not _watched(pid)]

    found = {pid: _command_line(pid) for pid in leftovers()}
    if not found:
        return []
    left = processes.kill(leftovers)
    return [f"{'could not kill' if pid in left else 'killed'} process {pid} ({name})" for pid, name in found.items()]


def _watched(pid: int) -> bool:
    """Whether ``pid`` is, or descends from, a supervisor or reaper whose actor runs."""
    named = f"{ownership.ACTOR}=".encode()
    return any(
        ownership.alive(variable.removeprefix(named).decode())
        for each in processes.ancestry(pid)
        for variable in processes.environment(each)
        if variable.startswith(named)
    )


def _command_line(pid: int) -> str:
    text = processes.command_line(pid) if processes.state(pid) else "gone"
    return text if len(text) <= 80 else text[:77] + "..."


def _mounts(home: Path) -> list[str]:
    """Arms mount in namespaces of their own, so this finds only what somebody mounted by hand with a recorded shell
    line that lost its namespace. Nothing but the insides of root filesystems is looked at: a mount on
    ``rootfs`` itself, or on any other folder, is the user's."""
    roots = home / "rootfs"
    points = mounts_below(roots) if roots.is_dir() else []
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for point in reversed([point for point in points if point != roots.resolve()]):
        if libc.umount2(os.fsencode(point), MNT_DETACH) == 0:
            done.append(f"unmounted {point}")
        else:
            done.append(f"could not unmount {point}: {os.strerror(ctypes.get_errno())}")
    return done


def _scratch(home: Path) -> list[str]:
    """Scratch folders of attempts whose actor is gone; never one that something is mounted in."""
    folder = home / "scratch"
    if not folder.is_dir():
        return []
    done = []
    for path in sorted(folder.iterdir()):
        if not ownership.alive(path.name.partition("_")[0]) and not mounts_below(path):
            with contextlib.suppress(OSError):
                removal.remove(path)
            done.append(f"removed {path}" if not path.exists() else f"could not remove {path}")
    return done
