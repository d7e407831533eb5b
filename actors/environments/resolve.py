"""What an arm really sets on this unit: CPU numbers for names, variables in order, mounts, user; and what differs.

Both arms take these from here, so that what is meant to be equal is equal.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from actors.environments import EnvironmentError_, OptionRefused, gpus
from actors.environments.ownership import MARK
from actors.types import Environment, ImageIdentity, Launch, Mount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What Docker sets where an image says nothing (moby, ``oci/defaults.go``)."""
WRITABLE = ("/tmp", "/var/tmp", "/run")
"""Fresh folders on disk for every attempt in a chroot, whose root filesystem is read-only."""
HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
"""Files that Docker writes into every container; a chroot sees the host's."""
Row = tuple[str, str, str]
"""Aspect, in one arm, in another."""


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


# --- variables and mounts ---------------------------------------------------------------------------------------------


def own_variables(
    spec: Environment, launch: Launch, labels: dict[str, str], gpu_uuid: str | None = None, *, in_container: bool
) -> dict[str, str]:
    """What is set over the userland's own variables, the same in every arm but for the choice among several GPUs
    (``gpus.py``); later ones win: GPU access, engine, environment."""
    chosen = gpus.selected(spec, gpu_uuid, in_container=in_container)
    return {**chosen, **spec.gpu.variables, **launch.variables, **spec.variables, MARK: attempt_key(labels)}


def chroot_variables(image: ImageIdentity, who: User, own: dict[str, str]) -> dict[str, str]:
    """As in a container of the image: nothing is inherited from the host."""
    return {"PATH": DEFAULT_PATH, "HOSTNAME": socket.gethostname(), "HOME": who.home, **image.variables, **own}


def host_variables(who: User, own: dict[str, str]) -> dict[str, str]:
    """``python3`` is the interpreter that runs this code: the folder of ``sys.executable`` leads PATH."""
    path = f"{Path(sys.executable).parent}:{DEFAULT_PATH}"
    return {"PATH": path, "HOSTNAME": socket.gethostname(), "HOME": who.home, "LANG": "C.UTF-8", **own}


def mounts(spec: Environment, launch: Launch, planned: bool = False) -> tuple[Mount, ...]:
    """All mounts, outermost first; two on one target are an error,
    and a source that is missing unless it is only ``planned``."""
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


# --- in words ----------------------------------------------------------------------------------------------------


def rlimits_text(spec: Environment, rest: str = "as in a container of this Docker engine, where permitted") -> str:
    """The limits that the arm sets, and what the others are."""
    return ", ".join(
        [*(f"{name}={value}:{value}" for name, value in sorted(spec.ulimits.items())), f"all others {rest}"]
    )


def variables_text(variables: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(variables.items()))
