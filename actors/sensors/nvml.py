"""The GPU, through NVML (``nvidia-ml-py``). Each field is probed once and then either read or never asked again.

A field may also *lie*: on GB10 some calls succeed with a number that means nothing (:data:`LIES`). Those stay NULL with the
reason, like the ones that are not supported. The module is handed in, so that recorded answers can stand for a device
that is not here (:mod:`actors.sensors.recorded`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.sensors import Value
from actors.sensors.files import Paced

GIB = 2**30

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

CUMULATIVE = {("gpu_energy_j",)}
"""Counters, which lose nothing by being asked rarely: where a call is slow (3 ms on an H200 in a virtual machine, which would be
3 % of a core at 10 Hz) they are paced, and NULL in the samples between."""

Reader = Callable[[], dict[str, Value]]


def load(root: Path = Path("/")) -> Any | None:
    """The real ``pynvml``, initialised; the recorded answers of the machine that ``root`` describes; None without a GPU."""
    if root != Path("/"):
        from actors.sensors.recorded import recorded

        table = root / "nvml.json"
        return recorded(table) if table.exists() else None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class NvmlSensor:
    """One GPU. ``nvml`` is ``pynvml`` or None; ``system_memory_bytes`` tells a unified memory from a device's own."""

    name = "nvml"
    fields: tuple[str, ...] = (
        "gpu_temperature_c",
        "gpu_power_w",
        "gpu_utilization_pct",
        "gpu_memory_utilization_pct",
        "gpu_sm_clock_mhz",
        "gpu_mem_clock_mhz",
        "gpu_memory_used_gib",
        "gpu_process_memory_gib",
        "gpu_throttle_reasons",
        "gpu_pstate",
        "gpu_energy_j",
        "gpu_memory_bandwidth_gb_s",
    )

    def __init__(self, nvml: Any | None, *, index: int = 0, system_memory_bytes: int | None = None) -> None:
        self._nvml: Any = nvml
        self._index = index
        self._system_memory_bytes = system_memory_bytes
        self._handle: Any = None
        self._readers: list[Reader] = []
        self._processes = Paced(self._ask_processes, free_s=500e-6)
        self._counter_ids: dict[str, int] = {}
        self._gpm: Gpm | None = None
        self._unsupported: dict[str, str] = {}
        self._costs_us: dict[str, float] = {}
        self._facts: dict[str, Any] = {}
        self.gpu_name: str | None = None
        self.processes: dict[int, float | None] | None = None
        """GPU memory in GiB by PID of the compute processes, as last read; None where the device does not list them."""

    def probe(self) -> dict[str, str]:
        if self._nvml is None:
            return self._nothing("no NVIDIA driver answers on this host")
        nvml = self._nvml
        try:
            self._handle = nvml.nvmlDeviceGetHandleByIndex(self._index)
            self.gpu_name = _string(nvml.nvmlDeviceGetName(self._handle))
        except nvml.NVMLError as problem:
            return self._nothing(f"NVML has no GPU {self._index}: {problem}")
        handle = self._handle
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
        self._unsupported = unsupported
        self._facts = self._describe_device()
        return unsupported

    def read(self) -> dict[str, Value]:
        row: dict[str, Value] = {}
        for reader in self._readers:
            try:
                row.update(reader())
            except Exception:  # this reading only: a field that fails once is NULL once
                continue
        for field in self._unsupported:
            row.pop(field, None)
        return row

    def counters(self) -> dict[str, int]:
        """Microseconds spent in each throttling state since the driver was loaded; empty where the device cannot tell."""
        if not self._counter_ids or self._nvml is None:
            return {}
        try:
            answers = self._nvml.nvmlDeviceGetFieldValues(self._handle, list(self._counter_ids.values()))
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
            "processes_interval_s": self._processes.interval_s,
            "lies": self._lies(),
            "unsupported": self._unsupported,
        }

    def close(self) -> None:
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None

    def _nothing(self, why: str) -> dict[str, str]:
        self._unsupported = dict.fromkeys(self.fields, why)
        return self._unsupported

    def _lies(self) -> dict[str, str]:
        name = self.gpu_name or ""
        return {field: why for part, lies in LIES.items() if part in name for field, why in lies.items()}

    def _try(self, fields: tuple[str, ...], readers: tuple[Reader, ...]) -> str | None:
        """Keep the first spelling that answers. Returns why none did."""
        why = "NVML has no such call"
        for reader in readers:
            try:
                reader()  # the first call of a kind may load code; the second tells the cost
                before = time.perf_counter_ns()
                reader()
            except AttributeError:
                continue
            except LookupError as problem:
                return str(problem.args[0])
            except self._nvml.NVMLError as problem:
                why = f"NVML: {problem}"
                continue
            self._costs_us[fields[0]] = (time.perf_counter_ns() - before) / 1e3
            self._readers.append(_rarely(reader) if fields in CUMULATIVE else reader)
            return None
        return why

    @property
    def processes_asked_ns(self) -> int:
        """Monotonic clock of :attr:`processes`, a list that may be up to a second old."""
        return self._processes.asked_ns

    def _temperature_v(self) -> dict[str, Value]:
        nvml = self._nvml
        return {"gpu_temperature_c": float(nvml.nvmlDeviceGetTemperatureV(self._handle, nvml.NVML_TEMPERATURE_GPU))}

    def _temperature(self) -> dict[str, Value]:
        nvml = self._nvml
        return {"gpu_temperature_c": float(nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU))}

    def _utilization(self) -> dict[str, Value]:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        return {"gpu_utilization_pct": float(rates.gpu), "gpu_memory_utilization_pct": float(rates.memory)}

    def _clock(self, kind: int) -> float:
        return float(self._nvml.nvmlDeviceGetClockInfo(self._handle, kind))

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
        self.processes = self._processes() or {}
        sizes = [size for size in self.processes.values() if size is not None]
        # A list without one size is a device that does not tell them; an empty list is 0 in use.
        return {"gpu_process_memory_gib": sum(sizes) if sizes or not self.processes else None}

    def _event_reasons(self) -> dict[str, Value]:
        return {"gpu_throttle_reasons": int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))}

    def _old_throttle_reasons(self) -> dict[str, Value]:
        return {"gpu_throttle_reasons": int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))}

    def _probe_counters(self) -> None:
        nvml = self._nvml
        wanted = {name: getattr(nvml, field) for name, field in THROTTLE_COUNTERS.items() if hasattr(nvml, field)}
        self._counter_ids = wanted
        self._counter_ids = {name: wanted[name] for name in self.counters()}

    def _probe_gpm(self) -> str | None:
        nvml = self._nvml
        try:
            if not nvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
                return "the device has no GPM counters"
            peak = self._peak_bandwidth_gb_s()
            if peak is None:
                return "GPM gives a share of the peak, and NVML does not tell the peak of this device"
            self._gpm = Gpm(nvml, self._handle, peak)
        except (nvml.NVMLError, AttributeError) as problem:
            return f"NVML: {problem}"
        self._costs_us["gpu_memory_bandwidth_gb_s"] = self._gpm.cost_us
        self._readers.append(_rarely(self._gpm.read))  # a reading covers all the time since the one before
        return None

    def _peak_bandwidth_gb_s(self) -> float | None:
        """Peak of the memory in GB/s: two transfers per cycle of the maximal memory clock over the bus's width."""
        nvml = self._nvml
        for part, peak in PEAK_BANDWIDTH_GB_S.items():
            if part in (self.gpu_name or ""):
                return peak
        try:
            mhz = nvml.nvmlDeviceGetMaxClockInfo(self._handle, nvml.NVML_CLOCK_MEM)
            bits = nvml.nvmlDeviceGetMemoryBusWidth(self._handle)
        except (nvml.NVMLError, AttributeError):
            return None
        return 2 * mhz * bits / 8 / 1e3 if mhz and bits else None

    def _describe_device(self) -> dict[str, Any]:
        nvml, handle = self._nvml, self._handle
        calls: dict[str, Callable[[], Any]] = {
            "uuid": lambda: _string(nvml.nvmlDeviceGetUUID(handle)),
            "driver": lambda: _string(nvml.nvmlSystemGetDriverVersion()),
            "nvml": lambda: _string(nvml.nvmlSystemGetNVMLVersion()),
            "cuda_driver": lambda: int(nvml.nvmlSystemGetCudaDriverVersion()),
            "compute_capability": lambda: list(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
            "persistence_mode": lambda: int(nvml.nvmlDeviceGetPersistenceMode(handle)),
            "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
            "sm_clock_max_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_bandwidth_peak_gb_s": self._peak_bandwidth_gb_s,
            "gpus": lambda: int(nvml.nvmlDeviceGetCount()),
        }
        facts: dict[str, Any] = {}
        for name, call in calls.items():
            try:
                facts[name] = call()
            except (nvml.NVMLError, AttributeError) as problem:
                facts[name] = None
                facts.setdefault("not_told", {})[name] = str(problem)
        return facts


def _rarely(reader: Reader) -> Reader:
    """``reader`` as often as its cost allows, nothing in between."""
    paced = Paced(reader)
    return lambda: paced.fresh() if paced.due() else {}


class Gpm:
    """Memory bandwidth from the GPU performance monitoring counters: two samples, and the share of the peak between them."""

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


def _string(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer
