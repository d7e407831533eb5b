"""What must not change within a campaign, and how two states of it differ, in words."""

from __future__ import annotations

import json
from typing import Any

from actors.types import UnitFacts

SAME = ("code_digest", "machine", "gpu", "gpu_uuid")
"""Facts of a unit that must not change within a campaign, besides its images and its conditions
(:mod:`actors.gpu.machine`)."""


def lasting(facts: UnitFacts) -> dict[str, Any]:
    """What must not change. An image that was imported again has another ID and the same files."""
    images = {
        name: image.model_dump(exclude={"digest", "rootfs", "content_digest"}) | {"userland": image.userland}
        for name, image in facts.images.items()
    }
    return facts.model_dump(include=set(SAME)) | {"images": images}


def changes(then: Any, now: Any, path: str = "") -> list[str]:
    """What changed between two JSON values, a line each."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            line
            for key in dict.fromkeys([*then, *now])
            for line in changes(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
        pairs = zip(then, now, strict=True)
        return [line for number, (a, b) in enumerate(pairs) for line in changes(a, b, f"{path}[{number}]")]
    return [] if then == now else [f"{path} was {_short(then)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
