"""Containers of the Docker engine. What is light stands here; docker-py is loaded when an arm is made."""

from __future__ import annotations

from actors.environments.docker.kind import Containers, DockerEngine

DOCKER = Containers(DockerEngine(), started_by="dockerd -> containerd -> runc")
