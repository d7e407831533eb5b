"""Removes a folder whatever is in it: nested thousands deep (where recursion and path lengths end),
without rights, with odd names.

And whatever somebody puts there meanwhile: every step is one on a single name in a folder that is held open
(:mod:`actors.files.beneath`), so that a folder which is swapped for a link leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from actors.files.beneath import Folder

AT_ONCE = 1000
"""Names that are read before they are removed: there may be millions."""
STUBBORN = 100
"""Passes in a row that may remove nothing, because somebody changes the folder under us."""
SWAPPED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY}
"""What is answered where a name means something else than a moment ago."""


def remove(path: Path) -> None:
    """Remove ``path`` and everything below it; nothing where there is nothing. Links are removed,
    never followed. OSError as it comes."""
    with contextlib.suppress(FileNotFoundError), Folder(path.parent) as parent:
        remove_in(parent, path.name)


def remove_in(parent: Folder, name: str) -> None:
    """:func:`remove` for what has this single name in an open folder."""
    for number in range(STUBBORN):
        try:
            _remove_in(parent, name)
        except FileNotFoundError:
            return
        except OSError as problem:
            if problem.errno not in SWAPPED:
                raise
            time.sleep(
                number % 7 / 1e4
            )  # else who waits for the same lock as we may swap it back before our every step
        else:
            return
    raise OSError(errno.EBUSY, "somebody changes it while it is removed", name)


def _remove_in(parent: Folder, name: str) -> None:
    if not stat.S_ISDIR(parent.stat(name).st_mode):
        parent.unlink(name)
        return
    with parent.unlocked(name) as top:
        fresh = (free for number in itertools.count(1) if not top.has(free := f".removing-{number}"))
        stubborn = 0
        while stubborn < STUBBORN and (entries := list(itertools.islice(_entries(top), AT_ONCE))):
            removed = sum(_remove_one(top, entry, is_folder, fresh) for entry, is_folder in entries)
            stubborn = 0 if removed else stubborn + 1
            time.sleep(stubborn % 7 / 1e4)
    os.rmdir(name, dir_fd=parent.fd)


def _entries(folder: Folder) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder.fd) as found:
        for entry in found:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _remove_one(top: Folder, name: str, is_folder: bool, fresh: Iterator[str]) -> bool:
    """Remove an entry of ``top``; the folders in it come up to ``top`` first, so that no path ever grows. False where
    it was swapped meanwhile."""
    try:
        if not is_folder:
            top.unlink(name)
            return True
        with top.unlocked(name) as folder:
            while entries := list(itertools.islice(_entries(folder), AT_ONCE)):
                for entry, is_inner_folder in entries:
                    if not is_inner_folder:
                        folder.unlink(entry)
                    else:
                        folder.unlocked(entry).close()  # its entry `..` changes, which needs the right to write
                        folder.rename(entry, next(fresh), into=top)
        os.rmdir(name, dir_fd=top.fd)
    except OSError as problem:
        if problem.errno not in SWAPPED:
            raise
        return False
    return True
