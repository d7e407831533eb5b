"""A kind of environment: containers of a second Docker engine, the one that SECOND_DOCKER_HOST names (a rootless one
beside the system's, another release), compared with the first by the same gate, order and statistics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.environments import EngineMissing
from actors.environments.docker.kind import Containers, DockerEngine


@dataclass(frozen=True)
class SecondEngine(DockerEngine):
    name: str = "docker-second"
    title: str = "the second Docker engine"

    def connect(self, home: Path, start: bool = True) -> Any:
        from actors.environments.docker import daemon

        host = os.environ.get("SECOND_DOCKER_HOST", "")
        answer = daemon.ask(host) if host else "SECOND_DOCKER_HOST is not set"
        if isinstance(answer, str):
            raise EngineMissing(
                f"No second Docker engine answers: {answer}\nSet SECOND_DOCKER_HOST to its socket (unix:///…)."
            )
        return answer

    def ensure(self, home: Path, say: Any) -> None:
        self.connect(home).close()


KIND = Containers(SecondEngine(), started_by="a second dockerd -> containerd -> runc")
