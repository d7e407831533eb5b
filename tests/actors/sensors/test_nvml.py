"""NVML as a GB10 answers it: probed once, lies refused, silence explained."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from actors.gpu.gate import Observe
from actors.sensors.nvml import BUDGET, GPM_INTERVAL_S, WATCHED, WATCHED_S, NvmlSensor, is_gb10
from actors.sensors.recorded import RecordedNvml, recorded
from actors.sensors.system import mem_total_bytes
from actors.sensors.trouble import Trouble

GB10 = Path(__file__).parents[2] / "machines/gb10"


@pytest.fixture
def answers() -> RecordedNvml:
    return recorded(GB10 / "nvml.json")


@pytest.fixture
def gb10(answers: RecordedNvml) -> NvmlSensor:
    sensor = NvmlSensor(answers, system_memory_bytes=mem_total_bytes(GB10))
    sensor.probe()
    return sensor


def test_a_gb10_tells_what_it_can(gb10: NvmlSensor) -> None:
    assert gb10.read() == {
        "gpu_temperature_c": 36.0,
        "gpu_power_w": 4.12,
        "gpu_utilization_pct": 96.0,
        "gpu_sm_clock_mhz": 2405.0,
        "gpu_process_memory_gib": pytest.approx(67.932, abs=0.001),
        "gpu_throttle_reasons": 1,
        "gpu_pstate": 8,
        "gpu_energy_j": pytest.approx(123456.789),
    }
    assert gb10.processes is not None and list(gb10.processes) == [4243]


def test_what_a_gb10_cannot_tell_has_a_reason(answers: RecordedNvml) -> None:
    unsupported = NvmlSensor(answers).probe()
    assert set(unsupported) == {
        "gpu_memory_utilization_pct",
        "gpu_mem_clock_mhz",
        "gpu_memory_used_gib",
        "gpu_memory_bandwidth_gb_s",
    }
    assert "whatever the load" in unsupported["gpu_memory_utilization_pct"]
    assert "Not Supported" in unsupported["gpu_memory_used_gib"]
    assert "GPM" in unsupported["gpu_memory_bandwidth_gb_s"]


def test_an_unsupported_field_is_asked_at_the_probe_and_never_again(gb10: NvmlSensor, answers: RecordedNvml) -> None:
    asked_by_probe = answers.asked.count("nvmlDeviceGetMemoryInfo")
    for _ in range(5):
        gb10.read()
    assert asked_by_probe >= 1
    assert answers.asked.count("nvmlDeviceGetMemoryInfo") == asked_by_probe


def test_memory_that_is_the_systems_is_not_the_gpus(answers: RecordedNvml) -> None:
    system = mem_total_bytes(GB10)
    assert system is not None
    answers.answers["nvmlDeviceGetMemoryInfo"] = {"total": int(system * 0.99), "used": 5 * 2**30, "free": 0}
    assert "unified" in NvmlSensor(answers, system_memory_bytes=system).probe()["gpu_memory_used_gib"]
    discrete = NvmlSensor(answers, system_memory_bytes=system // 4)
    assert "gpu_memory_used_gib" not in discrete.probe()
    assert discrete.read()["gpu_memory_used_gib"] == 5.0


def test_throttle_counters_are_microseconds(gb10: NvmlSensor) -> None:
    counters = gb10.counters()
    assert counters["hw_therm_slowdown"] == 1_200_000  # 1.2 s, recorded as nanoseconds
    assert counters["sw_power_cap"] == 3 * 3600 * 1_000_000


def test_a_driver_with_the_old_spelling_of_throttle_reasons(answers: RecordedNvml) -> None:
    answers.answers["nvmlDeviceGetCurrentClocksThrottleReasons"] = answers.answers.pop(
        "nvmlDeviceGetCurrentClocksEventReasons"
    )
    sensor = NvmlSensor(answers)
    assert "gpu_throttle_reasons" not in sensor.probe()
    assert sensor.read()["gpu_throttle_reasons"] == 1


def test_a_field_that_fails_once_is_null_once(gb10: NvmlSensor, answers: RecordedNvml) -> None:
    power = answers.answers["nvmlDeviceGetPowerUsage"]
    answers.answers["nvmlDeviceGetPowerUsage"] = {"error": "UNKNOWN"}
    assert "gpu_power_w" not in gb10.read()
    answers.answers["nvmlDeviceGetPowerUsage"] = power
    assert gb10.read()["gpu_power_w"] == 4.12


def test_memory_bandwidth_is_the_share_of_the_peak_between_two_samples(answers: RecordedNvml) -> None:
    """As on an H200: 6144 bits of HBM3e at 3201 MHz, two transfers per cycle."""
    answers.answers |= {
        "nvmlDeviceGetName": "NVIDIA H200",
        "nvmlDeviceGetMaxClockInfo": 3201,
        "nvmlDeviceGetMemoryBusWidth": 6144,
        "nvmlGpmQueryDeviceSupport": {"isSupportedDevice": 1},
        "nvmlGpmSampleGet": 0,
        "nvmlGpmMetricsGet": 50.0,
        "nvmlGpmSampleFree": 0,
    }
    sensor = NvmlSensor(answers)
    unsupported = sensor.probe()
    assert "gpu_memory_bandwidth_gb_s" not in unsupported
    assert "gpu_memory_utilization_pct" not in unsupported, "only a GB10 lies there"
    assert "gpu_memory_bandwidth_gb_s" not in sensor.read(), "the counters have not run long enough"
    time.sleep(GPM_INTERVAL_S)
    assert sensor.read()["gpu_memory_bandwidth_gb_s"] == pytest.approx(2458.4, abs=0.1)
    answers.answers["nvmlGpmMetricsGet"] = float("nan")
    time.sleep(GPM_INTERVAL_S)
    assert "gpu_memory_bandwidth_gb_s" not in sensor.read(), "NaN with success, as an H200 answers now and then"
    sensor.close()


def slow(answers: RecordedNvml, monkeypatch: pytest.MonkeyPatch, name: str, cost_s: float) -> None:
    ask = getattr(answers, name)

    def call(*arguments: object) -> object:
        time.sleep(cost_s)
        return ask(*arguments)

    monkeypatch.setattr(answers, name, call, raising=False)


def test_a_slow_call_is_made_rarely_and_its_field_is_null_between(
    answers: RecordedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 ms for the energy counter on an H100: at every sample that would be 4 % of a core."""
    slow(answers, monkeypatch, "nvmlDeviceGetTotalEnergyConsumption", 0.004)
    sensor = NvmlSensor(answers)
    assert "gpu_energy_j" not in sensor.probe()
    rows = [sensor.read() for _ in range(5)]
    assert ["gpu_energy_j" in row for row in rows] == [True, False, False, False, False]
    assert all("gpu_power_w" in row for row in rows), "what is cheap is read at every sample"
    told = sensor.describe()
    assert told["cost_us"]["gpu_energy_j"] >= 4000
    assert told["interval_s"]["gpu_energy_j"] >= 0.004 / BUDGET
    assert told["interval_s"]["gpu_power_w"] == 0


def test_any_slow_call_is_paced_and_all_together_keep_within_the_budget(
    answers: RecordedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UtilizationRates", "PerformanceState", "ClockInfo", "PowerUsage"):
        slow(answers, monkeypatch, f"nvmlDeviceGet{name}", 0.003)
    sensor = NvmlSensor(answers)
    sensor.probe()
    told = sensor.describe()
    assert told["interval_s"]["gpu_power_w"] == WATCHED_S, "power is watched, whatever it costs"
    shares = {
        field: cost_us / 1e6 / max(0.1, told["interval_s"][field])
        for field, cost_us in told["cost_us"].items()
        if field not in WATCHED
    }
    assert sum(shares.values()) <= BUDGET * 1.01


def test_a_decision_never_rests_on_a_field_that_was_not_due(
    answers: RecordedNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(answers, monkeypatch, "nvmlDeviceGetPowerUsage", 0.003)
    sensor = NvmlSensor(answers)
    sensor.probe()
    assert [("gpu_power_w" in sensor.read()) for _ in range(2)] == [True, False]
    answers.answers["nvmlDeviceGetPowerUsage"] = 9000
    assert sensor.now()["gpu_power_w"] == 9.0
    assert sensor.processes is not None


def test_without_a_driver_every_field_says_so() -> None:
    sensor = NvmlSensor(Trouble("NO_DEVICE", "no NVIDIA GPU is here", ""))
    assert set(sensor.probe().values()) == {"no NVIDIA GPU is here"}
    assert set(sensor.probe()) == set(NvmlSensor.fields)
    assert sensor.read() == sensor.now() == {}
    assert sensor.processes is None


def test_a_reason_of_nvml_reaches_every_field_with_its_remedy(answers: RecordedNvml) -> None:
    answers.answers["nvmlDeviceGetHandleByIndex"] = {"error": "GPU_IS_LOST"}
    sensor = NvmlSensor(answers)
    (why,) = set(sensor.probe().values())
    assert "GPU is lost" in why
    assert "Xid 79" in why


@pytest.mark.parametrize(
    ("name", "gb10"), [("NVIDIA GB10", True), ("NVIDIA GB100", False), ("NVIDIA H100 80GB HBM3", False), (None, False)]
)
def test_a_gb10_is_told_by_the_whole_word(name: str | None, gb10: bool) -> None:
    assert is_gb10(name) == gb10


def test_provenance_names_the_device_and_its_lies(gb10: NvmlSensor) -> None:
    facts = gb10.describe()
    assert facts["gpu"] == "NVIDIA GB10"
    assert facts["driver"] == "580.142"
    assert facts["power_limit_w"] is None
    assert "Not Supported" in facts["not_told"]["power_limit_w"]
    assert set(facts["lies"]) == {"gpu_memory_utilization_pct", "pcie_link", "memory_temperature_c"}
    json.dumps(facts)


def test_the_gate_sees_the_described_machine() -> None:
    seen = Observe(GB10)()
    assert seen.temperature_c == 36.0
    assert seen.mem_available_gib == 116.0
    assert seen.foreign_gpu_pids == (4243,)


def test_the_gate_reads_every_field_at_every_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is slow and paced would be missing, and a missing power opens the gate."""
    ask = RecordedNvml.__getattr__

    def slowly(answers: RecordedNvml, name: str) -> object:
        if name == "nvmlDeviceGetPowerUsage":
            time.sleep(0.003)
        return ask(answers, name)

    monkeypatch.setattr(RecordedNvml, "__getattr__", slowly)
    observe = Observe(GB10)
    assert [observe().power_w for _ in range(3)] == [4.12] * 3
