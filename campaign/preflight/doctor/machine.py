"""The host: what its kernel shows and permits, and what else runs on it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from actors import processes
from campaign.preflight.doctor import limits
from campaign.preflight.doctor.finding import Asked, Finding, read


def drop_caches(asked: Asked) -> Finding:
    """Opened, not written: a check should not empty anybody's cache."""
    campaign = asked.campaign
    if campaign is not None and campaign.gate.cache != "drop":
        return "ok", f"cache: {campaign.gate.cache} asks for no dropping", ""
    try:
        Path("/proc/sys/vm/drop_caches").open("wb", buffering=0).close()
    except OSError as error:
        remedy = "Run as root; otherwise only the engine's own files are evicted, and the data say so."
        return "warn", f"drop_caches cannot be written: {error.strerror}", remedy
    return "ok", "the page cache can be dropped", ""


def cores(asked: Asked) -> Finding:
    from actors.environments.resolve import format_cpus
    from actors.sensors.cpu import core_kinds, topology

    kinds = core_kinds(asked.root)
    quota = limits.cpus(asked.root)
    if quota is not None:
        found = (
            f"{quota[0]:g} CPUs are allowed by {quota[1]}, of {len({cpu for cpus in kinds.values() for cpu in cpus})}"
        )
        remedy = "Run outside of that slice or pod: native attempts inherit its quota, attempts in Docker do not."
        return "warn", found, remedy
    if kinds["performance"] == kinds["efficiency"]:
        return "ok", f"{len(kinds['performance'])} alike", ""
    models = {cpu: model for model, cpus in topology(asked.root)["models"].items() for cpu in cpus}
    words = []
    for kind, cpus in kinds.items():
        names = " and ".join(dict.fromkeys(models[cpu] for cpu in cpus if cpu in models))
        words.append(f"{kind} {format_cpus(cpus)} ({names})")
    return "ok", "; ".join(words), ""


def pressure(asked: Asked) -> Finding:
    missing = [name for name in ("cpu", "memory", "io") if not (asked.root / "proc/pressure" / name).exists()]
    if missing:
        return "warn", f"no pressure figures for {', '.join(missing)}", "Boot with psi=1; they stay NULL otherwise."
    return "ok", "cpu, memory and io", ""


def frequency(asked: Asked) -> Finding:
    folders = sorted((asked.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    governors = {read(folder / "scaling_governor") for folder in folders} - {""}
    if not governors:
        return "ok", "this kernel shows no governor (a virtual machine, or fixed)", ""
    limits = sorted({read(folder / "scaling_max_freq") for folder in folders} - {""})
    found = f"governor {', '.join(sorted(governors))}; limits {', '.join(f'{int(khz) // 1000} MHz' for khz in limits)}"
    if governors != {"performance"}:
        return "warn", found, "`cpupower frequency-set -g performance` as root takes the governor out of the data."
    return "ok", found, ""


def load(_: Asked) -> Finding:
    one = os.getloadavg()[0]
    cpus = len(os.sched_getaffinity(0))
    found = f"{one:.1f} over the last minute on {cpus} CPUs"
    if one > 0.5 * cpus:
        return "warn", found, "Something else runs: end it, or every figure carries it."
    return "ok", found, ""


UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2): no source keeps this clock."""


def clock(_: Asked) -> Finding:
    """Asked of the kernel, so that it does not matter who keeps the time."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if state == UNSYNCHRONISED:
        return (
            "warn",
            "not synchronised",
            "Start systemd-timesyncd or chrony; several units are compared by their clocks.",
        )
    if state < 0:
        return "warn", f"the kernel does not tell: {os.strerror(ctypes.get_errno())}", "Check with `timedatectl`."
    return "ok", "synchronised", ""


UPDATERS = ("unattended-upgr", "apt-get", "apt", "dpkg", "dnf", "packagekitd", "snapd")


def updates(_: Asked) -> Finding:
    running = sorted({processes.name(pid) for pid in processes.pids()} & set(UPDATERS))
    timers = []
    if shutil.which("systemctl"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "dnf-automatic.timer"):
                asked = subprocess.run(
                    ["systemctl", "is-active", unit], capture_output=True, text=True, timeout=5, check=False
                )
                if asked.stdout.strip() == "active":
                    timers.append(unit)
    if found := [*running, *timers]:
        remedy = "`systemctl stop apt-daily.timer apt-daily-upgrade.timer unattended-upgrades` for the campaign's time."
        return "warn", f"active: {', '.join(found)}", remedy
    return "ok", "nothing updates this machine by itself", ""


def kernel_log(_: Asked) -> Finding:
    """Whether an attempt's evidence can have the kernel's words of Xid, OOM kills and heat."""
    from actors.gpu.kernel_log import KernelLog

    log = KernelLog()
    try:
        if log.unavailable is None:
            return "ok", f"readable ({log.source})", ""
        remedy = (
            "Run as root, or add the user to group adm (`sudo usermod -aG adm $USER`): "
            "Xid and OOM kills go unseen otherwise."
        )
        return "warn", log.unavailable, remedy
    finally:
        log.close()
