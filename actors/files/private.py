"""Folders and files that no other user may enter, read or put anything into."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from actors.errors import CampaignError


class NotPrivate(CampaignError):
    """A place that must be ours alone is not. The message is for the person."""


def folder(path: Path) -> Path:
    """``path`` as a folder of mode 0700 that belongs to us; made where it is missing.

    Raises :class:`NotPrivate` where a link, a file or a folder of somebody else is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    check(path)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:  # of what was opened, not of what may stand there by now
        if os.fstat(handle).st_uid != os.geteuid():
            raise NotPrivate(f"{path} was exchanged while it was looked at. Look who did, and remove it.")
        if stat.S_IMODE(os.fstat(handle).st_mode) != 0o700:
            os.fchmod(handle, 0o700)
    finally:
        os.close(handle)
    return path


def check(path: Path) -> None:
    """Raise :class:`NotPrivate` unless ``path`` is a folder (not a link to one) and ours."""
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise NotPrivate(f"{path} is not a folder (a link, or a file). Look who put it there, and remove it.")
    if facts.st_uid != os.geteuid():
        raise NotPrivate(
            f"{path} belongs to user {facts.st_uid}, and secrets of user {os.geteuid()} would go there. "
            "Remove it, or name another folder with CAMPAIGN_HOME."
        )


def write(path: Path, text: str) -> None:
    """A new file of mode 0600 from its first moment on. FileExistsError where anything, also a link,
    is in its place."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
