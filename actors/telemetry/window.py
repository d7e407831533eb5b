"""One attempt's samples as they come in, and the figures that they make."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actors.telemetry.schema import SCHEMA
from actors.telemetry.spool import Row
from actors.types import Metric, TelemetrySummary

COLUMN = {name: index for index, name in enumerate(SCHEMA.names)}


@dataclass(frozen=True)
class Mark:
    """What the unit does from a moment on."""

    at_ns: int
    run_id: str | None = None
    attempt: int | None = None
    stage: str = "idle"

    @property
    def window(self) -> tuple[str, int] | None:
        """The attempt whose run stage this is, if it is one."""
        if self.stage == "run" and self.run_id is not None and self.attempt is not None:
            return self.run_id, self.attempt
        return None


@dataclass
class Series:
    """What is kept of one column over a window."""

    first: float | None = None
    last: float | None = None
    total: float = 0.0
    count: int = 0
    highest: float | None = None

    def add(self, value: float) -> None:
        if self.first is None:
            self.first = value
        self.last = value
        self.total += value
        self.count += 1
        self.highest = value if self.highest is None else max(self.highest, value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    @property
    def growth(self) -> float | None:
        """Of a cumulative counter; one reading alone tells nothing."""
        return self.last - self.first if self.count > 1 and self.last is not None and self.first is not None else None


FOLLOWED = (
    "gpu_power_w",
    "gpu_energy_j",
    "gpu_utilization_pct",
    "gpu_memory_bandwidth_gb_s",
    "gpu_temperature_c",
    "host_temperature_c",
    "attempt_memory_gib",
    "attempt_cpu_s",
    "psi_cpu_some_us",
    "psi_memory_some_us",
)


@dataclass
class Window:
    """The run stage of one attempt, as its samples come in. Times are monotonic nanoseconds."""

    start_ns: int
    end_ns: int | None = None
    late_ms: array[float] = field(default_factory=lambda: array("d"))
    longest_gap_ns: int = 0
    last_ns: int | None = None
    throttle_reasons: int | None = None
    series: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in FOLLOWED})
    used_gib: Series = field(default_factory=Series)
    energy_ws: float = 0.0
    """Power integrated by the trapezium rule, for devices without an energy counter."""
    _power: tuple[int, float] | None = None
    counters_before: Mapping[str, int] = field(default_factory=dict)
    counters_after: Mapping[str, int] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    cpu_ns_before: int | None = None
    """None where the sampler was restarted during the run: nobody knows what its predecessor spent."""
    cpu_ns_after: int | None = None

    def add(self, row: Row) -> None:
        at_ns = int(row[COLUMN["t_mono_ns"]])
        if not self.start_ns <= at_ns:
            return
        self.longest_gap_ns = max(self.longest_gap_ns, at_ns - (self.last_ns or self.start_ns))
        self.last_ns = at_ns
        self.late_ms.append(row[COLUMN["late_ms"]])
        for name, series in self.series.items():
            value = row[COLUMN[name]]
            if value is not None:
                series.add(value)
        total, available = row[COLUMN["mem_total_gib"]], row[COLUMN["mem_available_gib"]]
        if total is not None and available is not None:
            self.used_gib.add(total - available)
        reasons = row[COLUMN["gpu_throttle_reasons"]]
        if reasons is not None:
            self.throttle_reasons = (self.throttle_reasons or 0) | reasons
        power = row[COLUMN["gpu_power_w"]]
        if power is not None:
            if self._power is not None:
                self.energy_ws += (power + self._power[1]) / 2 * (at_ns - self._power[0]) / 1e9
            self._power = (at_ns, power)


def metrics_of(window: Window, summary: TelemetrySummary, unsupported: Mapping[str, str]) -> Iterable[Metric]:
    """Figures of a run stage; ``unsupported`` says why a field of the samples is missing."""
    series = window.series

    def metric(name: str, value: float | None, unit: str, *sources: str) -> Metric:
        whys = (unsupported[source] for source in sources if source in unsupported)
        reason = None if value is not None else next(whys, "no sample of the run carried it")
        return Metric(name=name, value=value, unit_of_measure=unit, source="telemetry", reason=reason)

    def millis(microseconds: float | None) -> float | None:
        return None if microseconds is None else microseconds / 1e3

    # Only the counter sees what lies between two samples; without one the samples are integrated.
    energy_j = series["gpu_energy_j"].growth
    # A counter that is not asked at every sample misses both ends of the run.
    every = series["gpu_energy_j"].count >= series["gpu_power_w"].count
    if (energy_j is None or not every) and series["gpu_power_w"].count > 1:
        energy_j = window.energy_ws
    yield metric("power_mean_w", series["gpu_power_w"].mean, "W", "gpu_power_w")
    yield metric("energy_j", energy_j, "J", "gpu_energy_j")
    yield metric("gpu_utilization_mean_pct", series["gpu_utilization_pct"].mean, "%", "gpu_utilization_pct")
    bandwidth = series["gpu_memory_bandwidth_gb_s"].mean
    yield metric("memory_bandwidth_mean_gb_s", bandwidth, "GB/s", "gpu_memory_bandwidth_gb_s")
    yield metric("gpu_temperature_max_c", series["gpu_temperature_c"].highest, "°C", "gpu_temperature_c")
    used = window.used_gib.highest
    yield metric("peak_unified_memory_gib", used, "GiB", "mem_available_gib", "mem_total_gib")
    yield metric("attempt_memory_peak_gib", series["attempt_memory_gib"].highest, "GiB", "attempt_memory_gib")
    yield metric("attempt_cpu_s", series["attempt_cpu_s"].last, "s", "attempt_cpu_s")
    yield metric("host_temperature_max_c", series["host_temperature_c"].highest, "°C", "host_temperature_c")
    yield metric("psi_cpu_some_ms", millis(series["psi_cpu_some_us"].growth), "ms", "psi_cpu_some_us")
    yield metric("psi_memory_some_ms", millis(series["psi_memory_some_us"].growth), "ms", "psi_memory_some_us")
    yield metric("telemetry_coverage_pct", summary.coverage_pct, "%")
    yield metric("telemetry_jitter_p99_ms", summary.jitter_p99_ms, "ms")
    yield metric("telemetry_cpu_pct", summary.sampler_cpu_pct, "%")
