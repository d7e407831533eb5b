"""One GPU, through NVML (``nvidia-ml-py``). Each field is probed once and then either read or never asked again.

A field may also *lie*: on GB10 some calls succeed with a number that means nothing (:data:`LIES`). Those stay NULL with
the reason, like the ones that are not supported. The module is handed in, so that recorded answers can stand for a
device that is not here (:mod:`actors.sensors.recorded`).

A call may cost microseconds or milliseconds, and which does so differs between devices. The probe measures each;
together they get :data:`BUDGET` of a core. What does not fit into it at every sample is asked less often and is NULL in
the samples between: a value that was carried on would look like one that was read. ``describe()`` has cost and interval
of every field.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Mapping
from statistics import median
from types import MappingProxyType
from typing import Any, TypeVar

from actors.sensors import Kind, Value
from actors.sensors.files import Paced
from actors.sensors.gpus import Gpu, gpus, handle_of, is_instance, load, mig_is_on, text
from actors.sensors.trouble import Trouble, trouble

__all__ = ["Gpu", "NvmlSensor", "Trouble", "gpus", "is_gb10", "load"]

GIB = 2**30
Known = TypeVar("Known")

LIES: dict[str, dict[str, str]] = {
    "GB10": {
        "gpu_memory_utilization_pct": "GB10 answers 0 with success whatever the load",
        "pcie_link": "GB10 answers the placeholder Gen1 x1 with success",
        "memory_temperature_c": "GB10 answers 0 with success",
    }
}
"""By a part of the device's name: what it answers with success and is not true. Not every entry is a sample's field."""

PEAK_BANDWIDTH_GB_S = {"GB10": 273.0}
"""Where NVML cannot tell the memory clock: 256-bit LPDDR5X at 8533 MT/s."""

THROTTLE_COUNTERS = {
    "sw_power_cap": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP",
    "sw_therm_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "hw_therm_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "hw_power_brake_slowdown": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
    "sync_boost": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST",
}
"""Cumulative time in each state, which the driver counts in nanoseconds and advances about every 100 ms. Sampling the
bitmask misses short events; the difference of these over a run does not."""

GPM_INTERVAL_S = 0.09
"""Least distance of two GPM samples: the counters need about 100 ms to say something."""

BUDGET = 0.005
"""Share of a core for all calls together: half of the 1 % that the whole sampler may take at 10 Hz. A call of 3 ms at
every sample (the energy counter on an H200 in a virtual machine) would be 3 %."""
LONGEST_S = 10.0
"""However slow a call, it is made this often."""
WATCHED_S = 1.0
"""Those that tell whether another process came, how hot it is and what it draws, more often:
even where that exceeds the budget."""
WATCHED = ("gpu_temperature_c", "gpu_power_w", "gpu_process_memory_gib")
ROUNDS, PAUSE_S = 3, 0.02
"""Rounds of all calls, whose median is the cost of one, each after a pause: ten times a second a call costs several
times what it costs in a loop (on an H100 nine cheap ones together 340 µs, not 41)."""

FATAL = ("GPU_IS_LOST", "RESET_REQUIRED", "DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "UNINITIALIZED")
"""Errors of one call that are the whole device's."""

Reader = Callable[[], dict[str, Value]]


def is_gb10(name: str | None) -> bool:
    return _of(name, {"GB10": True}) or False


def _of(name: str | None, table: Mapping[str, Known]) -> Known | None:
    """The entry whose key is a word of the device's name: a GB100 is no GB10."""
    return next((told for part, told in table.items() if re.search(rf"\b{part}\b", name or "")), None)


class NvmlSensor:
    """One GPU, or one MIG instance. ``nvml`` is what :func:`load` gave; ``uuid`` may be left out where there is one
    GPU; ``rate_hz`` is how often :meth:`read` is going to be called;
    ``system_memory_bytes`` tells a unified memory from a device's own.

    Of a MIG instance memory and processes are its own; temperature, power, clocks and energy are the card's, as nothing
    tells them apart (``card_wide`` in :meth:`describe`).
    """

    name = "nvml"
    fields: Mapping[str, Kind] = MappingProxyType(
        {
            "gpu_temperature_c": "number",
            "gpu_power_w": "number",
            "gpu_utilization_pct": "number",
            "gpu_memory_utilization_pct": "number",
            "gpu_sm_clock_mhz": "number",
            "gpu_mem_clock_mhz": "number",
            "gpu_memory_used_gib": "number",
            "gpu_process_memory_gib": "number",
            "gpu_throttle_reasons": "counter",
            "gpu_pstate": "integer",
            "gpu_energy_j": "number",
            "gpu_memory_bandwidth_gb_s": "number",
        }
    )

    def __init__(
        self, nvml: Any, *, uuid: str | None = None, rate_hz: float = 10.0, system_memory_bytes: int | None = None
    ) -> None:
        self._nvml: Any = nvml
        self._uuid = uuid
        self._rate_hz = rate_hz
        self._system_memory_bytes = system_memory_bytes
        self._handle: Any = None
        self._card: Any = None
        self._found: list[tuple[tuple[str, ...], Reader]] = []
        self._readers: list[Paced[dict[str, Value]]] = []
        self._counter_ids: dict[str, int] = {}
        self._gpm: Gpm | None = None
        self._unsupported: dict[str, str] = {}
        self._costs_us: dict[str, float] = {}
        self._paced: dict[str, Paced[dict[str, Value]]] = {}
        self._facts: dict[str, Any] = {}
        self.trouble: Trouble | None = None
        """Why there is no GPU to ask, or none that works, once probed."""
        self.gpu_name: str | None = None
        self.uuid: str | None = None
        self.processes: dict[int, float | None] | None = None
        """GPU memory in GiB by PID of the compute processes, as last read; None where the device does not list them."""
        self.processes_asked_ns = 0
        """Monotonic clock of :attr:`processes`, a list that may be up to :data:`WATCHED_S` old."""

    def probe(self) -> dict[str, str]:
        nvml = self._nvml
        if isinstance(nvml, Trouble):
            return self._nothing(nvml)
        try:
            self._handle = handle_of(nvml, self._uuid)
            name, self.uuid = text(nvml.nvmlDeviceGetName(self._handle)), text(nvml.nvmlDeviceGetUUID(self._handle))
            instance = is_instance(nvml, self._handle)
            self._card = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle) if instance else self._handle
        except LookupError as problem:
            return self._nothing(Trouble("NOT_CHOSEN", str(problem.args[0]), ""))
        except nvml.NVMLError as problem:
            return self._nothing(trouble(problem))
        self.gpu_name = name
        handle = self._card
        utilization = self._utilization
        candidates: tuple[tuple[tuple[str, ...], tuple[Reader, ...]], ...] = (
            (("gpu_temperature_c",), (self._temperature_v, self._temperature)),
            (("gpu_power_w",), (lambda: {"gpu_power_w": nvml.nvmlDeviceGetPowerUsage(handle) / 1e3},)),
            (("gpu_utilization_pct", "gpu_memory_utilization_pct"), (utilization,)),
            (("gpu_sm_clock_mhz",), (lambda: {"gpu_sm_clock_mhz": self._clock(nvml.NVML_CLOCK_SM)},)),
            (("gpu_mem_clock_mhz",), (lambda: {"gpu_mem_clock_mhz": self._clock(nvml.NVML_CLOCK_MEM)},)),
            (("gpu_memory_used_gib",), (self._memory,)),
            (("gpu_process_memory_gib",), (self._process_memory,)),
            (("gpu_throttle_reasons",), (self._event_reasons, self._old_throttle_reasons)),
            (("gpu_pstate",), (lambda: {"gpu_pstate": int(nvml.nvmlDeviceGetPerformanceState(handle))},)),
            (
                ("gpu_energy_j",),
                (lambda: {"gpu_energy_j": nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3},),
            ),
        )
        unsupported = {field: why for field, why in self._lies().items() if field in self.fields}
        for fields, readers in candidates:
            why = self._try(fields, readers)
            if why is not None:
                unsupported |= {field: why for field in fields if field not in unsupported}
        why = self._probe_gpm()
        if why is not None:
            unsupported["gpu_memory_bandwidth_gb_s"] = why
        self._probe_counters()
        self._measure()
        self._pace()
        self._unsupported = unsupported
        self._facts = self._describe_device()
        return unsupported

    def read(self) -> dict[str, Value]:
        """What is due now."""
        return self._ask([reader for reader in self._readers if reader.due()])

    def now(self) -> dict[str, Value]:
        """Every field, whatever it costs: for a decision, which must not rest on a field that was not due."""
        return self._ask(self._readers)

    def _ask(self, readers: list[Paced[dict[str, Value]]]) -> dict[str, Value]:
        row: dict[str, Value] = {}
        for reader in readers:
            try:
                row.update(reader.fresh())
            except Exception:  # this reading only: a field that fails once is NULL once
                continue
        for field in self._unsupported:
            row.pop(field, None)
        return row

    def counters(self) -> dict[str, int]:
        """Microseconds spent in each throttling state since the driver was loaded;
        empty where the device cannot tell."""
        if not self._counter_ids or self._nvml is None:
            return {}
        try:
            answers = self._nvml.nvmlDeviceGetFieldValues(self._card, list(self._counter_ids.values()))
        except self._nvml.NVMLError:
            return {}
        return {
            name: int(answer.value.ullVal) // 1000
            for name, answer in zip(self._counter_ids, answers, strict=True)
            if answer.nvmlReturn == self._nvml.NVML_SUCCESS
        }

    def describe(self) -> dict[str, Any]:
        return {
            "gpu": self.gpu_name or "none",
            **self._facts,
            "throttle_counters": list(self._counter_ids),
            "energy": "counter" if "gpu_energy_j" not in self._unsupported else "integrated from power samples",
            "cost_us": self._costs_us,
            "interval_s": {field: reader.interval_s for field, reader in self._paced.items()},
            "budget_pct": 100 * BUDGET,
            **({"trouble": self.trouble.name} if self.trouble else {}),
            "lies": self._lies(),
            "unsupported": self._unsupported,
        }

    def settings(self) -> dict[str, float | None]:
        """What somebody can set and leave behind; None where the device does not tell.
        Of locked clocks no call tells."""
        nvml, card = self._nvml, self._card
        calls: dict[str, Callable[[], float]] = {
            "application_clock_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(card, nvml.NVML_CLOCK_SM),
            "default_application_clock_mhz": lambda: nvml.nvmlDeviceGetDefaultApplicationsClock(
                card, nvml.NVML_CLOCK_SM
            ),
            "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(card) / 1e3,
            "default_power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(card) / 1e3,
            "persistence_mode": lambda: nvml.nvmlDeviceGetPersistenceMode(card),
            "compute_mode": lambda: nvml.nvmlDeviceGetComputeMode(card),
        }
        found: dict[str, float | None] = dict.fromkeys(calls)
        if card is None:
            return found
        for name, call in calls.items():
            with contextlib.suppress(nvml.NVMLError, AttributeError):
                found[name] = float(call())
        return found

    def close(self) -> None:
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None

    def _nothing(self, why: Trouble) -> dict[str, str]:
        self.trouble = why
        self._unsupported = dict.fromkeys(self.fields, str(why))
        return self._unsupported

    def _lies(self) -> dict[str, str]:
        return dict(_of(self.gpu_name, LIES) or {})

    def _try(self, fields: tuple[str, ...], readers: tuple[Reader, ...]) -> str | None:
        """Keep the first spelling that answers. Returns why none did."""
        why = "NVML has no such call"
        for reader in readers:
            try:
                reader()
            except AttributeError:
                continue
            except LookupError as problem:
                return str(problem.args[0])
            except self._nvml.NVMLError as problem:
                why = self._why(problem)
                if (found := trouble(problem)).name in FATAL:
                    self.trouble = found
                continue
            self._found.append((fields, reader))
            return None
        return why

    def _why(self, problem: Any) -> str:
        """NVML's words, and what makes it say so where that is known."""
        why = f"NVML: {problem}"
        if problem.value != self._nvml.NVML_ERROR_NOT_SUPPORTED:
            return why
        if mig_is_on(self._nvml, self._card):
            return f"{why} (MIG is on: some figures are then told neither of the card nor of an instance)"
        if self._is_virtual():
            return f"{why} (a virtual GPU: its host decides what it tells)"
        return why

    def _is_virtual(self) -> bool:
        nvml = self._nvml
        try:
            mode = int(nvml.nvmlDeviceGetVirtualizationMode(self._card))
        except (nvml.NVMLError, AttributeError):
            return False
        return mode == int(nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU)

    def _measure(self) -> None:
        """What each call costs, the calls of a round in the order of a sample. GPM measured its own:
        it answers nothing so soon."""
        costs_us: dict[str, list[float]] = {
            fields[0]: [] for fields, _ in self._found if fields[0] not in self._costs_us
        }
        for _ in range(ROUNDS):
            time.sleep(PAUSE_S)
            for fields, reader in self._found:
                if fields[0] in costs_us:
                    before = time.perf_counter_ns()
                    with contextlib.suppress(Exception):  # one that fails now is read again at the next sample
                        reader()
                    costs_us[fields[0]].append((time.perf_counter_ns() - before) / 1e3)
        self._costs_us = {name: median(told) for name, told in costs_us.items()} | self._costs_us

    def _pace(self) -> None:
        """Shares the budget out: a call that costs less than its equal part at every
        sample leaves the rest to the others."""
        left, waiting = BUDGET, sorted(self._found, key=lambda one: self._costs_us[one[0][0]])
        paced: dict[str, Paced[dict[str, Value]]] = {}
        while waiting:
            fields, reader = waiting[0]
            share = left / len(waiting)
            cost_s = self._costs_us[fields[0]] / 1e6
            longest_s = WATCHED_S if fields[0] in WATCHED else LONGEST_S
            paced[fields[0]] = Paced(
                reader, free_s=share / self._rate_hz, share=share, longest_s=longest_s, cost_s=cost_s
            )
            left = max(0.0, left - min(share, cost_s * self._rate_hz))
            waiting = waiting[1:]
        self._paced = {fields[0]: paced[fields[0]] for fields, _ in self._found}
        self._readers = list(self._paced.values())

    def _temperature_v(self) -> dict[str, Value]:
        nvml = self._nvml
        return {"gpu_temperature_c": float(nvml.nvmlDeviceGetTemperatureV(self._card, nvml.NVML_TEMPERATURE_GPU))}

    def _temperature(self) -> dict[str, Value]:
        nvml = self._nvml
        return {"gpu_temperature_c": float(nvml.nvmlDeviceGetTemperature(self._card, nvml.NVML_TEMPERATURE_GPU))}

    def _utilization(self) -> dict[str, Value]:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._card)
        return {"gpu_utilization_pct": float(rates.gpu), "gpu_memory_utilization_pct": float(rates.memory)}

    def _clock(self, kind: int) -> float:
        return float(self._nvml.nvmlDeviceGetClockInfo(self._card, kind))

    def _memory(self) -> dict[str, Value]:
        info = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        system = self._system_memory_bytes
        if system and abs(info.total - system) <= 0.02 * system:
            raise LookupError(
                "the device reports the system's memory as its own (unified memory): see mem_available_gib"
            )
        return {"gpu_memory_used_gib": info.used / GIB}

    def _ask_processes(self) -> dict[int, float | None]:
        listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        return {int(one.pid): None if one.usedGpuMemory is None else one.usedGpuMemory / GIB for one in listed}

    def _process_memory(self) -> dict[str, Value]:
        asked_ns = time.monotonic_ns()
        self.processes, self.processes_asked_ns = self._ask_processes(), asked_ns
        sizes = [size for size in self.processes.values() if size is not None]
        # A list without one size is a device that does not tell them; an empty list is 0 in use.
        return {"gpu_process_memory_gib": sum(sizes) if sizes or not self.processes else None}

    def _event_reasons(self) -> dict[str, Value]:
        return {"gpu_throttle_reasons": int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._card))}

    def _old_throttle_reasons(self) -> dict[str, Value]:
        return {"gpu_throttle_reasons": int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._card))}

    def _probe_counters(self) -> None:
        nvml = self._nvml
        wanted = {name: getattr(nvml, field) for name, field in THROTTLE_COUNTERS.items() if hasattr(nvml, field)}
        self._counter_ids = wanted
        self._counter_ids = {name: wanted[name] for name in self.counters()}

    def _probe_gpm(self) -> str | None:
        nvml = self._nvml
        if self._handle != self._card:
            return "the counters of the performance monitor are the card's, and this is one of its MIG instances"
        try:
            if not nvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
                return "the device has no GPM counters"
            peak = self._peak_bandwidth_gb_s()
            if peak is None:
                return "GPM gives a share of the peak, and NVML does not tell the peak of this device"
            self._gpm = Gpm(nvml, self._handle, peak)
        except nvml.NVMLError as problem:
            return self._why(problem)
        except AttributeError:
            return "NVML has no such call"
        self._costs_us["gpu_memory_bandwidth_gb_s"] = self._gpm.cost_us
        self._found.append(
            (("gpu_memory_bandwidth_gb_s",), self._gpm.read)
        )  # covers all the time since the reading before
        return None

    def _peak_bandwidth_gb_s(self) -> float | None:
        """Peak of the memory in GB/s: two transfers per cycle of the maximal memory clock over the bus's width."""
        nvml = self._nvml
        if (peak := _of(self.gpu_name, PEAK_BANDWIDTH_GB_S)) is not None:
            return peak
        try:
            mhz = nvml.nvmlDeviceGetMaxClockInfo(self._card, nvml.NVML_CLOCK_MEM)
            bits = nvml.nvmlDeviceGetMemoryBusWidth(self._card)
        except (nvml.NVMLError, AttributeError):
            return None
        return 2 * mhz * bits / 8 / 1e3 if mhz and bits else None

    def _describe_device(self) -> dict[str, Any]:
        nvml, handle = self._nvml, self._card
        calls: dict[str, Callable[[], Any]] = {
            "card_uuid": lambda: text(nvml.nvmlDeviceGetUUID(handle)),
            "pci_bus_id": lambda: text(nvml.nvmlDeviceGetPciInfo(handle).busId),
            "driver": lambda: text(nvml.nvmlSystemGetDriverVersion()),
            "nvml": lambda: text(nvml.nvmlSystemGetNVMLVersion()),
            "cuda_driver": lambda: int(nvml.nvmlSystemGetCudaDriverVersion()),
            "compute_capability": lambda: list(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
            "persistence_mode": lambda: int(nvml.nvmlDeviceGetPersistenceMode(handle)),
            "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
            "sm_clock_max_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_bandwidth_peak_gb_s": self._peak_bandwidth_gb_s,
            "gpus": lambda: int(nvml.nvmlDeviceGetCount()),
        }
        facts: dict[str, Any] = {"uuid": self.uuid, "mig": mig_is_on(nvml, handle)}
        if self._handle != handle:
            own = ("gpu_memory_used_gib", "gpu_process_memory_gib")
            facts["card_wide"] = [field for field in self.fields if field not in own and field not in self._unsupported]
        for name, call in calls.items():
            try:
                facts[name] = call()
            except (nvml.NVMLError, AttributeError) as problem:
                facts[name] = None
                facts.setdefault("not_told", {})[name] = str(problem)
        return facts


class Gpm:
    """Memory bandwidth from the GPU performance monitoring counters: two samples,
    and the share of the peak between them."""

    def __init__(self, nvml: Any, handle: Any, peak_gb_s: float) -> None:
        self._nvml: Any = nvml
        self._handle = handle
        self._peak_gb_s = peak_gb_s
        self._samples = [nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()]
        self._request = nvml.c_nvmlGpmMetricsGet_t()
        self._request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = 1
        self._request.metrics[0].metricId = nvml.NVML_GPM_METRIC_DRAM_BW_UTIL
        self._taken_ns = time.monotonic_ns()
        nvml.nvmlGpmSampleGet(handle, self._samples[0])
        self.cost_us = (time.monotonic_ns() - self._taken_ns) / 1e3

    def read(self) -> dict[str, Value]:
        """GB/s since the sample before; nothing while that is too recent. Raises NVMLError."""
        now = time.monotonic_ns()
        if now - self._taken_ns < GPM_INTERVAL_S * 1e9:
            return {}
        nvml = self._nvml
        nvml.nvmlGpmSampleGet(self._handle, self._samples[1])
        self._request.sample1, self._request.sample2 = self._samples
        self._samples.reverse()
        self._taken_ns = now
        nvml.nvmlGpmMetricsGet(self._request)
        answer = self._request.metrics[0]
        # An H200 now and then answers NaN with success.
        if answer.nvmlReturn != nvml.NVML_SUCCESS or not math.isfinite(answer.value):
            return {}
        return {"gpu_memory_bandwidth_gb_s": answer.value / 100.0 * self._peak_gb_s}

    def close(self) -> None:
        for sample in self._samples:
            self._nvml.nvmlGpmSampleFree(sample)
