"""Lines of an attempt's ``stdout.log`` and ``stderr.log``, which carry the UTC time at which the harness saw them.

Logs from elsewhere have no such stamp and are read all the same.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

STAMP = re.compile(r"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?Z ?")


@dataclass(frozen=True)
class Line:
    text: str
    seen_ns: int | None = None
    """UTC nanoseconds; None in a log that the harness did not write."""


def log_text(path: Path) -> str:
    """A log as it was written, empty where there is none. Read as text, each carriage return of a progress bar would
    begin a line without a stamp, and streams would no longer be merged in time."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_lines(*streams: str) -> list[Line]:
    """All lines without their stamps. Streams whose every line is stamped are merged in time, others follow each other.

    Progress bars return the carriage: each return ends a line, with the stamp of the line it stands in.
    """
    lines = [line for stream in streams for line in _lines(stream)]
    if all(line.seen_ns is not None for line in lines):
        lines.sort(key=lambda line: line.seen_ns or 0)  # stable: the order within a stream is kept
    return lines


def _lines(stream: str) -> list[Line]:
    found = []
    for whole in stream.split("\n"):
        if not whole:
            continue
        match = STAMP.match(whole)
        seen_ns = _nanoseconds(match) if match else None
        text = whole[match.end() :] if match and seen_ns is not None else whole
        found += [Line(part, seen_ns) for part in text.split("\r") if part]
    return found


def _nanoseconds(match: re.Match[str]) -> int | None:
    try:
        second = datetime.strptime(match["second"], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    return timegm(second.timetuple()) * 10**9 + int((match["fraction"] or "").ljust(9, "0"))
