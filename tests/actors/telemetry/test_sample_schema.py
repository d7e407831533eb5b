"""A sensor's declaration is the only one of its fields: Parquet, SQL and what it reads agree with it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from actors.sensors.registry import SENSORS, standard_sensors
from actors.telemetry.schema import FIELDS, SCHEMA, TAGS, sql_columns
from campaign.analysis import views

MACHINE = Path(__file__).parents[2] / "machines" / "gb10"


def test_a_sample_has_the_tags_and_every_field_that_a_sensor_declares() -> None:
    declared = [name for sensor in SENSORS for name in sensor.fields]
    assert list(FIELDS) == declared
    assert len(set(declared)) == len(declared), "two sensors fill one column"
    assert SCHEMA.names == [*TAGS, *declared]


def test_sql_knows_the_same_columns_with_the_same_types() -> None:
    assert sql_columns() in views.definition("schema_telemetry")
    con = duckdb.connect()
    con.execute(views.definition("schema_telemetry"))
    con.register("samples", SCHEMA.empty_table())
    described = [
        [(name, kind) for name, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()]
        for table in ("schema_telemetry", "samples")
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("sensor", standard_sensors(MACHINE), ids=lambda sensor: sensor.name)
def test_what_a_sensor_reads_fits_what_it_declares(sensor) -> None:
    unsupported = sensor.probe()
    read = sensor.read()
    sensor.close()
    assert set(read) <= set(sensor.fields)
    for name, value in read.items():
        pa.array([value], type=SCHEMA.field(name).type)  # raises where it does not fit
    assert set(unsupported) <= set(sensor.fields)
