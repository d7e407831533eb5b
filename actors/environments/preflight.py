"""Finding out, before the first run, which options of an arm this host refuses: by trying.

Documentation of what a kernel, a container runtime or a nested machine permits is never complete; a
process that does nothing, started with the very options, answers for certain.
"""

from __future__ import annotations

from pathlib import Path

from actors.environments import EVERY_KIND, EnvironmentError_, OptionRefused, resolve
from actors.environments.registry import kind
from actors.types import Environment, ImageIdentity, Launch


def refused(spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None = None) -> dict[str, str]:
    """Key of ``spec`` to why this host refuses it; empty when the arm works. ``environment`` stands for
    an arm that does not work even without options, ``combination`` for options that only fail together."""
    try:
        resolve.cpus(spec)
        resolve.mounts(spec, Launch(argv=()))
        return kind(spec.kind).refused(spec, image, home, gpu_uuid)
    except OptionRefused as error:
        return {error.option or "environment": error.why}
    except EnvironmentError_ as error:
        return {"environment": str(error)}


def notes(spec: Environment, root: Path = Path("/")) -> list[str]:
    """Options that are valid but do nothing, or something else than they seem to, on the machine below ``root``."""
    found = []
    found += [f"{key} has no effect: {spec.kind} has no such namespace or cgroup" for key in unused(spec)]
    if spec.ipc == "host" and spec.shm_size is not None:
        found.append(
            f"shm_size: {spec.shm_size} is inert under ipc: host, where /dev/shm is the host's (half of the memory); "
            "to test it, use ipc: private"
        )
    if spec.memory is not None and spec.memory.strip().lower() in ("unlimited", "-1", "0", "max"):
        found.append(
            f"memory: {spec.memory} is no value that Docker takes; no limit is the default, so leave the key out"
        )
    if spec.cgroup_parent is not None and not spec.cgroup_parent.endswith(".slice"):
        found.append(
            f"cgroup_parent: {spec.cgroup_parent} is refused where Docker uses the systemd cgroup driver, which "
            "wants a name ending in .slice"
        )
    if spec.privileged:
        implied = [
            key for key, used in (("seccomp", spec.seccomp != "default"), ("gpu", spec.gpu.by == "devices")) if used
        ]
        found += [f"{key} is implied by privileged" for key in implied]
        found.append("privileged changes more than isolation: all devices, writable /sys, no seccomp, all capabilities")
    found += kind(spec.kind).notes(spec)
    found += _mixed_cores(spec, root)
    return found


def unused(spec: Environment) -> list[str]:
    """Options that are set and mean nothing to the arm's kind."""
    means = EVERY_KIND | kind(spec.kind).takes
    fields = type(spec).model_fields
    return [key for key, field in fields.items() if key not in means and getattr(spec, key) != field.get_default()]


def _mixed_cores(spec: Environment, root: Path) -> list[str]:
    if spec.cpuset is None or spec.cpuset in ("performance", "efficiency"):
        return []
    from actors.sensors.cpu import core_kinds

    kinds = core_kinds(root)
    fast, slow = set(kinds["performance"]), set(kinds["efficiency"])
    chosen = set(resolve.parse_cpus(spec.cpuset))
    if fast == slow or not (chosen & fast and chosen & slow):
        return []
    return [
        f"cpuset: {spec.cpuset} mixes {len(chosen & fast)} performance and {len(chosen & slow)} efficiency cores; the "
        f"performance cores here are {resolve.format_cpus(tuple(fast))} (cpuset: performance)"
    ]
