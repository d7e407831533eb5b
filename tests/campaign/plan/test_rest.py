"""The rest that a pilot's cooling curves show to be enough: measured, written, read, waited for and shown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import write

from campaign.plan import rest

SECONDS = np.arange(0.0, 300.0, 4.0)


def rows(cooled_s: dict[str, float], warmer_c: dict[str, float] | None = None, rests: int = 4) -> dict[str, np.ndarray]:
    """Rows of the view ``cooling``: after each arm the temperature falls by 20 °C with this time constant,
    towards 40 °C and what is said."""
    found: dict[str, list[object]] = {}
    for arm, constant_s in cooled_s.items():
        for number in range(rests):
            for t_s in SECONDS:
                celsius = math.floor(40 + (warmer_c or {}).get(arm, 0.0) + 20 * math.exp(-t_s / constant_s))
                row = {
                    "model": "m", "environment": arm, "unit": "u", "next_run_id": f"{arm}-{number}", "next_attempt": 1,
                    "rest_s": 300.0,
                    "opened_c": math.nan, "t_s": t_s, "temperature_c": celsius, "power_w": math.nan,
                    "sm_clock_mhz": math.nan,
                }  # fmt: skip
                for name, value in row.items():
                    found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def test_a_rest_is_long_enough_for_the_arm_that_cools_most_slowly() -> None:
    quick, slow = (
        max(curve.back_s() for curve in rest.curves(rows({"a": 30.0, "b": constant_s})) if curve.environment == "b")
        for constant_s in (30.0, 60.0)
    )
    # Two degrees above the end, as a sensor of whole degrees tells it.
    assert quick == pytest.approx(30 * math.log(20 / 2), abs=10)
    assert slow == pytest.approx(60 * math.log(20 / 2), abs=10)


def test_one_reading_out_of_line_holds_nothing_up() -> None:
    table = rows({"a": 30.0})
    before = max(curve.back_s() for curve in rest.curves(table))
    dense = {name: np.repeat(column, 5) for name, column in table.items()}
    dense["t_s"] = dense["t_s"] + np.tile(np.arange(5) * 0.8, len(table["t_s"]))
    dense["temperature_c"] = dense["temperature_c"].astype(float)
    dense["temperature_c"][(dense["t_s"] > 200) & (dense["t_s"] < 200.9)] = 60.0
    assert max(curve.back_s() for curve in rest.curves(dense)) == pytest.approx(before, abs=10)


def test_arms_that_end_apart_are_seen_apart() -> None:
    every = rest.curves(rows({"a": 30.0, "b": 30.0}, {"b": 3.0}))
    assert rest.apart(every, 280.0) == pytest.approx(3.0)


def test_without_a_sensor_it_is_refused_in_words(tmp_path: Path) -> None:
    folder = write(tmp_path / "pilot", models=("tiny",), repetitions=6, telemetry_hz=0)
    with pytest.raises(rest.NotCalibrated, match="nothing tells a temperature between the runs") as refused:
        rest.calibrated(folder)
    assert "Keep gate.cooldown_s in seconds" in str(refused.value)
