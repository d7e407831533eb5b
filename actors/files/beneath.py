"""Files in a folder that somebody else writes to, without ever leaving it: no link is followed on the way,
whatever is swapped meanwhile.

A path is looked up by the kernel in one step that cannot leave the folder (openat2(2), ``RESOLVE_BENEATH |
RESOLVE_NO_SYMLINKS``, Linux 5.6); where the kernel, or a sandbox, does not offer that, part by part with
``O_NOFOLLOW``. Every operation is then one on a single name in a folder that is held open, and such names are not
followed either.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
SYS_OPENAT2 = 437
"""The same number on every architecture but alpha."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
AGAIN = 100
"""How often a lookup is repeated that something was renamed under."""

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(folder: int, name: str, flags: int, mode: int) -> int:
    how = _How(flags, mode if flags & os.O_CREAT else 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    handle: int = _libc.syscall(SYS_OPENAT2, folder, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
    if handle < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return handle


def _part_by_part(folder: int, name: str, flags: int, mode: int) -> int:
    *above, last = [part for part in name.split("/") if part not in ("", ".")] or ["."]
    if name.startswith("/") or ".." in (*above, last):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    here = os.dup(folder)
    try:
        for part in above:
            below = os.open(part, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(last, flags | os.O_NOFOLLOW, mode, dir_fd=here)
    finally:
        os.close(here)


def _is_offered() -> bool:
    try:
        os.close(_openat2(-100, ".", FOLDER, 0))  # AT_FDCWD
    except OSError:
        return False
    return True


_by_kernel = _is_offered()


def open_at(folder: int, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A handle of what lies at the path ``name`` below the open ``folder``.
    OSError where a link is on the way (ELOOP) or it leads out (EXDEV).

    A FIFO is not waited for: ask with ``fstat`` what was opened before it is read.
    """
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    if not _by_kernel:
        return _part_by_part(folder, name, flags, mode)
    for _ in range(AGAIN):
        try:
            return _openat2(folder, name, flags, mode)
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EINTR):
                raise
    raise OSError(errno.EAGAIN, "renamed again and again", name)


class Folder:
    """A folder held open, and what lies below it by paths from there. Its own path is ours:
    only what is below is somebody else's."""

    def __init__(self, path: Path | str, dir_fd: int | None = None) -> None:
        self.fd = os.open(path, FOLDER, dir_fd=dir_fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    def open(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """As :func:`open_at`."""
        return open_at(self.fd, name, flags, mode)

    def folder(self, name: str) -> Folder:
        """A folder below, held open by itself."""
        found = object.__new__(Folder)
        found.fd = self.open(name or ".", FOLDER)
        return found

    def unlocked(self, name: str) -> Folder:
        """A folder directly in this one, ours alone from now on:
        nobody but root and this user can change what is in it."""
        try:
            found = Folder(name, self.fd)
        except PermissionError:  # its owner may change that, and only without having opened it
            place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                Path(f"/proc/self/fd/{place}").chmod(0o700)
            finally:
                os.close(place)
            found = Folder(name, self.fd)
        found.seal()
        return found

    def seal(self) -> None:
        """Only we may enter and change this folder, whoever made it.
        Where it is somebody else's and we are not root, it stays as it is."""
        facts = os.fstat(self.fd)
        with contextlib.suppress(PermissionError):
            if facts.st_uid != os.geteuid():
                os.fchown(self.fd, os.geteuid(), os.getegid())
            if stat.S_IMODE(facts.st_mode) != 0o700:
                os.fchmod(self.fd, 0o700)

    def file(self, name: str, most: int | None = None) -> int:
        """A handle for reading a regular file. OSError (EINVAL) for anything else, and (EFBIG)
        for one of more than ``most`` bytes."""
        handle = self.open(name)
        found = os.fstat(handle)
        wrong = None
        if not stat.S_ISREG(found.st_mode):
            wrong = errno.EINVAL
        elif most is not None and found.st_size > most:
            wrong = errno.EFBIG
        if wrong is not None:
            os.close(handle)
            raise OSError(wrong, os.strerror(wrong), name)
        return handle

    def read(self, name: str, most: int) -> bytes:
        """Content of a regular file of at most ``most`` bytes."""
        with os.fdopen(self.file(name, most), "rb") as file:
            return file.read(most)

    def stat(self, name: str) -> os.stat_result:
        """Of what has this single name, a link itself."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)

    def rename(self, name: str, to: str, into: Folder | None = None) -> None:
        os.rename(name, to, src_dir_fd=self.fd, dst_dir_fd=(into or self).fd)

    def has(self, name: str) -> bool:
        try:
            self.stat(name)
        except OSError:
            return False
        return True

    def names(self) -> Iterator[str]:
        """Of everything directly in it, in the order of the filesystem: there may be millions."""
        with os.scandir(self.fd) as entries:
            for entry in entries:
                yield entry.name

    def entries(self, lenient: bool = False) -> Iterator[tuple[str, os.stat_result]]:
        """Everything below but folders by its path from here, folder by folder in the order of names. Raises OSError
        for a folder that cannot be looked into (nested beyond any path, say), unless it is passed by (``lenient``)."""
        waiting = [""]
        while waiting:
            at = waiting.pop()
            below = []
            try:
                here = self.folder(at)
            except OSError:
                if lenient:
                    continue
                raise
            with here:
                for name in sorted(here.names(), key=os.fsencode):
                    try:
                        found = here.stat(name)
                    except FileNotFoundError:
                        continue
                    path = f"{at}/{name}" if at else name
                    if stat.S_ISDIR(found.st_mode):
                        below.append(path)
                    else:
                        yield path, found
            waiting += reversed(below)

    def files(self, lenient: bool = False) -> Iterator[tuple[str, int]]:
        """Of :meth:`entries` the regular files, with their sizes."""
        return ((path, it.st_size) for path, it in self.entries(lenient) if stat.S_ISREG(it.st_mode))
