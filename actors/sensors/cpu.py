"""What the CPUs are: which are fast, which are thrifty, and how they are clocked.

On a GB10 CPUs 0-4 and 10-14 are Cortex-A725 and 5-9 and 15-19 are Cortex-X925, so "0-9" is one cluster, not the
performance cores. Nothing here is a literal list of CPUs: it is asked on the unit.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

ARM_PARTS = {
    "0xd05": "Cortex-A55",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
    "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725",
}
"""MIDR part numbers of Arm Ltd. (implementer 0x41), from the cores' reference manuals."""

SAME_KIND = 0.90
"""Capacities within this ratio are one kind: the cores of one GB10 kind differ by 3 %, the kinds by 28 %."""


def cpu_list(text: str) -> tuple[int, ...]:
    """CPUs of a kernel list such as ``0-4,10-14``."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def core_kinds(root: Path = Path("/")) -> dict[str, tuple[int, ...]]:
    """CPUs by kind: ``performance`` and ``efficiency``. Where all are alike both hold every CPU that is online."""
    online = _online(root)
    strength = _strength(root, online)
    weakest, strongest = min(strength.values(), default=0.0), max(strength.values(), default=0.0)
    if len(strength) < len(online) or weakest >= SAME_KIND * strongest:
        return {"performance": online, "efficiency": online}
    levels = sorted(set(strength.values()))
    _, border = max((high / max(low, 1.0), high) for low, high in pairwise(levels))
    return {
        "performance": tuple(cpu for cpu in online if strength[cpu] >= border),
        "efficiency": tuple(cpu for cpu in online if strength[cpu] < border),
    }


def topology(root: Path = Path("/")) -> dict[str, Any]:
    """Facts for provenance: models, kinds, clock limits and governors, sockets, threads per core, NUMA nodes."""
    online = _online(root)
    processors = _processors(root)
    base = root / "sys/devices/system/cpu"
    models: dict[str, list[int]] = {}
    for cpu, facts in processors.items():
        models.setdefault(_model(facts), []).append(cpu)
    clocks = {
        name: [_number(base / f"cpu{cpu}/cpufreq" / name) for cpu in online]
        for name in ("cpuinfo_max_freq", "scaling_max_freq", "scaling_min_freq")
    }
    return {
        "online": list(online),
        "models": models,
        "kinds": {kind: list(cpus) for kind, cpus in core_kinds(root).items()},
        "clock_limits_khz": {name: values for name, values in clocks.items() if any(v is not None for v in values)},
        "governors": sorted({text for cpu in online if (text := _text(base / f"cpu{cpu}/cpufreq/scaling_governor"))}),
        "sockets": len({_text(base / f"cpu{cpu}/topology/physical_package_id") for cpu in online}),
        "threads_per_core": max(
            (len(cpu_list(_text(base / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu))) for cpu in online),
            default=1,
        ),
        "numa_nodes": len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
    }


def _strength(root: Path, online: tuple[int, ...]) -> dict[int, float]:
    """How strong each CPU is, in whatever measure the kernel gives first; only the ratios mean anything."""
    base = root / "sys/devices/system/cpu"
    capacities = {cpu: value for cpu in online if (value := _number(base / f"cpu{cpu}/cpu_capacity")) is not None}
    if len(capacities) == len(online):
        return capacities
    hybrid = {kind: _text(root / f"sys/devices/{kind}/cpus") for kind in ("cpu_core", "cpu_atom")}  # Intel
    if hybrid["cpu_core"] and hybrid["cpu_atom"]:
        fast = cpu_list(hybrid["cpu_core"])
        return {cpu: 2.0 if cpu in fast else 1.0 for cpu in online}
    parts = {cpu: facts.get("CPU part", "") for cpu, facts in _processors(root).items()}
    if len(set(parts.values())) > 1:
        return {cpu: _rank(parts.get(cpu, "")) for cpu in online}
    return {}


def _rank(part: str) -> float:
    """Cortex-X before Cortex-A7xx before Cortex-A5xx; an unknown core counts as a middle one."""
    name = ARM_PARTS.get(part, "")
    if name.startswith(("Cortex-X", "Neoverse")):
        return 4.0
    return 1.0 if re.match(r"Cortex-A5", name) else 2.0


def _model(facts: dict[str, str]) -> str:
    if "model name" in facts:
        return facts["model name"]
    part = facts.get("CPU part", "unknown")
    return ARM_PARTS.get(part, part) if facts.get("CPU implementer", "0x41") == "0x41" else part


def _processors(root: Path) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for block in _text(root / "proc/cpuinfo").split("\n\n"):
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if facts.get("processor", "").isdigit():
            found[int(facts["processor"])] = facts
    return found


def _online(root: Path) -> tuple[int, ...]:
    return cpu_list(_text(root / "sys/devices/system/cpu/online")) or tuple(sorted(_processors(root)))


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
