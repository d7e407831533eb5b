"""Telemetry of a unit: a sampler on an absolute schedule, tagged with what the unit is doing, spooled and summed up.

Two threads share the work. The *sampler* reads the sensors at its ticks and appends a row to a queue: it never writes,
never builds Arrow, never forks. The *writer* takes the queue to disk once a second and keeps the figures of the running
attempt. Their CPU time is measured by the kernel's per-thread clock and reported with every attempt.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.sensors import Sensor, Value
from actors.sensors.cpu import core_kinds
from actors.sensors.nvml import NvmlSensor
from actors.sensors.process import ProcessSensor
from actors.sensors.registry import standard_sensors
from actors.telemetry.sampler import Sampler, settle
from actors.telemetry.schema import FIELDS, SCHEMA
from actors.telemetry.spool import Row, Spool, batch, whole_batches
from actors.telemetry.window import COLUMN, Mark, Window, metrics_of
from actors.types import TelemetrySummary

SPILL_S = 1.0
"""How much a kill may lose."""

EDGE_NS = 5_000_000
KEPT_WINDOWS = 16
"""Attempts whose figures stay in memory after they ended."""


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
