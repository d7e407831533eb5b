"""Removes a folder whatever is in it: nested thousands deep (where recursion and path lengths end), without rights, with odd names."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def remove(path: Path) -> None:
    """Remove ``path`` and everything below it; nothing where there is nothing. Links are removed, never followed. OSError as it comes.

    Folders inside are moved up to the top before they are looked into, so that no path ever grows.
    """
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(facts.st_mode):
        path.unlink()
        return
    number = 0
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            folder.chmod(0o700)
        for entry in list(folder.iterdir()):
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink()
                continue
            if folder == path:
                waiting.append(entry)
                continue
            number += 1
            while os.path.lexists(moved := path / f".removing-{number}"):
                number += 1
            if not os.access(entry, os.W_OK | os.X_OK):
                entry.chmod(0o700)  # its entry `..` changes, which needs the right to write
            entry.rename(moved)
            waiting.append(moved)
        if folder != path:
            folder.rmdir()
    path.rmdir()
