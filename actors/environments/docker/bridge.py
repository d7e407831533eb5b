"""The private engine's own network interface."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
from pathlib import Path


def has_interface(name: str) -> bool:
    return name in (interface for _, interface in socket.if_nameindex())


def bridge_name(folder: Path) -> str:
    """The private engine's own network interface; an interface's name has at most 15 characters."""
    return "campaign-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]


def make_bridge(name: str) -> bool:
    """Make a bridge by the ioctl of linux/sockios.h; False where this machine forbids it."""
    add_bridge = 0x89A0
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel, add_bridge, struct.pack("16s", name.encode()))
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def remove_bridge(name: str) -> None:
    """Down and away, by the ioctls of netdevice(7) and of linux/sockios.h: iproute2 may not be installed."""
    get_flags, set_flags, delete_bridge, up = 0x8913, 0x8914, 0x89A1, 0x1
    if not has_interface(name):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        request = struct.pack("16sH22x", name.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(channel, get_flags, request), 16)
        fcntl.ioctl(channel, set_flags, struct.pack("16sH22x", name.encode(), flags & ~up))
        fcntl.ioctl(channel, delete_bridge, struct.pack("16s", name.encode()))
