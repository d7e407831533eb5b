"""Native arms: ``native-chroot`` and ``native-host``.

native-chroot runs the engine in a chroot of the exported root filesystem of the very image that the Docker arm
runs, with the same entry point, argv, mounts, variables, user, affinity and rlimits. The root filesystem is read-only,
since all attempts share it; ``/tmp``, ``/var/tmp``, ``/run`` and the user's home are fresh folders on disk for each
attempt, ``/dev/shm`` a fresh tmpfs, and ``/proc``, ``/sys``, ``/dev`` the host's.
All of it lives in a mount namespace of the attempt.

native-host runs the engine on the host's userland without any privilege and therefore without mounts: in argv,
variables and working folder every mount target is replaced by its source.

The process tree and who watches whom: ``supervisor.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from pathlib import Path
from typing import Any

from actors.environments import EnvironmentError_, OptionRefused, gpu_files, gpus, ownership, resolve
from actors.environments.docker.rlimits import Rlimits, container_rlimits
from actors.environments.native import cuda_compat, linker
from actors.environments.native.by_hand import recorded
from actors.environments.native.mounts import bind, chroot_mounts, fixed_mounts, fresh_folders, in_order
from actors.environments.native.process import NativeProcess
from actors.files.removal import remove
from actors.types import Environment, ImageIdentity, Launch, Mount

_attempts = itertools.count()


class NativeArm:
    def __init__(self, spec: Environment, home: Path, gpu_uuid: str | None = None, *, chroot: bool) -> None:
        self.spec = spec
        self.home = home
        self.gpu_uuid = gpu_uuid
        self.chroot = chroot

    def create(self, launch: Launch, labels: dict[str, str], logs: Path, image: ImageIdentity | None) -> NativeProcess:
        """Start the supervisor and the engine's process, which waits confined for :meth:`NativeProcess.start`."""
        spec = self.spec
        chroot = self.chroot
        if chroot and (image is None or image.rootfs is None or not Path(image.rootfs).is_dir()):
            raise EnvironmentError_(f"{spec.name}: native-chroot needs an image whose root filesystem is exported")
        root = image.rootfs if chroot and image else None
        asked = spec.user or (image.user if chroot and image else "")
        who = resolve.user(asked, root or "/") if asked or chroot else _myself()
        mounts = resolve.mounts(spec, launch)
        gpus.check(spec, self.gpu_uuid)
        own = resolve.own_variables(spec, launch, labels, self.gpu_uuid, in_container=False)
        argv, workdir = launch.argv, launch.workdir
        if chroot and image:
            variables = resolve.chroot_variables(image, who, own)
        else:
            variables = {key: _on_host(value, mounts) for key, value in resolve.host_variables(who, own).items()}
            argv = tuple(_on_host(text, mounts) for text in argv)
            workdir = _on_host(workdir, mounts)
        copied, notes = self._container_rlimits(image)
        explicit: Rlimits = {name: (value, value) for name, value in spec.ulimits.items()}
        scratch = self.home.absolute() / "scratch" / f"{ownership.this_process()}_{next(_attempts)}"
        try:
            gpu = _driver_files(spec, root, self.home, notes) if root else ()
            mounted = chroot_mounts(root, who, (*gpu, *mounts), scratch, notes) if root else []
            return NativeProcess(
                order={
                    "argv": list(argv),
                    "entrypoint": list(image.entrypoint) if chroot and image else [],
                    "variables": variables,
                    "workdir": workdir,
                    "root": root,
                    "mounts": mounted,
                    "user": (who.uid, who.gid, who.groups) if asked or chroot else None,
                    "cpus": resolve.cpus(spec),
                    "rlimits": [
                        {"name": name, "soft": soft, "hard": hard, "explicit": name in explicit}
                        for name, (soft, hard) in {**copied, **explicit}.items()
                    ],
                    "stdout": str(logs.absolute() / "stdout.log"),
                    "stderr": str(logs.absolute() / "stderr.log"),
                },
                environment=spec.name,
                mounts=mounts,
                labels=labels,
                scratch=scratch,
                notes=notes,
            )
        except BaseException:
            with contextlib.suppress(OSError):
                remove(scratch)
            raise

    def _container_rlimits(self, image: ImageIdentity | None) -> tuple[Rlimits, list[str]]:
        """The rlimits that a container of the image has, so that this arm can have the same."""
        from actors.environments.registry import engine_called

        if image is None:
            return {}, ["rlimits as the harness has them: there is no container arm to copy"]
        limits = container_rlimits(engine_called(image.engine), image.digest, self.home)
        if isinstance(limits, str):
            return {}, [f"rlimits as the harness has them: {limits}"]
        return limits, []


def planned(
    spec: Environment,
    launch: Launch,
    labels: dict[str, str],
    image: ImageIdentity,
    home: Path,
    gpu_uuid: str | None = None,
) -> dict[str, Any]:
    """What :meth:`NativeArm.create` would record as its command for a chroot, on a machine that has neither the image
    nor its root filesystem nor the mounts' sources. ``notes`` says what only the unit can tell."""
    root = image.rootfs or ""
    notes = ["rlimits besides those named: as a container of the image has them"]
    asked = spec.user or image.user
    if asked or Path(root, "etc/passwd").is_file():
        who = resolve.user(asked, root)
    else:
        who = resolve.User(0, 0, (0,), "/root")
        notes.append("user and home: root and /root, unless the image says otherwise")
    mounts = resolve.mounts(spec, launch, planned=True)
    gpu: tuple[Mount, ...] = ()
    try:
        gpu = _driver_files(spec, root, home, notes, planned=True)
    except OptionRefused:
        notes.append(
            "mounted besides: the GPU driver's files that `nvidia-ctk cdi generate` names on the unit, "
            "and a linker cache with them"
        )
    scratch = home.absolute() / "scratch" / "ATTEMPT"
    order: dict[str, Any] = {
        "argv": list(launch.argv),
        "entrypoint": list(image.entrypoint),
        "variables": resolve.chroot_variables(
            image, who, resolve.own_variables(spec, launch, labels, gpu_uuid, in_container=False)
        ),
        "workdir": launch.workdir,
        "root": root,
        "mounts": in_order(
            [*fixed_mounts(), *fresh_folders(scratch), bind(str(scratch / "home"), who.home)], (*gpu, *mounts)
        ),
        "user": (who.uid, who.gid, who.groups),
        "cpus": resolve.cpus(spec),
        "rlimits": [
            {"name": name, "soft": value, "hard": value, "explicit": True} for name, value in spec.ulimits.items()
        ],
    }
    return recorded(order, spec.name, mounts, notes)


def _driver_files(
    spec: Environment, root: str, home: Path, notes: list[str], planned: bool = False
) -> tuple[Mount, ...]:
    """In a chroot the devices are there; ``gpu: toolkit`` or ``cdi`` adds the driver's
    files and a linker cache that has them."""
    if spec.gpu.by not in ("toolkit", "cdi"):
        return ()
    found = gpu_files.found()
    notes += found.notes
    if not found.folders:
        return found.mounts
    compat = None
    if found.compat is not None and Path(root).is_dir():
        compat, why = cuda_compat.compat_folder(root, found.compat)
        if compat is not None:
            notes.append(
                f"forward compatibility: {compat} comes before the driver's libraries, as in a container: {why}"
            )
    binds = [bind(mount.source, mount.target, mount.read_only) for mount in found.mounts]
    file = linker.place(root, binds, list(found.folders), compat, home)
    if not planned and (why := linker.make(root, binds, list(found.folders), compat, file)):
        raise OptionRefused("gpu", f"the linker cache with the driver's libraries cannot be made: {why}")
    return (*found.mounts, Mount(source=str(file), target=linker.CACHE))


def _myself() -> resolve.User:
    home = os.environ.get("HOME", "/")
    return resolve.User(os.getuid(), os.getgid(), tuple(os.getgroups()), home)


def _on_host(text: str, mounts: tuple[Mount, ...]) -> str:
    """``text`` with each mount target that stands in it as a path, or as the beginning of one,
    replaced by its source."""
    targets = {mount.target.rstrip("/"): mount.source for mount in mounts}
    if not targets:
        return text
    longest_first = "|".join(re.escape(target) for target in sorted(targets, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({longest_first})(?![\w.-])", lambda match: targets[match[1]], text)
