"""Failing on request, as real engines fail on a Spark.

What to do stands in ``replica.json`` of the checkpoint, ``{"name": …, "fails": KIND, "starts": [2]}``, or for a whole
arm in the variable REPLICA_FAILS. ``starts`` counts the starts on this model from 1, in the folder that the arm mounts
on STARTS; without it every start fails.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

VARIABLE = "REPLICA_FAILS"
MARKER = "replica.json"
STARTS = Path("/replica/starts")

KINDS = (
    "out_of_memory",
    "out_of_memory_serving",
    "missing_library",
    "ptxas",
    "hang_at_load",
    "hang_in_decode",
    "killed",
    "no_report",
    "cut_report",
)


def asked(folder: Path) -> str | None:
    """The way in which this start is to fail, or None. Counts the start where the arm keeps count."""
    kind = os.environ.get(VARIABLE)
    marker = folder / MARKER
    if kind is None and marker.is_file():
        what = json.loads(marker.read_text())
        if "starts" not in what or _count(what["name"]) in what["starts"]:
            kind = what["fails"]
    if kind is not None and kind not in KINDS:
        raise SystemExit(f"{VARIABLE}: no failure is called {kind!r}; there are: {', '.join(KINDS)}")
    return kind


def _count(name: str) -> int:
    """Which start of the model this is, from 1."""
    with (STARTS / name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("start\n")
        file.seek(0)
        return len(file.readlines())


def hang() -> NoReturn:
    """Alive and silent for ever; ends by signal only."""
    sys.stdout.flush()
    sys.stderr.flush()
    while True:
        time.sleep(3600)


def be_killed() -> NoReturn:
    """As by the kernel's OOM killer. The first process of a PID namespace cannot kill itself:
    Docker says 137 of either."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)
