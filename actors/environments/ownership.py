"""Who owns what an attempt started: an actor's process, named so that a reused PID is not mistaken for it."""

from __future__ import annotations

import os
from pathlib import Path

from actors import processes


def start_ticks(pid: int) -> int | None:
    """Clock ticks after boot at which ``pid`` started; None if there is none, or only its zombie."""
    return processes.start_ticks(pid) if processes.runs(pid) else None


MARK = "CAMPAIGN_ATTEMPT"
"""Variable that every process of an attempt carries: ``<campaign id>/<run>/<attempt>``."""
ACTOR = "CAMPAIGN_ACTOR"
"""Variable of the supervisor and the reaper alone: the actor that they serve."""


def marks(attempt: str) -> dict[str, str]:
    """The environment of a supervisor or a reaper of this process."""
    found = {MARK: attempt, ACTOR: this_process()}
    if "LD_LIBRARY_PATH" in os.environ:  # some interpreters are found no other way
        found["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return found


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


def this_process() -> str:
    """``<boot>-<pid>-<start ticks>``."""
    return f"{boot()}-{os.getpid()}-{start_ticks(os.getpid())}"


def alive(owner: str) -> bool:
    """Whether the process that wrote :func:`this_process` still runs."""
    try:
        born, pid, ticks = owner.split("-")
        return born == boot() and start_ticks(int(pid)) == int(ticks)
    except ValueError:
        return False


def carrying(prefix: str) -> list[int]:
    """PIDs whose environment has ``CAMPAIGN_ATTEMPT=<prefix>…``, without those of containers (another PID
    namespace: they are the Docker engine's to end)."""
    wanted, own = f"{MARK}={prefix}".encode(), processes.namespace("self", "pid")
    return [
        pid
        for pid in processes.pids()
        if any(one.startswith(wanted) for one in processes.environment(pid)) and processes.namespace(pid, "pid") == own
    ]
