"""The Docker engine: find one, set a private one up where there is none, remove it without a trace.

Order of search: ``DOCKER_HOST``, the host's own socket, the user's rootless socket, the project's private engine.
A ``DOCKER_HOST`` that does not answer is an error and never replaced: it was somebody's choice.

The private engine is a plain ``dockerd`` with its own socket, data, exec root and pid file below
``<home>/engine``. It never touches the host's firewall or forwarding (``--iptables=false --ip-forward=false``):
its containers reach each other over a bridge, or nothing where the bridge cannot be made or belongs to another engine.
It outlives the command that started it; ``make clean`` ends it. It is known by its log, the file that lies in the
folder and that it writes to, so that one is found whose folder was moved; that is ended, and started where the folder
lies now. Run as a module it answers ``ensure``, ``status``, ``remove`` (the engine) and ``clean`` (the whole home).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import docker
import requests

from actors import account
from actors.environments import EngineMissing
from actors.environments.docker.bridge import bridge_name, has_interface, make_bridge, remove_bridge
from actors.environments.docker.install import how_to_install, install_docker, search_path
from actors.environments.docker.mounts import unmount_below
from actors.environments.docker.places import engine_folder, private_host, runtime_folder
from actors.environments.docker.running import end, end_leftovers, engines_of, was_moved
from actors.files import removal
from actors.host import ROOT
from actors.host import home as own_home

HOST_SOCKET = Path("/var/run/docker.sock")
START_TIMEOUT_S = 60.0
MADE_IN_HOME = {
    account.RECORD, "analysis.key", "caches", "datasets", "digests.json", "engine.lock", "home", "images", "linker",
        "models", "podman", "prepared", "probes",
    "programs", "pycache", "ray", "report", "rootfs", "scratch", "setup.log", "spool", "sql_history", "trtllm", "uv",
    "vllm-random",
}  # fmt: skip
"""What the project makes in a home that the user chose; ``.campaign`` and root's state
of a checkout are the project's altogether."""
Say = Callable[[str], None]
MOVED = "its folder was moved while it ran"


@dataclass(frozen=True)
class Found:
    """An engine that answers."""

    host: str
    """``unix:///…`` or ``tcp://…``, fit for ``DOCKER_HOST``."""
    private: bool
    started: bool
    """This call started it."""
    version: str
    network: str = "as the host's engine has it"
    """For a private engine: ``bridge`` or ``none: why``; with ``none`` containers need ``network:
    none`` or ``host``."""


def candidates(home: Path) -> list[tuple[str, bool]]:
    """Hosts to ask in order, each with whether it is the private engine."""
    if chosen := os.environ.get("DOCKER_HOST"):
        return [(chosen, chosen == private_host(home))]
    hosts = [(f"unix://{HOST_SOCKET}", False)]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        hosts.append((f"unix://{runtime}/docker.sock", False))
    return [*hosts, (private_host(home), True)]


def ask(host: str, timeout_s: float = 10.0) -> docker.DockerClient | str:
    """A client of the engine at ``host``, or why it does not answer."""
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return "there is no such socket"
    try:
        client = docker.DockerClient(base_url=host, timeout=timeout_s)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        text = str(error)
        if "Permission denied" in text:
            return "permission denied"
        if "Connection refused" in text:
            return "connection refused (its engine no longer runs)"
        return text
    client.api.timeout = 600  # an import or a pull of a large image is no failure
    return client


def connect(home: Path) -> docker.DockerClient:
    """The first engine that answers. Raises EngineMissing with what to do on this host."""
    return _search(home)[0]


def _search(home: Path) -> tuple[docker.DockerClient, str, bool]:
    """Client, host, private."""
    refusals: dict[str, str] = {}
    for host, private in candidates(home):
        answer = MOVED if private and was_moved(home) else ask(host)
        if not isinstance(answer, str):
            return answer, host, private
        refusals[host] = answer
    raise EngineMissing(_remedy(refusals))


def ensure(home: Path, allow_install: bool = True, say: Say = print) -> Found:
    """An engine that answers: the one there is, else a private one, installed and started if this host permits.

    ``say`` gets the one line that announces a private engine. Raises EngineMissing.
    """
    try:
        return _found(home)
    except EngineMissing:
        if not (allow_install and setup_permitted()):
            raise
    with _locked(home):
        with suppress(EngineMissing):  # another command may have set it up while this one waited for the lock
            return _found(home)
        return _start_private(home, say)


def _found(home: Path) -> Found:
    """The first engine that answers, described. Raises EngineMissing."""
    client, host, private = _search(home)
    facts = _read_facts(home) if private else {}
    version = str(client.version().get("Version", "unknown"))
    network = facts.get("network", Found.network)
    return Found(host, private, False, version, network)


def setup_permitted() -> bool:
    """Root on a Debian-family Linux (or root with dockerd there already), and nobody said no."""
    if os.environ.get("CAMPAIGN_NO_ENGINE_SETUP") or os.environ.get("DOCKER_HOST") or os.geteuid() != 0:
        return False
    return (
        sys.platform == "linux" and (shutil.which("dockerd", path=search_path()) or shutil.which("apt-get")) is not None
    )


def _remedy(refusals: dict[str, str]) -> str:
    """What is wrong with each place asked, and the one thing to do about it on this host."""
    asked = "\n".join(f"  {host}: {why}" for host, why in refusals.items())
    if chosen := os.environ.get("DOCKER_HOST"):
        todo = f"DOCKER_HOST={chosen} names it: start that engine, or unset DOCKER_HOST to use another."
    elif "permission denied" in refusals.values():
        todo = "You may not talk to it: sudo usermod -aG docker $USER, log in again; or run the command as root."
    elif os.environ.get("CAMPAIGN_NO_ENGINE_SETUP") and os.geteuid() == 0:
        todo = f"{how_to_install()}\nCAMPAIGN_NO_ENGINE_SETUP is set; unset it and a private engine is set up for you."
    elif os.geteuid() != 0 and shutil.which("apt-get"):
        todo = f"{how_to_install()}\nOr run this as root: a private engine is then set up, and removed by make clean."
    else:
        todo = how_to_install()
    return f"No Docker engine answers.\n{asked}\n{todo}"


# --- the private engine --------------------------------------------------------------------------------------


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One command at a time sets up or removes; the lock lies beside the engine, whose folder may go."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_facts(home: Path) -> dict[str, str]:
    try:
        facts: dict[str, str] = json.loads((engine_folder(home) / "engine.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _start_private(home: Path, say: Say) -> Found:
    folder, runtime = engine_folder(home), runtime_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    installs = shutil.which("dockerd", path=search_path()) is None
    why = "This project was moved with its Docker engine" if was_moved(home) else "No Docker engine answers"
    say(f"{why}: {'installing docker.io and ' if installs else ''}starting one private to this "
        f"project in {folder} (make clean removes it; CAMPAIGN_NO_ENGINE_SETUP=1 forbids it)")  # fmt: skip
    if installs:
        install_docker(folder / "apt.log")
    end_leftovers(home)
    bridge = bridge_name(folder)
    networks = [bridge]
    if not has_interface("docker0"):  # dockerd deletes docker0 when told to have no bridge, also a neighbour's
        networks.append("none: a bridge could not be made")
    for network in networks:
        if network == bridge and not make_bridge(bridge):
            continue
        client = _launch(folder, runtime, network)
        if client is not None:
            facts = Found(private_host(home), True, True, str(client.version()["Version"]), network)
            (folder / "engine.json").write_text(json.dumps(asdict(facts), indent=1) + "\n")
            return facts
    lines = (folder / "dockerd.log").read_text(errors="replace").splitlines()
    told = [line for line in lines if not line.startswith("time=") or "level=fatal" in line or "level=error" in line]
    raise EngineMissing(
        "A private Docker engine could not be started:\n  "
        + "\n  ".join((told or lines)[-4:])
        + f"\nThe whole of its log: {folder / 'dockerd.log'}\n{_hint_of_log(lines)}"
    )


def _hint_of_log(lines: list[str]) -> str:
    text = "\n".join(lines[-200:])
    if Path("/run/containerd/containerd.sock").exists() and "containerd.sock" in text and "timeout" in text.lower():
        return (
            "/run/containerd/containerd.sock is left from a containerd that no longer runs: start that, "
            "or delete the socket."
        )
    if "Operation not permitted" in text or "permission denied" in text:
        return (
            "This looks like a container without the rights that Docker needs: "
            "give it a Docker socket from outside instead."
        )
    return "Install and start Docker in the usual way instead, then run the command again."


def _launch(folder: Path, runtime: Path, network: str) -> docker.DockerClient | None:
    """Start dockerd, detached, and wait until it answers; None when it ends or does not answer in time."""
    socket_path = runtime / "docker.sock"
    namespace = "campaign-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    command = [
        str(shutil.which("dockerd", path=search_path())),
        f"--host=unix://{socket_path}",
        f"--data-root={folder / 'data'}",
        f"--exec-root={runtime / 'exec'}",
        f"--pidfile={folder / 'dockerd.pid'}",
        f"--containerd-namespace={namespace}",  # a containerd of the host, where one runs, is shared without meeting
        f"--containerd-plugins-namespace={namespace}-plugins",
        "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        "--bridge=" + network.partition(":")[0],
        "--default-address-pool=base=10.213.0.0/16,size=24",  # not Docker's own, which a neighbour may use
    ]  # fmt: skip
    kept = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")
    variables = {"PATH": search_path(), "HOME": "/root"} | {k: os.environ[k] for k in kept if k in os.environ}
    with (folder / "dockerd.log").open("ab") as log:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, cwd="/",
            start_new_session=True, preexec_fn=_as_a_service,  # noqa: PLW1509 - four system calls, no lock
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and daemon.poll() is None:
        client = ask(f"unix://{socket_path}", timeout_s=5.0)
        if not isinstance(client, str):
            daemon.returncode = 0  # it is to outlive this process: no ResourceWarning about it
            return client
        time.sleep(0.05)
    if daemon.poll() is None:
        end([daemon.pid])
        daemon.wait()
    return None


def _as_a_service() -> None:
    """In the child: what a service manager gives, whatever the caller had. Containers inherit affinity and limits."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    os.setpriority(os.PRIO_PROCESS, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- removing it ------------------------------------------------------------------------------------------------


def remove(home: Path) -> list[str]:
    """End the private engine with its containers, undo its mounts, delete its folder. Returns what was done; raises
    OSError where something of it is still there."""
    folder, runtime = engine_folder(home), runtime_folder(home)
    if not folder.exists() and not runtime.exists():
        return []
    with _locked(home):
        client = MOVED if was_moved(home) else ask(private_host(home))
        if not isinstance(client, str):
            for container in client.containers.list():
                container.kill()
            for container in client.containers.list(all=True):
                container.remove(force=True)
        end_leftovers(home)
        if still := engines_of(home):
            raise OSError(
                f"the Docker engine of {folder} does not end (PID {', '.join(map(str, still))}): nothing was removed"
            )
        for place in dict.fromkeys((folder, runtime)):
            unmount_below(place)
            if place.exists():
                removal.remove(place)
        remove_bridge(bridge_name(folder))
    (home / "engine.lock").unlink(missing_ok=True)
    return [f"removed the private Docker engine in {folder}"]


def clean(home: Path) -> list[str]:
    """The engine, the project's images in an engine that is not its own, every mount below ``home``, and what the
    project keeps there. Nothing else in it."""
    if not home.is_dir():
        return []
    done = remove(home)
    with suppress(EngineMissing):
        client = connect(home)
        for found in client.images.list(name="campaign-local"):
            with suppress(docker.errors.APIError):  # one that a container still uses stays
                client.images.remove(found.id, force=True)
                done.append(f"removed {', '.join(found.tags)} from the host's Docker engine")
    unmount_below(home)
    for path in home.iterdir():
        if home.name == ".campaign" or home.parent == account.STATE or path.name in MADE_IN_HOME:
            if path.is_dir() and not path.is_symlink():
                removal.remove(path)
            else:
                path.unlink()
    left = sorted(path.name for path in home.iterdir())
    if not left:
        home.rmdir()
    return [*done, f"removed {home}" + (f" except {', '.join(left)}, which are not the project's" if left else "")]


def clean_all(home: Path, checkout: Path) -> list[str]:
    """:func:`clean` of ``home`` and, where it is not named, of every place that the project uses by itself:
    ``.campaign`` of the checkout, and what ``sudo make campaign`` keeps for it. Raises EngineMissing, having touched
    nothing, where that is root's and the user is not."""
    if os.environ.get("CAMPAIGN_HOME"):
        return clean(home)
    kept = account.state(checkout)
    if kept.exists() and os.geteuid() != 0:
        raise EngineMissing(
            f"`sudo make campaign` keeps an engine, images or weights in {kept}, which is root's: sudo make clean\n"
            "Nothing was removed."
        )
    return [line for place in dict.fromkeys((home, kept, checkout / ".campaign")) for line in clean(place)]


def main(arguments: list[str]) -> int:
    """``ensure | status | remove | clean``, on the project's home;
    exits 4 where no engine can be had or not all can be removed."""
    home = own_home()
    verb = arguments[0] if len(arguments) == 1 else ""
    try:
        if verb == "ensure":
            print(json.dumps(asdict(ensure(home, say=lambda line: print(line, file=sys.stderr))), indent=1))
        elif verb == "status":
            client, host, private = _search(home)
            print(f"{host} answers: version {client.version()['Version']}{', private' if private else ''}")
        elif verb in ("remove", "clean"):
            for line in remove(home) if verb == "remove" else clean_all(home, ROOT):
                print(line, file=sys.stderr)
        else:
            print("usage: python -m actors.environments.docker.daemon ensure|status|remove|clean", file=sys.stderr)
            return 2
    except (EngineMissing, OSError) as error:
        print(error, file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
