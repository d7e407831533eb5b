"""The simulated Spark is as warm as published ones were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from campaign.rehearsal.heat import Body, Room
from campaign.rehearsal.machine import DGX_SPARK

STEADY = replace(DGX_SPARK.heat, daily_c=0.0, drift_c=0.0)
ROOM = Room(STEADY, (0.0, 0.0, 0.0))


def body(power_w: float = DGX_SPARK.power.idle_w) -> Body:
    return Body.at_rest(ROOM, 0.0, power_w)


def test_idle_is_between_34_and_41_degrees() -> None:
    assert 34 <= body().temperature_c(0) <= 41
    assert body().temperature_c(1e5) == pytest.approx(body().temperature_c(0))


def test_two_minutes_of_decoding_end_near_60_degrees() -> None:
    warm = body()
    warm.draw(0, 55)
    assert 55 <= warm.temperature_c(120) <= 61


def test_a_soak_of_ten_minutes_reaches_its_plateau() -> None:
    warm = body()
    warm.draw(0, 62)
    assert 65 <= warm.temperature_c(600) <= 71


def test_from_60_degrees_it_is_below_45_within_five_minutes() -> None:
    warm = body()
    warm.draw(0, 45)
    warm.draw(3600, DGX_SPARK.power.idle_w)
    assert warm.temperature_c(3600) > 58
    cold_s = warm.cold_at(3600, 45, 3600 + 3600, 1.0)
    assert cold_s is not None and 60 < cold_s - 3600 < 300


def test_a_warm_room_never_lets_the_gate_open() -> None:
    heat = replace(STEADY, ambient_c=32.0)
    warm = Body.at_rest(Room(heat, (0.0, 0.0, 0.0)), 0.0, DGX_SPARK.power.idle_w)
    assert warm.cold_at(0, 45, 3600, 1.0) is None


def test_the_room_moves_by_what_is_said_and_no_more() -> None:
    room = Room.drawn(DGX_SPARK.heat, np.random.default_rng(1))
    over = room.ambient_c(np.arange(0, 14 * 86_400, 60.0))
    assert DGX_SPARK.heat.ambient_c - 2 <= over.min() < over.max() <= DGX_SPARK.heat.ambient_c + 2
    assert over.max() - over.min() > 1.5


def test_history_is_what_was_seen_at_the_time() -> None:
    warm, seen = body(), []
    for t_s, power_w in ((0.0, 16.0), (100.0, 50.0), (700.0, 4.0)):
        warm.draw(t_s, power_w)
        seen += [warm.temperature_c(t_s + after) for after in (0.0, 30.0, 60.0)]
    times = np.array([t + after for t in (0.0, 100.0, 700.0) for after in (0.0, 30.0, 60.0)])
    temperature, power = warm.history(times)
    assert temperature == pytest.approx(seen)
    assert power.tolist() == [16.0] * 3 + [50.0] * 3 + [4.0] * 3
