"""Telemetry of a simulated unit: the samples that a sampler would have taken, made at once from what the unit did, at
whatever rate is asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from actors.telemetry.schema import FIELDS, SCHEMA
from actors.telemetry.window import Series, Window, metrics_of
from actors.types import TelemetrySummary
from campaign.rehearsal.heat import Body, Floats

Columns = dict[str, Any]
"""Field to an array, or one value for all rows. What is missing is NULL."""

NO_GPU = "this unit has no GPU"
UNTOLD = "the simulation does not have it"
GPU_TOLD = frozenset(
    {
        "gpu_temperature_c",
        "gpu_power_w",
        "gpu_utilization_pct",
        "gpu_sm_clock_mhz",
        "gpu_process_memory_gib",
        "gpu_throttle_reasons",
        "gpu_pstate",
        "gpu_energy_j",
    }
)
TOLD = GPU_TOLD | {
    "host_temperature_c",
    "cpu_utilization_pct",
    "mem_total_gib",
    "mem_available_gib",
    "mem_free_gib",
    "mem_cached_gib",
    "swap_used_gib",
    "psi_cpu_some_us",
    "psi_memory_some_us",
    "attempt_memory_gib",
    "attempt_cpu_s",
}


def unsupported(gpu: bool) -> dict[str, str]:
    """Field to why no sample has it."""
    return {
        name: NO_GPU if name.startswith("gpu_") and not gpu else UNTOLD
        for name in FIELDS
        if name not in TOLD or (name in GPU_TOLD and not gpu)
    }


@dataclass(frozen=True)
class Phase:
    """A stretch of a run in which the unit does one thing. Seconds of the unit's clock."""

    begins_s: float
    power_w: float
    busy_pct: float
    engine_gib: float
    cpu_share: float


@dataclass
class Doing:
    """What an attempt did, as the samples need it."""

    body: Body
    phases: list[Phase] = field(default_factory=list)
    """Of the process, in order; before the first and after the last the unit is idle."""
    ended_s: float | None = None
    throttled: tuple[float, float, int] | None = None
    """From, to, and the reason's bit."""
    counters: dict[str, int] = field(default_factory=dict)
    """Increase of the driver's throttling counters over the run, microseconds; empty where there is no GPU."""
    marks: list[tuple[float, str | None, int | None, str]] = field(default_factory=list)
    """From when on the sampler's rows carry which run, attempt and stage."""


@dataclass(frozen=True)
class Basis:
    """What all samples of a unit have in common."""

    unit: str
    gpu: bool
    rate_hz: float
    epoch_ns: int
    """UTC at 0 s of the unit's clock."""
    total_gib: float
    used_gib: float


def sample(
    basis: Basis, doing: Doing, from_s: float, to_s: float, energy_j: float, rng: np.random.Generator
) -> tuple[Columns, float]:
    """Rows of the ticks in [from, to) and the energy counter after them."""
    period = 1 / basis.rate_hz
    ticks: Floats = np.arange(np.ceil(from_s / period - 1e-9), np.ceil(to_s / period - 1e-9), dtype=np.float64) * period
    n = len(ticks)
    temperature, _ = doing.body.history(ticks) if n else (np.zeros(0), np.zeros(0))
    power, busy, engine, cpu = _at(doing, ticks)
    idle_w = doing.body.past[0][1]
    power = np.where(busy > 0, power, idle_w)
    noisy = np.maximum(0.5, power + 0.8 * rng.standard_normal(n))
    energy = energy_j + np.cumsum(noisy) * period
    which = np.searchsorted([mark[0] for mark in doing.marks], ticks, side="right") - 1
    rows: Columns = {
        "t_utc_ns": basis.epoch_ns + (ticks * 1e9).astype(np.int64),
        "t_mono_ns": (ticks * 1e9).astype(np.int64),
        "unit": basis.unit,
        "run_id": [doing.marks[i][1] if i >= 0 else None for i in which],
        "attempt": [doing.marks[i][2] if i >= 0 else None for i in which],
        "stage": [doing.marks[i][3] if i >= 0 else "idle" for i in which],
        "simulated": True,
        "late_ms": rng.exponential(0.2, n),
        "host_temperature_c": np.floor(temperature + (6.0 if basis.gpu else 0.0)),
        "cpu_utilization_pct": np.clip(100 * cpu / 20 + rng.exponential(0.5, n), 0, 100),
        "mem_total_gib": basis.total_gib,
        "mem_available_gib": np.maximum(0.5, basis.total_gib - basis.used_gib - engine + 0.05 * rng.standard_normal(n)),
        "swap_used_gib": 0.0,
        "psi_cpu_some_us": 0,
        "psi_memory_some_us": 0,
        "attempt_memory_gib": np.where(busy > 0, 2.8 + 0.02 * rng.standard_normal(n), np.nan),
        "attempt_cpu_s": _cpu_s(doing, ticks),
    }
    rows["mem_free_gib"] = rows["mem_available_gib"] - 0.6
    rows["mem_cached_gib"] = np.full(n, 0.6)
    if basis.gpu:
        throttled = np.zeros(n, dtype=bool)
        reason = 0
        if doing.throttled is not None:
            begins, ends, reason = doing.throttled
            throttled = (ticks >= begins) & (ticks < ends)
        rows |= {
            "gpu_temperature_c": np.floor(temperature),
            "gpu_power_w": noisy,
            "gpu_utilization_pct": busy,
            "gpu_sm_clock_mhz": np.where(throttled, 2275.0, np.where(busy > 0, 2450.0, 208.0)),
            "gpu_process_memory_gib": np.where(busy > 0, engine, 0.0),
            "gpu_throttle_reasons": np.where(throttled, reason, np.where(busy > 0, 0, 1)),
            "gpu_pstate": np.where(busy > 0, 0, 8),
            "gpu_energy_j": energy,
        }
    return rows, float(energy[-1]) if n else energy_j


def _at(doing: Doing, ticks: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Power, busy percent, engine's memory and CPU share at these times."""
    nothing = Phase(-np.inf, 0.0, 0.0, 0.0, 0.0)
    ended = [] if doing.ended_s is None else [Phase(doing.ended_s, 0.0, 0.0, 0.0, 0.0)]
    phases = [nothing, *doing.phases, *ended]
    at = np.searchsorted([phase.begins_s for phase in phases], ticks, side="right") - 1
    table = np.array([(p.power_w, p.busy_pct, p.engine_gib, p.cpu_share) for p in phases])[at]
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def _cpu_s(doing: Doing, ticks: Floats) -> Floats:
    """CPU time of the attempt so far; NaN where none runs."""
    if not doing.phases:
        return np.full(len(ticks), np.nan)
    begins = np.array([phase.begins_s for phase in doing.phases])
    shares = np.array([phase.cpu_share for phase in doing.phases])
    before = np.concatenate(([0.0], np.cumsum(np.diff(begins) * shares[:-1])))
    at = np.searchsorted(begins, ticks, side="right") - 1
    spent = before[at] + (ticks - begins[at]) * shares[at]
    end = np.inf if doing.ended_s is None else doing.ended_s
    return np.where((at >= 0) & (ticks < end), spent, np.nan)


def summary(
    basis: Basis, rows: Columns, begins_s: float, ends_s: float, counters: Mapping[str, int]
) -> TelemetrySummary:
    """As a TelemetryActor sums up the run stage, by its own definitions."""
    missing = unsupported(basis.gpu)
    stage = np.array(rows["stage"]) == "run"
    t_s = np.asarray(rows["t_mono_ns"])[stage] / 1e9
    n = len(t_s)
    window = Window(int(begins_s * 1e9), int(ends_s * 1e9))
    for name, series in window.series.items():
        if name in rows:
            _fill(series, np.broadcast_to(np.asarray(rows[name], dtype=np.float64), len(stage))[stage])
    _fill(window.used_gib, basis.total_gib - np.asarray(rows["mem_available_gib"])[stage])
    if basis.gpu and n:
        window.throttle_reasons = int(np.bitwise_or.reduce(np.asarray(rows["gpu_throttle_reasons"])[stage]))
    jitter = np.sort(np.abs(np.diff(np.asarray(rows["late_ms"])[stage])))
    found = TelemetrySummary(
        samples_expected=n,
        samples=n,
        coverage_pct=100.0,
        duration_s=ends_s - begins_s,
        jitter_p50_ms=float(np.median(jitter)) if len(jitter) else None,
        jitter_p99_ms=float(np.quantile(jitter, 0.99)) if len(jitter) else None,
        longest_gap_ms=1e3 / basis.rate_hz,
        sampler_cpu_pct=None,
        throttle_reasons=window.throttle_reasons,
        throttled_us=dict(counters),
        unsupported=missing,
    )
    return found.model_copy(update={"metrics": tuple(metrics_of(window, found, missing))})


def _fill(series: Series, values: Floats) -> None:
    values = values[~np.isnan(values)]
    if len(values):
        series.first, series.last = float(values[0]), float(values[-1])
        series.total, series.count, series.highest = float(values.sum()), len(values), float(values.max())


def table(parts: list[Columns]) -> pa.Table:
    """All rows, in the columns of every telemetry file."""
    return pa.concat_tables(_table(part) for part in parts)


def _table(rows: Columns) -> pa.Table:
    n = len(rows["t_utc_ns"])
    columns = []
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        value = rows.get(name)
        if value is None:
            columns.append(pa.nulls(n, kind))
        elif isinstance(value, np.ndarray):
            columns.append(pa.array(value, type=kind, from_pandas=True))
        elif isinstance(value, list):
            columns.append(pa.array(value, type=kind))
        else:
            columns.append(pa.repeat(pa.scalar(value, type=kind), n))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def to_parquet(parts: list[Columns]) -> bytes:
    buffer = io.BytesIO()
    whole = table(parts).replace_schema_metadata({"simulated": "true"})
    parquet.write_table(whole, buffer, compression="zstd", row_group_size=2**17)
    return buffer.getvalue()
