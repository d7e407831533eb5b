"""Processes of the private engine: dockerd, containerd, shims and containers, found and ended."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from actors import processes
from actors.environments.docker.bridge import bridge_name, remove_bridge
from actors.environments.docker.mounts import unmount_below
from actors.environments.docker.places import engine_folder, runtime_folder


def programs(name: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """PID and argv of the machine's processes, by the name of the program where one is given."""
    for pid in processes.pids():
        argv = processes.arguments(pid)
        if argv and (name is None or Path(argv[0]).name == name):
            yield pid, argv


def engines_of(home: Path) -> dict[int, list[str]]:
    """PID and argv of the engine of this folder, which need not have been started where the folder lies now."""
    folder = engine_folder(home)
    data = f"--data-root={folder / 'data'}"
    log = _identity(folder / "dockerd.log")
    found = {}
    for pid, argv in programs("dockerd"):
        writes = _identity(Path(f"/proc/{pid}/fd/1"))
        if writes == log if log and writes else data in argv:
            found[pid] = argv
    return found


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def was_moved(home: Path) -> bool:
    """Whether this folder's engine runs, and was started where the folder lay before."""
    if _identity(engine_folder(home) / "dockerd.log") is None:
        return False
    return any(f"--data-root={engine_folder(home) / 'data'}" not in argv for argv in engines_of(home).values())


def end_leftovers(home: Path) -> None:
    """End what runs for this engine, whatever state a crash left it in, and wherever it was started: dockerd,
    containerd, shims, containers."""
    folder, runtime = engine_folder(home), runtime_folder(home)
    engines = engines_of(home)
    said = [dict(word.partition("=")[::2] for word in argv if word.startswith("--")) for argv in engines.values()]
    end(list(engines))
    places = {str(runtime / "exec"), str(folder / "data")}
    places |= {options[name] for options in said for name in ("--exec-root", "--data-root") if name in options}
    ours = tuple(f"{place}/" for place in places)
    names = ("containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy", "runc")
    orphans = [pid for pid, argv in programs() if Path(argv[0]).name in names and any(a.startswith(ours) for a in argv)]
    others = [
        Path(word.partition("=")[2])
        for pid, argv in programs("dockerd")
        if pid not in engines
        for word in argv
        if word.startswith("--data-root=")
    ]
    theirs = {
        place.name for data in others for place in data.glob("containers/*")
    }  # of the original, where this folder is a copy
    containers = [p.name for p in (folder / "data/containers").glob("*") if len(p.name) == 64 and p.name not in theirs]
    if containers:
        for pid, _ in programs():
            cgroup = processes.cgroup(pid)
            if any(container in cgroup for container in containers):
                orphans.append(pid)
    end(orphans, grace_s=0.0)
    for options in said:
        if (bridge := options.get("--bridge", "none")) not in ("none", bridge_name(folder)):
            remove_bridge(bridge)
    (folder / "dockerd.pid").unlink(missing_ok=True)
    (runtime / "docker.sock").unlink(missing_ok=True)
    for place in {runtime / "exec", *(Path(options["--exec-root"]) for options in said if "--exec-root" in options)}:
        if place.exists():  # as after a reboot: containerd does not start on what a killed one left there
            unmount_below(place)
            shutil.rmtree(place)


def end(pids: list[int], grace_s: float = 20.0) -> None:
    """SIGTERM, wait for all of them, SIGKILL for those that stay."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait_s
        while (pids := [pid for pid in pids if processes.runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
