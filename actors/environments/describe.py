"""What holds in an arm, in words and numbers, and what differs between two: each kind says what is its own,
the rest is the same for all.

By what arms are told; :mod:`actors.environments.alike` asks them.
"""

from __future__ import annotations

from actors.environments import resolve
from actors.environments.registry import kind
from actors.environments.resolve import Row
from actors.environments.software import name_of, options_text
from actors.types import Environment, ImageIdentity, Launch

ASPECTS = (
    "userland", "engine options", "root filesystem", "mounts", "entry point", "started by", "mount namespace",
    "pid namespace", "first process",
    "user namespace", "ipc namespace", "network", "uts namespace", "/dev/shm", "/dev", "cgroup", "memory limit",
    "seccomp", "capabilities", "gpu",
    "cpus", "rlimits", "user", "workdir", "variables", "page cache at start", "output",
)  # fmt: skip
"""In the order in which they are shown. What a kind of outside the tree adds comes after them."""


def effective(
    spec: Environment,
    launch: Launch | None = None,
    image: ImageIdentity | None = None,
    gpu_uuid: str | None = None,
) -> dict[str, str]:
    """Aspect to what holds in this arm."""
    launch = launch or Launch(argv=())
    chosen = resolve.cpus(spec)
    found = {
        "userland": f"image {image.reference if image else name_of(spec.image) if spec.image else 'of the campaign'}",
        "engine options": "; ".join(f"{name}: {options_text(given)}" for name, given in spec.engine_options.items())
        or "those of the model's entry",
        "mounts": "; ".join(
            f"{mount.source} -> {mount.target} {'ro' if mount.read_only else 'rw'}"
            for mount in (*spec.gpu.mounts, *launch.mounts, *spec.mounts)
        ),
        "cpus": resolve.format_cpus(chosen) if chosen is not None else "all",
        "workdir": launch.workdir,
        "page cache at start": spec.cache or "as the campaign's gate says",
    } | kind(spec.kind).describe(spec, launch, image, gpu_uuid)
    order = {aspect: place for place, aspect in enumerate(ASPECTS)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def difference(
    a: Environment,
    b: Environment,
    launch: Launch | None = None,
    image: ImageIdentity | None = None,
    gpu_uuid: str | None = None,
    other: ImageIdentity | None = None,
) -> list[Row]:
    """Rows (aspect, in a, in b) of everything that is not the same in both arms. ``image`` is of ``a``, and of ``b``
    too unless that has an ``other`` one."""
    left, right = effective(a, launch, image, gpu_uuid), effective(b, launch, other or image, gpu_uuid)
    aspects = dict.fromkeys([*left, *right])
    rows = [(aspect, left.get(aspect, "none"), right.get(aspect, "none")) for aspect in aspects]
    return [row for row in rows if row[1] != row[2]]
