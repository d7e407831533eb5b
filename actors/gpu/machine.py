"""What of a machine must not change in silence within a campaign: versions, firmware, locks and limits, as a plain
dict, and how two of them differ in words with the reason why it matters.

Cheap enough to be asked before every block. What Docker says of itself is asked once per start of its daemon, what a
program says of its version once per program file. Nothing here names the machine, its boot or its user: the facts are
published.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.environments import ContainerEngine, EngineMissing
from actors.sensors import nvml
from actors.sensors.gpus import handle_of, is_instance, mig_is_on, text
from actors.sensors.trouble import Trouble, module_version

WHY = {
    "gpu": "another device has other speed, memory and limits",
    "gpu_vbios": "the GPU's firmware sets clocks, power and memory timing",
    "nvidia_driver": "kernels are compiled, scheduled and clocked by the driver",
    "gpu_firmware": "the GPU's system processor schedules work and manages power",
    "persistence_mode": "without it the driver starts anew for each process, and settings are lost",
    "power_limit_w": "the GPU slows down at this power",
    "application_clock_mhz": "the GPU's clock under load is set by it",
    "memory_clock_max_mhz": "decoding is bound by the memory's speed",
    "compute_mode": "it decides who else may use the GPU",
    "ecc": "error correction takes memory and bandwidth",
    "mig": "a divided card has a part of its units and memory",
    "kernel": "scheduling, memory and drivers are the kernel's",
    "memory_total": "engines size their KV cache by the memory that there is",
    "firmware": "the board's firmware sets limits of power and the memory that is left to the system",
    "embedded_controller": "it governs fan and power supply",
    "cpus": "the engine's host threads have more or fewer cores",
    "cpu_governor": "the host's share of each step follows the CPU's clock",
    "cpu_limits_khz": "the host's share of each step follows the CPU's clock",
    "cpu_boost": "the host's share of each step follows the CPU's clock",
    "smt": "threads of one core share its units",
    "transparent_hugepages": "loading and pinned memory are faster or slower with huge pages",
    "swappiness": "it decides what is swapped out when memory is short",
    "overcommit": "it decides which allocations are refused",
    "swap": "what is swapped out comes back at odd times",
    "numa_balancing": "pages move between nodes while they are used",
    "mitigations": "every system call pays for them",
    "docker": "the Docker arm's start, limits and network are the engine's",
    "containerd": "it starts the Docker arm's processes",
    "runc": "it makes the Docker arm's namespaces and control groups",
    "docker_storage": "reading through another storage driver costs other time and page cache",
    "docker_cgroup": "accounting and limits of the Docker arm are the control groups'",
    "container_toolkit": "it decides which of the driver's libraries the Docker arm sees",
}
"""Fact to why its change makes results before and after it different things."""

MEMORY_TOLERANCE = 0.01
MEMORY_TOLERANCE_GIB = 1.0
"""A kernel's update reserves some MiB more or less; a firmware that frees the display's share,
or a module that is gone, moves more."""


@dataclass(frozen=True)
class Change:
    """One fact that is not what it was. ``why_it_matters`` is a half-sentence."""

    what: str
    then: str
    now: str
    why_it_matters: str

    def __str__(self) -> str:
        return f"{self.what.replace('_', ' ')} was {self.then}, is {self.now}: {self.why_it_matters}"


def machine_facts(home: Path, uuid: str | None = None, root: Path = Path("/")) -> dict[str, str]:
    """The facts by name, those that the machine tells. ``uuid`` is the unit's GPU; ``root`` stands for ``/``."""
    live = root == Path("/")
    found = _of_host(root) | _of_gpu(root, uuid)
    if live:
        found |= {"kernel": platform.release(), "cpus": str(os.cpu_count()), **_of_docker(home), **_of_toolkit()}
    return {name: value for name, value in sorted(found.items()) if value}


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    """What changed, in the order of :data:`WHY`. What only one of both tells is no change: a daemon that does not
    answer for a moment is not another daemon, and a newer version of this program may ask more. Total memory may move
    by what a kernel's update moves."""
    found = []
    told = [name for name in then if name in now]
    for name in [*(name for name in WHY if name in told), *(name for name in told if name not in WHY)]:
        before, after = then[name], now[name]
        if before == after or (name == "memory_total" and _about_the_same(before, after)):
            continue
        found.append(Change(name, before, after, WHY.get(name, "it was part of what was measured")))
    return found


def _about_the_same(before: str, after: str) -> bool:
    try:
        a, b = (float(told.partition(" ")[0]) for told in (before, after))
    except ValueError:
        return False
    return abs(a - b) <= max(MEMORY_TOLERANCE * a, MEMORY_TOLERANCE_GIB)


# --- the host ----------------------------------------------------------------------------------------------------


def _of_host(root: Path) -> dict[str, str]:
    def read(path: str) -> str:
        try:
            return (root / path).read_text(errors="replace").strip()
        except OSError:
            return ""

    cpufreq = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))

    def of_cpus(name: str) -> str:
        told = {read(str((folder / name).relative_to(root))) for folder in cpufreq} - {""}
        return ", ".join(sorted(told))

    dmi = "sys/class/dmi/id"
    boost = read("sys/devices/system/cpu/cpufreq/boost") or read("sys/devices/system/cpu/intel_pstate/no_turbo")
    return {
        "memory_total": _gib(read("proc/meminfo"), "MemTotal:"),
        "swap": _gib(read("proc/meminfo"), "SwapTotal:"),
        "firmware": " ".join(filter(None, (read(f"{dmi}/bios_version"), read(f"{dmi}/bios_date")))),
        "embedded_controller": read(f"{dmi}/ec_firmware_release"),
        "cpu_governor": of_cpus("scaling_governor"),
        "cpu_limits_khz": of_cpus("scaling_max_freq"),
        "cpu_boost": boost,
        "smt": read("sys/devices/system/cpu/smt/control"),
        "transparent_hugepages": _selected(read("sys/kernel/mm/transparent_hugepage/enabled")),
        "swappiness": read("proc/sys/vm/swappiness"),
        "overcommit": read("proc/sys/vm/overcommit_memory"),
        "numa_balancing": read("proc/sys/kernel/numa_balancing"),
        "mitigations": "off" if "mitigations=off" in read("proc/cmdline").split() else "as the kernel chooses",
    }


def _gib(meminfo: str, key: str) -> str:
    for line in meminfo.splitlines():
        if line.startswith(key):
            return f"{int(line.split()[1]) / 2**20:.2f} GiB"
    return ""


def _selected(text_: str) -> str:
    """``madvise`` of ``always [madvise] never``."""
    return text_.partition("[")[2].partition("]")[0] or text_


# --- the GPU -----------------------------------------------------------------------------------------------------


def _of_gpu(root: Path, uuid: str | None) -> dict[str, str]:
    loaded = nvml.load(root)
    version = module_version(root)
    if isinstance(loaded, Trouble):
        return {"nvidia_driver": version} if version else {}
    try:
        handle = handle_of(loaded, uuid)
        card = loaded.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if is_instance(loaded, handle) else handle
    except (LookupError, loaded.NVMLError):
        return {"nvidia_driver": version} if version else {}
    calls: dict[str, Callable[[], Any]] = {
        "gpu": lambda: text(loaded.nvmlDeviceGetName(handle)),
        "gpu_vbios": lambda: text(loaded.nvmlDeviceGetVbiosVersion(card)),
        "nvidia_driver": lambda: text(loaded.nvmlSystemGetDriverVersion()),
        "gpu_firmware": lambda: text(loaded.nvmlDeviceGetGspFirmwareVersion(card)),
        "persistence_mode": lambda: "on" if loaded.nvmlDeviceGetPersistenceMode(card) else "off",
        "power_limit_w": lambda: f"{loaded.nvmlDeviceGetPowerManagementLimit(card) / 1e3:g}",
        "application_clock_mhz": lambda: loaded.nvmlDeviceGetApplicationsClock(card, loaded.NVML_CLOCK_SM),
        "memory_clock_max_mhz": lambda: loaded.nvmlDeviceGetMaxClockInfo(card, loaded.NVML_CLOCK_MEM),
        "compute_mode": lambda: loaded.nvmlDeviceGetComputeMode(card),
        "ecc": lambda: "on" if loaded.nvmlDeviceGetEccMode(card)[0] else "off",
        "mig": lambda: "on" if mig_is_on(loaded, card) else "off",
    }
    found: dict[str, str] = {}
    for name, call in calls.items():
        with contextlib.suppress(loaded.NVMLError, AttributeError):
            found[name] = str(call())
    return found


# --- Docker ------------------------------------------------------------------------------------------------------

_docker_known: dict[tuple[str, int, int], dict[str, str]] = {}
"""By host, inode and time of its socket, which a daemon makes anew when it starts."""


def _of_docker(home: Path) -> dict[str, str]:
    from actors.environments.docker import daemon

    for host, _ in daemon.candidates(home):
        key = _socket(host)
        if key is not None and key in _docker_known:
            return _docker_known[key]
        client = daemon.ask(host, timeout_s=2.0)
        if isinstance(client, str):
            continue
        try:
            found = _versions(client)
        except Exception:  # a daemon that is going away: another time
            return {}
        finally:
            client.close()
        if key is not None:
            _docker_known[key] = found
        return found
    return {}


def _socket(host: str) -> tuple[str, int, int] | None:
    try:
        told = Path(host.removeprefix("unix://")).stat()
    except OSError:
        return None
    return host, told.st_ino, told.st_ctime_ns


def _versions(client: Any) -> dict[str, str]:
    version, info = client.version(), client.info()
    parts = {str(one.get("Name", "")).lower(): str(one.get("Version", "")) for one in version.get("Components") or ()}
    return {
        "docker": str(version.get("Version", "")),
        "containerd": parts.get("containerd", ""),
        "runc": parts.get("runc", ""),
        "docker_storage": str(info.get("Driver", "")),
        "docker_cgroup": f"v{info.get('CgroupVersion', 1)} {info.get('CgroupDriver', '')}".strip(),
    }


_engines_known: dict[tuple[str, int, int], dict[str, str]] = {}


def of_container_engine(engine: ContainerEngine, home: Path) -> dict[str, str]:
    """What an engine besides Docker's says of itself, under names that begin with its own;
    asked once per start of its service."""
    try:
        client = engine.connect(home)
    except EngineMissing:
        return {}
    try:
        key = _socket(f"unix://{getattr(client.api.get_adapter(client.api.base_url), 'socket_path', '')}")
        if key is None or key not in _engines_known:
            told, info = client.version(), client.info()
            parts = {
                str(one.get("Name", "")).lower(): str(one.get("Version", "")) for one in told.get("Components") or ()
            }
            found = {
                "": str(told.get("Version", "")),
                "storage": str(info.get("Driver", "")),
                "conmon": parts.get("conmon", ""),
            }
            found["runtime"] = str(info.get("DefaultRuntime") or "")
            found["cgroup"] = f"v{info.get('CgroupVersion', 1)} {info.get('CgroupDriver', '')}".strip()
            named = {f"{engine.name}_{what}".rstrip("_"): value for what, value in found.items() if value}
            if key is None:
                return named
            _engines_known[key] = named
        return _engines_known[key]
    except Exception:  # a service that is going away: another time
        return {}
    finally:
        client.close()


_programs_known: dict[tuple[str, int], str] = {}


def _of_toolkit() -> dict[str, str]:
    program = shutil.which("nvidia-ctk") or shutil.which("nvidia-container-cli")
    if program is None:
        return {}
    try:
        key = program, Path(program).stat().st_mtime_ns
    except OSError:
        return {}
    if key not in _programs_known:
        try:
            said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            return {}
        _programs_known[key] = (said.strip().splitlines() or [""])[0].rpartition(" ")[2]
    return {"container_toolkit": _programs_known[key]}
