"""Ray, kept out of the way: quiet, small, on loopback for one unit, and gone when the driver goes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.environments import processes

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
    "PYTHONWARNINGS": "ignore",
}


_node: Any = None


@dataclass(frozen=True)
class Unit:
    """An alive Ray node that carries out attempts."""

    name: str
    node_id: str
    address: str


def start(address: str | None, gpus: int = 1) -> None:
    """Connect to a running cluster, or start a local one that dies with this process.

    ``gpus`` is the local unit's number of GPUs for Ray; a machine without one gets one logical slot. ``ray.init``
    alone would move a local node from 127.0.0.1 to a public address and start a dashboard server, an autoscaler monitor and a
    log monitor, which would cost the measured machine memory and CPU time; so the node is put together from Ray's own parts.
    """
    os.environ.update(QUIET)
    import ray
    from ray._private import services, worker
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    logging.getLogger("ray").setLevel(logging.ERROR)
    if address is None or address.startswith(LOOPBACK):
        services.resolve_ip_for_localhost = lambda host: host  # else Ray looks for the node at a public address
    if address is None:
        ensure_token_if_auth_enabled(None, create_token_if_missing=True)
        Node.start_api_server = lambda *_, **__: None
        folder = temporary_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        global _node
        _node = Node(
            RayParams(
                node_ip_address="127.0.0.1",
                num_cpus=max(4, os.cpu_count() or 1),
                num_gpus=gpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                include_log_monitor=False,
                no_monitor=True,
                temp_dir=str(folder),
            ),
            head=True,
            shutdown_at_exit=False,
            spawn_reaper=True,  # with kernel support this ties Ray's life to ours
            ray_init_cluster=True,
        )
        address = _node.address
    # What Ray says of a dead worker names no run and no remedy; the driver says both.
    worker.print_to_stdstream = lambda *_, **__: None
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def temporary_folder() -> Path:
    """Ray's folder for this driver alone; short, because a socket's path has at most 107 bytes."""
    return Path(f"/tmp/campaign-ray-{os.getuid()}/{os.getpid()}")


def units() -> list[Unit]:
    """Every alive node with a GPU slot, by name. A node's name is its label ``unit``, else its host name."""
    import ray

    found: list[Unit] = []
    for node in sorted(ray.nodes(), key=lambda node: (node["NodeManagerHostname"], node["NodeID"])):
        if not node["Alive"] or not node["Resources"].get("GPU"):
            continue
        name = node.get("Labels", {}).get("unit") or node["NodeManagerHostname"] or socket.gethostname()
        if any(unit.name == name for unit in found):
            name = f"{name}-{node['NodeID'][:6]}"
        found.append(Unit(name, node["NodeID"], node["NodeManagerAddress"]))
    return sorted(found, key=lambda unit: unit.name)


def on(unit: Unit) -> Any:
    """Scheduling that pins an actor to ``unit``."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=unit.node_id, soft=False)


def stop() -> None:
    """Disconnect, and end the local cluster where there is one."""
    import ray

    global _node
    ray.shutdown()
    if _node is not None:
        _node.kill_all_processes(check_alive=False, allow_graceful=False)
        _node = None
        end_processes(temporary_folder())
        shutil.rmtree(temporary_folder(), ignore_errors=True)


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
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to another user
            command = (process / "cmdline").read_bytes()
            if not (command.startswith(b"ray::") or b"/ray/" in command):
                continue
            if f"{folder}/".encode() in command or any(
                str(link.readlink()).startswith(f"{folder}/") for link in (process / "fd").iterdir()
            ):
                found.add(int(process.name))
    return found


def reap() -> list[str]:
    """End what drivers that were killed left of Ray, and remove their folders."""
    done = []
    for folder in temporary_folder().parent.glob("[0-9]*"):
        owner = int(folder.name)
        if owner == os.getpid() or _is_driver(owner):
            continue
        if count := end_processes(folder):
            done.append(f"ended {count} Ray processes of an earlier driver (PID {owner})")
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _is_driver(pid: int) -> bool:
    try:
        return b"campaign" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
