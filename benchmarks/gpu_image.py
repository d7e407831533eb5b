"""Make the image archive of ``configs/campaigns/gpu-vllm.yaml``: this host's Python interpreter and what it links, with
an entry point as NVIDIA's images have one.

    python -m benchmarks.gpu_image .campaign/images/gpu-host.tar

The arms mount the host's ``/usr`` and ``/opt`` over it. The engine's paths stand in a file that only the entry point
reads (``/etc/engine.sh``), so an arm that goes past the entry point finds neither vLLM nor the driver.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from actors import host
from actors.environments.docker import daemon, userland
from actors.environments.docker.userland import Entry

ENGINE = b"""\
export PATH=/opt/vllm/bin:/opt/torch/.venv/bin:/usr/local/bin:/usr/bin:/bin
export PYTHONPATH=/opt/vllm
export LD_LIBRARY_PATH=/usr/local/nvidia/lib64
export TRITON_LIBCUDA_PATH=/usr/local/nvidia/lib64
"""
ENTRY = b"""\
#!/bin/sh
. /etc/engine.sh
exec "$@"
"""


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    gathered = userland.gather(userland.interpreter(), packages=())
    own = {"/etc/engine.sh": Entry(0o644, data=ENGINE), "/entrypoint.sh": Entry(0o755, data=ENTRY)}
    gathered = dataclasses.replace(gathered, entries=dict(sorted((gathered.entries | own).items())))
    rootfs = target.with_suffix(".rootfs.tar")
    userland.write_tar(gathered, rootfs)
    client = daemon.connect(host.home())
    client.api.import_image_from_file(
        str(rootfs), repository="campaign-gpu-host", tag="latest", changes=['ENTRYPOINT ["/entrypoint.sh"]']
    )
    rootfs.unlink()
    with target.open("wb") as file:
        file.writelines(client.images.get("campaign-gpu-host:latest").save(named=True))
    mib = target.stat().st_size / 2**20
    print(f"{target}: {mib:.0f} MiB, Python {gathered.interpreter.version}, {gathered.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
