"""What arms run, put in place on the machine that will run them:
one procedure for ``campaign prepare`` and for a unit at work.

Images in their container engine, and exported where a chroot runs them; what an engine prepares of model and workload.
Each comes as soon as it is done, and what could not be had comes with its error: who asks decides whether that ends
anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.engines import EngineError
from actors.engines.registry import engine as engine_of
from actors.environments import EngineMissing, EnvironmentError_, software
from actors.environments.docker import image, rootfs
from actors.environments.software import Arms
from actors.types import Environment, ImageIdentity, Model, Prepared, Workload


@dataclass(frozen=True)
class PlacedImage:
    """An image in its container engine, or its root filesystem. ``identity`` is None where there is an ``error``."""

    key: str
    what: Literal["image", "root filesystem"]
    identity: ImageIdentity | None
    error: EnvironmentError_ | EngineMissing | None = None


@dataclass(frozen=True)
class PlacedInput:
    """What an engine prepared of a model and a workload for one software.
    ``prepared`` is None where there is an ``error``."""

    model: Model
    workload: Workload
    arm: Environment
    """The first that runs this software."""
    variant: str
    prepared: Prepared | None
    error: EngineError | None = None

    @property
    def key(self) -> str:
        """In ``UnitFacts.prepared``."""
        return software.prepared_key(self.model.name, self.workload.name, self.variant)


def place_images(
    arms: Arms, home: Path, say: Callable[[str], None] = lambda _: None, pull: bool = True
) -> Iterator[PlacedImage]:
    """Every image that an arm runs, and after it its root filesystem where a chroot runs it.
    Without ``pull`` nothing is downloaded."""
    exported = arms.exported()
    for key, wanted in arms.images().items():
        what: Literal["image", "root filesystem"] = "image"
        try:
            holder = arms.engine_of_image(key)
            client = holder.connect(home)
            identity = image.ensure(client, wanted, home, say, pull, holder.name)
            yield PlacedImage(key, what, identity)
            if key in exported:
                what = "root filesystem"
                identity = rootfs.export_rootfs(client, identity, home, say)
                _require_whole(identity)
                yield PlacedImage(key, what, identity)
        except (EnvironmentError_, EngineMissing) as error:
            yield PlacedImage(key, what, None, error)


def _require_whole(identity: ImageIdentity) -> None:
    if differences := rootfs.check_rootfs(identity):
        raise EnvironmentError_(
            f"{identity.rootfs} is no longer the image {identity.digest[:19]}: {'; '.join(differences[:5])}\n"
            "Delete that folder and its manifest: it is exported again."
        )


def place_inputs(arms: Arms, pairs: Iterable[tuple[Model, Workload]], home: Path) -> Iterator[PlacedInput]:
    """What the engine prepares for each model and workload, once for arms of the same software."""
    program = engine_of(arms.engine)
    for (model, workload), (variant, arm) in itertools.product(pairs, arms.variants().items()):
        try:
            prepared = program.prepare(software.model_in(arm, model, arms.engine), workload, home)
        except EngineError as error:
            yield PlacedInput(model, workload, arm, variant, None, error)
        else:
            yield PlacedInput(model, workload, arm, variant, prepared)
