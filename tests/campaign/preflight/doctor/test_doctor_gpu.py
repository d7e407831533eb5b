"""A GPU before the first run: why it does not answer, whether it rests, whether it is as fast as it should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pynvml
import pytest

from actors.types import Gate
from campaign.config.loading import load as load_campaign
from campaign.preflight import doctor

PROJECT = Path(__file__).parents[4]
GB10 = PROJECT / "tests/machines/gb10"
TWO = PROJECT / "tests/machines/h100-x2"
SPARK = load_campaign(PROJECT / "configs/campaigns/spark.yaml")
LOCAL = load_campaign(PROJECT / "configs/campaigns/local.yaml")
DESKTOP = {
    "nvmlDeviceGetTemperature": 43,
    "nvmlDeviceGetPowerUsage": 11650,
    "nvmlDeviceGetUtilizationRates": {"gpu": 0, "memory": 0},
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetPerformanceState": 0,
}
"""A GB10 with a desktop session, as owners report it."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    shutil.copytree(GB10, tmp_path / "machine")
    return tmp_path / "machine"


def patched(machine: Path, answers: dict[str, Any]) -> Path:
    table = machine / "nvml.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | answers))
    return machine


def one(name: str, home: Path, root: Path = Path("/"), asked: Any = SPARK, **more: Any) -> doctor.Check:
    (found,) = doctor.checks(home, asked, only=(name,), root=root, **more)
    return found


# --- what NVML says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "remedy"),
    [
        ("LIB_RM_VERSION_MISMATCH", "mismatch", "reboot"),
        ("DRIVER_NOT_LOADED", "Driver Not Loaded", "modprobe nvidia"),
        ("NO_PERMISSION", "Insufficient Permissions", "usermod"),
        ("UNKNOWN", "Unknown Error", "start the container anew"),
        ("GPU_IS_LOST", "GPU is lost", "power off"),
    ],
)
def test_a_driver_that_does_not_answer_keeps_its_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str, remedy: str
) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{name}"))

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    found = one("gpu", home)
    assert (found.status, words in found.found, remedy in found.remedy) == ("fail", True, True)
    assert "Install" not in found.remedy
    assert one("gpu", home, asked=LOCAL.model_copy(update={"environments": LOCAL.environments[:1]})).status != "ok"


def test_a_card_that_is_lost_in_one_call_is_lost(home: Path, machine: Path) -> None:
    patched(machine, {"nvmlDeviceGetPowerUsage": {"error": "GPU_IS_LOST"}})
    found = one("gpu", home, machine)
    assert found.status == "fail"
    assert "GPU is lost" in found.found


def test_a_figure_that_the_gate_needs_and_nobody_tells_is_said(home: Path, machine: Path) -> None:
    patched(machine, {"nvmlDeviceGetPowerUsage": {"error": "NOT_SUPPORTED"}, "nvmlDeviceGetVirtualizationMode": 2})
    found = one("gpu", home, machine)
    assert found.status == "warn"
    assert "the gate asks for power_w" in found.found
    assert "a virtual GPU" in found.found


def test_of_two_the_first_that_nobody_uses_is_looked_at_and_named(home: Path) -> None:
    found = one("gpu", home, TWO, asked=None)
    assert "GPU-bbbbbbbb-0000-0000-0000-000000000002 of 2, the first that nobody uses" in found.found
    assert one("gpu processes", home, TWO, asked=None).found == "none"
    chosen = one("gpu processes", home, TWO, asked=None, gpu_uuid="GPU-aaaaaaaa-0000-0000-0000-000000000001")
    assert "777" in chosen.found


# --- at rest ------------------------------------------------------------------------------------------------------


def test_a_display_that_keeps_the_gate_shut_is_found_before_the_first_run(home: Path, machine: Path) -> None:
    found = one("idle power", home, patched(machine, DESKTOP))
    assert found.status == "fail"
    assert "11.65 W in P0 at 43 °C, the gate opens at 6 W" in found.found
    assert "would wait 3600 s before the first run" in found.found
    assert "display" in found.found
    assert "multi-user.target" in found.remedy
    assert "gate: {idle_power_w: 15, ceiling_c: 48}" in found.remedy


def test_the_config_that_the_remedy_gives_would_open_the_gate(home: Path, machine: Path) -> None:
    loose = SPARK.model_copy(update={"gate": Gate(idle_power_w=15, ceiling_c=48)})
    patched(machine, DESKTOP)
    assert {one(name, home, machine, loose).status for name in ("idle power", "temperature")} == {"ok"}


@pytest.mark.parametrize("sign", ["nvml", "connector", "process"])
def test_signs_of_a_display_are_named(home: Path, machine: Path, sign: str) -> None:
    patched(machine, DESKTOP | ({"nvmlDeviceGetDisplayActive": 1} if sign == "nvml" else {}))
    if sign == "connector":
        place = machine / "sys/class/drm/card1-HDMI-A-1"
        place.mkdir(parents=True)
        (place / "status").write_text("connected\n")
    if sign == "process":
        (machine / "proc/900").mkdir()
        (machine / "proc/900/comm").write_text("gnome-shell\n")
    named = {"nvml": "active, as NVML says", "connector": "a monitor on HDMI-A-1", "process": "gnome-shell"}[sign]
    assert named in one("idle power", home, machine).found


def test_a_process_that_holds_the_gpu_is_to_blame_before_a_display(home: Path, machine: Path) -> None:
    patched(machine, DESKTOP | {"nvmlDeviceGetComputeRunningProcesses": [{"pid": 4243, "usedGpuMemory": 1}]})
    found = one("idle power", home, machine)
    assert (found.status, "held by processes" in found.found) == ("fail", True)


def test_without_a_campaign_a_gb10_is_held_to_what_it_draws_at_rest(home: Path, machine: Path) -> None:
    assert one("idle power", home, machine, asked=None).status == "ok"
    assert one("idle power", home, patched(machine, DESKTOP), asked=None).status == "warn"
    assert one("idle power", home, TWO, asked=None).status == "ok", "69 W is an H100 at rest"


# --- settings -----------------------------------------------------------------------------------------------------


def test_limits_and_locks_that_nvml_tells_are_named_with_the_way_back(home: Path, tmp_path: Path) -> None:
    shutil.copytree(TWO, tmp_path / "m")
    assert one("gpu settings", home, tmp_path / "m", asked=None).status == "ok"
    patched(
        tmp_path / "m",
        {
            "nvmlDeviceGetPowerManagementLimit": 500000,
            "nvmlDeviceGetApplicationsClock": {"by_argument": {"NVML_CLOCK_SM": 1200, "NVML_CLOCK_MEM": 2619}},
            "nvmlDeviceGetPersistenceMode": 0,
        },
    )
    found = one("gpu settings", home, tmp_path / "m", asked=None)
    assert found.status == "warn"
    assert "application clock 1200 MHz, by default 1980 MHz" in found.found
    assert "power limit 500 W, by default 700 W" in found.found
    assert "persistence mode off" in found.found
    for way_back in ("-rac", "-pl 700", "nvidia-persistenced"):
        assert way_back in found.remedy


def test_what_a_gb10_does_not_tell_of_its_limits_is_no_finding(home: Path) -> None:
    assert one("gpu settings", home, GB10).status == "ok"


# --- under load ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mhz", "watts", "rate", "status"),
    [
        (2411.0, 36.6, None, "ok"),  # published decodes of units in order
        (2405.0, 38.5, None, "ok"),
        (2489.0, 43.0, 221.0, "ok"),
        (2496.0, 31.0, None, "ok"),
        (2437.0, 73.0, 216.0, "ok"),
        (2405.0, 24.0, 218.0, "ok"),  # the bytes were moved, whatever it drew
        (610.0, 14.0, None, "fail"),
        (799.0, 20.1, 90.0, "fail"),
        (507.0, 45.0, None, "fail"),  # the clock tells
        (2405.0, 18.0, None, "fail"),  # full clock and no work: it hangs
        (2405.0, 38.0, 72.0, "fail"),  # the hidden slow state
        (2405.0, 38.0, 145.0, "warn"),
        (1800.0, 30.0, None, "warn"),  # a lock, or heat
        (2405.0, None, None, "ok"),
    ],
)
def test_a_stuck_gb10_is_told_by_clock_and_bytes_per_second(
    mhz: float, watts: float | None, rate: float | None, status: str
) -> None:
    found, words, remedy = doctor.low_power([(mhz, watts)] * 9, "NVIDIA GB10", rate)
    assert found == status, words
    assert ("unplug" in remedy) == (status == "fail")
    assert bool(remedy) == (status != "ok")


def test_a_start_that_is_still_slow_does_not_condemn() -> None:
    assert doctor.low_power([(208.0, 4.0)] * 3 + [(2405.0, 38.0)] * 20, "NVIDIA GB10")[0] == "ok"


def test_readings_that_are_missing_are_not_zero() -> None:
    found, words, _ = doctor.low_power([(None, 37.0), (None, 38.0)], "NVIDIA GB10", 220.0)
    assert (found, "MHz" in words) == ("ok", False)


@pytest.mark.parametrize("gpu", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GB10", "NVIDIA A100-SXM4-40GB"])
def test_a_load_that_never_showed_is_no_verdict_and_no_reason_to_restart(gpu: str) -> None:
    found, _, remedy = doctor.low_power([], gpu)
    assert found == "warn"
    assert "restart" not in remedy
    assert "MIG" in remedy


def test_other_gpus_are_measured_and_not_judged() -> None:
    assert doctor.low_power([(1200.0, 30.0)], "NVIDIA H200", 300.0) == (
        "ok", "1200 MHz and 30.0 W under load, matrix times vector at 300 GB/s", "",
    )  # fmt: skip
