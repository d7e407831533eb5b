"""What a sample is: one row of telemetry, as it lies in the spool and in Parquet.

Clocks: ``t_utc_ns`` is wall time, ``t_mono_ns`` is ``CLOCK_MONOTONIC`` of the unit, both taken when the sample began.
``late_ms`` is how far behind its tick of the schedule it began. Counters (``gpu_energy_j``, ``psi_*_us``,
``attempt_cpu_s``, ``cgroup_cpu_s``) are cumulative: difference them. NULL means that the unit cannot tell (the reason is
in ``units/<unit>.json``), or that a source asked less often than every tick had nothing new.
"""

from __future__ import annotations

import pyarrow as pa

TAGS = ("t_utc_ns", "t_mono_ns", "unit", "run_id", "attempt", "stage", "simulated", "late_ms")
"""Columns that the sampler itself fills; every other is a sensor's."""

SCHEMA = pa.schema(
    [
        pa.field("t_utc_ns", pa.int64(), nullable=False),
        pa.field("t_mono_ns", pa.int64(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("run_id", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("simulated", pa.bool_(), nullable=False),
        pa.field("late_ms", pa.float64(), nullable=False),
        pa.field("gpu_temperature_c", pa.float64()),
        pa.field("gpu_power_w", pa.float64()),
        pa.field("gpu_utilization_pct", pa.float64()),
        pa.field("gpu_memory_utilization_pct", pa.float64()),
        pa.field("gpu_sm_clock_mhz", pa.float64()),
        pa.field("gpu_mem_clock_mhz", pa.float64()),
        pa.field("gpu_memory_used_gib", pa.float64()),
        pa.field("gpu_process_memory_gib", pa.float64()),
        pa.field("gpu_throttle_reasons", pa.int64()),
        pa.field("gpu_pstate", pa.int32()),
        pa.field("gpu_energy_j", pa.float64()),
        pa.field("gpu_memory_bandwidth_gb_s", pa.float64()),
        pa.field("host_temperature_c", pa.float64()),
        pa.field("zone_temperatures_c", pa.list_(pa.float64())),
        pa.field("cpu_utilization_pct", pa.float64()),
        pa.field("mem_total_gib", pa.float64()),
        pa.field("mem_available_gib", pa.float64()),
        pa.field("mem_free_gib", pa.float64()),
        pa.field("mem_cached_gib", pa.float64()),
        pa.field("swap_used_gib", pa.float64()),
        pa.field("psi_cpu_some_us", pa.int64()),
        pa.field("psi_memory_some_us", pa.int64()),
        pa.field("psi_memory_full_us", pa.int64()),
        pa.field("psi_io_some_us", pa.int64()),
        pa.field("attempt_memory_gib", pa.float64()),
        pa.field("attempt_cpu_s", pa.float64()),
        pa.field("cgroup_memory_gib", pa.float64()),
        pa.field("cgroup_cpu_s", pa.float64()),
    ]
)

FIELDS = tuple(name for name in SCHEMA.names if name not in TAGS)
"""Columns that sensors fill."""
