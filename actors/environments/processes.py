"""Processes of attempts, found by the mark that each carries in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from actors.environments.ownership import MARK


def carrying(prefix: str) -> list[int]:
    """PIDs whose environment has ``CAMPAIGN_ATTEMPT=<prefix>…``, without those of containers (another PID
    namespace: they are the Docker engine's to end)."""
    wanted = f"{MARK}={prefix}".encode()
    own = Path("/proc/self/ns/pid").readlink()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes()
            marked = variables.startswith(wanted) or b"\0" + wanted in variables
            if marked and (folder / "ns/pid").readlink() == own:
                found.append(int(folder.name))
    return found


def kill(find: Callable[[], Iterable[int]], within_s: float = 5.0) -> list[int]:
    """SIGKILL what ``find`` finds until it finds nothing; returns what is still there ``within_s`` later."""
    deadline = time.monotonic() + within_s
    while left := list(find()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return left
        time.sleep(0.002)
    return []
