"""The sensors of a unit. A new one is a file beside the others and a line here:
its fields become columns of every sample."""

from __future__ import annotations

from pathlib import Path

from actors.sensors import Sensor, nvml
from actors.sensors.nvml import NvmlSensor
from actors.sensors.process import ProcessSensor
from actors.sensors.system import SystemSensor, mem_total_bytes

SENSORS: tuple[type[Sensor], ...] = (NvmlSensor, SystemSensor, ProcessSensor)
"""In the order in which their fields stand in a sample."""


def standard_sensors(root: Path = Path("/"), gpu_uuid: str | None = None, rate_hz: float = 10.0) -> list[Sensor]:
    """What a unit is asked: this machine and its GPU, or the one that ``root`` describes."""
    gpu = NvmlSensor(nvml.load(root), uuid=gpu_uuid, rate_hz=rate_hz, system_memory_bytes=mem_total_bytes(root))
    return [SystemSensor(root), gpu, ProcessSensor(root)]
