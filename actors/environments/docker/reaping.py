"""The reaper of one attempt: a process that removes its container where the actor dies."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import docker

from actors.environments import ownership

REAPER = Path(__file__).with_name("reaper.py")


def start_reaper(client: docker.DockerClient, key: str) -> subprocess.Popen[bytes] | None:
    base = client.api.base_url
    if base.startswith("http+docker"):
        url = f"unix://{client.api.get_adapter(base).socket_path}"
    elif base.startswith("http://"):
        url = base.replace("http://", "tcp://")
    else:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(REAPER), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=ownership.marks(key),
        start_new_session=True,
    )


def dismiss(reaper: subprocess.Popen[bytes] | None) -> None:
    if reaper is None or reaper.stdin is None:
        return
    with contextlib.suppress(OSError):
        reaper.stdin.write(b"done\n")
        reaper.stdin.close()
    reaper.wait()  # the launcher: the reaper itself is nobody's child
