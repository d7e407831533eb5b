"""Removes a container when the actor that owns it dies. A program of its own: ``python -I -S reaper.py ENGINE_URL``.

A container is a child of the Docker engine, not of the actor: without this it would go on after a ``kill -9`` of the
actor, until the next start cleans up. The reaper sleeps in a read of its standard input, whose other end only the
actor holds. Input: container ids, one a line; ``done`` means that the actor removed them itself. Standard library only.
"""

from __future__ import annotations

import os
import socket
import sys


def remove(url: str, container: str) -> None:
    """``DELETE /containers/<id>?force=1&v=1`` (Docker Engine API), which also kills."""
    scheme, _, address = url.partition("://")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
    else:
        host, _, port = address.rstrip("/").partition(":")
        connection = socket.create_connection((host, int(port or 2375)))
    with connection:
        request = f"DELETE /containers/{container}?force=1&v=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        while connection.recv(4096):
            pass


def main(url: str) -> None:
    # Not a child of the actor: Ray kills the children of a worker that it ends.
    if os.fork():
        os._exit(0)
    text = b""
    while chunk := os.read(0, 4096):
        text += chunk
    lines = text.decode().split()
    if "done" in lines:
        return
    for container in lines:
        try:
            remove(url, container)
        except OSError:
            continue  # the Docker engine is gone as well; the next start cleans up


if __name__ == "__main__":
    main(sys.argv[1])
