"""One campaign on a GPU at a time, or on a machine that has none: across results folders, checkouts and users.

The lock is the name of an abstract Unix socket (unix(7)): the kernel holds it exactly as long as the process lives, and
there is no file that somebody could delete or that could be left behind. Whoever asks for a held name learns from the
kernel whose process holds it.
"""

from __future__ import annotations

import contextlib
import errno
import pwd
import socket
import struct
import time
from pathlib import Path

from actors.errors import CampaignError

PATIENCE_S = 20.0
"""The actor of a driver that was killed a moment ago needs so long to end."""


class Held(CampaignError):
    """Another campaign measures there. The message is for the person."""


def hold(name: str, patience_s: float = PATIENCE_S) -> socket.socket:
    """The lock called ``name``, held until the socket is closed or the process ends. Raises Held."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            lock.bind(f"\0campaign/{name}")
            lock.listen(1)
            return lock
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                lock.close()
                raise
            if time.monotonic() >= deadline:
                lock.close()
                raise Held(
                    f"{name} is being measured by another campaign ({_holder(name)}). Two at once would measure each "
                    "other: wait until it has finished, or stop it with Ctrl-C where it runs; "
                    "this one goes on with the same command."
                ) from None
        time.sleep(0.2)


def _holder(name: str) -> str:
    """Process and user that hold the name, as the kernel tells (SO_PEERCRED)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        asking.connect(f"\0campaign/{name}")
        pid, uid, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with contextlib.suppress(KeyError):
            return f"PID {pid} of {pwd.getpwuid(uid).pw_name}"
        return f"PID {pid} of user {uid}"
    return "whose process has just ended"


def held() -> dict[str, str]:
    """What is being measured on this machine, by whom: name to process and user. The kernel lists the sockets of its
    network namespace, and none whose process has ended: a lock cannot be stale."""
    found = {}
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines():
        name = line.rpartition(" @campaign/")[2] if " @campaign/" in line else ""
        if name and name not in found:
            found[name] = _holder(name)
    return found
