"""What this process may have of the machine: limits of its own control group and of every one above it,
and of its own (ulimit).

A native attempt inherits them, a container that a daemon starts does not, and neither ``/proc/meminfo`` nor the number
of CPUs shows them. Both layouts of control groups are read (cgroups(7)); inside a container, where the path names a
folder that is not to be seen, the mount itself is the process's group.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from campaign.preflight.doctor.finding import read

UNLIMITED_BYTES = 2**60
"""Version 1 writes the largest page-aligned number there is where nothing is limited."""


@dataclass(frozen=True)
class MemoryLimit:
    limit_bytes: int
    left_bytes: int
    """Less what its processes hold that the kernel cannot take back."""
    where: str


def memory(root: Path = Path("/")) -> MemoryLimit | None:
    """The tightest limit, by what it leaves; None where there is none."""
    found = [*_of_groups(root), *_of_process(root)]
    return min(found, key=lambda one: one.left_bytes, default=None)


def cpus(root: Path = Path("/")) -> tuple[float, str] | None:
    """The smallest quota in CPUs, and what sets it; None where there is none."""
    found: list[tuple[float, str]] = []
    for folder in groups(root, "cpu"):
        quota, _, period = read(folder / "cpu.max").partition(" ")
        if not period:
            quota, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            found.append((int(quota) / int(period), f"the quota of {_called(folder, root)}"))
    return min(found, default=None)


def groups(root: Path, controller: str) -> Iterator[Path]:
    """The folder of this process's control group and of each above it, where they are to be seen."""
    for line in read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" and number == "0":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in dict.fromkeys((controller, controllers))]
        else:
            continue
        # A path may begin with /.. where the process lies outside of what its namespace shows.
        parts = [part for part in path.split("/") if part not in ("", "..", ".")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                if (folder := mount.joinpath(*parts[:depth])).is_dir():
                    yield folder


def _of_groups(root: Path) -> Iterator[MemoryLimit]:
    for folder in groups(root, "memory"):
        held = _number(folder / "memory.current", folder / "memory.usage_in_bytes") or 0
        held -= min(held, _reclaimable(folder))
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < UNLIMITED_BYTES:
                yield MemoryLimit(limit, max(0, limit - held), f"{name} of {_called(folder, root)}")


def _of_process(root: Path) -> Iterator[MemoryLimit]:
    limits = re.search(r"^Max address space\s+(\d+)", read(root / "proc/self/limits"), re.MULTILINE)
    if limits is not None:
        yield MemoryLimit(int(limits[1]), int(limits[1]), "`ulimit -v`")


def _reclaimable(folder: Path) -> int:
    """Page cache that goes when it must."""
    for line in read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(*files: Path) -> int | None:
    for file in files:
        with contextlib.suppress(ValueError):
            return int(read(file))
    return None


def _called(folder: Path, root: Path) -> str:
    name = str(folder.relative_to(root / "sys/fs/cgroup"))
    return "its control group" if name in (".", "memory", "cpu", "cpu,cpuacct", "unified") else f"/{name}"
