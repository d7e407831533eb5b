"""Environments: how a process is started, watched and reaped. One protocol, three kinds.

An environment knows nothing of engines: it is given a :class:`~actors.types.Launch` and runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from actors.types import Environment, Exit, ImageIdentity, Launch


class EnvironmentError_(Exception):
    """An arm could not be created, started or stopped. The message is for the person."""


class Process(Protocol):
    """One attempt's process in its environment, created but not yet started."""

    pid: int | None
    """PID on the host of the engine's process, once started."""
    cgroup: str | None
    """Path below the cgroup mount of the attempt's own cgroup; None where it has none."""
    command: dict[str, Any]
    """``argv``, ``variables``, ``mounts``, ``workdir``, ``user``, ``shell`` (pasteable line), ``environment`` and, for Docker,
    ``container`` (the create parameters) and ``container_id``."""

    def start(self) -> int:
        """Start it; returns the monotonic nanosecond clock at the engine's exec."""
        ...

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait at most ``timeout_s``; None while it still runs."""
        ...

    def stop(self, grace_s: float = 5.0) -> Exit:
        """SIGTERM to everything it started, SIGKILL after the grace; safe to call at any time and twice."""
        ...

    def close(self) -> None:
        """Complete stdout.log and stderr.log, then remove container, mounts, processes. Safe to call twice."""
        ...


class Arm(Protocol):
    """One environment on one unit."""

    spec: Environment

    def create(
        self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None
    ) -> Process:
        """Make the process ready to start: mounts, container. ``labels`` are campaign, run, attempt;
        ``logs`` is a folder that gets ``stdout.log`` and ``stderr.log``, each line with a UTC timestamp."""
        ...
