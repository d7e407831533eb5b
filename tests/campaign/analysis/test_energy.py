"""The energy of a run has one definition, whoever works it out: the sampler for the attempt's metrics,
or SQL from the samples."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.telemetry.schema import SCHEMA
from actors.telemetry.window import COLUMN, Window, metrics_of
from actors.types import TelemetrySummary
from campaign.analysis import views
from tests import synthetic

NS = 10**9
POWER_W = [40.0, 60.0, 50.0, 70.0, 65.0, 30.0]


def samples(counter: list[float | None], power: list[float | None]) -> list[list[object]]:
    """Of one attempt's run, ten a second, with one before and one after that are not its own."""
    rows = []
    for i, (joules, watts) in enumerate(zip([0.0, *counter, 900.0], [400.0, *power, 500.0], strict=True)):
        row: list[object] = [None] * len(SCHEMA)
        inside = 0 < i <= len(power)
        told = {
            "t_utc_ns": NS + i * NS // 10, "t_mono_ns": i * NS // 10, "unit": "u", "run_id": "r" if inside else None,
            "attempt": 1 if inside else None, "stage": "run" if inside else "idle", "simulated": False, "late_ms": 0.1,
            "gpu_power_w": watts, "gpu_energy_j": joules,
        }  # fmt: skip
        for name, value in told.items():
            row[COLUMN[name]] = value
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("counter", "power", "energy_j"),
    [
        ([1.0, 6.0, 11.5, 17.0, 24.0, 30.0], POWER_W, 29.0),
        ([1.0, None, None, 17.0, None, 30.0], POWER_W, 28.0),
        ([None] * 6, POWER_W, 28.0),
        ([None] * 6, [40.0, None, None, 70.0, 65.0, 30.0], 28.0),
        ([1.0, None, None, None, None, 30.0], [None] * 6, 29.0),
        ([None] * 6, [None] * 6, None),
    ],
    ids=["counter", "paced counter", "no counter", "gaps", "counter alone", "nothing"],
)
def test_sampler_and_sql_tell_one_energy(tmp_path: Path, counter, power, energy_j) -> None:
    rows = samples(counter, power)
    window = Window(start_ns=NS // 10)
    for row in rows[1:-1]:
        window.add(row)
    nothing = dict.fromkeys(("jitter_p50_ms", "jitter_p99_ms", "longest_gap_ms", "sampler_cpu_pct"))
    summary = TelemetrySummary(samples_expected=0, samples=0, coverage_pct=100.0, **nothing)
    sampled = {metric.name: metric.value for metric in metrics_of(window, summary, {})}["energy_j"]
    folder = synthetic.write(tmp_path / "made", repetitions=1, telemetry_hz=0)
    place = folder / "telemetry" / "unit=u"
    place.mkdir(parents=True)
    columns = [pa.array(column, type=field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), place / "1.parquet")
    told = "SELECT gpu_energy_j FROM telemetry_summary WHERE run_id = 'r' AND stage = 'run'"
    ((by_sql,),) = views.connect(folder).execute(told).fetchall()
    assert sampled == (None if energy_j is None else pytest.approx(energy_j))
    assert by_sql == (None if sampled is None else pytest.approx(sampled))
