"""A unit is one GPU, known by its UUID, and everything that is read is that one's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from actors.gpu.gate import Observe
from actors.sensors.gpus import Gpu, gpus, handle_of, load, pick
from actors.sensors.nvml import NvmlSensor
from actors.sensors.recorded import RecordedNvml
from actors.sensors.registry import standard_sensors
from actors.sensors.trouble import Trouble

MACHINES = Path(__file__).parents[2] / "machines"
TWO = MACHINES / "h100-x2"
BUSY, IDLE = "GPU-aaaaaaaa-0000-0000-0000-000000000001", "GPU-bbbbbbbb-0000-0000-0000-000000000002"


@pytest.fixture
def two() -> Any:
    return load(TWO)


@pytest.fixture
def divided() -> RecordedNvml:
    """One H100 in two instances, the second of them busy. The card tells no utilisation,
    the instances no temperature."""
    table = json.loads((TWO / "nvml.json").read_text())
    card = table["gpus"][0] | {
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetUtilizationRates": {"error": "NOT_SUPPORTED"},
    }
    sizes = {"total": 10 * 2**30, "free": 8 * 2**30}
    card["mig"] = [
        {
            "nvmlDeviceGetUUID": f"MIG-{place}",
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "nvmlDeviceGetMemoryInfo": dict(sizes) | {"used": used * 2**30},
            "nvmlDeviceGetComputeRunningProcesses": [{"pid": 5, "usedGpuMemory": 2**30}] if used else [],
        }
        for place, used in enumerate((0, 2))
    ]
    return RecordedNvml(table | {"gpus": [card]})


def test_every_gpu_of_the_machine_is_listed_with_what_tells_them_apart(two: Any) -> None:
    first, second = gpus(two)
    assert (first.uuid, first.index, first.pci_bus_id, first.pids) == (BUSY, 0, "00000000:19:00.0", (777,))
    assert (second.uuid, second.index, second.in_use, second.display) == (IDLE, 1, False, False)
    assert BUSY in str(first)
    assert "777" in str(first)


@pytest.mark.parametrize(("uuid", "temperature_c", "foreign"), [(BUSY, 71.0, (777,)), (IDLE, 33.0, ())])
def test_the_gate_and_the_sampler_read_the_gpu_that_was_chosen(
    uuid: str, temperature_c: float, foreign: tuple[int, ...]
) -> None:
    observe = Observe(TWO, uuid=uuid)
    seen = observe()
    assert (seen.temperature_c, seen.foreign_gpu_pids, observe.gpu_uuid) == (temperature_c, foreign, uuid)
    sampled = next(sensor for sensor in standard_sensors(TWO, uuid) if isinstance(sensor, NvmlSensor))
    sampled.probe()
    assert sampled.read()["gpu_temperature_c"] == temperature_c
    assert sampled.describe()["uuid"] == uuid


def test_no_call_goes_to_the_other_gpu(two: Any) -> None:
    sensor = NvmlSensor(two, uuid=IDLE)
    sensor.probe()
    two.asked_of.clear()
    sensor.now()
    sensor.counters()
    assert {handle.gpu for _, handle in two.asked_of} == {1}


def test_of_several_none_is_taken_by_chance() -> None:
    observe = Observe(TWO)
    assert observe.gpu_name is None
    why = observe.unsupported["gpu_power_w"]
    assert "2 GPUs here and none is chosen" in why
    assert BUSY in why
    assert IDLE in why


def test_the_only_gpu_needs_no_choosing() -> None:
    assert Observe(MACHINES / "gb10").gpu_uuid == "GPU-00000000-0000-0000-0000-00000000gb10"


def test_a_gpu_that_is_gone_is_an_error_that_names_those_that_are_here(two: Any) -> None:
    with pytest.raises(LookupError, match=f"no GPU has the UUID GPU-cccc.*{BUSY}"):
        handle_of(two, "GPU-cccc")


def test_a_lost_card_is_no_gpu_to_choose(two: Any) -> None:
    two.answers["gpus"][0]["nvmlDeviceGetHandleByIndex"] = {"error": "GPU_IS_LOST"}
    assert [gpu.uuid for gpu in gpus(two)] == [IDLE]


@pytest.mark.parametrize("wanted", [IDLE, "GPU-bbbb", "gpu-BBBB", "1", "00000000:3B:00.0", "0000:3b:00.0"])
def test_a_gpu_is_named_by_uuid_its_beginning_number_or_place(two: Any, wanted: str) -> None:
    assert pick(gpus(two), wanted).uuid == IDLE


@pytest.mark.parametrize(("wanted", "words"), [("GPU-", "more than one"), ("2", "no GPU is"), (None, "none is chosen")])
def test_a_name_that_fits_none_or_several_is_refused(two: Any, wanted: str | None, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        pick(gpus(two), wanted)


def test_an_instance_of_a_divided_card_has_its_own_memory_and_the_cards_temperature(divided: RecordedNvml) -> None:
    card, empty, busy = gpus(divided)
    assert (card.divided, empty.mig_of, busy.pids) == (True, card.uuid, (5,))
    sensor = NvmlSensor(divided, uuid="MIG-1")
    unsupported = sensor.probe()
    row = sensor.now()
    assert sensor.gpu_name == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert (row["gpu_memory_used_gib"], row["gpu_process_memory_gib"], row["gpu_temperature_c"]) == (2.0, 1.0, 71.0)
    assert "MIG is on" in unsupported["gpu_utilization_pct"]
    assert "gpu_temperature_c" in sensor.describe()["card_wide"]
    assert "gpu_memory_used_gib" not in sensor.describe()["card_wide"]


def test_a_divided_card_itself_cannot_be_chosen(divided: RecordedNvml) -> None:
    with pytest.raises(LookupError, match="choose one of its instances"):
        pick(gpus(divided), "0")
    with pytest.raises(LookupError, match="none is chosen"):
        pick(gpus(divided), None)
    only = gpus(divided)[:1]
    with pytest.raises(LookupError, match="has no instance"):
        pick(only, None)


def test_a_machine_that_answers_nothing_has_no_gpus(tmp_path: Path) -> None:
    shutil.copytree(MACHINES / "gb10", tmp_path / "m", ignore=shutil.ignore_patterns("sys"))
    (tmp_path / "m/nvml.json").write_text(json.dumps({"nvmlInit": {"error": "DRIVER_NOT_LOADED"}}))
    why = load(tmp_path / "m")
    assert isinstance(why, Trouble)
    assert gpus(why) == []
    assert "modprobe nvidia" in str(why)


def test_a_gpu_without_a_place_is_still_found_by_its_uuid() -> None:
    assert pick([Gpu("GPU-1", 0, "x", None, None)], "GPU-1").index == 0
