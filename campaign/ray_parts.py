"""Every private part of Ray that the project uses. Ray promises none of them, so they stand here and nowhere else.

``ray.init`` alone would move a local node from 127.0.0.1 to a public address, start a dashboard server, an autoscaler
monitor and a log monitor (which cost the measured machine memory and CPU time), take over SIGTERM, and write a token
into the person's home. So the node is put together from Ray's own parts. :data:`TESTED` is the version of the lock file
that they were tested with.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.errors import CampaignError

TESTED = "2.60.0"

PARTS = {
    "ray._private.node:Node": "the local node: GCS and raylet, on loopback, without dashboard and monitors",
    "ray._private.node:Node.start_api_server": "replaced by nothing: the dashboard's server",
    "ray._private.node:Node.kill_all_processes": "ends the node",
    "ray._private.parameter:RayParams": "what the node is made of",
    "ray._private.services:resolve_ip_for_localhost": "replaced: it moves a node on loopback to a public address",
    "ray._private.services:get_node": (
        "asked for longer: Ray gives its node 30 s to register, too little beside other work"
    ),
    "ray._private.worker:print_to_stdstream": (
        "replaced by nothing: what Ray says of a dead worker names no run and no remedy"
    ),
    "ray._private.utils:set_sigterm_handler": (
        "replaced by nothing in the driver: Ray's handler ends it with nothing journalled"
    ),
    "ray._private.ray_constants:RAY_DISABLE_FAILURE_SIGNAL_HANDLER": (
        "set to True: Ray's core would print a stack at SIGTERM and end the driver with nothing stopped"
    ),
    "ray._private.auto_init_hook:enable_auto_connect": (
        "set to False: else any call after the end starts another Ray, in /tmp/ray"
    ),
    "ray._raylet:Config.initialize": "reads the environment again, for the token",
    "ray._raylet:AuthenticationMode.TOKEN": "whether this Ray demands tokens",
    "ray._raylet:get_authentication_mode": "whether this process speaks with a token",
    "ray._raylet:AuthenticationTokenLoader.instance": "which token that is",
    "ray._raylet:GcsClient": "tries to get in without a token",
}
"""``module:name`` to what it is used for."""


class PartMissing(CampaignError):
    """This Ray lacks a part. The message is for the person."""


def part(name: str) -> Any:
    """One of :data:`PARTS`. Raises :class:`PartMissing` in words where this Ray lacks it."""
    assert name in PARTS, name
    module, _, path = name.partition(":")
    try:
        found = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError):
        import ray

        raise PartMissing(
            f"Ray {ray.__version__} has no {name} ({PARTS[name]}); this project was tested with Ray {TESTED}. "
            "`make setup` installs that version."
        ) from None
    return found


def require() -> None:
    """Look for every part before anything is started."""
    for name in PARTS:
        part(name)


LISTENERS = ("ray_listen_error_messages", "ray_print_logs")
"""Ray's threads that wait for what the cluster's head has to tell."""


def keep_quiet() -> None:
    """Ray neither takes SIGTERM over, in Python or in its core, nor starts by itself, nor writes about dead workers on
    the terminal, nor prints the stack of a listener whose head is gone: whoever ends the head, or needs it, says so
    in words."""
    from ray._private import auto_init_hook, ray_constants, utils, worker

    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True
    auto_init_hook.enable_auto_connect = False
    utils.set_sigterm_handler = lambda *_, **__: None
    worker.print_to_stdstream = lambda *_, **__: None
    if not hasattr(threading.excepthook, "says"):
        threading.excepthook = _without_listeners(threading.excepthook)


def _without_listeners(says: Callable[[threading.ExceptHookArgs], Any]) -> Callable[[threading.ExceptHookArgs], Any]:
    def hook(lost: threading.ExceptHookArgs) -> None:
        if lost.thread is None or lost.thread.name not in LISTENERS:
            says(lost)

    hook.says = says  # type: ignore[attr-defined]
    return hook


REGISTRATION_S = 180.0
"""A node may take so long to register."""


def be_patient() -> None:
    """Wait for a node of our own for :data:`REGISTRATION_S` before Ray counts its 30 s,
    which are short beside other work."""
    from ray._private import services

    once = services.get_node
    if hasattr(once, "patient"):
        return

    def get_node(gcs_address: str, node_id: str) -> Any:
        deadline = time.monotonic() + REGISTRATION_S
        while True:
            try:
                return once(gcs_address, node_id)
            except RuntimeError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    get_node.patient = True  # type: ignore[attr-defined]
    services.get_node = get_node


def stay_on_loopback() -> None:
    """Take a loopback address for the node's own, instead of looking for a public one."""
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host


def demand_token() -> bool:
    """Read RAY_AUTH_MODE and the token from the environment; whether this process now speaks with a token."""
    part("ray._raylet:Config.initialize")("")
    loader = part("ray._raylet:AuthenticationTokenLoader.instance")()
    loader.reset_cache()
    mode = part("ray._raylet:get_authentication_mode")()
    return bool(mode == part("ray._raylet:AuthenticationMode.TOKEN") and loader.has_token(ignore_auth_mode=True))


def node(folder: Path, *, gcs_address: str | None = None, fate_shared: bool = True, **parameters: Any) -> Any:
    """A node on loopback with its files below ``folder``: the head, unless ``gcs_address`` names the cluster it joins.

    ``fate_shared`` ties its life to ours where the kernel can.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    Node.start_api_server = lambda *_, **__: None
    return Node(
        RayParams(
            gcs_address=gcs_address,
            node_ip_address="127.0.0.1",
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            temp_dir=str(folder),
            **parameters,
        ),
        head=gcs_address is None,
        shutdown_at_exit=False,
        spawn_reaper=fate_shared,
        ray_init_cluster=gcs_address is None and fate_shared,
    )


INTRUDER = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=10)
except AuthenticationError:
    print("refused")
else:
    print("let in")
"""
"""A process that has no token and tries to read from the cluster at the address that it is given."""
