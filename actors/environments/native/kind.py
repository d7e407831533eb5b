"""The two native kinds: a chroot of the image's exported files, and the host's own userland."""

from __future__ import annotations

import resource
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.environments import Arm, ContainerEngine, EnvironmentError_
from actors.types import Environment, ImageIdentity, Launch

LIMITS = {
    "memlock": resource.RLIMIT_MEMLOCK,
    "stack": resource.RLIMIT_STACK,
    "nofile": resource.RLIMIT_NOFILE,
    "core": resource.RLIMIT_CORE,
}


@dataclass(frozen=True)
class Native:
    """:class:`actors.environments.Kind`."""

    name: str
    chroot: bool
    is_container: bool = False
    engine: ContainerEngine | None = None

    @property
    def needs_image(self) -> bool:
        return self.chroot

    @property
    def needs_rootfs(self) -> bool:
        return self.chroot

    @property
    def has_mounts(self) -> bool:
        return self.chroot

    @property
    def takes(self) -> frozenset[str]:
        return (
            frozenset({"gpu"}) if self.chroot else frozenset()
        )  # the driver's files, which a container gets from the toolkit

    def arm(self, spec: Environment, home: Path, gpu_uuid: str | None = None) -> Arm:
        from actors.environments.native.arm import NativeArm

        return NativeArm(spec, home, gpu_uuid, chroot=self.chroot)

    def refused(
        self, spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        from actors.environments.native import trial

        return trial.refused(self, spec, image, home, gpu_uuid)

    def describe(
        self, spec: Environment, launch: Launch, image: ImageIdentity | None, gpu_uuid: str | None = None
    ) -> dict[str, str]:
        from actors.environments import gpus, resolve

        own = (
            gpus.selected(spec, gpu_uuid, in_container=self.is_container)
            | spec.gpu.variables
            | launch.variables
            | spec.variables
        )
        found = {
            "started by": "fork and exec, waiting before the gate",
            "pid namespace": "none",
            "first process": "an ordinary process",
            "ipc namespace": "none",
            "network": "host",
            "uts namespace": "none",
            "/dev": "the host's",
            "cgroup": "the harness's",
            "memory limit": "none",
            "seccomp": "none",
            "capabilities": "all of the user's",
            "rlimits": resolve.rlimits_text(spec),
            "output": "pipe to the supervisor, then a file",
        }
        chosen = (
            f", {gpu_uuid} chosen by variable"
            if "CUDA_VISIBLE_DEVICES" in gpus.selected(spec, gpu_uuid, in_container=self.is_container)
            else ""
        )
        if self.chroot:
            files = ", the driver's files that the NVIDIA toolkit names" if spec.gpu.by in ("toolkit", "cdi") else ""
            userland = {"PATH": resolve.DEFAULT_PATH} | (image.variables if image else {})
            return found | {
                "root filesystem": (
                    f"exported files of the image, read-only, with fresh {', '.join(resolve.WRITABLE)} and home"
                ),
                "entry point": shlex.join(image.entrypoint) or "none" if image else "the image's",
                "mount namespace": "own",
                "/dev/shm": "tmpfs as large as the host's, private to the attempt",
                "gpu": f"the host's devices{files}{chosen}",
                "user": spec.user or (image.user if image else "") or "root",
                "variables": resolve.variables_text(userland | own),
            }
        mounts = "; ".join(
            f"{mount.source} -> {mount.target} {'ro' if mount.read_only else 'rw'}"
            for mount in (*spec.gpu.mounts, *launch.mounts, *spec.mounts)
        )
        rlimits = found["rlimits"] if image is not None else resolve.rlimits_text(spec, "as the harness has them")
        return found | {
            "userland": "the host's",
            "root filesystem": "the host's",
            "mounts": f"{mounts} (no mount: targets replaced by sources in argv, variables, workdir)",
            "entry point": "none",
            "mount namespace": "none",
            "/dev/shm": "the host's",
            "gpu": f"the host's devices{chosen}",
            "rlimits": rlimits,
            "user": spec.user or "root",
            "variables": resolve.variables_text(
                {"PATH": f"{Path(sys.executable).parent}:{resolve.DEFAULT_PATH}"} | own
            ),
        }

    def planned(
        self,
        spec: Environment,
        launch: Launch,
        labels: dict[str, str],
        image: ImageIdentity,
        home: Path,
        gpu_uuid: str | None = None,
    ) -> dict[str, Any]:
        from actors.environments.native.arm import planned

        if not self.chroot:
            raise EnvironmentError_(
                f"{spec.name}: a {self.name} arm takes the machine as it is; it has no command before a run"
            )
        return planned(spec, launch, labels, image, home, gpu_uuid)

    def notes(self, spec: Environment) -> list[str]:
        return []

    def takes_root(self, spec: Environment) -> list[str]:
        if self.chroot:
            return [
                f"{spec.name}: unpacking the image's files with their owners, mounting, and changing the root folder"
            ]
        raised = [name for name in spec.ulimits if _above(spec, name)]
        return [f"{spec.name}: ulimits.{', ulimits.'.join(raised)} above the limit of this user"] if raised else []

    def trouble(self, home: Path) -> str | None:
        return None

    def reap(self, home: Path, campaign_id: str | None = None) -> list[str]:
        from actors.environments.native.leftover import reap

        return reap(home, campaign_id) if self.chroot else []  # both kinds leave the same: processes, mounts, scratch


def _above(arm: Environment, name: str) -> bool:
    asked, (_, hard) = arm.ulimits[name], resource.getrlimit(LIMITS[name])  # type: ignore[index]
    if hard == resource.RLIM_INFINITY:
        return False
    return asked == -1 or asked > hard
