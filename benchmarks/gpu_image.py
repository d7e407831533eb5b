"""Make the image archive of ``configs/campaigns/gpu-smoke.yaml``: this host's Python interpreter and what it links, nothing else.

    python -m benchmarks.gpu_image .campaign/images/gpu-host.tar

The arms mount the host's ``/usr`` and ``/opt`` over it, so it only has to start by itself, which the trial of an arm's options
asks of every image.
"""

from __future__ import annotations

import sys
from pathlib import Path

from actors.environments import userland


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    gathered = userland.gather(userland.interpreter(), packages=())
    userland.write_tar(gathered, target)
    print(
        f"{target}: {target.stat().st_size / 2**20:.0f} MiB, Python {gathered.interpreter.version}, {gathered.digest[:12]}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
