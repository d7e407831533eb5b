"""Finding out, before the first run, which options of an arm this host refuses: by trying.

Documentation of what a kernel, a container runtime or a nested machine permits is never complete; a
process that does nothing, started with the very options, answers for certain.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import docker
import requests

from actors.environments import EnvironmentError_, OptionRefused, owner, resolve
from actors.environments.daemon import EngineMissing, connect
from actors.environments.docker import ACTOR_LABEL, HOME_LABEL, Options, explain, merge, options
from actors.environments.native import NativeArm
from actors.types import Environment, ImageIdentity, Launch

NOTHING = ("python3", "-I", "-S", "-c", "pass")
DOCKER_ONLY = ("ipc", "shm_size", "network", "privileged", "memory", "cgroup_parent", "init")


def refused(spec: Environment, image: ImageIdentity | None, home: Path) -> dict[str, str]:
    """Key of ``spec`` to why this host refuses it; empty when the arm works. ``environment`` stands for
    an arm that does not work even without options, ``combination`` for options that only fail together."""
    try:
        resolve.cpus(spec)
        resolve.mounts(spec, Launch(argv=NOTHING))
        return _refused_by_docker(spec, image, home) if spec.kind == "docker" else _refused_by_host(spec, image, home)
    except OptionRefused as error:
        return {error.option or "environment": error.why}
    except EnvironmentError_ as error:
        return {"environment": str(error)}


def _refused_by_docker(spec: Environment, image: ImageIdentity | None, home: Path) -> dict[str, str]:
    if image is None:
        return {"environment": "a Docker arm needs an image"}
    try:
        client = connect(home)
    except EngineMissing as error:
        return {"environment": str(error)}
    every = options(spec)
    whole = _try(client, image, every, home)
    if whole is None:
        return {}
    # A plain container first, without a network, which is an option too: if that fails, no option is to blame.
    plain: Options = {"network": {"network_mode": "none"}}
    if (why := _try(client, image, plain, home)) is not None:
        return {"environment": why}
    # Without the key the container gets Docker's default network, which can be broken as well.
    alone = {key: plain | {key: every[key]} for key in every}
    alone["network"] = {"network": every.get("network", {})}
    answers = {key: _try(client, image, chosen, home) for key, chosen in alone.items()}
    return {key: why for key, why in answers.items() if why is not None} or {"combination": whole}


def _try(client: docker.DockerClient, image: ImageIdentity, chosen: Options, home: Path) -> str | None:
    """None if a container with these options runs and ends well, else why not."""
    container = None
    labels = {HOME_LABEL: str(home.absolute()), ACTOR_LABEL: owner.this_process()}
    try:
        container = client.containers.create(
            image.digest, list(NOTHING[1:]), entrypoint=[NOTHING[0]], labels=labels, **merge(chosen)
        )
        container.start()
        code = container.wait()["StatusCode"]
        if code != 0:
            return f"`{' '.join(NOTHING)}` ends with {code}: {container.logs(tail=3).decode(errors='replace').strip()}"
        return None
    except (docker.errors.DockerException, requests.RequestException) as error:
        return explain(error)
    finally:
        if container is not None:
            container.remove(force=True, v=True)


def _refused_by_host(spec: Environment, image: ImageIdentity | None, home: Path) -> dict[str, str]:
    """Takes away one refused rlimit or CPU list after the other, so that all are named."""
    found: dict[str, str] = {}
    labels = {"campaign": "trial", "run": spec.name, "attempt": "0"}
    while True:
        with tempfile.TemporaryDirectory(prefix="campaign-trial-") as folder:
            try:
                process = NativeArm(spec, home).create(Launch(argv=NOTHING), labels, Path(folder), image)
            except OptionRefused as error:
                found[error.option or "environment"] = error.why
                lighter = _without(spec, error.option)
                if lighter is None:
                    return found
                spec = lighter
                continue
            try:
                process.start()
                ended = process.wait(60)
            finally:
                process.close()
            if ended is None or ended.code != 0:
                said = Path(folder, "stderr.log").read_text(errors="replace").strip()[-300:]
                code = "does not end" if ended is None else f"ends with {ended.code}"
                found["environment"] = f"`{' '.join(NOTHING)}` {code}: {said}"
            return found


def _without(spec: Environment, option: str) -> Environment | None:
    name = option.partition(".")[2]
    if option.startswith("ulimits.") and name in spec.ulimits:
        rest = {key: value for key, value in spec.ulimits.items() if key != name}
        return spec.model_copy(update={"ulimits": rest})
    if option in ("cpuset", "user") and getattr(spec, option) is not None:
        return spec.model_copy(update={option: None})
    return None


def notes(spec: Environment, root: Path = Path("/")) -> list[str]:
    """Options that are valid but do nothing, or something else than they seem to, on the machine below ``root``."""
    found = []
    if spec.kind != "docker":
        used = [key for key in DOCKER_ONLY if getattr(spec, key) not in (None, False)]
        used += ["seccomp"] if spec.seccomp != "default" else []
        found += [f"{key} has no effect: {spec.kind} has no such namespace or cgroup" for key in used]
    if spec.ipc == "host" and spec.shm_size is not None:
        found.append(
            f"shm_size: {spec.shm_size} is inert under ipc: host, where /dev/shm is the host's (half of the memory); "
            "to test it, use ipc: private"
        )
    if spec.memory is not None and spec.memory.strip().lower() in ("unlimited", "-1", "0", "max"):
        found.append(
            f"memory: {spec.memory} is no value that Docker takes; no limit is the default, so leave the key out"
        )
    elif spec.memory is not None and spec.kind == "docker":
        found.append("memory limits host memory only: on unified memory CUDA allocations are not charged to a cgroup")
    if spec.cgroup_parent is not None and not spec.cgroup_parent.endswith(".slice"):
        found.append(
            f"cgroup_parent: {spec.cgroup_parent} is refused where Docker uses the systemd cgroup driver, which wants a name "
            "ending in .slice"
        )
    if spec.privileged:
        implied = [
            key for key, used in (("seccomp", spec.seccomp != "default"), ("gpu", spec.gpu.by == "devices")) if used
        ]
        found += [f"{key} is implied by privileged" for key in implied]
        found.append("privileged changes more than isolation: all devices, writable /sys, no seccomp, all capabilities")
    found += _mixed_cores(spec, root)
    return found


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
