"""Containers of Podman, through its Docker-compatible socket: rootful,
or rootless as the user that runs the campaign."""

from __future__ import annotations

from actors.environments.docker.kind import Containers
from actors.environments.podman.service import PodmanEngine

PODMAN = Containers(PodmanEngine(), started_by="podman -> conmon -> crun or runc")
