"""The host: memory, CPU, pressure and temperatures, from procfs and sysfs.

``root`` stands for ``/``, so that a folder tree can describe a machine that is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from actors.sensors import Kind, Value
from actors.sensors.files import KeptFile, Paced

KIB_PER_GIB = 2**20
MEMORY = {
    "mem_total_gib": b"MemTotal:",
    "mem_available_gib": b"MemAvailable:",
    "mem_free_gib": b"MemFree:",
    "mem_cached_gib": b"\nCached:",
}
PRESSURE = {
    "psi_cpu_some_us": ("cpu", b"some "),
    "psi_memory_some_us": ("memory", b"some "),
    "psi_memory_full_us": ("memory", b"full "),
    "psi_io_some_us": ("io", b"some "),
}
CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""hwmon chips that stand in where the host has no thermal zone."""


def kib(meminfo: bytes, key: bytes) -> int:
    """KiB behind ``key``. Raises ValueError where the kernel does not tell."""
    at = meminfo.index(key) + len(key)
    return int(meminfo[at : meminfo.index(b"kB", at)])


def busy_and_all(stat: bytes) -> tuple[int, int]:
    """Clock ticks of all CPUs together, from the first line of ``/proc/stat`` (proc(5)): busy, and all.

    Guest time is already part of user time; waiting for I/O is not work; stolen time is nobody's here.
    """
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.split(b"\n", 1)[0].split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, busy + idle + iowait + steal


def mem_total_bytes(root: Path = Path("/")) -> int | None:
    try:
        return kib((root / "proc/meminfo").read_bytes(), b"MemTotal:") * 1024
    except (OSError, ValueError):
        return None


class SystemSensor:
    """Memory, swap, CPU utilisation, pressure and temperatures of the host."""

    name = "system"
    fields: Mapping[str, Kind] = MappingProxyType(
        {
            "host_temperature_c": "number",
            "zone_temperatures_c": "numbers",
            "cpu_utilization_pct": "number",
            **dict.fromkeys(MEMORY, "number"),
            "swap_used_gib": "number",
            **dict.fromkeys(PRESSURE, "counter"),
        }
    )

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._meminfo = KeptFile(root / "proc/meminfo", 2048)
        self._stat = KeptFile(root / "proc/stat", 512)
        self._pressure = {kind: KeptFile(root / "proc/pressure" / kind, 256) for kind in ("cpu", "memory", "io")}
        self._zones: list[tuple[str, KeptFile]] = []
        self._slow_zones = Paced(self._zone_temperatures)
        self._ticks: tuple[int, int] | None = None
        self._asked: tuple[tuple[tuple[str, ...], Callable[[], dict[str, Value]]], ...] = ()
        self._unsupported: dict[str, str] = {}

    def probe(self) -> dict[str, str]:
        self._zones = _answering_zones(self._root)
        unsupported: dict[str, str] = {}
        groups: list[tuple[tuple[str, ...], Callable[[], dict[str, Value]]]] = []
        for fields, ask in (
            ((*MEMORY, "swap_used_gib"), self._memory),
            (("cpu_utilization_pct",), self._cpu),
            (tuple(PRESSURE), self._pressures),
        ):
            try:
                ask()
                groups.append((fields, ask))
            except OSError as problem:
                where = problem.filename or "procfs"
                unsupported |= dict.fromkeys(fields, f"{where} cannot be read: {problem.strerror}")
            except ValueError:
                unsupported |= dict.fromkeys(fields, "the kernel does not tell")
        if self._zones:
            groups.append((("host_temperature_c", "zone_temperatures_c"), self._temperatures))
        else:
            why = f"no thermal zone and no CPU temperature chip under {self._root / 'sys/class'}"
            unsupported |= {"host_temperature_c": why, "zone_temperatures_c": why}
        self._asked = tuple(groups)
        self._unsupported = unsupported
        return unsupported

    def read(self) -> dict[str, Value]:
        row: dict[str, Value] = {}
        for _, ask in self._asked:
            try:
                row.update(ask())
            except (OSError, ValueError, IndexError):
                continue  # this reading only: the fields stay NULL
        return row

    def describe(self) -> dict[str, Any]:
        return {
            "zones": [label for label, _ in self._zones],
            "zones_interval_s": self._slow_zones.interval_s,
            "unsupported": self._unsupported,
        }

    def close(self) -> None:
        for file in (self._meminfo, self._stat, *self._pressure.values(), *(file for _, file in self._zones)):
            file.close()

    def _memory(self) -> dict[str, Value]:
        text = self._meminfo.read()
        row: dict[str, Value] = {field: kib(text, key) / KIB_PER_GIB for field, key in MEMORY.items()}
        row["swap_used_gib"] = (kib(text, b"SwapTotal:") - kib(text, b"SwapFree:")) / KIB_PER_GIB
        return row

    def _cpu(self) -> dict[str, Value]:
        busy, total = busy_and_all(self._stat.read())
        before, self._ticks = self._ticks, (busy, total)
        if before is None or total <= before[1]:
            return {"cpu_utilization_pct": None}
        share = (busy - before[0]) / (total - before[1])
        return {"cpu_utilization_pct": min(100.0, max(0.0, 100.0 * share))}

    def _pressures(self) -> dict[str, Value]:
        texts = {kind: file.read() for kind, file in self._pressure.items()}
        row: dict[str, Value] = {}
        for field, (kind, line) in PRESSURE.items():
            text = texts[kind]
            at = text.index(b"total=", text.index(line)) + 6
            row[field] = int(text[at : text.index(b"\n", at)])
        return row

    def _temperatures(self) -> dict[str, Value]:
        zones = self._slow_zones() or []
        known = [value for value in zones if value is not None]
        return {"host_temperature_c": max(known) if known else None, "zone_temperatures_c": list(zones)}

    def _zone_temperatures(self) -> list[float | None]:
        return [_celsius(file) for _, file in self._zones]


def _answering_zones(root: Path) -> list[tuple[str, KeptFile]]:
    """Thermal zones that answer with something believable, in numeric order; CPU chips of hwmon where there is none."""
    base = root / "sys/class/thermal"
    folders = sorted(base.glob("thermal_zone*"), key=lambda path: int(path.name.removeprefix("thermal_zone")))
    found = [(f"{folder.name} {_text(folder / 'type')}", KeptFile(folder / "temp", 32)) for folder in folders]
    if not any(_celsius(file) is not None for _, file in found):
        found = [
            (f"{chip.name} {_text(chip / 'name')} {path.name}", KeptFile(path, 32))
            for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
            if _text(chip / "name") in CPU_CHIPS
            for path in sorted(chip.glob("temp*_input"))
        ]
    return [(label, file) for label, file in found if _celsius(file) is not None]


def _celsius(file: KeptFile) -> float | None:
    """Degrees, or None where the zone does not answer or answers nonsense (0, -273 and 255 stand for "no sensor")."""
    try:
        value = int(file.read()) / 1000.0
    except (OSError, ValueError):
        return None
    return value if -40.0 < value < 150.0 and value != 0.0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"
