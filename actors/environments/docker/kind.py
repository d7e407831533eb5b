"""What holds for every kind whose processes run in containers behind Docker's interface: Docker itself,
and whoever speaks like it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.environments import Arm, ContainerEngine, EngineMissing
from actors.types import Environment, ImageIdentity, Launch

if TYPE_CHECKING:
    import docker

TAKES = frozenset({"gpu", "ipc", "shm_size", "network", "privileged", "memory", "cgroup_parent", "seccomp", "init"})
"""Options of namespaces, cgroups and access that a container has."""


@dataclass(frozen=True)
class DockerEngine:
    """The Docker engine: the host's, the user's, or one private to the project (``daemon.py``)."""

    name: str = "docker"
    title: str = "the Docker engine"
    program: str = "docker"

    def connect(self, home: Path, start: bool = True) -> docker.DockerClient:
        from actors.environments.docker import daemon

        return daemon.connect(home)

    def ensure(self, home: Path, say: Callable[[str], None]) -> None:
        from actors.environments.docker import daemon

        daemon.ensure(home, say=say)


@dataclass(frozen=True)
class Containers:
    """A kind of environment in containers of ``engine`` (:class:`actors.environments.Kind`)."""

    engine: ContainerEngine
    started_by: str
    """The chain of programs from the engine to the process."""
    is_container: bool = True
    needs_image: bool = True
    needs_rootfs: bool = False
    has_mounts: bool = True
    takes: frozenset[str] = TAKES

    @property
    def name(self) -> str:
        return self.engine.name

    def arm(self, spec: Environment, home: Path, gpu_uuid: str | None = None) -> Arm:
        from actors.environments.docker.arm import DockerArm

        return DockerArm(spec, home, gpu_uuid, self.engine)

    def refused(
        self, spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        from actors.environments.docker import trial

        return trial.refused(self.engine, spec, image, home, gpu_uuid)

    def describe(
        self, spec: Environment, launch: Launch, image: ImageIdentity | None, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        from actors.environments import gpus, resolve

        ipc = spec.ipc or "private"
        unconfined = spec.privileged or spec.seccomp != "default"
        own = (
            gpus.selected(spec, gpu_uuid, in_container=self.is_container)
            | spec.gpu.variables
            | launch.variables
            | spec.variables
        )
        return {
            "root filesystem": "Docker's storage driver, with a fresh writable layer",
            "entry point": shlex.join(image.entrypoint) or "none" if image else "the image's",
            "started by": self.started_by,
            "mount namespace": "own",
            "pid namespace": "own",
            "first process": "an init of its own" if spec.init else "the engine is PID 1",
            "ipc namespace": "none" if ipc == "host" else f"own ({ipc})",
            "network": spec.network or "bridge",
            "uts namespace": "own",
            "/dev/shm": "the host's (half of the memory); shm_size is inert"
            if ipc == "host"
            else spec.shm_size or "64m",
            "/dev": "the host's" if spec.privileged else "a few nodes",
            "cgroup": f"own, below {spec.cgroup_parent or 'the default parent'}",
            "memory limit": spec.memory or "none",
            "seccomp": "none" if unconfined else "Docker's default profile",
            "capabilities": "all of the user's" if spec.privileged else "Docker's default set",
            "gpu": _gpu(spec, gpu_uuid),
            "rlimits": resolve.rlimits_text(spec),
            "user": spec.user or (image.user if image else "") or "root",
            "variables": resolve.variables_text(
                {"PATH": resolve.DEFAULT_PATH} | (image.variables if image else {}) | own
            ),
            "output": "pipe to the container's monitor, then the engine's log driver",
        }

    def planned(
        self,
        spec: Environment,
        launch: Launch,
        labels: dict[str, str],
        image: ImageIdentity,
        home: Path,
        gpu_uuid: str | None = None,
    ) -> dict[str, Any]:
        from actors.environments.docker.arm import planned

        return planned(self.engine, spec, launch, labels, image, home, gpu_uuid)

    def notes(self, spec: Environment) -> list[str]:
        if spec.memory is not None and not _no_size(spec.memory):
            return ["memory limits host memory only: on unified memory CUDA allocations are not charged to a cgroup"]
        return []

    def takes_root(self, spec: Environment) -> list[str]:
        return []

    def trouble(self, home: Path) -> str | None:
        try:
            self.engine.connect(home).close()
        except EngineMissing as missing:
            return f"{self.engine.title} does not answer: {missing}"
        return None

    def reap(self, home: Path, campaign_id: str | None = None) -> list[str]:
        from actors.environments.docker.leftover import reap

        return reap(self.engine, home, campaign_id)


def _no_size(memory: str) -> bool:
    return memory.strip().lower() in ("unlimited", "-1", "0", "max")


def _gpu(spec: Environment, uuid: str | None) -> str:
    named = ", ".join(spec.gpu.devices) or uuid
    return {
        "none": "none",
        "toolkit": f"NVIDIA toolkit: {named or 'all'}",
        "cdi": f"CDI: {named or 'nvidia.com/gpu=all'}",
        "devices": f"nodes: {named}",
    }[spec.gpu.by]
