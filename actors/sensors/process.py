"""The attempt: resident memory and CPU time of its process tree, and of its cgroup where it has one.

Both arms are measured by the same tree, because a native attempt has no cgroup of its own. CPU time of a process that
ended and was waited for is in its parent's ``cutime`` and ``cstime`` (proc(5)), so the sum over the living tree loses
nothing. A container's CUDA memory is in neither figure: the driver charges it to no cgroup and no resident set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from actors.sensors import Kind, Value
from actors.sensors.files import KeptFile, Paced

GIB = 2**30
V1_CPU = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")


class Member:
    """One process of the tree, its two files kept open. Its figures end when the process does."""

    def __init__(self, proc: Path, pid: int) -> None:
        self.statm = KeptFile(proc / str(pid) / "statm", 128)
        self.stat = KeptFile(proc / str(pid) / "stat", 1024)

    def read(self) -> tuple[int, int]:
        """Resident pages, and clock ticks of itself and its waited-for children."""
        pages = int(self.statm.read().split()[1])
        after = self.stat.read().rpartition(b") ")[2].split()  # the name may hold anything, blanks too
        return pages, int(after[11]) + int(after[12]) + int(after[13]) + int(after[14])

    def close(self) -> None:
        self.statm.close()
        self.stat.close()


class ProcessSensor:
    """Figures of the attempt that :meth:`watch` names; NULL while there is none."""

    name = "process"
    fields: Mapping[str, Kind] = MappingProxyType(
        dict.fromkeys(("attempt_memory_gib", "attempt_cpu_s", "cgroup_memory_gib", "cgroup_cpu_s"), "number")
    )

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._mount = root / "sys/fs/cgroup"
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._tick_hz = os.sysconf("SC_CLK_TCK")
        self._wanted: tuple[int | None, str | None] = (None, None)
        self._watched: tuple[int | None, str | None] = (None, None)
        self._members: dict[int, Member] = {}
        self._cpu_s = 0.0
        self._cgroup: tuple[KeptFile, KeptFile] | None = None
        # New children matter within a second, not within a tick; a wide tree may be walked more rarely still.
        self._walk = Paced(self._refresh, free_s=0.0, share=0.0002)
        self._unsupported: dict[str, str] = {}

    @property
    def pids(self) -> frozenset[int]:
        """The tree as last seen."""
        return frozenset(self._members)

    def watch(self, pid: int | None, cgroup: str | None = None) -> None:
        """Follow this process and this cgroup (path below the cgroup mount) from the next reading on. Any thread."""
        self._wanted = (pid, cgroup.strip("/") if cgroup else None)

    def probe(self) -> dict[str, str]:
        unsupported: dict[str, str] = {}
        if self.cgroup_version() is None:
            why = f"no cgroup memory and CPU accounting is mounted at {self._mount}"
            unsupported = {"cgroup_memory_gib": why, "cgroup_cpu_s": why}
        self._unsupported = unsupported
        return unsupported

    def read(self) -> dict[str, Value]:
        if self._wanted != self._watched:
            self._follow(self._wanted)
        pid, cgroup = self._watched
        row: dict[str, Value] = {}
        if pid is not None:
            self._walk()
            row.update(self._tree())
        if cgroup is not None and "cgroup_cpu_s" not in self._unsupported:
            row.update(self._cgroup_figures(cgroup))
        return row

    def describe(self) -> dict[str, Any]:
        return {
            "cgroup_version": self.cgroup_version(),
            "walk_interval_s": self._walk.interval_s,
            "unsupported": self._unsupported,
        }

    def close(self) -> None:
        self._follow((None, None))

    def cgroup_version(self) -> int | None:
        """2 for the unified hierarchy, 1 for memory and cpuacct each by itself, None where neither is mounted."""
        if (self._mount / "cgroup.controllers").exists():
            return 2
        if (self._mount / "memory").is_dir() and _first(self._mount, V1_CPU) is not None:
            return 1
        return None

    def cgroup_files(self, cgroup: str) -> tuple[Path, Path]:
        """Memory and CPU file of a cgroup. Raises FileNotFoundError where it does not exist."""
        if self.cgroup_version() == 2:
            return self._mount / cgroup / "memory.current", self._mount / cgroup / "cpu.stat"
        cpu = _first(self._mount, V1_CPU)
        if cpu is None:
            raise FileNotFoundError(self._mount)
        return self._mount / "memory" / cgroup / "memory.usage_in_bytes", cpu / cgroup / "cpuacct.usage"

    def owns(self, pid: int) -> bool | None:
        """Whether ``pid`` belongs to the attempt, by descent or by cgroup;
        None where this host cannot see the process."""
        root, cgroup = self._wanted
        if pid in self._members:
            return True
        try:
            if cgroup and cgroup in (self._proc / str(pid) / "cgroup").read_text():
                return True
            at = pid
            while at > 1 and at != root:
                at = int((self._proc / str(at) / "stat").read_bytes().rpartition(b") ")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return None
        return root is not None and at == root

    def _follow(self, target: tuple[int | None, str | None]) -> None:
        same_process = target[0] == self._watched[0]
        self._watched = target
        if not same_process:
            for member in self._members.values():
                member.close()
            self._members = {}
            self._cpu_s = 0.0
            if target[0] is not None:
                self._walk.fresh()
        if self._cgroup:
            for file in self._cgroup:
                file.close()
            self._cgroup = None

    def _refresh(self) -> None:
        """Walk the tree. Children are listed per thread that forked them (proc(5), ``children``)."""
        root = self._watched[0]
        if root is None:
            return
        seen: set[int] = set()
        todo = [root]
        while todo:
            pid = todo.pop()
            if pid in seen:
                continue
            seen.add(pid)
            try:
                for thread in (self._proc / str(pid) / "task").iterdir():
                    children = (thread / "children").read_bytes()
                    todo.extend(map(int, children.split()))
            except OSError:
                continue  # gone meanwhile
        for pid in self._members.keys() - seen:
            self._members.pop(pid).close()
        for pid in seen - self._members.keys():
            self._members[pid] = Member(self._proc, pid)

    def _tree(self) -> dict[str, Value]:
        pages = ticks = living = 0
        for pid, member in list(self._members.items()):
            try:
                resident, spent = member.read()
            except (OSError, ValueError, IndexError):
                self._members.pop(pid).close()
                continue
            pages, ticks, living = pages + resident, ticks + spent, living + 1
        if not living:
            return {}
        # A child between its end and its parent's wait is in no sum for a moment: the counter never falls.
        self._cpu_s = max(self._cpu_s, ticks / self._tick_hz)
        return {"attempt_memory_gib": pages * self._page / GIB, "attempt_cpu_s": self._cpu_s}

    def _cgroup_figures(self, cgroup: str) -> dict[str, Value]:
        try:
            if self._cgroup is None:
                memory, cpu = self.cgroup_files(cgroup)
                self._cgroup = (KeptFile(memory, 64), KeptFile(cpu, 512))
            used = int(self._cgroup[0].read())
            spent = self._cgroup[1].read()
        except (OSError, ValueError):
            return {}
        seconds = int(spent.split(maxsplit=2)[1]) / 1e6 if spent.startswith(b"usage_usec") else int(spent) / 1e9
        return {"cgroup_memory_gib": used / GIB, "cgroup_cpu_s": seconds}


def _first(mount: Path, names: tuple[str, ...]) -> Path | None:
    return next((mount / name for name in names if (mount / name).is_dir()), None)
