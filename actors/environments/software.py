"""What an arm runs: an image and the engine's options. The campaign's own are the default, and an arm may have others.

Arms with the same software share what is made of it: image, root filesystem, prepared files, compile caches. What two
arms do not share is part of what is compared, and is said (:func:`unlike`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from actors.environments import ContainerEngine
from actors.environments.registry import container_engine, kind
from actors.types import Environment, Image, Model

CAMPAIGNS = "image"
"""The campaign's image among those of a unit."""


@dataclass(frozen=True)
class Arms:
    """The arms of a campaign and what they run; ``image`` and ``engine`` are the campaign's own."""

    environments: tuple[Environment, ...]
    image: Image
    engine: str

    def container_engine(self, arm: Environment) -> ContainerEngine | None:
        """What holds the arm's image; None where it has none."""
        return container_engine(arm, self.environments)

    def image_key(self, arm: Environment) -> str:
        """Of the arm's image among a unit's."""
        holder = self.container_engine(arm)
        return image_key(arm, self.image, holder.name if holder else None)

    def images(self) -> dict[str, Image]:
        """Every image that an arm runs, by its key."""
        return {
            self.image_key(arm): image_of(arm, self.image) for arm in self.environments if kind(arm.kind).needs_image
        }

    def engine_of_image(self, key: str) -> ContainerEngine:
        """The container engine that holds the image of that key."""
        holder = next(self.container_engine(arm) for arm in self.environments if self.image_key(arm) == key)
        assert holder is not None
        return holder

    def exported(self) -> set[str]:
        """Keys of the images whose root filesystem a chroot runs."""
        return {self.image_key(arm) for arm in self.environments if kind(arm.kind).needs_rootfs}

    def variant(self, arm: Environment) -> str:
        """As :func:`variant`."""
        return variant(arm, self.image, self.engine)

    def variants(self) -> dict[str, Environment]:
        """Every software that arms run, to the first arm that does."""
        found: dict[str, Environment] = {}
        for arm in self.environments:
            found.setdefault(self.variant(arm), arm)
        return found


def image_of(arm: Environment, campaigns: Image) -> Image:
    """The userland of ``arm``, where its kind has an image at all."""
    return campaigns if arm.image is None else arm.image


def image_key(arm: Environment, campaigns: Image, engine: str | None = "docker") -> str:
    """Of the arm's image in ``UnitFacts.images``. ``engine`` is the container engine that holds it: what the images of
    two engines have in common is their content, not their identity."""
    own = image_of(arm, campaigns)
    key = CAMPAIGNS if own == campaigns else f"{own.source}:{own.reference or ''}".rstrip(":")
    return key if engine in (None, "docker") else f"{key} in {engine}"


def name_of(image: Image) -> str:
    """In words."""
    return image.reference or "an image made of this machine"


def model_in(arm: Environment, model: Model, engine: str) -> Model:
    """``model`` with the options that ``arm`` gives to ``engine`` over those of the model's entry, key by key."""
    own = arm.engine_options.get(engine)
    if not own:
        return model
    options = _merged(model.engine_options.get(engine, {}), own)
    return model.model_copy(update={"engine_options": {**model.engine_options, engine: options}})


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings key by key, all else whole."""
    found = dict(below)
    for key, value in above.items():
        before = found.get(key)
        found[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return found


def variant(arm: Environment, campaigns: Image, engine: str) -> str:
    """Empty for the campaign's own software, else eight digits that arms with the same software have in common."""
    key, options = image_key(arm, campaigns), arm.engine_options.get(engine) or {}
    if key == CAMPAIGNS and not options:
        return ""
    return hashlib.sha256(json.dumps([key, options], sort_keys=True).encode()).hexdigest()[:8]


def of_variant(name: str, variant: str) -> str:
    """``name`` of something that is made for the campaign's software, or for that of a variant."""
    return f"{name}@{variant}" if variant else name


def prepared_key(model: str, workload: str, variant: str) -> str:
    """In ``UnitFacts.prepared``."""
    return of_variant(f"{model}/{workload}", variant)


def unlike(arm: Environment, other: Environment, campaigns: Image, engine: str) -> list[str]:
    """What of their software two arms do not share, a line each;
    empty where a difference between them is the environment's alone."""
    found = []
    if (
        kind(arm.kind).needs_image
        and kind(other.kind).needs_image
        and image_key(arm, campaigns) != image_key(other, campaigns)
    ):
        own, others = (name_of(image_of(each, campaigns)) for each in (arm, other))
        found.append(
            f"{arm.name} runs {own} and {other.name} runs {others}: userland, libraries and the engine's version are "
            "those of the images, and a difference is that of all of them together"
        )
    mine, theirs = (each.engine_options.get(engine, {}) for each in (arm, other))
    if mine != theirs:
        found.append(f"{arm.name} gives {engine} {options_text(mine)}, {other.name} {options_text(theirs)}")
    return found


def options_text(options: dict[str, Any]) -> str:
    """Engine options of an arm on one line."""
    if not options:
        return "no options of its own"
    return ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(options.items()))
