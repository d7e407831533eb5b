"""One Ray node on loopback, as ``ray start`` makes one on a machine of its own:
``python ray_unit.py UNIT FOLDER [ADDRESS]``.

Without an address it is the head. Prints the cluster's address once it is up, and lives until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from campaign import cluster, ray_parts

# A raylet whose registration takes longer than this aborts.
os.environ.update(cluster.QUIET | {"RAY_gcs_server_request_timeout_seconds": "300"})


def main(unit: str, folder: str, address: str | None = None) -> None:
    assert ray_parts.demand_token() or os.environ["RAY_AUTH_MODE"] == "disabled"
    ray_parts.stay_on_loopback()
    node = ray_parts.node(
        Path(folder),
        gcs_address=address,
        fate_shared=False,
        num_cpus=4,
        num_gpus=1,
        labels={"unit": unit},
        object_store_memory=cluster.OBJECT_STORE_BYTES,
        min_worker_port=0,
        max_worker_port=0,
    )
    print(node.address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
