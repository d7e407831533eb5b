"""An environment's options as parameters of the Docker Engine API, and the shell line that makes the same container."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from docker.types import DeviceRequest, Ulimit
from docker.types import Mount as DockerMount

from actors.environments import gpu_files, gpus, ownership, resolve
from actors.types import Environment, ImageIdentity, Launch, Mount

LABELS = {"campaign": "campaign.id", "run": "campaign.run", "attempt": "campaign.attempt"}
HOME_LABEL, ACTOR_LABEL = "campaign.home", "campaign.actor"
Options = dict[str, dict[str, Any]]


def options(spec: Environment, gpu_uuid: str | None = None) -> Options:
    """Key of the environment to the parameters of ``containers.create`` that it sets; only keys that are used.

    One table serves the container, its shell line and the trial that names what a host refuses. ``gpu_uuid``: the
    unit's GPU, which the container gets alone; None is all. Raises OptionRefused for an arm that names another.
    """
    found: Options = {}
    if spec.gpu.by != "none":
        found["gpu"] = _gpu(spec, gpu_uuid)
    if spec.ipc is not None:
        found["ipc"] = {"ipc_mode": spec.ipc}
    for name, value in sorted(spec.ulimits.items()):
        found[f"ulimits.{name}"] = {"ulimits": [Ulimit(name=name, soft=value, hard=value)]}
    chosen = resolve.cpus(spec)
    simple: dict[str, tuple[bool, dict[str, Any]]] = {
        "shm_size": (spec.shm_size is not None, {"shm_size": spec.shm_size}),
        "network": (spec.network is not None, {"network_mode": spec.network}),
        "cpuset": (chosen is not None, {"cpuset_cpus": resolve.format_cpus(chosen or ())}),
        "privileged": (spec.privileged, {"privileged": True}),
        "memory": (spec.memory is not None, {"mem_limit": spec.memory}),
        "cgroup_parent": (spec.cgroup_parent is not None, {"cgroup_parent": spec.cgroup_parent}),
        "seccomp": (spec.seccomp == "unconfined", {"security_opt": ["seccomp=unconfined"]}),
        "init": (spec.init, {"init": True}),
        "user": (spec.user is not None, {"user": spec.user}),
    }
    found |= {key: parameters for key, (used, parameters) in simple.items() if used}
    return found


def _gpu(spec: Environment, gpu_uuid: str | None) -> dict[str, Any]:
    gpus.check(spec, gpu_uuid)
    named = [] if gpus.every_one(spec) else list(spec.gpu.devices)
    if gpu_uuid is not None and not named and not gpus.every_one(spec) and spec.gpu.by != "devices":
        named = [gpu_uuid if spec.gpu.by == "toolkit" else gpus.cdi_name(gpu_uuid, gpu_files.written())]
    if spec.gpu.by == "toolkit":
        which: dict[str, Any] = {"device_ids": named} if named else {"count": -1}
        return {"device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}
    if spec.gpu.by == "cdi":
        return {"device_requests": [DeviceRequest(driver="cdi", device_ids=named or ["nvidia.com/gpu=all"])]}
    return {"devices": [f"{node}:{node}:rwm" for node in named]}


def merge(chosen: Options) -> dict[str, Any]:
    """Parameters of several options as one; lists are joined."""
    merged: dict[str, Any] = {}
    for parameters in chosen.values():
        for name, value in parameters.items():
            merged[name] = merged[name] + value if isinstance(value, list) and name in merged else value
    return merged


def parameters(
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    planned: bool = False,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """All parameters of ``containers.create`` but the image."""
    return {
        **merge(options(spec, gpu_uuid)),
        "command": list(launch.argv),
        "environment": resolve.own_variables(spec, launch, labels, gpu_uuid, in_container=True),
        "working_dir": launch.workdir,
        "mounts": [
            DockerMount(mount.target, mount.source, type="bind", read_only=mount.read_only)
            for mount in resolve.mounts(spec, launch, planned)
        ],
        "labels": {
            **{label: labels[key] for key, label in LABELS.items()},
            HOME_LABEL: str(home.absolute()),
            ACTOR_LABEL: ownership.this_process(),
        },
    }


def shell_line(given: dict[str, Any], image: str, mounts: tuple[Mount, ...], program: str = "docker") -> str:
    """The ``docker run`` that makes the same container."""
    argv = [program, "run", "--rm"]
    for request in given.get("device_requests", ()):
        ids = ",".join(request["DeviceIDs"] or ())
        if request["Driver"] == "cdi":
            argv += [f"--device={device}" for device in request["DeviceIDs"]]
        else:
            argv += ["--gpus", f'"device={ids}"' if ids else "all"]
    argv += [f"--device={device}" for device in given.get("devices", ())]
    flags = {
        "ipc_mode": "--ipc",
        "shm_size": "--shm-size",
        "network_mode": "--network",
        "cpuset_cpus": "--cpuset-cpus",
        "mem_limit": "--memory",
        "cgroup_parent": "--cgroup-parent",
        "user": "--user",
        "working_dir": "--workdir",
    }
    argv += [f"{flag}={given[name]}" for name, flag in flags.items() if name in given]
    argv += [f"--ulimit={limit['Name']}={limit['Soft']}:{limit['Hard']}" for limit in given.get("ulimits", ())]
    argv += [f"--security-opt={option}" for option in given.get("security_opt", ())]
    argv += [f"--{flag}" for flag in ("privileged", "init") if given.get(flag)]
    for mount in mounts:
        argv.append(
            f"--mount=type=bind,source={mount.source},target={mount.target}" + (",readonly" if mount.read_only else "")
        )
    argv += [f"--env={key}={value}" for key, value in given["environment"].items()]
    argv += [f"--label={key}={value}" for key, value in given["labels"].items() if key in LABELS.values()]
    return shlex.join([*argv, image, *given["command"]])


def as_json(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters as JSON would have them (docker-py's types are dictionaries)."""
    return {
        name: [dict(entry) if isinstance(entry, dict) else entry for entry in value]
        if isinstance(value, list)
        else value
        for name, value in given.items()
    }
