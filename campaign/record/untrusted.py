"""Results folders that somebody else may have made: what is read of them, and how strings out of them are shown.

Only regular files of bounded size and with plain names are opened, never through a link. A FIFO or a device would block
or never end, a link leads to files of the reader. Strings lose what a terminal, a spreadsheet or a script would take
for a command.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from campaign.errors import CampaignError

NAME_MAX = 255
"""Bytes of a file's name."""
TEXT_MAX_BYTES = 256 * 2**20
"""Of a JSON file or a journal. A campaign of 10 000 attempts writes a journal of 10 MB."""
LONGEST_SHOWN = 20_000
"""Characters of a string out of a results folder that are shown."""

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, line separators, changes of direction, and halves of characters."""
_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Unreadable(CampaignError):
    """A file that is left alone. The message says why, without its name."""


def read_bytes(path: Path, limit: int = TEXT_MAX_BYTES) -> bytes:
    """A regular file's content. Raises :class:`Unreadable` for anything else, also a link, and FileNotFoundError.

    It is looked at after it was opened, so that nothing can be put in its place in between.
    """
    with opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise Unreadable(f"{size} bytes, more than the {limit} that are read")
        return file.read()


def sha256(path: Path) -> str:
    """Digest of a regular file, as :func:`read_bytes`, of any size."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file for reading. Raises :class:`Unreadable` for anything else, also a link, and FileNotFoundError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise Unreadable(_kind(path) or f"cannot be read: {problem.strerror}") from None
    if reason := _not_regular(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable(reason)
    with os.fdopen(handle, "rb") as file:
        yield file


def why_not(path: Path) -> str | None:
    """Why ``path`` is not read, None where it is a regular file with a plain name."""
    return bad_name(path.name) or _kind(path)


def _kind(path: Path) -> str | None:
    try:
        return _not_regular(path.lstat().st_mode)
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"


def _not_regular(mode: int) -> str | None:
    kinds = (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((f"not a regular file but {name}: not opened" for holds, name in kinds if holds(mode)), None)


def bad_name(name: str) -> str | None:
    """Why a name of a file, run or unit is not taken; None where it is plain."""
    if name in ("", ".", "..") or "/" in name:
        return "its name leads elsewhere"
    if _IN_NAMES.search(name):
        return "its name holds control characters or is not UTF-8"
    if len(os.fsencode(name)) > NAME_MAX:
        return f"its name has more than {NAME_MAX} bytes"
    return None


def find(root: Path, pattern: str) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Regular files below ``root`` that match ``pattern`` (as for glob, ``root`` taken literally),
    and what is left out, with why.

    No link is followed on the way down.
    """
    good: list[Path] = []
    bad: list[tuple[Path, str]] = []
    _down(root, tuple(pattern.split("/")), good, bad)
    return good, bad


def _down(folder: Path, parts: tuple[str, ...], good: list[Path], bad: list[tuple[Path, str]]) -> None:
    here, *rest = parts
    if not any(char in here for char in "*?["):
        names = [here] if os.path.lexists(folder / here) else []
    else:
        matches = re.compile(_regex(here)).fullmatch
        try:
            names = sorted(path.name for path in folder.iterdir() if matches(path.name))
        except OSError:
            names = []
    for name in names:
        path = folder / name
        if not rest:
            reason = why_not(path)
            if reason is None:
                good.append(path)
            else:
                bad.append((path, reason))
        elif path.is_symlink():
            bad.append((path, "a link to a folder: not followed"))
        elif path.is_dir():
            if reason := bad_name(name):
                bad.append((path, reason))
            else:
                _down(path, tuple(rest), good, bad)


def _regex(pattern: str) -> str:
    """Of a glob with ``*`` and ``[0-9]``; a hidden name needs its dot in the pattern."""
    return r"(?!\.)" + "".join(
        ".*" if part == "*" else part if part.startswith("[") else re.escape(part)
        for part in re.split(r"(\*|\[[^]]*\])", pattern)
    )


def walk(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Every file below ``folder`` by its path from there, in order, with why it is left alone (None: a regular file).

    Folders are gone down to any depth without recursion, links not followed.
    """
    waiting = [""]
    while waiting:
        at = waiting.pop()
        below = []
        with os.scandir(folder / at) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{at}/{entry.name}" if at else entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                else:
                    yield path, why_not(folder / path)
        waiting += reversed(below)


def plain(text: str, most: int = LONGEST_SHOWN) -> str:
    """``text`` for a terminal or a figure: control characters written out, cut where it is endless."""
    if len(text) > most:
        text = f"{text[:most]}… ({len(text)} characters)"
    return _COMMANDS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def plain_all(value: Any) -> Any:
    """Every string in a JSON value as :func:`plain` has it, on one line."""
    if isinstance(value, str):
        return plain(value).replace("\n", " ") if _IN_NAMES.search(value) or len(value) > LONGEST_SHOWN else value
    if isinstance(value, dict):
        return {plain_all(key): plain_all(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [plain_all(it) for it in value]
    return value


def file_name(text: str) -> str:
    """A name for a file out of any string: itself where it is plain,
    else its harmless characters and a digest of all."""
    if bad_name(text) is None and not text.startswith((".", "-", "~")) and len(os.fsencode(text)) <= 200:
        return text
    harmless = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:80]
    return f"{harmless or 'name'}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text cell that a spreadsheet takes for a formula."""


def cell(text: str) -> str:
    """A text cell of a CSV file: no formula in any spreadsheet."""
    return f"'{text}" if text.startswith(FORMULA) else text


def output_folder(root: Path, *parts: str) -> Path:
    """A folder below ``root`` that we write derived files into; nothing in it leads or blocks elsewhere.

    Raises :class:`Unreadable` where a link or a file stands in the place of a folder. Links, FIFOs and devices in the
    folder are removed: we make none, and writing would follow them.
    """
    folder = root
    for part in parts:
        folder = folder / part
        if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
            raise Unreadable(f"{folder}: a link or a file where a folder of ours should be. Remove it, and try again.")
        folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False) and _kind(Path(entry.path)):
                Path(entry.path).unlink()
    return folder
