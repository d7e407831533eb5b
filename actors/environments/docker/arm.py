"""The Docker arm, through docker-py: every option of an environment as a parameter of the Docker Engine API.

The container is created before the gate opens and started after it. It is removed by name at the end instead
of by ``--rm``, so that its logs and its OOM state can be read first. A reaper (``reaper.py``) removes it if the
actor dies. The image's entry point is run, with the engine's argv for its command: what ``docker run IMAGE COMMAND``
does, and the chroot too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import requests

from actors.environments import ContainerEngine, EngineMissing, EnvironmentError_, refusals, resolve
from actors.environments.docker.options import as_json, parameters, shell_line
from actors.environments.docker.process import DockerProcess
from actors.environments.docker.reaping import dismiss, start_reaper
from actors.environments.docker.words import error_of, explain
from actors.environments.handover import Handover
from actors.types import Environment, ImageIdentity, Launch, Mount


class DockerArm:
    """An arm in containers of ``engine``."""

    def __init__(self, spec: Environment, home: Path, gpu_uuid: str | None, engine: ContainerEngine) -> None:
        self.spec = spec
        self.home = home
        self.gpu_uuid = gpu_uuid
        self.engine = engine
        try:
            self.client = engine.connect(home)
        except EngineMissing as error:
            raise EnvironmentError_(f"{spec.name}: {error}") from error

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> DockerProcess:
        """Create the container. Raises EnvironmentError_ with the Docker engine's words."""
        if image is None:
            raise EnvironmentError_(f"{self.spec.name}: an arm in containers of {self.engine.title} needs an image")
        given = parameters(self.spec, launch, labels, image, self.home, gpu_uuid=self.gpu_uuid)
        mounts = resolve.mounts(self.spec, launch)
        reaper = start_reaper(self.client, resolve.attempt_key(labels))
        try:
            container = self.client.containers.create(image.digest, **given)
        except (docker.errors.DockerException, requests.RequestException) as error:
            dismiss(reaper)
            why = refusals.told(explain(error), image.reference)
            raise error_of(error, f"{self.spec.name}: {self.engine.title} refuses: {why}") from error
        if reaper is not None and reaper.stdin is not None:
            reaper.stdin.write(container.id.encode() + b"\n")
            reaper.stdin.flush()
        command = _command(self.engine, self.spec, launch, image, given, mounts) | {
            "container_id": container.id,
            "notes": [] if reaper is not None else ["no reaper: this engine's socket speaks TLS"],
        }
        handover = Handover(image.entrypoint, launch.argv)
        return DockerProcess(self.engine, self.client, container.id, image.reference, logs, command, reaper, handover)


def _command(
    engine: ContainerEngine,
    spec: Environment,
    launch: Launch,
    image: ImageIdentity,
    given: dict[str, Any],
    mounts: tuple[Mount, ...],
) -> dict[str, Any]:
    return {
        "environment": spec.name,
        "argv": list(launch.argv),
        "entrypoint": list(image.entrypoint),
        "variables": {"PATH": resolve.DEFAULT_PATH, **image.variables, **given["environment"]},
        "mounts": [mount.model_dump() for mount in mounts],
        "workdir": launch.workdir,
        "user": spec.user or image.user or "0:0",
        "container": as_json(given),
        "image": image.digest,
        "shell": shell_line(given, image.digest, mounts, engine.program),
    }


def planned(
    engine: ContainerEngine,
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """What :meth:`DockerArm.create` would record as its command, without an engine, an image or the mounts' sources."""
    given = parameters(spec, launch, labels, image, home, planned=True, gpu_uuid=gpu_uuid)
    mounts = resolve.mounts(spec, launch, planned=True)
    return _command(engine, spec, launch, image, given, mounts) | {"notes": []}
