"""Docker itself where there is none: installed, or how a user installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.environments import EngineMissing


def how_to_install() -> str:
    if shutil.which("dockerd", path=search_path()):
        return "Docker is installed but does not run. Start it: sudo systemctl start docker"
    for tool, command in {
        "apt-get": "apt-get install docker.io",
        "dnf": "dnf install moby-engine",
        "zypper": "zypper install docker",
        "pacman": "pacman -S docker",
        "apk": "apk add docker",
    }.items():
        if shutil.which(tool):
            return f"Install Docker: sudo {command}, then sudo systemctl start docker"
    return "Install Docker (https://docs.docker.com/engine/install/) and start it."


def search_path() -> str:
    """The search path with the system folders, which a user's PATH often lacks."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"


def install_docker(log: Path) -> None:
    """docker.io by apt-get: the program alone, its services neither started nor enabled. Raises EngineMissing."""
    packages = ["docker.io"]
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if (
        enabled.exists()
        and enabled.read_text().strip() == "Y"
        and not shutil.which("apparmor_parser", path=search_path())
    ):
        packages.append("apparmor")  # dockerd loads its profile with it
    units = [u for u in ("docker.service", "docker.socket", "containerd.service") if not _unit_exists(u)]
    variables = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "PATH": search_path()}
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    with log.open("ab") as sink, _no_service_starts():
        for command in (["update"], ["install", "--no-install-recommends", *packages]):
            ended = subprocess.run(
                [*apt, *command], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=variables, check=False
            )
    if units and shutil.which("systemctl"):
        subprocess.run(["systemctl", "--quiet", "disable", *units], capture_output=True, check=False)
    if ended.returncode != 0 or not shutil.which("dockerd", path=search_path()):
        last = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise EngineMissing(f"apt-get could not install docker.io (log: {log}):\n  {last}\n{how_to_install()}")


def _unit_exists(unit: str) -> bool:
    return any(Path(d, "systemd/system", unit).exists() for d in ("/etc", "/lib", "/usr/lib", "/run"))


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian asks /usr/sbin/policy-rc.d before it starts a service: say no, then put back what was there."""
    policy, saved = Path("/usr/sbin/policy-rc.d"), Path("/usr/sbin/policy-rc.d.before-campaign")
    if policy.exists() and not saved.exists():
        policy.rename(saved)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
        if saved.exists():
            saved.rename(policy)
