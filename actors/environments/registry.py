"""The kinds of environment there are. A new one is a folder beside this file and a line in :data:`BUILT_IN`; one from
another package is an entry point of the group ``campaign.environments`` (``docs/extending.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from actors import extensions
from actors.environments import Arm, ContainerEngine, EnvironmentError_, Kind
from actors.environments.docker import DOCKER
from actors.environments.native import NATIVE_CHROOT, NATIVE_HOST
from actors.environments.podman import PODMAN
from actors.types import Environment

GROUP = "campaign.environments"
BUILT_IN: tuple[Kind, ...] = (
    NATIVE_HOST,
    NATIVE_CHROOT,
    DOCKER,
    PODMAN,
)


@cache
def kinds() -> dict[str, Kind]:
    """By name. Raises ExtensionBroken for an entry point that cannot be loaded or takes a name that is taken."""
    return extensions.with_those_of(GROUP, {each.name: each for each in BUILT_IN})


def kind(name: str) -> Kind:
    """Raises EnvironmentError_ for a name that is none."""
    try:
        return kinds()[name]
    except KeyError:
        raise EnvironmentError_(f"no environment is of the kind {name!r}; there are: {', '.join(kinds())}") from None


def arm(spec: Environment, home: Path, gpu_uuid: str | None = None) -> Arm:
    """``home`` is the project's own folder (``.campaign``); ``gpu_uuid`` the unit's GPU, None where it has none."""
    return kind(spec.kind).arm(spec, home, gpu_uuid)


def container_engine(spec: Environment, arms: Sequence[Environment]) -> ContainerEngine | None:
    """The engine whose images ``spec`` runs: its own; of a kind that has none, but needs an image, that of the first
    container among ``arms``, else Docker's; None where it needs no image."""
    own = kind(spec.kind)
    if own.engine is not None or not own.needs_image:
        return own.engine
    return next((engine for each in arms if (engine := kind(each.kind).engine) is not None), DOCKER.engine)


def engine_called(name: str) -> ContainerEngine:
    """The container engine of an image (``ImageIdentity.engine``). Raises EnvironmentError_."""
    engine = kind(name).engine
    if engine is None:
        raise EnvironmentError_(f"environments of the kind {name!r} have no container engine of their own")
    return engine
