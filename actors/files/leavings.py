"""What an engine leaves in its folders is a stranger's: made readable before anything of it is read.

Called once the engine's last process is gone, and safe where one is not: every folder is sealed before it is looked
into, and none is left on the way (:mod:`actors.files.beneath`). Links, pipes, sockets, devices and second names of
files elsewhere are taken away unopened (a report that is a pipe would be read for ever), names that cannot be listed
are replaced, what is too much or too deep goes, and of a log that is too long its beginning and its end stay. Every
such step is a line that goes into the evidence as :data:`LIST`.
"""

from __future__ import annotations

import heapq
import os
import stat
from pathlib import Path, PurePosixPath

from actors.files.beneath import Folder
from actors.files.removal import SWAPPED, remove_in

LIST = "left-out.txt"
KEEP_BYTES = 64 * 2**20
"""Of one file; a longer log is cut in the middle, another file goes."""
CUT_BYTES = 4 * 2**20
"""Of a log that is too long, so much of its beginning and of its end stays."""
MOST_FILES = 2000
MOST_BYTES = 512 * 2**20
MOST_NAMES = 10_000
"""In one folder; of more, the first by name stay."""
DEEPEST = 16
CUT = (".log", ".txt", ".out", ".err", ".jsonl")
STREAMED = "output/requests.jsonl"
"""One line a request, read line by line and kept as ``requests.parquet``: as long as the requests are many."""
STREAMED_BYTES = 16 * 2**30


def tidy(folder: Path) -> list[str]:
    """Make ``folder`` fit to be read and kept; what was taken away and why, a line each, also in :data:`LIST`.
    Raises OSError (a full disk)."""
    tidying = _Tidying()
    with Folder(folder) as top:
        waiting = [("", 0)]
        while waiting:
            at, depth = waiting.pop()
            try:
                here = top.folder(at)
            except OSError:
                continue  # swapped since it was sealed, which only root can
            with here:
                here.seal()
                if more := _thin_out(here):
                    tidying.said.append(f"{_shown(at or '.')}: {more} names more than {MOST_NAMES}")
                below = []
                for raw in sorted(here.names(), key=os.fsencode):
                    name = _listable(here, raw)
                    path = f"{at}/{name}" if at else name
                    if tidying.is_folder_to_keep(here, name, path, depth):
                        below.append((path, depth + 1))
            waiting += reversed(below)
        said = tidying.said
        if len(said) > MOST_FILES:
            said = [*said[:MOST_FILES], f"… and {len(said) - MOST_FILES} more"]
        if said:
            _write_list(top, said)
    return said


class _Tidying:
    """What was met so far."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._files = 0
        self._bytes = 0

    def is_folder_to_keep(self, here: Folder, name: str, path: str, depth: int) -> bool:
        """Deals with a file or with what must go; True where it is a folder, which is then sealed."""
        try:
            facts = here.stat(name)
            if stat.S_ISDIR(facts.st_mode) and depth < DEEPEST:
                here.unlocked(name).close()
                return True
            why = f"deeper than {DEEPEST} folders" if stat.S_ISDIR(facts.st_mode) else _objection(facts, path)
            if why is None and facts.st_size > KEEP_BYTES and path != STREAMED:
                self.said.append(f"{_shown(path)}: {cut(here, name)}")
                facts = here.stat(name)
            if (why := why or self._too_much(facts.st_size, path)) is not None:
                remove_in(here, name)
                self.said.append(f"{_shown(path)}: {why}")
        except OSError as problem:
            if problem.errno not in SWAPPED:
                raise  # else it is gone, or something else than a moment ago
        return False

    def _too_much(self, size: int, path: str) -> str | None:
        if path == STREAMED:
            return None
        if self._files >= MOST_FILES:
            return f"more than {MOST_FILES} files"
        if self._bytes + size > MOST_BYTES:
            return f"more than {MOST_BYTES >> 20} MiB in all"
        self._files, self._bytes = self._files + 1, self._bytes + size
        return None


def _objection(facts: os.stat_result, path: str) -> str | None:
    """Why a file goes, whatever else there is; None where it may stay."""
    if not stat.S_ISREG(facts.st_mode):
        return f"no regular file ({_kind(facts.st_mode)})"
    if facts.st_nlink > 1:
        return "it has a second name, and may be anybody's file"
    most = STREAMED_BYTES if path == STREAMED else None if PurePosixPath(path).suffix in CUT else KEEP_BYTES
    if most is not None and facts.st_size > most:
        return f"{facts.st_size} bytes, more than {most >> 20} MiB"
    return None


def _thin_out(here: Folder) -> int:
    """Take away all but the first names of a folder that has too many for a list of them; returns how many went."""
    gone = 0
    first = heapq.nsmallest(MOST_NAMES + 1, here.names(), key=os.fsencode)
    if len(first) <= MOST_NAMES:
        return 0
    kept = set(first[:MOST_NAMES])
    while True:
        before = gone
        for name in here.names():
            if name not in kept:
                remove_in(here, name)
                gone += 1
        if gone == before:
            return gone


def _listable(here: Folder, name: str) -> str:
    """The name, or another under which the entry is kept: a manifest has a line for each file, in UTF-8,
    and a dot in front is ours."""
    clean = "".join(char if char.isprintable() and not 0xD800 <= ord(char) <= 0xDFFF else "_" for char in name)
    if clean.startswith(".") and clean.endswith(".partial"):
        clean = "_" + clean
    if clean == name:
        return name
    number = 0
    while here.has(free := clean if number == 0 else f"{clean}-{number}"):
        number += 1
    here.rename(name, free)
    return free


def cut(here: Folder, name: str) -> str:
    """Leave the first and last :data:`CUT_BYTES` of a long file, with a line between them; returns what was done,
    in words."""
    handle = here.open(name, os.O_RDWR)
    try:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, CUT_BYTES, size - CUT_BYTES)
        gone = f"\n[{size - 2 * CUT_BYTES} bytes are left out here: the file had {size}]\n".encode()
        os.pwrite(handle, gone + tail, CUT_BYTES)
        os.ftruncate(handle, CUT_BYTES + len(gone) + len(tail))
    finally:
        os.close(handle)
    return f"cut in the middle, its first and last {CUT_BYTES >> 20} MiB are kept"


def cut_streamed(folder: Path) -> None:
    """:data:`STREAMED` where it was not understood: kept as a log is."""
    where = PurePosixPath(STREAMED)
    with Folder(folder) as top:
        try:
            here = top.folder(str(where.parent))
            with here:
                if here.stat(where.name).st_size > KEEP_BYTES:
                    _write_list(top, [f"{where}: {cut(here, where.name)}"])
        except (FileNotFoundError, NotADirectoryError):
            return


def _write_list(top: Folder, said: list[str]) -> None:
    handle = top.open(LIST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in said))


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def _shown(path: str) -> str:
    return path if len(path) <= 200 else path[:100] + "…" + path[-80:]


def small(path: Path, most: int = 2**20) -> bytes | None:
    """The content of a regular file of at most ``most`` bytes; None for anything else, never waited for:
    the engine still runs."""
    try:
        with Folder(path.parent) as folder:
            return folder.read(path.name, most)
    except OSError:
        return None
