"""Environments: how a process is started, watched and reaped. One folder for each kind, an entry of
:mod:`actors.environments.registry`.

An environment knows nothing of engines: it is given a :class:`~actors.types.Launch` and runs it. A kind answers for
itself (:class:`Kind`): nobody outside asks which one it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from actors.errors import EXIT_ENGINE, CampaignError
from actors.types import Environment, Exit, ImageIdentity, Launch

if TYPE_CHECKING:
    import docker


class EnvironmentError_(CampaignError):
    """An arm could not be created, started or stopped. The message is for the person."""


class EngineGone(EnvironmentError_):
    """The container engine went away: nobody's run is to blame, and the same may well work once it is back."""


class EngineMissing(CampaignError):
    """No container engine answers and none may be set up. The message says what to install or start."""

    exit_code = EXIT_ENGINE


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
    """``argv`` (the engine's), ``entrypoint`` (the image's, which is given that argv), ``variables``, ``mounts``,
    ``workdir``, ``user``, ``shell`` (pasteable line), ``environment`` and, for Docker, ``container`` (the create
    parameters) and ``container_id``. ``notes`` lists what this host made different from what was asked or from the
    other arm (a limit that could not be raised)."""

    @property
    def entrypoint_s(self) -> float | None:
        """Seconds from the entry point's exec until the engine's own; None as long as, or where, that is not known."""
        ...

    @property
    def entrypoint_unknown(self) -> str:
        """Why ``entrypoint_s`` is None; empty where it is not."""
        ...

    def start(self) -> int:
        """Start it; returns the monotonic nanosecond clock at the first exec, which is the entry point's where the
        image has one and else the engine's. Native: read just before the exec. Docker: when the Docker engine saw the
        exec done (``State.StartedAt``), an upper bound."""
        ...

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait at most ``timeout_s``; None while it still runs."""
        ...

    def output_bytes(self) -> int | None:
        """How much it has written to stdout and stderr so far, cheaply;
        None where this cannot be told while it runs."""
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


class ContainerEngine(Protocol):
    """A program that keeps images and runs containers, behind Docker's interface."""

    @property
    def name(self) -> str:
        """Of the kind whose containers it runs."""
        ...

    @property
    def title(self) -> str:
        """In sentences: ``the Docker engine``."""
        ...

    @property
    def program(self) -> str:
        """Of the command line that a person pastes (``docker run …``)."""
        ...

    def connect(self, home: Path, start: bool = True) -> docker.DockerClient:
        """The engine that answers; one without a daemon is started, unless not ``start`` and nothing of this home's can
        be in it. Raises EngineMissing with what to do on this host."""
        ...

    def ensure(self, home: Path, say: Callable[[str], None]) -> None:
        """Put one in place where there is none and this host permits it. Raises EngineMissing."""
        ...


class Kind(Protocol):
    """What a kind of environment says of itself. ``name`` is the config's ``kind:``."""

    @property
    def name(self) -> str:
        """The config's ``kind:``."""
        ...

    @property
    def is_container(self) -> bool:
        """Namespaces and cgroups of its own, started by a container engine."""
        ...

    @property
    def needs_image(self) -> bool:
        """Else it runs what is installed on the host."""
        ...

    @property
    def needs_rootfs(self) -> bool:
        """Runs in the image's exported root filesystem, which takes root."""
        ...

    @property
    def has_mounts(self) -> bool:
        """Else a launch's mount targets are replaced by their sources,
        and its user comes to its folders by their paths."""
        ...

    @property
    def takes(self) -> frozenset[str]:
        """Keys of an environment that mean something to it, besides those that every kind has (:data:`EVERY_KIND`)."""
        ...

    @property
    def engine(self) -> ContainerEngine | None:
        """Runs its containers and keeps their images; None where it has none of its own."""
        ...

    def arm(self, spec: Environment, home: Path, gpu_uuid: str | None = None) -> Arm:
        """Raises EnvironmentError_ where there can be none."""
        ...

    def refused(
        self, spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        """Key of ``spec`` to why this host refuses it, found out by trying; empty when the arm works. ``environment``
        stands for an arm that does not work even without options, ``combination`` for options that only fail together.
        May raise OptionRefused."""
        ...

    def describe(
        self, spec: Environment, launch: Launch, image: ImageIdentity | None, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        """Aspect to what holds in this arm, in words and numbers: of :data:`actors.environments.describe.ASPECTS` those
        that are this kind's own to say."""
        ...

    def planned(
        self,
        spec: Environment,
        launch: Launch,
        labels: dict[str, str],
        image: ImageIdentity,
        home: Path,
        gpu_uuid: str | None = None,
    ) -> dict[str, Any]:
        """What ``create`` would record as its command, on a machine that has neither engine nor image nor the mounts'
        sources. Raises EnvironmentError_ where there is no such command before a run."""
        ...

    def notes(self, spec: Environment) -> list[str]:
        """Options that are valid but do nothing in this kind, or something else than they seem to."""
        ...

    def takes_root(self, spec: Environment) -> list[str]:
        """What of it an ordinary user may not do here, a line each."""
        ...

    def trouble(self, home: Path) -> str | None:
        """What stands in the way of any process of this kind now, with what to do."""
        ...

    def reap(self, home: Path, campaign_id: str | None = None) -> list[str]:
        """Remove what crashes left of one campaign, or of all; a line for each thing done,
        or that could not be done."""
        ...


EVERY_KIND = frozenset(
    {
        "name",
        "description",
        "kind",
        "image",
        "engine_options",
        "ulimits",
        "cpuset",
        "cache",
        "mounts",
        "variables",
        "user",
    }
)
"""Keys of an environment that every kind takes."""
