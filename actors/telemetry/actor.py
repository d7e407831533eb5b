"""Telemetry of a unit: a sampler on an absolute schedule, tagged with what the unit is doing, spooled and summed up.

Two threads share the work. The *sampler* reads the sensors at its ticks and appends a row to a queue: it never writes,
never builds Arrow, never forks. The *writer* takes the queue to disk once a second and keeps the figures of the running
attempt. Their CPU time is measured by the kernel's per-thread clock and reported with every attempt.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.sensors import Sensor, Value
from actors.sensors.cpu import core_kinds
from actors.sensors.nvml import NvmlSensor
from actors.sensors.process import ProcessSensor
from actors.sensors.registry import standard_sensors
from actors.telemetry.schema import FIELDS, SCHEMA
from actors.telemetry.spool import Row, Spool, batch, whole_batches
from actors.types import Metric, TelemetrySummary

NS = 1_000_000_000
COLUMN = {name: index for index, name in enumerate(SCHEMA.names)}
SPILL_S = 1.0
"""How much a kill may lose."""

EDGE_NS = 5_000_000
KEPT_WINDOWS = 16
"""Attempts whose figures stay in memory after they ended."""


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
                self.energy_ws += (power + self._power[1]) / 2 * (at_ns - self._power[0]) / NS
            self._power = (at_ns, power)


class Sampler:
    """A thread that calls ``sample(now_ns, late_ns)`` at ticks of a fixed schedule.

    Tick k lies at ``epoch_ns + k * period_ns`` whatever happened before: a tick that has passed is skipped and counted
    as missed, never made up for, so that samples neither drift nor bunch up.
    """

    def __init__(
        self, rate_hz: float, sample: Callable[[int, int], None], cpus: Sequence[int] = (), nice: int = -10
    ) -> None:
        self.period_ns = round(NS / rate_hz)
        self.epoch_ns = time.monotonic_ns()
        self.errors = 0
        self.last_error = ""
        self.cpu_ns = 0
        self.settings: dict[str, Any] = {}
        self._sample = sample
        self._cpus = cpus
        self._nice = nice
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.thread.join()

    def ticks(self, start_ns: int, end_ns: int) -> int:
        """Ticks t with start <= t < end."""
        return -((self.epoch_ns - end_ns) // self.period_ns) - -((self.epoch_ns - start_ns) // self.period_ns)

    def _run(self) -> None:
        self.settings = settle(self._cpus, self._nice)
        period_ns, epoch_ns = self.period_ns, self.epoch_ns
        while not self._stop.is_set():
            due_ns = epoch_ns + ((time.monotonic_ns() - epoch_ns) // period_ns + 1) * period_ns
            while not self._stop.is_set() and (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(min(left_ns, NS // 4) / NS)  # a slow schedule must still hear the stop
            now_ns = time.monotonic_ns()
            if self._stop.is_set():
                return
            try:
                self._sample(now_ns, now_ns - due_ns)
            except Exception as problem:  # one bad sample must not end the sampling
                self.errors += 1
                self.last_error = f"{type(problem).__name__}: {problem}"
            self.cpu_ns = time.thread_time_ns()


def settle(cpus: Sequence[int], nice: int) -> dict[str, Any]:
    """Put the calling thread on these CPUs and raise its priority where that is permitted; what came of it."""
    thread = threading.get_native_id()
    settings: dict[str, Any] = {"cpus": None, "nice": None}
    if cpus:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cpus)
            settings["cpus"] = sorted(cpus)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    with contextlib.suppress(OSError):
        settings["nice"] = os.getpriority(os.PRIO_PROCESS, thread)
    return settings


class TelemetryActor:
    """The unit's telemetry, as a plain class; the driver hands it to Ray. Sampling starts with it and never pauses.

    ``spool`` is the unit's spool folder, ``gpu_uuid`` its GPU, which may be left out where there is one. A restarted
    actor salvages what its predecessor left there and samples in stage ``idle`` until the next mark; an attempt that it
    was killed in keeps its samples and shows the gap as lost coverage. Every method may be called from any thread.
    """

    def __init__(
        self,
        unit: str,
        spool: str | Path,
        rate_hz: float = 10.0,
        *,
        simulated: bool = False,
        sensors: Sequence[Sensor] | None = None,
        root: str | Path = "/",
        gpu_uuid: str | None = None,
    ) -> None:
        self.unit = unit
        self.rate_hz = rate_hz
        self._simulated = simulated
        self._sensors = list(standard_sensors(Path(root), gpu_uuid, rate_hz) if sensors is None else sensors)
        self._unsupported = dict.fromkeys(FIELDS, "no sensor of this unit tells it")
        for sensor in self._sensors:
            for name in sensor.fields:
                self._unsupported.pop(name, None)
            self._unsupported |= sensor.probe()
        self._gpu = next((sensor for sensor in self._sensors if isinstance(sensor, NvmlSensor)), None)
        self._process = next((sensor for sensor in self._sensors if isinstance(sensor, ProcessSensor)), None)
        self._before_attempt: frozenset[int] = frozenset()
        self._decided: dict[int, bool] = {}
        self._foreign: tuple[int, ...] | None = None

        self._rows: deque[Row] = deque()
        self._latest: Row | None = None
        self._spilling = threading.Lock()  # keeps spills in order; may be held as long as the disk takes
        self._lock = threading.Lock()  # the windows; held for moments. The sampler takes neither
        self._windows: dict[tuple[str, int], Window] = {}
        self._writer_cpu_ns = 0
        self.spill_errors: deque[str] = deque(maxlen=20)
        self.spool = Spool(Path(spool) / "telemetry")
        leftovers = self.spool.leftovers()
        batch([(0, 0, unit, None, None, "idle", simulated, 0.0, *(None for _ in FIELDS))])  # loads what loads late

        self._mark = Mark(time.monotonic_ns())
        kinds = core_kinds(Path(root))
        cpus = kinds["efficiency"] if kinds["efficiency"] != kinds["performance"] else ()
        self._sampler = Sampler(rate_hz, self._sample, cpus)
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write, args=(cpus,), name="telemetry-writer", daemon=True)
        self._sampler.start()  # first of all: a long salvage must not become a long gap
        self.salvaged = self._salvage(leftovers)
        self._writer.start()

    def pid(self) -> int:
        return os.getpid()

    def mark(
        self,
        run_id: str | None,
        attempt: int | None,
        stage: str,
        pid: int | None = None,
        cgroup: str | None = None,
    ) -> None:
        """From now on the unit does this. ``pid`` and ``cgroup`` are the attempt's, once it runs."""
        with self._lock:
            mark = Mark(time.monotonic_ns(), run_id, attempt, stage)
            before = self._mark
            changes = mark.window != before.window
            counters = self._gpu.counters() if changes and self._gpu is not None else {}
            if changes and mark.window is not None:
                self._begin(mark.window, mark.at_ns, counters)
            self._mark = mark  # the next sample carries it
            if changes and before.window in self._windows:
                self._end(self._windows[before.window], mark.at_ns, counters)
            if self._process is not None:
                self._process.watch(pid if stage == "run" else None, cgroup if stage == "run" else None)
                self._decided = {}

    def summary(self, run_id: str, attempt: int) -> TelemetrySummary:
        """Figures of the attempt's run stage, as far as it has come.
        An attempt that was never marked has no coverage."""
        self.spill()
        with self._lock:
            window = self._windows.get((run_id, attempt))
            return self._sum_up(window) if window is not None else self._empty()

    def latest(self) -> dict[str, Any] | None:
        """The last sample by column, and ``foreign_gpu_pids``; None before the first."""
        row = self._latest
        if row is None:
            return None
        return dict(zip(SCHEMA.names, row, strict=True)) | {"foreign_gpu_pids": self._foreign}

    def flush(self) -> list[str]:
        """End the spool's segment and turn it into Parquet; the names of the files made.

        During a run it only spills, because converting would disturb what is being measured.
        """
        self.spill()
        if self._mark.stage == "run":
            return []
        self.spool.close_segment()
        names: list[str] = []
        for segment in self.spool.leftovers():
            try:
                name = self.spool.convert(segment)
            except OSError as problem:  # the segment stays, and the next flush tries again
                self.spill_errors.append(f"{segment.name} was not converted: {problem}")
                continue
            if name is not None:
                names.append(name)
        return names

    def ready(self) -> list[tuple[str, bytes]]:
        """Finished Parquet files, by name with their content, that were not yet acknowledged."""
        return self.spool.ready()

    def acknowledge(self, names: Iterable[str]) -> None:
        self.spool.acknowledge(names)

    def describe(self) -> dict[str, Any]:
        return {
            "rate_hz": self.rate_hz,
            "sensors": {sensor.name: sensor.describe() for sensor in self._sensors},
            "unsupported": self._unsupported,
            "thread": self._sampler.settings,
            "errors": self._sampler.errors,
            "last_error": self._sampler.last_error,
            "spill_errors": list(self.spill_errors),
            "salvaged": self.salvaged,
        }

    def close(self) -> list[str]:
        """Stop sampling and convert what is left."""
        self._sampler.stop()
        self._closing.set()
        self._writer.join()
        self._mark = Mark(time.monotonic_ns())
        made = self.flush()
        for sensor in self._sensors:
            sensor.close()
        return made

    def spill(self) -> None:
        """Take the queued rows to the spool and into the figures of the running attempt."""
        with self._spilling:
            rows = [self._rows.popleft() for _ in range(len(self._rows))]
            with self._lock:
                for row in rows:
                    window = self._windows.get((row[COLUMN["run_id"]], row[COLUMN["attempt"]]))
                    if window is not None and row[COLUMN["stage"]] == "run":
                        window.add(row)
            try:
                self.spool.append(rows)
            except OSError as problem:  # a full disk: the figures stay right, the samples are lost and it is said
                self.spill_errors.append(f"{len(rows)} samples were not written: {problem}")
                self.spool.close_segment()

    def _sample(self, now_ns: int, late_ns: int) -> None:
        utc_ns = time.time_ns()
        mark = self._mark
        values: dict[str, Value] = {}
        for sensor in self._sensors:
            try:
                values.update(sensor.read())
            except Exception as problem:  # a sensor that breaks its promise costs its own fields only
                self._sampler.errors += 1
                self._sampler.last_error = f"{sensor.name}: {type(problem).__name__}: {problem}"
        if self._gpu is not None and self._gpu.processes is not None:
            self._look_for_foreign(self._gpu.processes.keys(), mark)
        tags = (utc_ns, now_ns, self.unit, mark.run_id, mark.attempt, mark.stage, self._simulated, late_ns / 1e6)
        row = (*tags, *map(values.get, FIELDS))
        self._rows.append(row)
        self._latest = row

    def _look_for_foreign(self, pids: Iterable[int], mark: Mark) -> None:
        """Between runs every process on the GPU is foreign; during one, every process that is not the attempt's."""
        window = mark.window
        if window is None or self._process is None:
            self._before_attempt = frozenset(pids)
            self._foreign = tuple(sorted(self._before_attempt))
            return
        if self._gpu is not None and self._gpu.processes_asked_ns < mark.at_ns:
            return  # a list from before the attempt, which may hold a process of the last one
        for pid in pids:
            if not self._decided.get(pid, False):
                # Where the host cannot see the process (a PID namespace, or it has just ended), only its having been
                # there before the attempt tells.
                owned = self._process.owns(pid)
                self._decided[pid] = owned if owned is not None else pid not in self._before_attempt
        self._foreign = tuple(sorted(pid for pid in pids if not self._decided[pid]))
        if self._foreign and (known := self._windows.get(window)) is not None:
            known.foreign.update(self._foreign)

    def _write(self, cpus: Sequence[int]) -> None:
        settle(cpus, 0)
        while not self._closing.wait(SPILL_S):
            try:
                self.spill()
            except Exception as problem:  # nothing may end the writing
                self.spill_errors.append(f"{type(problem).__name__}: {problem}")
            self._writer_cpu_ns = time.thread_time_ns()

    def _begin(self, key: tuple[str, int], at_ns: int, counters: Mapping[str, int]) -> None:
        known = self._windows.get(key)
        if known is not None:  # the attempt that a predecessor of this actor was killed in
            known.end_ns = None
            return
        cpu_ns = self._sampler.cpu_ns + self._writer_cpu_ns
        self._windows[key] = Window(at_ns, counters_before=counters, cpu_ns_before=cpu_ns)
        while len(self._windows) > KEPT_WINDOWS:
            self._windows.pop(next(iter(self._windows)))

    def _end(self, window: Window, at_ns: int, counters: Mapping[str, int]) -> None:
        window.end_ns = at_ns
        window.counters_after = counters
        window.cpu_ns_after = self._sampler.cpu_ns + self._writer_cpu_ns

    def _salvage(self, leftovers: Iterable[Path]) -> list[str]:
        """Turn what a killed predecessor left into Parquet, and remember the attempts in it."""
        names: list[str] = []
        for segment in leftovers:
            for piece in whole_batches(segment):
                self._remember(zip(*(column.to_pylist() for column in piece.columns), strict=True))
            name = self.spool.convert(segment)
            if name is not None:
                names.append(name)
        return names

    def _remember(self, rows: Iterable[Row]) -> None:
        for row in rows:
            at_ns = row[COLUMN["t_mono_ns"]]
            key = (row[COLUMN["run_id"]], row[COLUMN["attempt"]])
            here = key if row[COLUMN["stage"]] == "run" else None
            for other, window in self._windows.items():
                if other != here and window.end_ns is None:
                    window.end_ns = at_ns
            if here is not None:
                self._windows.setdefault(here, Window(at_ns)).add(row)

    def _sum_up(self, window: Window) -> TelemetrySummary:
        end_ns = time.monotonic_ns() if window.end_ns is None else window.end_ns
        cpu_ns = self._sampler.cpu_ns + self._writer_cpu_ns if window.cpu_ns_after is None else window.cpu_ns_after
        spent_ns = None if window.cpu_ns_before is None else max(0, cpu_ns - window.cpu_ns_before)
        # A tick in the last moment of the run may rightly have been sampled after its end.
        expected = self._sampler.ticks(window.start_ns, end_ns - min(EDGE_NS, self._sampler.period_ns // 4))
        samples = len(window.late_ms)
        expected = max(expected, samples)
        jitter = sorted(abs(b - a) for a, b in zip(window.late_ms, window.late_ms[1:], strict=False))
        gap_ns = max(window.longest_gap_ns, end_ns - (window.last_ns or window.start_ns))
        duration_ns = max(1, end_ns - window.start_ns)
        after = window.counters_after or (self._gpu.counters() if self._gpu and window.end_ns is None else {})
        before = window.counters_before
        coverage = 100.0 * samples / expected if expected else 100.0
        summary = TelemetrySummary(
            samples_expected=expected,
            samples=samples,
            coverage_pct=coverage,
            duration_s=duration_ns / 1e9,
            jitter_p50_ms=_nearest_rank(jitter, 0.50),
            jitter_p99_ms=_nearest_rank(jitter, 0.99),
            longest_gap_ms=gap_ns / 1e6,
            sampler_cpu_pct=None if spent_ns is None else 100.0 * spent_ns / duration_ns,
            throttle_reasons=window.throttle_reasons,
            throttled_us={name: after[name] - before[name] for name in before if name in after},
            foreign_gpu_pids=tuple(sorted(window.foreign)),
            unsupported=self._unsupported,
        )
        return summary.model_copy(update={"metrics": tuple(metrics_of(window, summary, self._unsupported))})

    def _empty(self) -> TelemetrySummary:
        return TelemetrySummary(
            samples_expected=0,
            samples=0,
            coverage_pct=0.0,
            jitter_p50_ms=None,
            jitter_p99_ms=None,
            longest_gap_ms=None,
            sampler_cpu_pct=None,
            unsupported=self._unsupported,
        )


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


def _nearest_rank(ordered: Sequence[float], quantile: float) -> float | None:
    if not ordered:
        return None
    return ordered[max(0, -int(-quantile * len(ordered) // 1) - 1)]


BESIDE = ("flush", "ready", "acknowledge", "latest", "describe", "pid")
"""Methods that may take their time. Marks and summaries keep their order, and never queue behind these."""


def remote_class() -> Any:
    """The actor class for Ray, with what may take its time in a concurrency group of its own."""
    import ray

    methods = {name: ray.method(concurrency_group="beside")(getattr(TelemetryActor, name)) for name in BESIDE}
    return ray.remote(concurrency_groups={"beside": 1})(type("TelemetryActor", (TelemetryActor,), methods))
