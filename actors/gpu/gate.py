"""The gate: what must hold on the unit before an attempt starts, and what held when it opened.

Conditions: ``cooldown`` (least rest since the last attempt), ``temperature`` (within the band for the dwell),
``memory`` (MemAvailable back at the campaign's reference), ``idle_power``, ``foreign_gpu_processes``, ``cache`` (put in
its state, which takes longest when much is dirty) and ``sample`` (a reading taken after that). What this host cannot
show is said once, in ``unavailable``, and the gate works with the rest.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.clock import REAL, Clock
from actors.sensors import Sensor, nvml
from actors.sensors.nvml import NvmlSensor
from actors.sensors.system import SystemSensor, mem_total_bytes
from actors.types import Gate, GateRecord

STALE_S = 2.0
"""A reading older than this says nothing about now."""

FRESH_S = 0.01
"""How soon to look again while only a fresh reading is missing."""


@dataclass(frozen=True)
class Reading:
    """The state of the unit at one moment. None is what it cannot tell."""

    t_mono_ns: int
    gpu_temperature_c: float | None = None
    host_temperature_c: float | None = None
    mem_available_gib: float | None = None
    mem_free_gib: float | None = None
    mem_cached_gib: float | None = None
    swap_used_gib: float | None = None
    power_w: float | None = None
    gpu_utilization_pct: float | None = None
    foreign_gpu_pids: tuple[int, ...] | None = None
    """Compute processes on the GPU; None where the device does not list them or there is none."""

    @property
    def temperature_c(self) -> float | None:
        """The GPU's, or the hottest of the host where there is no GPU."""
        return self.host_temperature_c if self.gpu_temperature_c is None else self.gpu_temperature_c


class Observe:
    """Asks this unit's sensors directly, every field anew. ``uuid`` is the unit's GPU, which may be left out where
    there is one; ``allowed`` are GPU processes that belong here (a display server, say)."""

    def __init__(
        self, root: Path = Path("/"), *, uuid: str | None = None, allowed: frozenset[int] = frozenset()
    ) -> None:
        self._system = SystemSensor(root)
        self._nvml = NvmlSensor(nvml.load(root), uuid=uuid, system_memory_bytes=mem_total_bytes(root))
        self._sensors: tuple[Sensor, ...] = (self._system, self._nvml)
        self.unsupported = {field: why for sensor in self._sensors for field, why in sensor.probe().items()}
        self._allowed = allowed
        self._lock = threading.Lock()  # an attempt observes while a status call asks for the temperature

    @property
    def gpu_name(self) -> str | None:
        return self._nvml.gpu_name

    @property
    def gpu_uuid(self) -> str | None:
        return self._nvml.uuid

    def __call__(self) -> Reading:
        now = time.monotonic_ns()
        with self._lock:
            row = {**self._system.read(), **self._nvml.now()}
            processes = self._nvml.processes
        foreign = None if processes is None else tuple(sorted(processes.keys() - self._allowed))
        return reading({**row, "t_mono_ns": now, "foreign_gpu_pids": foreign})

    def temperature_c(self) -> float | None:
        return self().temperature_c

    def describe(self) -> dict[str, Any]:
        return {sensor.name: sensor.describe() for sensor in self._sensors}


def reading(row: Mapping[str, Any]) -> Reading:
    """A reading from a telemetry row (the sampler's ``latest``), or from the sensors' own answers."""
    pids = row.get("foreign_gpu_pids")
    return Reading(
        t_mono_ns=int(row["t_mono_ns"]),
        gpu_temperature_c=row.get("gpu_temperature_c"),
        host_temperature_c=row.get("host_temperature_c"),
        mem_available_gib=row.get("mem_available_gib"),
        mem_free_gib=row.get("mem_free_gib"),
        mem_cached_gib=row.get("mem_cached_gib"),
        swap_used_gib=row.get("swap_used_gib"),
        power_w=row.get("gpu_power_w"),
        gpu_utilization_pct=row.get("gpu_utilization_pct"),
        foreign_gpu_pids=None if pids is None else tuple(pids),
    )


def cold_enough(temperature_c: float, gate: Gate) -> bool:
    """Whether a start at this temperature is below the ceiling: the one rule for the gate and the verdict. Sensors tell
    whole degrees, and the methodology asks for less than the ceiling,
    so a reading of the ceiling itself is too warm."""
    return gate.ceiling_c is None or temperature_c < gate.ceiling_c


class Look(Protocol):
    def __call__(self) -> Reading | None: ...


class Sensing(Protocol):
    """A unit's sensors, asked directly: :class:`Observe`, or those of a rehearsal."""

    @property
    def gpu_name(self) -> str | None: ...

    @property
    def gpu_uuid(self) -> str | None: ...

    def __call__(self) -> Reading: ...


def wait(
    gate: Gate,
    observe: Look,
    *,
    rest_since_ns: int | None,
    reference_gib: float | None,
    files: tuple[Path, ...],
    stop: threading.Event,
    on_change: Callable[[str], None] = lambda _: None,
    clock: Clock = REAL,
    prepare_cache: Callable[[str, tuple[Path, ...], threading.Event], tuple[str, str | None]] | None = None,
) -> GateRecord:
    """Put the page cache in its state, then wait until every condition holds.

    ``rest_since_ns``: monotonic clock at the end of the last attempt, None for the first. ``reference_gib``: the
    MemAvailable that the campaign's first gate opened with, None at that first gate. ``files``: what the engine will
    read. ``on_change`` hears ``cooldown``, then ``gate``, and a line whenever something else begins to hold the gate.
    Nothing warms a unit that is below the floor. The timeout counts from the end of the cooldown. Returns at once, not
    opened, when ``stop`` is set.
    """
    began_ns = clock.monotonic_ns()
    rested_ns = began_ns if rest_since_ns is None else rest_since_ns + int(gate.cooldown_s * 1e9)
    on_change("cooldown" if rested_ns > began_ns else "gate")
    action, refused = (prepare_cache or cache)(gate.cache, files, stop)
    ready_ns = clock.monotonic_ns()
    deadline_ns = max(began_ns, rested_ns) + int(gate.timeout_s * 1e9)
    conditions = _Conditions(gate, reference_gib, rested_ns, [f"cache: {refused}"] if refused else [])
    blocked: list[str] = ["cache"] if ready_ns - max(began_ns, rested_ns) > 1_000_000 else []
    told = ""
    resting = rested_ns > began_ns

    while True:
        seen = observe()
        now_ns = clock.monotonic_ns()
        fresh = seen is not None and seen.t_mono_ns >= ready_ns and now_ns - seen.t_mono_ns <= STALE_S * 1e9
        if resting and now_ns >= rested_ns:
            resting = False
            on_change("gate")
            ready_ns = clock.monotonic_ns()
            if ready_ns > now_ns:  # a caller that took its time may have changed what was seen
                continue
        unmet, wake_ns = conditions.unmet(seen if fresh else None, now_ns)
        blocked.extend(name for name in unmet if name not in blocked)
        stopped = stop.is_set()
        timed_out = bool(unmet) and now_ns >= deadline_ns
        if not unmet or timed_out or stopped:
            break
        line = next((text for name, text in unmet.items() if name != "cooldown"), "")
        if line != told and not resting:
            told = line
            on_change(line or "gate")
        clock.wait(stop, max(0.0, (min(wake_ns, max(deadline_ns, now_ns + 1)) - now_ns) / 1e9))
    opened = not stopped and (not unmet or gate.on_timeout == "flag")
    return GateRecord(
        opened=opened,
        waited_s=(now_ns - began_ns) / 1e9,
        rest_s=None if rest_since_ns is None else (now_ns - rest_since_ns) / 1e9,
        blocked_by=tuple(unmet if timed_out or stopped else blocked),
        unavailable=tuple(conditions.unavailable),
        opened_at_ns=now_ns if opened else None,
        cache_action=action,
        flagged=opened and bool(unmet),
        **({name: getattr(seen, name) for name in SEEN} if seen else {}),
    )


SEEN = ("temperature_c", "mem_available_gib", "mem_free_gib", "mem_cached_gib", "swap_used_gib", "power_w")
"""Of the reading that a gate opened, or gave up, with: what its record keeps."""


class _Conditions:
    """What has to hold, and since when the temperature does."""

    def __init__(
        self,
        gate: Gate,
        reference_gib: float | None,
        rested_ns: int,
        unavailable: list[str],
    ) -> None:
        self.unavailable = unavailable
        """Conditions that the campaign asks for and this host cannot show; complete once there was a fresh reading."""
        self._gate = gate
        self._reference_gib = reference_gib
        self._rested_ns = rested_ns
        self._in_band_since_ns: int | None = None
        self._looked = False

    def unmet(self, seen: Reading | None, now_ns: int) -> tuple[dict[str, str], int]:
        """Name of each condition that does not hold to its line for the person, and when to look again at the latest
        (monotonic). ``seen`` is None without a fresh reading."""
        unmet: dict[str, str] = {}
        wake_ns = [now_ns + int(self._gate.poll_s * 1e9)]
        if now_ns < self._rested_ns:
            unmet["cooldown"] = f"cooldown: {self._gate.cooldown_s:g} s of rest"
            wake_ns.append(self._rested_ns)
        if seen is None:
            unmet["sample"] = "waiting for a fresh reading of the sensors"
            return unmet, min(*wake_ns, now_ns + int(FRESH_S * 1e9))
        if not self._looked:
            self.unavailable.extend(_unavailable(self._gate, seen))
            self._looked = True
        line, dwelt_ns = self._temperature(seen, now_ns)
        if line is not None:
            unmet["temperature"] = line
        return unmet | _others(self._gate, seen, self._reference_gib), min([*wake_ns, *dwelt_ns])

    def _temperature(self, seen: Reading, now_ns: int) -> tuple[str | None, list[int]]:
        """Why the temperature holds the gate, None where it does not;
        and when it will have been in its band for long enough."""
        outside = _outside_band(self._gate, seen, self.unavailable)
        if outside is not None:
            self._in_band_since_ns = None
            return outside, []
        self._in_band_since_ns = now_ns if self._in_band_since_ns is None else self._in_band_since_ns
        dwelt_ns = self._in_band_since_ns + int(self._gate.dwell_s * 1e9)
        if _has_band(self._gate, self.unavailable) and now_ns < dwelt_ns:
            return f"temperature {seen.temperature_c:.1f} °C, to stay there {self._gate.dwell_s:g} s", [dwelt_ns]
        return None, []


def _has_band(gate: Gate, unavailable: list[str]) -> bool:
    wanted = gate.ceiling_c is not None or gate.floor_c is not None
    return wanted and not any(entry.startswith("temperature") for entry in unavailable)


def _outside_band(gate: Gate, seen: Reading, unavailable: list[str]) -> str | None:
    """Why the temperature is not where it should be; None where it is, or where nobody asks."""
    if not _has_band(gate, unavailable):
        return None
    temperature_c = seen.temperature_c
    if temperature_c is None:
        return "the temperature sensor does not answer"
    if not cold_enough(temperature_c, gate):
        return f"temperature {temperature_c:.1f} °C, to be below {gate.ceiling_c:g} °C"
    if gate.floor_c is not None and temperature_c < gate.floor_c:
        return f"temperature {temperature_c:.1f} °C below {gate.floor_c:g} °C"
    return None


def _others(gate: Gate, seen: Reading, reference_gib: float | None) -> dict[str, str]:
    """Memory, power and foreign processes: what does not hold, and the line for the person."""
    unmet: dict[str, str] = {}
    tolerance_gib, available_gib = gate.memory_tolerance_gib, seen.mem_available_gib
    if tolerance_gib is not None and reference_gib is not None and available_gib is not None:
        least_gib = reference_gib - tolerance_gib
        if available_gib < least_gib:
            unmet["memory"] = f"MemAvailable {available_gib:.2f} GiB, to be at least {least_gib:.2f} GiB"
    if gate.idle_power_w is not None and seen.power_w is not None and seen.power_w > gate.idle_power_w:
        unmet["idle_power"] = f"GPU power {seen.power_w:.1f} W, idle is at most {gate.idle_power_w:g} W"
    if gate.foreign_gpu_processes == "forbid" and seen.foreign_gpu_pids:
        pids = ", ".join(map(str, seen.foreign_gpu_pids))
        unmet["foreign_gpu_processes"] = f"another process holds the GPU: PID {pids}"
    return unmet


def _unavailable(gate: Gate, seen: Reading) -> list[str]:
    """Conditions that the campaign asks for and this host cannot show."""
    missing: list[str] = []
    if (gate.ceiling_c is not None or gate.floor_c is not None) and seen.temperature_c is None:
        missing.append("temperature: neither a GPU nor a thermal zone tells it")
    if gate.memory_tolerance_gib is not None and seen.mem_available_gib is None:
        missing.append("memory: MemAvailable is not told")
    if gate.idle_power_w is not None and seen.power_w is None:
        missing.append("idle_power: no GPU tells its power")
    if gate.foreign_gpu_processes == "forbid" and seen.foreign_gpu_pids is None:
        missing.append("foreign_gpu_processes: no GPU lists its processes")
    return missing


DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def cache(
    mode: str, files: tuple[Path, ...], stop: threading.Event, drop_caches: Path = DROP_CACHES
) -> tuple[str, str | None]:
    """Put the page cache in the state that the campaign asks for. Returns what was done, and why not what was asked.

    ``drop``: everything clean goes (drop_caches, root only), else the engine's own files are evicted; ``warm``: they
    are read once; ``keep``: nothing.
    """
    if mode == "keep":
        return "kept", None
    if mode == "warm":
        for path in _plain_files(files):
            with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
                while not stop.is_set() and file.read(2**24):
                    pass
        return "warmed", None
    try:
        # Only clean pages can go. Sync may take long on a busy disk and cannot be interrupted; a stop does not wait for
        # it.
        syncing = threading.Thread(target=os.sync, daemon=True)
        syncing.start()
        while syncing.is_alive() and not stop.is_set():
            syncing.join(0.05)
        with drop_caches.open("wb", buffering=0) as file:
            file.write(b"3\n")
    except OSError as problem:
        evicted = _evict(files)
        why = f"the page cache cannot be dropped ({problem.strerror}; that takes root)"
        if evicted:
            return "evicted", f"{why}; of the engine's own files {evicted} were evicted instead"
        return "kept", why
    return "dropped", None


def _evict(files: tuple[Path, ...]) -> int:
    """Evict the files from the page cache (posix_fadvise(2)); how many the kernel accepted."""
    count = 0
    for path in _plain_files(files):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            count += 1
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return count


def _plain_files(files: tuple[Path, ...]) -> list[Path]:
    """The files, and those below the folders: a checkpoint is a folder."""
    found = [path for entry in files for path in (sorted(entry.rglob("*")) if entry.is_dir() else [entry])]
    return [path for path in found if path.is_file()]
