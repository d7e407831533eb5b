"""Processes of this machine: who there is, what started them, whose children they are.

psutil tells it. /proc (proc(5)) is read here where psutil does not tell it, tells less, or takes too long for a loop;
each such function says which. Everything answers for a process that ends meanwhile, or that belongs to another user:
with None, nothing, or an empty text. The supervisor and the sampler read for themselves: one must be a file of its own,
the other may take no longer than a tick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

PROC = Path("/proc")
UNTOLD = (psutil.Error, OSError)
"""It ended meanwhile, or is not ours to see."""


def pids() -> list[int]:
    """Every process there is, but this one."""
    return [pid for pid in psutil.pids() if pid != os.getpid()]


def state(pid: int) -> str:
    """One of psutil's ``STATUS_…``; empty where there is no such process."""
    try:
        return str(psutil.Process(pid).status())
    except UNTOLD:
        return ""


def runs(pid: int) -> bool:
    """There is such a process, and it is no zombie that only waits to be collected."""
    return state(pid) not in ("", psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def stands_still(pid: int) -> bool:
    """It was stopped by a signal or a debugger."""
    return state(pid) in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


def start_ticks(pid: int) -> int | None:
    """Clock ticks after boot at which it started: they tell it from a later one of the same number. None where there is
    no such process. As the kernel counts them, which psutil makes seconds of."""
    try:
        return int((PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def ancestry(pid: int) -> Iterator[int]:
    """``pid``, its parent, and so on up to, but not, the first process."""
    if pid <= 1:
        return
    yield pid
    with contextlib.suppress(*UNTOLD):
        above = psutil.Process(pid).parent()
        while above is not None and above.pid > 1:
            yield above.pid
            above = above.parent()


def children(pid: int) -> list[int]:
    """Of its first thread. psutil looks through every process of the machine for them."""
    try:
        return [int(child) for child in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def arguments(pid: int) -> list[str]:
    """As it was started; empty where it is gone, a zombie or not ours to see. psutil splits a single word at its
    blanks, and an engine without arguments may lie in a folder that has one."""
    try:
        told = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in told.removesuffix(b"\0").split(b"\0")] if told else []


def command_line(pid: int) -> str:
    """The same in one line, for a person."""
    return os.fsencode(" ".join(arguments(pid))).decode(errors="replace").strip()


def name(pid: int) -> str:
    """Its first fifteen letters, as the kernel keeps them."""
    try:
        return str(psutil.Process(pid).name())[:15]
    except UNTOLD:
        return ""


def environment(pid: int) -> list[bytes]:
    """``NAME=value`` of what it was started with; empty where that is not ours to see. psutil stops where a program has
    overwritten a variable, as those do that give themselves a title; what stands behind it is told here."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def namespace(pid: int | str, kind: str) -> str | None:
    """``pid:[4026531836]``; ``self`` is this process. psutil knows no namespaces."""
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return None


def cgroup(pid: int) -> str:
    """psutil knows no control groups."""
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""


def open_files(pid: int) -> Iterator[str]:
    """What its descriptors lead to; psutil leaves out files that were deleted, and sockets."""
    with contextlib.suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            yield str(link.readlink())


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
