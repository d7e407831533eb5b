"""What an engine leaves in its folders is a stranger's: made readable before anything of it is read.

Called once the engine's last process is gone. Links, pipes, sockets and devices are taken away unopened (a report that is a pipe would be read for
ever), names that cannot be listed are replaced, what is too much or too deep goes, and of a log that is too long its beginning and its end stay. Every
such step is a line that goes into the evidence as :data:`LIST`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from actors.files.removal import remove

LIST = "left-out.txt"
KEEP_BYTES = 64 * 2**20
"""Of one file; a longer log is cut in the middle, another file goes."""
CUT_BYTES = 4 * 2**20
"""Of a log that is too long, so much of its beginning and of its end stays."""
MOST_FILES = 2000
MOST_BYTES = 512 * 2**20
DEEPEST = 16
CUT = (".log", ".txt", ".out", ".err")


def tidy(folder: Path) -> list[str]:
    """Make ``folder`` fit to be read and kept; what was taken away and why, a line each, also in :data:`LIST`."""
    said: list[str] = []
    files, total = 0, 0
    for place, depth in _walk(folder):
        name = _shown(place, folder)
        mode = place.lstat().st_mode
        if stat.S_ISDIR(mode):
            if depth >= DEEPEST:
                remove(place)
                said.append(f"{name}: deeper than {DEEPEST} folders")
            continue
        size = place.lstat().st_size
        if not stat.S_ISREG(mode):
            place.unlink()
            said.append(f"{name}: no regular file ({_kind(mode)})")
            continue
        if size > KEEP_BYTES and place.suffix in CUT:
            _cut(place, size)
            size = place.stat().st_size
            said.append(f"{name}: cut in the middle, its first and last {CUT_BYTES >> 20} MiB are kept")
        files, total = files + 1, total + size
        why = (
            f"{size} bytes, more than {KEEP_BYTES >> 20} MiB" if size > KEEP_BYTES
            else f"more than {MOST_FILES} files" if files > MOST_FILES
            else f"more than {MOST_BYTES >> 20} MiB in all" if total > MOST_BYTES
            else None
        )  # fmt: skip
        if why is not None:
            place.unlink()
            total -= size
            said.append(f"{name}: {why}")
    if len(said) > MOST_FILES:
        said = [*said[:MOST_FILES], f"… and {len(said) - MOST_FILES} more"]
    if said:
        (folder / LIST).write_text("\n".join(said) + "\n")
    return said


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every entry below ``folder`` with its depth, folders before what they hold, names that cannot be listed replaced on the way."""
    todo = [(os.fspath(folder), 0)]
    while todo:
        place, depth = todo.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            continue  # taken away by the caller
        for entry in entries:
            path = Path(place, _listable(place, entry.name))
            yield path, depth
            if path.is_dir() and not path.is_symlink():
                todo.append((os.fspath(path), depth + 1))


def _listable(place: str, name: str) -> str:
    """The name, or another under which the entry is kept: a manifest has a line for each file, in UTF-8, and a dot in front is ours."""
    clean = "".join(char if char.isprintable() and not 0xD800 <= ord(char) <= 0xDFFF else "_" for char in name)
    if clean.startswith(".") and clean.endswith(".partial"):
        clean = "_" + clean
    if clean == name:
        return name
    number = 0
    while os.path.lexists(target := Path(place, clean if number == 0 else f"{clean}-{number}")):
        number += 1
    Path(place, name).rename(target)
    return target.name


def _cut(path: Path, size: int) -> None:
    with path.open("rb") as file:
        head = file.read(CUT_BYTES)
        file.seek(size - CUT_BYTES)
        tail = file.read(CUT_BYTES)
    gone = f"\n[{size - 2 * CUT_BYTES} bytes are left out here: the file had {size}]\n".encode()
    path.write_bytes(head + gone + tail)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def _shown(path: Path, folder: Path) -> str:
    text = str(path.relative_to(folder))
    return text if len(text) <= 200 else text[:100] + "…" + text[-80:]


def small(path: Path, most: int = 2**20) -> bytes | None:
    """The content of a regular file of at most ``most`` bytes; None for anything else, never waited for: the engine still runs."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        return os.read(handle, most) if stat.S_ISREG(found.st_mode) and found.st_size <= most else None
    except OSError:
        return None
    finally:
        os.close(handle)
