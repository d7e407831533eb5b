"""Ray, kept out of the way: quiet, small, on loopback for one unit, and gone when the driver goes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import host, processes
from actors.files import private
from campaign import ray_parts
from campaign.errors import CampaignError

OBJECT_STORE_BYTES = 100 * 2**20
LOOPBACK = ("127.", "localhost:")
QUIET = {
    "RAY_memory_monitor_refresh_ms": "0",  # a 72B model would make it kill the attempt
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_gcs_server_request_timeout_seconds": "30",
    "RAY_event_stats": "0",
    "RAY_raylet_start_wait_time_s": "60",  # a busy machine takes its time
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "PYTHONWARNINGS": "ignore",
}


LOCAL = "local"
"""Name of the unit of a cluster of our own."""

SESSION = "s"
"""Name of Ray's session in its folder: short, because a socket's path has at most 107 bytes."""
SOCKET_PATH_MAX = 107
_BELOW = f"/r/{SESSION}/sockets/plasma_store"
"""The longest path that Ray makes a socket of, below the folder of a driver."""

TOKEN_REMEDY = (
    "Put one secret of at least 32 characters into a file of mode 0600 on every unit, and start each node, and this "
    "command, with RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE (docs/threat-model.md)."
)


class ClusterError(CampaignError):
    """No Ray that may be used. The message is for the person."""


@dataclass
class _Local:
    """The Ray that this process started."""

    folder: Path
    node: Any
    link: Path
    lock: int


_local: _Local | None = None

HEAD_PATIENCE_S = 10.0
"""How long the cluster's head may be unreachable. Ray itself ends the process without a word after a minute."""


@dataclass
class _Head:
    """Where the cluster's head answers, and when it last did."""

    host: str
    port: int
    answered: float


_head: _Head | None = None


@dataclass(frozen=True)
class Unit:
    """An alive Ray node that carries out attempts."""

    name: str
    node_id: str
    address: str


def start(address: str | None, gpus: int = 1) -> None:
    """Connect to a running cluster, or start a local one that dies with this process. Either demands a token.

    ``gpus`` is the local unit's number of GPUs for Ray; a machine without one gets one logical slot. Raises
    :class:`ClusterError` where there is no cluster, no token, or a cluster that lets in whoever has none.
    """
    global _head
    os.environ.update(QUIET)
    os.environ["RAY_AUTH_MODE"] = "token"
    import ray

    try:
        ray_parts.require()
    except ray_parts.PartMissing as problem:
        raise ClusterError(str(problem)) from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_parts.keep_quiet()
    ray_parts.be_patient()
    if address is None or address.startswith(LOOPBACK):
        ray_parts.stay_on_loopback()
    intruder = None
    if address is None:
        address = _start_local(gpus)
        intruder = _intruder(address)
    elif not ray_parts.demand_token():
        raise ClusterError(f"no token for the Ray cluster at {address}: anybody could run code on it. {TOKEN_REMEDY}")
    try:
        with _deferred(ENDING):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        joined = str(ray.get_runtime_context().gcs_address)
        _refuse_open(joined, intruder or _intruder(joined))
        host, _, port = joined.rpartition(":")
        _head = _Head(host.strip("[]"), int(port), time.monotonic())
    except ray.exceptions.AuthenticationError:
        stop()
        raise ClusterError(f"the Ray cluster at {address} has another token. {TOKEN_REMEDY}") from None
    except ConnectionError as problem:
        stop()
        raise ClusterError(f"no Ray cluster answers at {address}: {problem}") from None
    except BaseException:
        stop()
        raise


def _start_local(gpus: int) -> str:
    """A node of our own, with a token of its own; returns its address."""
    global _local
    with _deferred(ENDING):  # or a folder and its token would be nobody's
        folder, link, lock = _own_folder()
        private.write(folder / "token", secrets.token_hex(32))
        os.environ.pop("RAY_AUTH_TOKEN", None)  # Ray would take it before the file
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")
        _local = _Local(folder, None, link, lock)
    try:
        if not ray_parts.demand_token():
            raise ClusterError(
                f"this Ray demands no token, so any user of this machine could run code as {os.geteuid()}. "
                f"`make setup` installs Ray {ray_parts.TESTED}, which does."
            )
        _local.node = _patient_node(folder, gpus)
        private.check(folder)
    except (CampaignError, OSError):
        stop()
        raise
    except Exception as problem:  # Ray raises its own kinds, and plain ones where a part of it does not answer in time
        stop()
        raise ClusterError(
            f"Ray did not start on this machine: {str(problem).strip() or type(problem).__name__} Where much else "
            f"runs here (load {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs), wait until that has finished: what "
            "is measured beside it counts for nothing. Nothing was lost; the same command tries again."
        ) from problem
    except BaseException:
        stop()
        raise
    return str(_local.node.address)


def _patient_node(folder: Path, gpus: int) -> Any:
    """The node; a second one where the first did not come up: a raylet gives its agents fifteen seconds,
    and a busy machine needs longer."""
    for last in (False, True):
        try:
            with _deaf():
                return ray_parts.node(
                    folder / "r",
                    session_name=SESSION,
                    num_cpus=max(4, os.cpu_count() or 1),
                    num_gpus=gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                )
        except Exception as problem:  # Ray raises nothing narrower
            end_processes(folder)
            shutil.rmtree(folder / "r", ignore_errors=True)
            if last:
                raise ClusterError(
                    f"Ray did not start, twice: {problem} This machine may be too busy (load average "
                    f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs): wait until it is not; "
                    "the same command tries again."
                ) from None
    raise AssertionError


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started here never hears SIGHUP and SIGQUIT, which a terminal sends to all:
    the driver alone decides what ends."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGQUIT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a campaign: once after the current attempt, twice at once."""


@contextlib.contextmanager
def _deferred(numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Signals that come meanwhile are handled at the end: an exception that a handler raises in the middle of Ray's
    connecting leaves a half made core behind, which ends the process with SIGSEGV. No mask would do: the kernel gives
    a signal to any thread, and Python runs its handler in the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in numbers}
    ours = {number: it for number, it in handlers.items() if it not in (None, signal.SIG_IGN)}  # None: not Python's
    for number in ours:
        signal.signal(number, lambda signum, _: came.append(signum))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


def _intruder(address: str) -> subprocess.Popen[str]:
    """A process without a token that tries to get in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return subprocess.Popen(
        [sys.executable, "-c", ray_parts.INTRUDER, address],
        env=environment | {"RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _refuse_open(address: str, intruder: subprocess.Popen[str]) -> None:
    """Raises :class:`ClusterError` unless ``intruder`` was refused."""
    try:
        said = intruder.communicate(timeout=60)[0].strip()
    except subprocess.TimeoutExpired:
        intruder.kill()
        said = ""
    if said == "let in":
        raise ClusterError(
            f"the Ray cluster at {address} lets in whoever has no token: any user of its machines could run code as "
            f"the one who started it. {TOKEN_REMEDY}"
        )
    if said != "refused":
        raise ClusterError(
            f"whether the Ray cluster at {address} refuses who has no token could not be found out. Try again."
        )


def _own_folder() -> tuple[Path, Path, int]:
    """A folder for this driver alone, its name in our home, and the lock that says that we live.

    It lies in our home, which no other user may enter; where a socket's path would be too long there, it lies in this
    user's runtime folder, with a link in our home. Its name cannot be guessed.
    """
    try:
        base = private.folder(host.home() / "ray")
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        if len(os.fsencode(base / name)) + len(_BELOW) <= SOCKET_PATH_MAX:
            made = base / f".{name}"
            made.mkdir(mode=0o700)
        else:
            made = Path(tempfile.mkdtemp(prefix="campaign-", dir=_runtime_folder()))
        lock = os.open(made / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = base / name
        if made.parent == base:
            made = made.rename(link)
        else:
            link.symlink_to(made)
    except private.NotPrivate as problem:
        raise ClusterError(str(problem)) from None
    return made, link, lock


def _runtime_folder() -> str:
    """The first folder with a short name where this user may make one: his own of systemd, root's, the common one."""
    for place in (f"/run/user/{os.geteuid()}", "/run"):
        with contextlib.suppress(OSError):
            if Path(place).stat().st_uid == os.geteuid() and os.access(place, os.W_OK):
                return place
    return "/tmp"


def folders() -> dict[Path, int]:
    """Ray's folders of all drivers of this home, and the PID of each. Names that no driver made are left alone."""
    base = host.home() / "ray"
    found = {}
    for entry in sorted(base.iterdir()) if base.is_dir() else ():
        pid, dash, rest = entry.name.partition("-")
        if pid.isdecimal() and dash and rest:
            found[entry] = int(pid)
    return found


def units() -> list[Unit]:
    """Every alive node with a GPU slot, by name. A node's name is its label ``unit``; else ``local`` for the one of our
    own cluster, and ``node-`` with a digest of its host name for another: the name stands in every result,
    and results are published.

    Raises :class:`ClusterError` where the head is gone: Ray would wait for it a minute and then end this process."""
    import ray

    while not require_head():
        time.sleep(1)
    found: list[Unit] = []
    for node in sorted(ray.nodes(), key=lambda node: (node["NodeManagerHostname"], node["NodeID"])):
        if not node["Alive"] or not node["Resources"].get("GPU"):
            continue
        digest = hashlib.sha256(str(node["NodeManagerHostname"]).encode()).hexdigest()[:6]
        name = node.get("Labels", {}).get("unit") or (LOCAL if _local is not None else f"node-{digest}")
        if any(unit.name == name for unit in found):
            name = f"{name}-{node['NodeID'][:6]}"
        found.append(Unit(name, node["NodeID"], node["NodeManagerAddress"]))
    return sorted(found, key=lambda unit: unit.name)


def require_head() -> bool:
    """Whether the cluster's head answers now. Raises :class:`ClusterError` where it has not for
    :data:`HEAD_PATIENCE_S`; waits two seconds at most."""
    if _head is None:
        return True
    try:
        socket.create_connection((_head.host, _head.port), timeout=2).close()
    except OSError as problem:
        if time.monotonic() - _head.answered > HEAD_PATIENCE_S:
            raise ClusterError(
                f"the head of the Ray cluster, {_head.host}:{_head.port}, is gone ({problem.strerror or problem}). "
                "Each unit ends by itself what runs there. Start the cluster again; the same command goes on."
            ) from None
        return False
    _head.answered = time.monotonic()
    return True


def on(unit: Unit) -> Any:
    """Scheduling that pins an actor to ``unit``."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=unit.node_id, soft=False)


def stop() -> None:
    """Disconnect, and end the local cluster where there is one."""
    import ray

    global _local
    with contextlib.suppress(Exception):  # half started, or already gone: what counts is that nothing stays
        ray.shutdown()
    if _local is not None:
        ours, _local = _local, None
        if ours.node is not None:
            ours.node.kill_all_processes(check_alive=False, allow_graceful=False)
        end_processes(ours.folder)
        _remove(ours.link)
        os.close(ours.lock)


def abandon() -> None:
    """End the local cluster's processes from a signal handler, whatever this process was about;
    who calls it ends as well."""
    if _local is not None:
        end_processes(_local.folder)
        _remove(_local.link)


def _remove(link: Path) -> None:
    """The folder of a driver and its name in our home."""
    shutil.rmtree(link.resolve(), ignore_errors=True)
    if link.is_symlink():
        link.unlink(missing_ok=True)


def end_processes(folder: Path) -> int:
    """Kill the Ray processes that work in ``folder``, until none is left; returns how many there were."""
    met: set[int] = set()

    def left() -> set[int]:
        found = _working_in(folder)
        met.update(found)
        return found

    processes.kill(left)
    return len(met)


def _working_in(folder: Path) -> set[int]:
    """Known by their open log files: Ray's workers overwrite their own command line and environment."""
    found = set()
    for pid in processes.pids():
        command = processes.command_line(pid)
        if not (command.startswith("ray::") or "/ray/" in command):
            continue
        if f"{folder}/" in command or any(file.startswith(f"{folder}/") for file in processes.open_files(pid)):
            found.add(pid)
    return found


def reap() -> list[str]:
    """End what drivers that were killed left of Ray, and remove their folders."""
    done = []
    for link, pid in folders().items():
        folder = link.resolve()
        if link.is_symlink() and not folder.exists():
            link.unlink()
            continue
        if not (folder / "lock").is_file() or folder.stat().st_uid != os.geteuid() or _alive(folder):
            continue  # not what a driver makes, or in use
        if count := end_processes(folder):
            done.append(f"ended {count} Ray processes of an earlier driver (PID {pid})")
        _remove(link)
    return done


def _alive(folder: Path) -> bool:
    """Whether the driver of ``folder`` lives: it holds a lock there, which the kernel takes from it when it ends."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
