"""Where the private engine of a home lies, and its socket."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

LONGEST_SOCKET = 107  # sun_path is 108 bytes with its NUL: unix(7)
DEEPEST_SOCKET = len("/exec/containerd/containerd-debug.sock.ttrpc")


def engine_folder(home: Path) -> Path:
    return home.absolute() / "engine"


def runtime_folder(home: Path) -> Path:
    """Where sockets live: the engine's folder, or a short one named by its hash
    where the path is too long for a socket."""
    folder = engine_folder(home)
    if len(os.fsencode(folder)) + DEEPEST_SOCKET <= LONGEST_SOCKET:
        return folder
    name = "campaign-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path("/run") / name


def private_host(home: Path) -> str:
    return f"unix://{runtime_folder(home)}/docker.sock"
