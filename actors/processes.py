"""Processes of this machine as /proc tells of them (proc(5)): who there is, what started them, whose children they are.

Everything here answers for a process that ends meanwhile, or that belongs to another user: with None, nothing, or an
empty text. The supervisor and the sampler read for themselves: one must be a file of its own, the other may take no
longer than a tick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Stat:
    """Of ``/proc/PID/stat``. ``start_ticks`` after boot tell a process from a later one of the same number."""

    state: str
    parent: int
    start_ticks: int

    @property
    def ended(self) -> bool:
        """Only its zombie is left."""
        return self.state in ("Z", "X")

    @property
    def stopped(self) -> bool:
        """It stands still by a signal or a debugger."""
        return self.state in ("T", "t")


def pids() -> Iterator[int]:
    """Every process there is, but this one."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def stat(pid: int) -> Stat | None:
    """None where there is no such process."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return Stat(fields[0].decode(), int(fields[1]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def ancestry(pid: int) -> Iterator[int]:
    """``pid``, its parent, and so on up to, but not, the first process."""
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        seen.add(pid)
        yield pid
        found = stat(pid)
        pid = found.parent if found is not None else 0


def children(pid: int) -> list[int]:
    """Of its first thread, as ``/proc/PID/task/PID/children`` has them."""
    try:
        return [int(child) for child in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def arguments(pid: int) -> list[str]:
    """As it was started; empty where it is gone, a zombie or not ours to see."""
    text = _command(pid).decode(errors="surrogateescape")
    return text.removesuffix("\0").split("\0") if text else []


def command_line(pid: int) -> str:
    """The same in one line, for a person."""
    return _command(pid).replace(b"\0", b" ").decode(errors="replace").strip()


def _command(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def name(pid: int) -> str:
    """Its first fifteen letters."""
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def environment(pid: int) -> list[bytes]:
    """``NAME=value`` of what it was started with; empty where that is not ours to see."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def namespace(pid: int | str, kind: str) -> str | None:
    """``pid:[4026531836]``; ``self`` is this process."""
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return None


def cgroup(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""


def open_files(pid: int) -> Iterator[str]:
    """What its descriptors lead to."""
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
