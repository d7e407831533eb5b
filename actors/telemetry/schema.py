"""What a sample is: one row of telemetry, as it lies in the spool and in Parquet: tags of the sampler, then the fields
that the sensors declare (``Sensor.fields``). The Arrow schema and the table ``schema_telemetry`` of
``sql/10_sources.sql`` are made from these.

Clocks: ``t_utc_ns`` is wall time, ``t_mono_ns`` is ``CLOCK_MONOTONIC`` of the unit, both taken when the sample began.
``late_ms`` is how far behind its tick of the schedule it began. Counters (``gpu_energy_j``, ``psi_*_us``,
``attempt_cpu_s``, ``cgroup_cpu_s``) are cumulative: difference them. NULL means that the unit cannot tell (the reason
is in ``units/<unit>.json``), or that a source asked less often than every tick had nothing new.
"""

from __future__ import annotations

import textwrap

import pyarrow as pa

from actors.sensors import Kind
from actors.sensors.registry import SENSORS

ARROW: dict[Kind, pa.DataType] = {
    "number": pa.float64(), "integer": pa.int32(), "counter": pa.int64(), "numbers": pa.list_(pa.float64()),
}  # fmt: skip
SQL: dict[pa.DataType, str] = {
    pa.float64(): "DOUBLE", pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.list_(pa.float64()): "DOUBLE[]",
    pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN",
}  # fmt: skip

TAGGED = pa.schema(
    [
        pa.field("t_utc_ns", pa.int64(), nullable=False),
        pa.field("t_mono_ns", pa.int64(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("run_id", pa.string()),
        pa.field("attempt", pa.int32()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("simulated", pa.bool_(), nullable=False),
        pa.field("late_ms", pa.float64(), nullable=False),
    ]
)
TAGS = tuple(TAGGED.names)
"""Columns that the sampler itself fills; every other is a sensor's."""

SCHEMA = pa.schema(
    [*TAGGED, *(pa.field(name, ARROW[kind]) for sensor in SENSORS for name, kind in sensor.fields.items())]
)

FIELDS = tuple(name for name in SCHEMA.names if name not in TAGS)
"""Columns that sensors fill."""


def sql_columns(width: int = 120) -> str:
    """The columns of ``schema_telemetry``, as they stand in ``sql/10_sources.sql``."""
    columns = [f"{field.name} {SQL[field.type]}".replace(" ", "\xa0") for field in SCHEMA]
    text = textwrap.fill(
        ", ".join(columns), width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )
    return text.replace("\xa0", " ")
