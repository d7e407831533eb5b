"""The Docker engine, the image, and each arm's options, tried on a process that does nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from actors.environments import ContainerEngine, EngineMissing, software
from actors.environments.registry import container_engine, kind
from actors.types import Environment, Image, ImageIdentity
from campaign.config.schema import Campaign
from campaign.preflight.doctor import requirement
from campaign.preflight.doctor.finding import Asked, Finding, Status
from campaign.preflight.doctor.gpu import sensor_of


def _needs_docker(campaign: Campaign | None) -> bool:
    """A chroot's root filesystem is exported from an image, so it needs the engine too."""
    return campaign is None or "docker" in campaign.container_engines()


def engine(asked: Asked) -> Finding:
    from actors.environments.docker import daemon

    try:
        found = daemon.ensure(asked.home, allow_install=False)
    except EngineMissing as error:
        if not _needs_docker(asked.campaign):
            return "ok", "none answers; this campaign needs none", ""
        if daemon.setup_permitted():
            return "warn", "no engine answers", "`make campaign` sets up one of its own; or start Docker."
        return "fail", "no engine answers", str(error)
    info = daemon.connect(asked.home).info()
    cgroup = f"cgroup v{info.get('CgroupVersion', 1)} ({info.get('CgroupDriver')})"
    whose = ", the project's own" if found.private else ""
    what = f"{found.version} at {found.host}{whose}; {cgroup}; network {found.network}"
    if odd := kind_of_engine(info):
        return "warn", f"{what}; {odd[0]}", odd[1]
    return "ok", what, ""


PACKAGE = "Remove it and install Docker's own package (docs.docker.com/engine/install), then ask again."


def kind_of_engine(info: dict[str, Any]) -> tuple[str, str] | None:
    """An engine that is not the plain one of the host, by its own words, and what to do: each adds a layer that is not
    what `docker run` costs, or does not see what the host has."""
    folder, system = str(info.get("DockerRootDir", "")), str(info.get("OperatingSystem", ""))
    security = ",".join(map(str, info.get("SecurityOptions") or ()))
    if folder.startswith("/var/snap/"):
        return (
            "it is the snap package, which is confined: it sees neither the NVIDIA toolkit nor folders outside homes",
            (f"`sudo snap remove docker`. {PACKAGE}"),
        )
    if "Docker Desktop" in system or "docker-desktop" in str(info.get("Name", "")):
        return "it is Docker Desktop: containers run in a virtual machine", PACKAGE
    if "rootless" in security:
        return "it is rootless: a user namespace and another network stack, and limits that this user has", (
            "Use the host's engine (`DOCKER_HOST=unix:///var/run/docker.sock`, the user in group docker), or say "
            "that rootless is what is measured."
        )
    if "userns" in security:
        return (
            "it maps users into a namespace (userns-remap)",
            "Take `userns-remap` out of /etc/docker/daemon.json, or say so.",
        )
    if (
        "podman" in f"{info.get('ServerVersion', '')} {info.get('BuildahVersion', '')} {system}".lower()
        or "BuildahVersion" in info
    ):
        return "it is Podman behind Docker's interface", f"Install Docker beside it. {PACKAGE}"
    return None


def other_engine(engine: ContainerEngine, asked: Asked) -> Finding:
    """A container engine that is not Docker's, which an arm of the campaign names."""
    try:
        client = engine.connect(asked.home)
    except EngineMissing as error:
        first, _, rest = str(error).partition("\n")
        return "fail", first, rest
    info, version = client.info(), client.version()
    cgroup = f"cgroup v{info.get('CgroupVersion', 1)} ({info.get('CgroupDriver')})"
    rootless = ", rootless" if "rootless" in str(info.get("SecurityOptions")) or info.get("Rootless") else ""
    return (
        "ok",
        f"{version.get('Version')} at {client.api.base_url}{rootless}; {cgroup}; storage {info.get('Driver')}",
        "",
    )


def storage(asked: Asked) -> Finding:
    from actors.environments.docker import daemon

    try:
        driver = str(daemon.connect(asked.home).info().get("Driver"))
    except EngineMissing:
        return "ok", "no engine to ask", ""
    if driver not in ("overlay2", "overlayfs"):
        remedy = 'Use overlay2 ("storage-driver" in /etc/docker/daemon.json): others copy files and cost page cache.'
        return "warn", driver, remedy
    return "ok", driver, ""


def container_arms(asked: Asked) -> tuple[Environment, ...]:
    """The campaign's, or a container with the options that hosts refuse most often."""
    if asked.campaign is not None:
        return tuple(arm for arm in asked.campaign.environments if kind(arm.kind).is_container)
    limits: dict[Literal["memlock", "stack", "nofile", "core"], int] = {"memlock": -1, "stack": 67108864}
    return (Environment(name="docker-options", kind="docker", ipc="host", ulimits=limits, privileged=True),)


def trial(arm: Environment, asked: Asked) -> Finding:
    """Starts a process that does nothing with the arm's very options."""
    from actors.environments.preflight import refused as tried

    identity = None
    if kind(arm.kind).needs_image:
        try:
            identity = image_of(asked.home, asked.campaign, arm)
        except EngineMissing:
            return "warn", "not tried: no container engine", "See docker above."
        if identity is None:
            return (
                "warn",
                "not tried: its image is not here yet",
                "`campaign prepare CONFIG` makes or fetches it; then ask again.",
            )
        if kind(arm.kind).needs_rootfs and identity.rootfs is None:
            return (
                "warn",
                "not tried: the image is not exported yet",
                "`campaign prepare CONFIG` exports it; then ask again.",
            )
    refused = tried(arm, identity, asked.home)
    if not refused:
        return "ok", f"a process starts with {_options(arm)}", ""
    split = {key: why.partition("\n") for key, why in refused.items()}
    what = "; ".join(f"{key}: {first}" for key, (first, _, _) in split.items())
    known = [rest for _, _, rest in split.values() if rest]
    # Without its GPU an engine that runs on it is no remedy.
    options = [key for key in refused if _sets(arm, key) and key != "gpu"]
    without = f"`without: [{', '.join(options)}]`" if options else ""
    if asked.campaign is None:
        leave = f"A campaign can leave them out of every arm: {without}." if options else ""
        return "warn", f"refused here: {what}", "\n".join(dict.fromkeys([*known, *filter(None, [leave])]))
    if options:
        permit = "Or" if known else "Permit it on this host, or"
        known.append(f"{permit} take it out of every arm: {without}.")
    elif not known:
        known.append(_unknown(refused))
    return "fail", what, "\n".join(dict.fromkeys(known))


def _unknown(refused: dict[str, str]) -> str:
    if "gpu" in refused:
        return (
            "`docker run --rm --gpus all IMAGE nvidia-smi` must work by itself first: driver, "
            "NVIDIA Container Toolkit, Docker's restart."
        )
    if "network" in refused:
        return "Docker's default network is broken: restart the engine, or set `network: none` in the arm."
    return (
        "Mend what the message names. By hand: docker run --rm --entrypoint sh IMAGE -c true; if that fails too, "
        "no option is to blame."
    )


def _sets(arm: Environment, key: str) -> bool:
    option, _, inner = key.partition(".")
    if option not in type(arm).model_fields:
        return False
    return getattr(arm, option) != type(arm).model_fields[option].default and (
        not inner or option != "ulimits" or inner in arm.ulimits
    )


def _options(arm: Environment) -> str:
    plain = Environment(name="plain", kind=arm.kind)
    keys = [key for key in type(arm).model_fields if key not in ("name", "description", "kind")]
    return ", ".join(key for key in keys if getattr(arm, key) != getattr(plain, key)) or "no options"


def image_of(home: Path, campaign: Campaign | None, arm: Environment) -> ImageIdentity | None:
    """The arm's image, where the container engine that holds it has it already. Raises EngineMissing."""
    engine = container_engine(arm, campaign.environments if campaign else (arm,))
    campaigns = campaign.image if campaign else Image()
    return None if engine is None else image_here(home, software.image_of(arm, campaigns), engine)


def image_here(home: Path, wanted: Image, engine: ContainerEngine) -> ImageIdentity | None:
    """An image where it is in the engine already, with its exported root filesystem where there is one.
    Raises EngineMissing."""
    from actors.environments.docker import image
    from actors.environments.docker.rootfs import manifest_file, rootfs_folder

    client = engine.connect(home)
    reference = wanted.reference if wanted.source != "local" else None
    found = client.images.list(name=reference or "campaign-local")
    if not found:
        return None
    newest = max(found, key=lambda one: str(one.attrs.get("Created")))
    exported = rootfs_folder(newest.id, home)
    complete = exported.is_dir() and manifest_file(exported).is_file()
    identity = image.identity(newest, reference or (newest.tags or [newest.id])[0])
    return identity.model_copy(update={"rootfs": str(exported) if complete else None, "engine": engine.name})


def cuda(asked: Asked) -> Finding:
    """The CUDA of every image against this driver. With a driver that is too old the toolkit refuses the container, or
    puts the image's own libcuda in front of the host's in the Docker arm alone."""
    docker = kind("docker").engine
    assert docker is not None
    wanted = [(Image(), docker)]
    if asked.campaign is not None:
        wanted = [
            (image, asked.campaign.arms.engine_of_image(key)) for key, image in asked.campaign.arms.images().items()
        ]
    try:
        found = [_cuda(asked, image, engine) for image, engine in wanted]
    except EngineMissing:
        return "ok", "no engine to ask", ""
    if len(found) < 2:
        return found[0] if found else ("ok", "no arm runs an image", "")
    status: Status = next((one for one in ("fail", "warn") if one in {each[0] for each in found}), "ok")
    named = [f"{software.name_of(image)}: {what}" for (image, _), (_, what, _) in zip(wanted, found, strict=True)]
    return status, "; ".join(named), "\n".join(dict.fromkeys(remedy for _, _, remedy in found if remedy))


def _cuda(asked: Asked, wanted: Image, engine: ContainerEngine) -> Finding:
    identity = image_here(asked.home, wanted, engine)
    if identity is None:
        return "ok", "its image is not here yet: nothing to compare", ""
    config = engine.connect(asked.home).images.get(identity.digest).attrs.get("Config") or {}
    variables = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    sensor = sensor_of(asked)
    try:
        facts = sensor.describe()
        host = requirement.Host(
            cuda=requirement.cuda_version(facts.get("cuda_driver")),
            driver=facts.get("driver"),
            arch=".".join(map(str, facts["compute_capability"])) if facts.get("compute_capability") else None,
        )
    finally:
        sensor.close()
    return requirement.judge(variables, config.get("Labels") or {}, host)


CHROOT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def must(what, result):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
here = sys.argv[1].encode()
must("unshare", libc.unshare(0x00020000))
must("mount private", libc.mount(b"none", b"/", None, 0x44000, None))
must("bind mount", libc.mount(here, here, None, 0x1000, None))
must("mount tmpfs", libc.mount(b"none", here, b"tmpfs", 0, None))
try:
    os.chroot(here)
except OSError as error:
    sys.exit(f"chroot: {error.strerror}")
"""
"""In a mount namespace of its own (CLONE_NEWNS), with MS_REC|MS_PRIVATE and MS_BIND: nothing outside sees it."""


def chroot(asked: Asked) -> Finding:
    with tempfile.TemporaryDirectory(prefix="campaign-doctor-") as folder:
        tried = subprocess.run(
            [sys.executable, "-I", "-c", CHROOT, folder], capture_output=True, text=True, timeout=60, check=False
        )
    if tried.returncode == 0:
        return "ok", "unshare, mount and chroot are permitted", ""
    remedy = "Run as root: sudo make campaign. (native-host needs no root, but an engine installed on this machine.)"
    needed = asked.campaign is not None and bool(asked.campaign.arms.exported())
    return "fail" if needed else "warn", tried.stderr.strip()[-200:], remedy
