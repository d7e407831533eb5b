"""Podman's socket: the one somebody chose, the system's, the user's, else one that is started here.

Podman has no daemon: ``podman system service`` answers Docker's interface as long as it runs, and containers go on
without it. Order of search: ``CONTAINER_HOST``, the socket of systemd's unit (root's or the user's), one of the
project's own below ``<home>/podman``, which is started on the first need where ``podman`` is installed. It ends by
itself when nobody has asked for ``IDLE_S``; its images and containers are Podman's usual ones of that user, so nothing
is kept twice. A ``CONTAINER_HOST`` that does not answer is an error and never replaced: it was somebody's choice.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.environments import EngineMissing

if TYPE_CHECKING:
    import docker

IDLE_S = 600
START_S = 60.0
LONGEST_SOCKET = 107  # sun_path is 108 bytes with its NUL: unix(7)
SYSTEM = Path("/run/podman/podman.sock")
INSTALL = (
    "Install it (Debian, Ubuntu: sudo apt-get install podman; Fedora: sudo dnf install podman). A socket "
    "elsewhere is named by CONTAINER_HOST."
)


@dataclass(frozen=True)
class PodmanEngine:
    """:class:`actors.environments.ContainerEngine`."""

    name: str = "podman"
    title: str = "Podman"
    program: str = "podman"

    def connect(self, home: Path, start: bool = True) -> docker.DockerClient:
        from actors.environments.docker import daemon

        refusals: dict[str, str] = {}
        for host in candidates(home):
            answer = daemon.ask(host)
            if not isinstance(answer, str):
                return answer
            refusals[host] = answer
        began_here = own_socket(home).parent.exists()
        if (start or began_here) and not os.environ.get("CONTAINER_HOST") and shutil.which("podman"):
            return _start(home)
        asked = "\n".join(f"  {host}: {why}" for host, why in refusals.items())
        todo = "Start it, or unset CONTAINER_HOST." if os.environ.get("CONTAINER_HOST") else INSTALL
        raise EngineMissing(f"No Podman answers.\n{asked}\n{todo}")

    def ensure(self, home: Path, say: Callable[[str], None]) -> None:
        self.connect(home).close()


def candidates(home: Path) -> list[str]:
    """Sockets to ask, in order."""
    if chosen := os.environ.get("CONTAINER_HOST"):
        return [chosen]
    found = [f"unix://{SYSTEM}"] if os.geteuid() == 0 else []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(f"unix://{runtime}/podman/podman.sock")
    return [*found, f"unix://{own_socket(home)}"]


def own_socket(home: Path) -> Path:
    """Of the service that is started here: below the home, or in a short folder named
    by its hash where that path is too long."""
    place = home.absolute() / "podman" / "podman.sock"
    if len(os.fsencode(place)) <= LONGEST_SOCKET:
        return place
    return Path(
        f"/tmp/campaign-podman-{os.geteuid()}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}/podman.sock"
    )


def _start(home: Path) -> docker.DockerClient:
    """Raises EngineMissing with the service's own words."""
    from actors.environments.docker import daemon

    place = own_socket(home)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.unlink(missing_ok=True)
    variables = dict(os.environ)
    if "CONTAINERS_CONF" not in variables and (limits := _limits_within_reach()):
        conf = place.with_name("containers.conf")
        conf.write_text(f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n")
        variables["CONTAINERS_CONF"] = str(conf)
    log = place.with_name("service.log")
    # Without systemd there is no manager of control groups to ask.
    manager = [] if Path("/run/systemd/system").is_dir() else ["--cgroup-manager=cgroupfs"]
    with log.open("wb") as sink:
        service = subprocess.Popen(
            ["podman", *manager, "system", "service", f"--time={IDLE_S}", f"unix://{place}"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd="/",
            env=variables,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and service.poll() is None:
        client = daemon.ask(f"unix://{place}", timeout_s=5.0)
        if not isinstance(client, str):
            service.returncode = 0  # it outlives this process: no ResourceWarning about it
            return client
        time.sleep(0.05)
    if service.poll() is None:
        service.kill()
        service.wait()
    words = log.read_text(errors="replace").strip()[-500:] or "it says nothing"
    raise EngineMissing(f"`podman system service` does not answer: {words}\nTry it by hand: podman info. {INSTALL}")


def _limits_within_reach() -> list[str]:
    """Limits for containers that ask for none, where root may not raise its own (a nested machine): Podman gives each
    container 1048576 open files and as many processes as there can be, and there every container would fail."""
    if os.geteuid() != 0 or _may_raise_limits():
        return []
    files, processes = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = most if processes == resource.RLIM_INFINITY else min(most, processes)
    return [f"nofile={files}:{files}", f"nproc={processes}:{processes}"]


def _may_raise_limits() -> bool:
    """CAP_SYS_RESOURCE (24), of capabilities(7)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return True
