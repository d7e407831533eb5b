"""The arm that carries out an environment's kind."""

from __future__ import annotations

from pathlib import Path

from actors.environments import Arm
from actors.environments.docker.arm import DockerArm
from actors.environments.native.arm import NativeArm
from actors.types import Environment


def arm(spec: Environment, home: Path, gpu_uuid: str | None = None) -> Arm:
    """``home`` is the project's own folder (``.campaign``); ``gpu_uuid`` the unit's GPU, None where it has none."""
    if spec.kind == "docker":
        return DockerArm(spec, home, gpu_uuid)
    return NativeArm(spec, home, gpu_uuid)
