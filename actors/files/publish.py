"""Files that appear whole: written beside their place, then renamed. A crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from actors import account


@contextlib.contextmanager
def publish(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A name beside ``path`` to write a file to. It takes ``path``'s place when the block ends well,
    and is gone when it does not.

    ``durable``: file and name are on the disk when the block has ended, so that they outlive a power cut too. Raises
    OSError, with the errno of ``fsync``, where the filesystem cannot do that for a folder; the file is in its place
    then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # left by a killed process that had our number
    try:
        yield partial
        if durable:
            sync(partial)
        account.give(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
