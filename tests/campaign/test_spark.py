"""A DGX Spark as its sensors would show it: what they read, what the doctor and the plan make of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.environments import resolve
from actors.environments.preflight import notes
from actors.gpu.gate import Observe
from actors.sensors.cpu import core_kinds, topology
from actors.sensors.nvml import NvmlSensor, load
from actors.sensors.system import SystemSensor, mem_total_bytes
from actors.types import Environment
from campaign.config.loading import load as load_campaign
from campaign.plan.design import plan
from campaign.plan.preview import describe, plain
from campaign.preflight import doctor

GB10 = Path(__file__).parents[1] / "machines" / "gb10"
CONFIGS = Path(__file__).parents[2] / "configs"
SPARK = load_campaign(CONFIGS / "campaigns" / "spark.yaml")


def nvml() -> NvmlSensor:
    sensor = NvmlSensor(load(GB10), system_memory_bytes=mem_total_bytes(GB10))
    sensor.probe()
    return sensor


def check(name: str, home: Path, asked: Any = SPARK) -> doctor.Check:
    (found,) = doctor.checks(home, asked, only=(name,), root=GB10)
    return found


def test_the_sensors_read_what_a_gb10_tells_and_nothing_that_it_lies_about() -> None:
    sensor = nvml()
    row = sensor.read()
    assert (sensor.gpu_name, row["gpu_temperature_c"], row["gpu_power_w"], row["gpu_pstate"]) == (
        "NVIDIA GB10",
        36.0,
        4.12,
        8,
    )
    assert row["gpu_process_memory_gib"] == pytest.approx(72942092288 / 2**30)
    for silent in (
        "gpu_memory_used_gib",
        "gpu_mem_clock_mhz",
        "gpu_memory_utilization_pct",
        "gpu_memory_bandwidth_gb_s",
    ):
        assert silent not in row
    host = SystemSensor(GB10)
    host.probe()
    zones = host.read()["zone_temperatures_c"]
    assert isinstance(zones, list)
    assert len(zones) == 7


def test_performance_cores_are_found_and_not_taken_from_the_methodology() -> None:
    kinds = core_kinds(GB10)
    assert resolve.format_cpus(kinds["performance"]) == "5-9,15-19"
    assert resolve.format_cpus(kinds["efficiency"]) == "0-4,10-14"
    assert set(topology(GB10)["models"]) == {"Cortex-A725", "Cortex-X925"}


def test_the_gate_sees_the_machines_start_state() -> None:
    seen = Observe(GB10)()
    assert seen.temperature_c == 36.0
    assert seen.power_w == 4.12
    assert seen.mem_available_gib == pytest.approx(116.0, abs=0.1)
    assert seen.foreign_gpu_pids == (4243,), "an engine that holds the GPU"


def test_the_doctor_says_what_the_gpu_gives_and_what_not(home: Path) -> None:
    found = check("gpu", home)
    assert found.status == "ok"
    assert found.found.startswith("NVIDIA GB10 gives temperature_c, power_w, utilization_pct, sm_clock_mhz")
    assert "not supported: memory_utilization_pct, mem_clock_mhz, memory_used_gib" in found.found


def test_the_doctor_names_the_cores_of_each_kind(home: Path) -> None:
    assert check("cores", home).found == "performance 5-9,15-19 (Cortex-X925); efficiency 0-4,10-14 (Cortex-A725)"


def test_the_doctor_reads_the_spark_and_not_this_machine(home: Path) -> None:
    assert check("temperature", home).found == "GPU at 36 °C"
    assert check("memory", home).found == "116.0 GiB of 121.7 GiB available"
    assert check("pressure", home).status == "ok"
    processes = check("gpu processes", home)
    assert (processes.status, "4243" in processes.found) == ("fail", True)


def test_a_model_that_cannot_load_fails_before_it_is_tried(home: Path) -> None:
    bf16 = SPARK.models[0].model_copy(update={"name": "qwen2.5-72b-bf16", "weight_bytes": 145_400_000_000})
    found = check("memory", home, SPARK.model_copy(update={"models": (bf16,)}))
    assert found.status == "fail"
    assert "qwen2.5-72b-bf16 alone has weights of 135.4 GiB" in found.found


def test_on_a_description_the_load_is_said_to_be_untried(home: Path) -> None:
    found = check("gpu under load", home)
    assert (found.status, "not tried" in found.found) == ("warn", True)


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        ([(2281.0, 92.5), (2405.0, 88.0), (2300.0, 90.0)], "ok"),
        ([(799.0, 19.5), (799.0, 20.1), (721.0, 22.0)], "fail"),  # as published, before and after the cure
        ([(2405.0, 25.0)], "fail"),
        ([], "warn"),
    ],
)
def test_a_stuck_low_power_state_is_recognised_under_load(seen: list[tuple[float, float]], status: str) -> None:
    found, words, remedy = doctor.low_power(seen)
    assert found == status
    assert ("unplug the power supply" in remedy) == (status == "fail")
    assert words


def test_a_gpu_of_another_kind_is_not_judged_by_the_clock_of_a_gb10() -> None:
    assert doctor.low_power([(1200.0, 30.0)], "NVIDIA H200")[0] == "ok"


def test_a_load_that_does_not_run_is_no_verdict() -> None:
    status, found, _ = doctor.under_load(nvml())
    assert status == "warn"
    assert "the load did not run" in found


def test_a_cpuset_that_mixes_kinds_is_said_on_the_machine_where_it_does() -> None:
    spec = Environment(name="d", kind="docker", cpuset="0-9")
    assert notes(spec, GB10) == [
        "cpuset: 0-9 mixes 5 performance and 5 efficiency cores; the performance cores here are 5-9,15-19 "
        "(cpuset: performance)"
    ]
    assert notes(Environment(name="d", kind="docker", cpuset="performance"), GB10) == []


def test_the_plan_says_on_the_spark_what_an_arm_does_not_test() -> None:
    named = ("docker-cpuset-0-9", "docker-shm-32g", "docker-cgroup-root")
    library = load_campaign_with(named)
    text = plain(describe(library, plan(library), root=GB10), width=300)
    assert "docker-cpuset-0-9: cpuset: 0-9 mixes 5 performance and 5 efficiency cores" in text
    assert "docker-shm-32g: shm_size: 32g is inert under ipc: host" in text
    assert "docker-cgroup-root: cgroup_parent: / is refused where Docker uses the systemd cgroup driver" in text


def load_campaign_with(arms: tuple[str, ...]) -> Any:
    import tempfile

    text = (CONFIGS / "campaigns" / "spark.yaml").read_text()
    text = text.replace("docker-baseline]", f"docker-baseline, {', '.join(arms)}]").replace(
        "order: alternate", "order: random"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spark.yaml")
        file.write_text(f"{text}\nlibrary: {CONFIGS}\n")
        return load_campaign(file)


def test_the_doctor_prints_a_spark(home: Path) -> None:
    out = Console(file=io.StringIO(), width=120)
    names = ("gpu", "gpu under load", "temperature", "cores", "memory")
    failed = doctor.show(out, doctors_checks(home, names))
    assert failed == 0
    file = out.file
    assert isinstance(file, io.StringIO)
    assert all(name in file.getvalue() for name in names)


def doctors_checks(home: Path, names: tuple[str, ...]) -> Any:
    return doctor.checks(home, SPARK, only=names, root=GB10)
