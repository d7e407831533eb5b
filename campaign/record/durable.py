"""Writing that a crash cannot tear, and what is said where a disk cannot promise that."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from actors import account
from actors.files.publish import publish, sync
from campaign.errors import CampaignError


class StoreError(CampaignError):
    """The results folder cannot be used. The message is for the person."""


LOCAL_DISK = "Choose a --results folder on a local disk (ext4, xfs, btrfs, zfs), and copy the results afterwards."


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. StoreError, with the remedy, where its filesystem cannot."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}:
            raise
        raise StoreError(
            f"{path}: its filesystem cannot make a new file's name durable (fsync of a folder: {problem.strerror}), "
            f"so what is accepted could be lost with the power. {LOCAL_DISK}"
        ) from None
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes, durable: bool = True) -> None:
    """Write ``data`` to ``path`` so that a crash leaves the old file or the new one; of the machine too,
    unless not ``durable``."""
    account.folder(path.parent)
    with publish(path) as partial:
        partial.write_bytes(data)
        if durable:
            sync(partial)
    if durable:
        sync_folder(path.parent)


def to_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=False, default=str).encode() + b"\n"


def flush_to_disk(folder: Path) -> None:
    """Make a folder's files and names durable."""
    for path in folder.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(folder)
