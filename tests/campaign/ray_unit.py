"""One Ray node on loopback, as ``ray start`` makes one on a machine of its own: ``python ray_unit.py UNIT FOLDER [ADDRESS]``.

Without an address it is the head. Prints the cluster's address once it is up, and lives until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys

from campaign import cluster

os.environ.update(cluster.QUIET)

from ray._private import services
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.node import Node
from ray._private.parameter import RayParams


def main(unit: str, folder: str, address: str | None = None) -> None:
    ensure_token_if_auth_enabled(None, create_token_if_missing=True)
    services.resolve_ip_for_localhost = lambda host: host
    Node.start_api_server = lambda *_, **__: None
    node = Node(
        RayParams(
            gcs_address=address,
            node_ip_address="127.0.0.1",
            num_cpus=4,
            num_gpus=1,
            labels={"unit": unit},
            object_store_memory=cluster.OBJECT_STORE_BYTES,
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            min_worker_port=0,
            max_worker_port=0,
            temp_dir=folder,
        ),
        head=address is None,
        shutdown_at_exit=False,
        spawn_reaper=False,
    )
    print(node.address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
