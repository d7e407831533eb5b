"""Finding out, before the first run, which options of an arm this host refuses: by trying.

Documentation of what a kernel, a container runtime or a nested machine permits is never complete; a
process that does nothing, started with the very options, answers for certain.
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import docker

from actors.environments import EnvironmentError_, OptionRefused, refusals, resolve
from actors.environments.docker.arm import TRIAL_S, Options, merge, no_such_program, options, run_once
from actors.environments.docker.daemon import EngineMissing, connect
from actors.environments.native.arm import NativeArm
from actors.types import Environment, ImageIdentity, Launch

HANDED_OVER = 42
"""No exit code that a program gives by chance: an entry point that does not run its command, such as ``echo``, is told by it."""
DOCKER_ONLY = ("ipc", "shm_size", "network", "privileged", "memory", "cgroup_parent", "init")


def nothings(image: ImageIdentity | None) -> tuple[int, list[tuple[str, ...]]]:
    """The exit code to be seen, and programs that do nothing but end with it, of which an image has at least one if it has any.
    They are run through the image's entry point."""
    code = HANDED_OVER if image is not None and image.entrypoint else 0
    return code, [("sh", "-c", f"exit {code}"), ("python3", "-I", "-S", "-c", f"raise SystemExit({code})")]


def refused(spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None = None) -> dict[str, str]:
    """Key of ``spec`` to why this host refuses it; empty when the arm works. ``environment`` stands for
    an arm that does not work even without options, ``combination`` for options that only fail together."""
    try:
        resolve.cpus(spec)
        resolve.mounts(spec, Launch(argv=()))
        if spec.kind == "docker":
            return _refused_by_docker(spec, image, home, gpu_uuid)
        return _refused_by_host(spec, image, home, gpu_uuid)
    except OptionRefused as error:
        return {error.option or "environment": error.why}
    except EnvironmentError_ as error:
        return {"environment": str(error)}


def _refused_by_docker(
    spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None
) -> dict[str, str]:
    if image is None:
        return {"environment": "a Docker arm needs an image"}
    try:
        client = connect(home)
    except EngineMissing as error:
        return {"environment": str(error)}
    every = options(spec, gpu_uuid)
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
    """None if a container with these options runs what its entry point is given, else why not. An image without any program
    to run still shows that the options are granted: the Docker engine looks for the program last."""
    why: str | None = None
    expected, programs = nothings(image)
    for nothing in programs:
        ended = run_once(client, image.digest, home, command=list(nothing), **merge(chosen))
        if isinstance(ended, str):
            if not no_such_program(ended) or image.entrypoint:
                return refusals.told(ended, image.reference)
            continue
        if ended.code == expected:
            return None
        why = _ended(image, nothing, ended.code, ended.stderr or ended.stdout)
        if ended.code not in NOT_FOUND:
            return why
    return why


NOT_FOUND = (126, 127)
"""What a shell answers for a program that it cannot run."""


def _ended(image: ImageIdentity | None, nothing: tuple[str, ...], code: int | None, said: str) -> str:
    words = said.strip()[-300:]
    through = shlex.join([*(image.entrypoint if image else ()), *nothing])
    ends = "does not end" if code is None else f"ends with {code}"
    text = f"`{through}` {ends}" + (f": {words}" if words else "")
    reference = image.reference if image else "IMAGE"
    if image is None or not image.entrypoint or refusals.of(words, reference):
        return refusals.told(text, reference)
    return (
        f"the image's entry point does not hand over to the command it is given: {text}. If it is a program of its own and not a "
        'script that ends with `exec "$@"`, make an image without it and name that one in the campaign: '
        f"printf 'FROM {image.reference}\\nENTRYPOINT []\\n' | docker build -t plain -"
    )


def _refused_by_host(
    spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None
) -> dict[str, str]:
    """Takes away one refused rlimit or CPU list after the other, so that all are named."""
    found: dict[str, str] = {}
    labels = {"campaign": "trial", "run": spec.name, "attempt": "0"}
    handed = image if spec.kind == "native-chroot" else None
    expected, programs = nothings(handed)
    while True:
        with tempfile.TemporaryDirectory(prefix="campaign-trial-") as folder:
            try:
                process = NativeArm(spec, home, gpu_uuid).create(Launch(argv=programs[0]), labels, Path(folder), image)
            except OptionRefused as error:
                if error.option == "argv" and len(programs) > 1:
                    programs.pop(0)
                    continue
                found["environment" if error.option in ("", "argv") else error.option] = error.why
                lighter = _without(spec, error.option)
                if lighter is None:
                    return found
                spec = lighter
                continue
            try:
                process.start()
                ended = process.wait(TRIAL_S)
            except EnvironmentError_ as error:
                reference = image.reference if image else "IMAGE"
                return found | {"environment": refusals.told(str(error), reference)}
            finally:
                process.close()
            code = None if ended is None else ended.code
            if code in NOT_FOUND and len(programs) > 1:
                programs.pop(0)
                continue
            if code != expected:
                said = Path(folder, "stderr.log").read_text(errors="replace")
                found["environment"] = _ended(handed, programs[0], code, said)
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
