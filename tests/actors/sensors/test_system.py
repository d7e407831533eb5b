"""The host's sensors, on this machine and on a described GB10."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.sensors.system import SystemSensor, busy_and_all

GB10 = Path(__file__).parents[2] / "machines/gb10"


def test_a_gb10_has_seven_zones_and_the_hottest_counts() -> None:
    sensor = SystemSensor(GB10)
    assert sensor.probe() == {}
    row = sensor.read()
    assert row["zone_temperatures_c"] == [39.6, 38.9, 39.2, 39.0, 40.1, 41.7, 39.4]
    assert row["host_temperature_c"] == 41.7
    assert [label.split()[1] for label in sensor.describe()["zones"]] == ["acpitz"] * 7


def test_memory_is_what_meminfo_says() -> None:
    sensor = SystemSensor(GB10)
    sensor.probe()
    row = sensor.read()
    assert row["mem_total_gib"] == pytest.approx(127600748 / 2**20)
    assert row["mem_available_gib"] == 116.0
    assert row["mem_free_gib"] == 112.0
    assert row["mem_cached_gib"] == 4.0, "SwapCached is another line"
    assert row["swap_used_gib"] == 0.5
    assert row["psi_memory_full_us"] == 800


def test_cpu_utilisation_is_work_over_time_between_two_readings(tmp_path: Path) -> None:
    shutil.copytree(GB10 / "proc", tmp_path / "proc", ignore=shutil.ignore_patterns("[0-9]*"))
    stat = tmp_path / "proc/stat"
    sensor = SystemSensor(tmp_path)
    stat.write_text("cpu  100 0 0 900 0 0 0 0 0 0\n")
    sensor.probe()
    stat.write_text("cpu  130 0 0 960 10 0 0 0 0 0\n")
    assert sensor.read()["cpu_utilization_pct"] == 30.0
    stat.write_text("cpu  130 0 0 960 10 0 0 0 0 0\n")
    assert sensor.read()["cpu_utilization_pct"] is None, "no time has passed"


def test_waiting_for_io_is_not_work() -> None:
    assert busy_and_all(b"cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 ...") == (1 + 2 + 3 + 6 + 7, 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8)


@pytest.mark.parametrize("nonsense", ["", "garbage", "0", "-273200", "255000"])
def test_a_zone_that_answers_nonsense_is_left_out(tmp_path: Path, nonsense: str) -> None:
    shutil.copytree(GB10 / "sys/class/thermal", tmp_path / "sys/class/thermal")
    (tmp_path / "sys/class/thermal/thermal_zone5/temp").write_text(nonsense)
    sensor = SystemSensor(tmp_path)
    sensor.probe()
    assert sensor.read()["host_temperature_c"] == 40.1
    assert len(sensor.describe()["zones"]) == 6


def test_cpu_chips_stand_in_for_thermal_zones_but_disks_do_not(tmp_path: Path) -> None:
    for index, (name, value) in enumerate((("nvme", "52850"), ("k10temp", "47125"))):
        chip = tmp_path / f"sys/class/hwmon/hwmon{index}"
        chip.mkdir(parents=True)
        (chip / "name").write_text(name)
        (chip / "temp1_input").write_text(value)
    sensor = SystemSensor(tmp_path)
    sensor.probe()
    assert sensor.read() == {"host_temperature_c": 47.125, "zone_temperatures_c": [47.125]}


def test_a_host_without_any_of_it_says_why(tmp_path: Path) -> None:
    sensor = SystemSensor(tmp_path)
    unsupported = sensor.probe()
    assert set(unsupported) == set(SystemSensor.fields)
    assert all(unsupported.values())
    assert sensor.read() == {}


def test_this_machine_has_memory_and_a_processor() -> None:
    sensor = SystemSensor()
    unsupported = sensor.probe()
    row = sensor.read()
    assert "mem_available_gib" not in unsupported
    total, available = row["mem_total_gib"], row["mem_available_gib"]
    assert isinstance(total, float) and isinstance(available, float)
    assert 0 < available < total
    sensor.close()
    assert sensor.read()["mem_total_gib"] == total, "a closed sensor opens its files again"
