"""Containers whose actor is gone, found by their labels."""

from __future__ import annotations

import contextlib
from pathlib import Path

import docker
import requests

from actors.environments import ContainerEngine, EngineMissing, ownership
from actors.environments.docker.options import ACTOR_LABEL, HOME_LABEL, LABELS
from actors.environments.docker.words import explain


def reap(engine: ContainerEngine, home: Path, campaign_id: str | None) -> list[str]:
    """A line for each container removed, or that could not be."""
    try:
        client = engine.connect(home, start=False)
    except EngineMissing:
        return []  # no engine, no containers
    labels = [f"{HOME_LABEL}={home}"]
    if campaign_id is not None:
        labels.append(f"{LABELS['campaign']}={campaign_id}")
    done = []
    with contextlib.closing(client):
        for container in client.api.containers(all=True, filters={"label": labels}):
            if ownership.alive(container["Labels"].get(ACTOR_LABEL, "")):
                continue
            name = " ".join(filter(None, (container["Labels"].get(label) for label in LABELS.values())))
            what = f"container {container['Id'][:12]} ({name or 'a probe'}, {container['State']})"
            try:
                client.api.remove_container(container["Id"], force=True, v=True)
                done.append(f"removed {what}")
            except docker.errors.NotFound:
                continue
            except (docker.errors.DockerException, requests.RequestException) as error:
                done.append(f"could not remove {what}: {explain(error)}")
    return done
