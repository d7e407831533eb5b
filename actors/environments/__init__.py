"""Environments: how a process is started, watched and reaped. One protocol, three kinds.

An environment knows nothing of engines: it is given a :class:`~actors.types.Launch` and runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from actors.errors import CampaignError
from actors.types import Environment, Exit, ImageIdentity, Launch


class EnvironmentError_(CampaignError):
    """An arm could not be created, started or stopped. The message is for the person."""


class EngineGone(EnvironmentError_):
    """The container engine went away: nobody's run is to blame, and the same may well work once it is back."""


class OptionRefused(EnvironmentError_):
    """This host does not permit what one key of the environment asks for (``ulimits.memlock``, ``privileged``)."""

    def __init__(self, option: str, why: str) -> None:
        super().__init__(f"{option}: {why}" if option else why)
        self.option = option
        self.why = why


class Process(Protocol):
    """One attempt's process in its environment, created but not yet started."""

    pid: int | None
    """PID on the host of the engine's process, once started."""
    cgroup: str | None
    """Path below the cgroup mount of the attempt's own cgroup; None where it has none."""
    command: dict[str, Any]
    """``argv`` (the engine's), ``entrypoint`` (the image's, which is given that argv), ``variables``, ``mounts``, ``workdir``, ``user``,
    ``shell`` (pasteable line), ``environment`` and, for Docker, ``container`` (the create parameters) and ``container_id``. ``notes``
    lists what this host made different from what was asked or from the other arm (a limit that could not be raised)."""

    @property
    def entrypoint_s(self) -> float | None:
        """Seconds from the entry point's exec until the engine's own; None as long as, or where, that is not known."""
        ...

    @property
    def entrypoint_unknown(self) -> str:
        """Why ``entrypoint_s`` is None; empty where it is not."""
        ...

    def start(self) -> int:
        """Start it; returns the monotonic nanosecond clock at the first exec, which is the entry point's where the image has
        one and else the engine's. Native: read just before the exec. Docker: when the Docker engine saw the exec done
        (``State.StartedAt``), an upper bound."""
        ...

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait at most ``timeout_s``; None while it still runs."""
        ...

    def output_bytes(self) -> int | None:
        """How much it has written to stdout and stderr so far, cheaply; None where this cannot be told while it runs."""
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

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> Process:
        """Make the process ready to start: mounts, container. ``labels`` has exactly ``campaign`` (the campaign's id),
        ``run`` and ``attempt``; the process sees them as ``CAMPAIGN_ATTEMPT=<campaign>/<run>/<attempt>``.
        An engine must name paths below its mounts in ``argv``, ``variables`` and ``workdir`` only: native-host has
        no mounts, and there the targets are replaced by their sources. The folders that an engine may write to in
        every arm are its read-write mounts, ``/tmp``, ``/var/tmp``, ``/run``, ``/dev/shm`` and its home.
        ``logs`` is a folder that gets ``stdout.log`` and ``stderr.log``, each line with a UTC timestamp."""
        ...
