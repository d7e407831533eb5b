"""A container that is only asked something: run to its end and removed."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests

from actors.environments import ownership
from actors.environments.docker.options import ACTOR_LABEL, HOME_LABEL
from actors.environments.docker.words import explain


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


TRIAL_S = 120.0
"""A container that is only asked something, and its entry point, must have ended by then."""


def run_once(client: docker.DockerClient, digest: str, home: Path, **given: Any) -> Ended | str:
    """Run a container to its end and remove it; how it ended, or why it did not run, in the Docker engine's words."""
    container = None
    labels = {HOME_LABEL: str(home.absolute()), ACTOR_LABEL: ownership.this_process()}
    try:
        container = client.containers.create(digest, labels=labels, **given)
        container.start()
        try:
            code = int(container.wait(timeout=TRIAL_S)["StatusCode"])
        except requests.exceptions.Timeout:
            return f"it does not end within {TRIAL_S:g} s"
        except requests.exceptions.ConnectionError as error:
            if "timed out" not in str(error).lower():
                raise
            return f"it does not end within {TRIAL_S:g} s"
        out, err = (
            container.logs(stdout=name == "stdout", stderr=name == "stderr").decode(errors="replace")
            for name in ("stdout", "stderr")
        )
        return Ended(code, out, err)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return explain(error)
    finally:
        if container is not None:
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                container.remove(force=True, v=True)


def no_such_program(message: str) -> bool:
    """Whether the Docker engine refuses only because the image lacks the program:
    everything else was granted before."""
    return "executable file not found" in message or bool(re.search(r"exec: .*no such file or directory", message))
