"""What an arm really sets on this unit: CPU numbers for names, variables in order, mounts, user; and what differs.

Both arms take these from here, so that what is meant to be equal is equal.
"""

from __future__ import annotations

import shlex
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from actors.environments import EnvironmentError_, OptionRefused, gpus
from actors.environments.ownership import MARK
from actors.software import name_of, options_text
from actors.types import Environment, ImageIdentity, Launch, Mount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What Docker sets where an image says nothing (moby, ``oci/defaults.go``)."""
WRITABLE = ("/tmp", "/var/tmp", "/run")
"""Fresh folders on disk for every attempt in a chroot, whose root filesystem is read-only."""
HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
"""Files that Docker writes into every container; a chroot sees the host's."""
Row = tuple[str, str, str]


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def attempt_key(labels: dict[str, str]) -> str:
    return f"{labels['campaign']}/{labels['run']}/{labels['attempt']}"


# --- processors --------------------------------------------------------------------------------------------------


def parse_cpus(text: str) -> tuple[int, ...]:
    """``0-2,7`` to (0, 1, 2, 7): the list format of cpuset(7). Raises OptionRefused."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise OptionRefused(
                "cpuset", f"{text!r} is no CPU list; write numbers (0-3,8), `performance` or `efficiency`"
            )
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def format_cpus(cpus: tuple[int, ...]) -> str:
    """(0, 1, 2, 7) to ``0-2,7``."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def cpus(spec: Environment) -> tuple[int, ...] | None:
    """CPU numbers of ``spec.cpuset`` on this unit; None is all."""
    if spec.cpuset is None:
        return None
    if spec.cpuset in ("performance", "efficiency"):
        from actors.sensors.cpu import core_kinds

        return tuple(core_kinds()[spec.cpuset])
    return parse_cpus(spec.cpuset)


# --- user --------------------------------------------------------------------------------------------------------


def user(name: str, root: str) -> User:
    """``uid[:gid]`` or ``name[:group]`` as Docker reads it, against the passwd and group files below ``root``
    (moby ``user.GetExecUser``: an unknown number is taken as it is, with group 0 and home /)."""
    who, _, group = (name or "0").partition(":")
    people = _entries(root, "etc/passwd", 7)
    groups = _entries(root, "etc/group", 4)
    person = next((row for row in people if row[0] == who or (who.isdecimal() and row[2] == who)), None)
    if person is None and not who.isdecimal():
        raise OptionRefused("user", f"no user {who!r} in {root.rstrip('/')}/etc/passwd; use uid:gid")
    uid = int(person[2]) if person else int(who)
    gid = int(person[3]) if person else 0
    extra: tuple[int, ...] = ()
    if group:
        row = next((row for row in groups if row[0] == group or (group.isdecimal() and row[2] == group)), None)
        if row is None and not group.isdecimal():
            raise OptionRefused("user", f"no group {group!r} in {root.rstrip('/')}/etc/group; use uid:gid")
        gid = int(row[2]) if row else int(group)
    elif person:
        extra = tuple(int(row[2]) for row in groups if person[0] in row[3].split(","))
    return User(uid, gid, tuple(dict.fromkeys((gid, *extra))), (person[5] if person else "") or "/")


def _entries(root: str, path: str, fields: int) -> list[list[str]]:
    file = Path(root, path)
    if not file.is_file():
        return []
    rows = [line.split(":") for line in file.read_text(errors="replace").splitlines()]
    return [row for row in rows if len(row) >= fields]


# --- variables and mounts ----------------------------------------------------------------------------------------------


def own_variables(
    spec: Environment, launch: Launch, labels: dict[str, str], gpu_uuid: str | None = None
) -> dict[str, str]:
    """What is set over the userland's own variables, the same in every arm but for the choice among several GPUs
    (``gpus.py``); later ones win: GPU access, engine, environment."""
    chosen = gpus.selected(spec, gpu_uuid)
    return {**chosen, **spec.gpu.variables, **launch.variables, **spec.variables, MARK: attempt_key(labels)}


def chroot_variables(image: ImageIdentity, who: User, own: dict[str, str]) -> dict[str, str]:
    """As in a container of the image: nothing is inherited from the host."""
    return {"PATH": DEFAULT_PATH, "HOSTNAME": socket.gethostname(), "HOME": who.home, **image.variables, **own}


def host_variables(who: User, own: dict[str, str]) -> dict[str, str]:
    """``python3`` is the interpreter that runs this code: the folder of ``sys.executable`` leads PATH."""
    path = f"{Path(sys.executable).parent}:{DEFAULT_PATH}"
    return {"PATH": path, "HOSTNAME": socket.gethostname(), "HOME": who.home, "LANG": "C.UTF-8", **own}


def mounts(spec: Environment, launch: Launch, planned: bool = False) -> tuple[Mount, ...]:
    """All mounts, outermost first; two on one target are an error, and a source that is missing unless it is only ``planned``."""
    found = (*spec.gpu.mounts, *launch.mounts, *spec.mounts)
    targets = [mount.target.rstrip("/") for mount in found]
    for mount in found:
        if not mount.target.startswith("/") or mount.target.rstrip("/") == "":
            raise EnvironmentError_(f"{spec.name}: mount target {mount.target!r} is not an absolute path below /")
        if targets.count(mount.target.rstrip("/")) > 1:
            raise EnvironmentError_(f"{spec.name}: two mounts on {mount.target}; remove one")
        if not planned and not Path(mount.source).exists():
            raise EnvironmentError_(f"{spec.name}: {mount.source}, to be mounted on {mount.target}, does not exist")
    return tuple(sorted(found, key=lambda mount: (mount.target.rstrip("/").count("/"), mount.target)))


# --- what differs -------------------------------------------------------------------------------------------------------


def effective(
    spec: Environment,
    launch: Launch | None = None,
    image: ImageIdentity | None = None,
    gpu_uuid: str | None = None,
) -> dict[str, str]:
    """Aspect to what holds in this arm, in words and numbers."""
    docker = spec.kind == "docker"
    host = spec.kind == "native-host"
    reference = image.reference if image else name_of(spec.image) if spec.image else "the campaign's image"
    chosen = cpus(spec)
    ipc = spec.ipc or "private"
    launch = launch or Launch(argv=())
    userland = {} if host else {"PATH": DEFAULT_PATH} | (image.variables if image else {})
    if host:
        userland["PATH"] = f"{Path(sys.executable).parent}:{DEFAULT_PATH}"
    shm = "the host's" if host else "tmpfs as large as the host's, private to the attempt"
    if docker:
        shm = "the host's (half of the memory); shm_size is inert" if ipc == "host" else spec.shm_size or "64m"
    rest = "all others as in a container of this Docker engine, where permitted"
    rlimits = [f"{name}={value}:{value}" for name, value in sorted(spec.ulimits.items())]
    rlimits.append("all others as the harness has them" if host and image is None else rest)
    default_user = image.user if image and not host else ""
    return {
        "userland": "the host's" if host else f"image {reference}",
        "engine options": "; ".join(f"{name}: {options_text(given)}" for name, given in spec.engine_options.items())
        or "those of the model's entry",
        "root filesystem": (
            "Docker's storage driver, with a fresh writable layer"
            if docker
            else "the host's"
            if host
            else f"exported files of the image, read-only, with fresh {', '.join(WRITABLE)} and home"
        ),
        "mounts": "; ".join(
            f"{mount.source} -> {mount.target} {'ro' if mount.read_only else 'rw'}"
            for mount in (*spec.gpu.mounts, *launch.mounts, *spec.mounts)
        )
        + (" (no mount: targets replaced by sources in argv, variables, workdir)" if host else ""),
        "entry point": "none" if host else shlex.join(image.entrypoint) or "none" if image else "the image's",
        "started by": "dockerd -> containerd -> runc" if docker else "fork and exec, waiting before the gate",
        "mount namespace": "none" if host else "own",
        "pid namespace": "own" if docker else "none",
        "first process": ("docker-init" if spec.init else "the engine is PID 1") if docker else "an ordinary process",
        "ipc namespace": ("none" if ipc == "host" else f"own ({ipc})") if docker else "none",
        "network": (spec.network or "bridge") if docker else "host",
        "uts namespace": "own" if docker else "none",
        "/dev/shm": shm,
        "/dev": "a few nodes" if docker and not spec.privileged else "the host's",
        "cgroup": (f"own, below {spec.cgroup_parent or 'the default parent'}") if docker else "the harness's",
        "memory limit": (spec.memory or "none") if docker else "none",
        "seccomp": "Docker's default profile"
        if docker and spec.seccomp == "default" and not spec.privileged
        else "none",
        "capabilities": "Docker's default set" if docker and not spec.privileged else "all of the user's",
        "gpu": _gpu(spec, gpu_uuid),
        "cpus": format_cpus(chosen) if chosen is not None else "all",
        "rlimits": ", ".join(rlimits),
        "user": spec.user or default_user or "root",
        "workdir": launch.workdir,
        "variables": " ".join(
            f"{key}={value}"
            for key, value in sorted(
                {
                    **userland,
                    **gpus.selected(spec, gpu_uuid),
                    **spec.gpu.variables,
                    **launch.variables,
                    **spec.variables,
                }.items()
            )
        ),
        "page cache at start": spec.cache or "as the campaign's gate says",
        "output": "pipe to containerd-shim, then Docker's log driver"
        if docker
        else "pipe to the supervisor, then a file",
    }


def _gpu(spec: Environment, uuid: str | None) -> str:
    if spec.kind != "docker":
        files = ", the driver's files that the NVIDIA toolkit names" if spec.gpu.by in ("toolkit", "cdi") else ""
        only = f", {uuid} chosen by variable" if "CUDA_VISIBLE_DEVICES" in gpus.selected(spec, uuid) else ""
        return "the host's devices" + (files if spec.kind == "native-chroot" else "") + only
    named = ", ".join(spec.gpu.devices) or uuid
    return {
        "none": "none",
        "toolkit": f"NVIDIA toolkit: {named or 'all'}",
        "cdi": f"CDI: {named or 'nvidia.com/gpu=all'}",
        "devices": f"nodes: {named}",
    }[spec.gpu.by]


def difference(
    a: Environment,
    b: Environment,
    launch: Launch | None = None,
    image: ImageIdentity | None = None,
    gpu_uuid: str | None = None,
    other: ImageIdentity | None = None,
) -> list[Row]:
    """Rows (aspect, in a, in b) of everything that is not the same in both arms, by what they are told (``alike.py`` asks them).
    ``image`` is of ``a``, and of ``b`` too unless that has an ``other`` one."""
    left, right = effective(a, launch, image, gpu_uuid), effective(b, launch, other or image, gpu_uuid)
    return [(aspect, left[aspect], right[aspect]) for aspect in left if left[aspect] != right[aspect]]
