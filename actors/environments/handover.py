"""When an image's entry point has handed over to the engine: the end of its share of the start-up.

Nothing is put into the image or around the engine. The kernel shows the argv of every process
(``/proc/<pid>/cmdline``), and an entry point that is done either becomes the engine by ``exec "$@"`` or has it as a
child; a thread of the harness looks every :data:`EVERY_S` until then, in the same way in both arms, and never
afterwards. The figure is late by at most one look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

from actors import processes

EVERY_S = 0.01
LONGEST_S = 300.0
"""An entry point that takes longer is no longer watched."""
NONE = "the image has no entry point"


def is_engine(line: Sequence[str], entrypoint: Sequence[str], argv: Sequence[str]) -> bool:
    """Whether a process whose arguments are ``line`` is the engine itself,
    and not an entry point that was given its argv.

    The kernel puts an interpreter and its options before the path of a script, and nothing else; an entry point has its
    own name, or another program's, there.
    """
    rest = len(argv) - 1
    head = list(line[: len(line) - rest])
    if not head or list(line[len(head) :]) != list(argv[1:]) or _name(head[-1]) != _name(argv[0]):
        return False
    before = [*entrypoint, argv[0]]
    if len(head) >= len(before) and [_name(word) for word in head[-len(before) :]] == [_name(word) for word in before]:
        return False
    return all(word.startswith("-") for word in head[1:-1])


def _name(word: str) -> str:
    return PurePosixPath(word).name


class Handover:
    """Watches the first process of an attempt, from :meth:`watch` until the engine is seen or cannot be any more."""

    def __init__(self, entrypoint: Sequence[str], argv: Sequence[str]) -> None:
        self.seconds: float | None = None
        self.unknown = NONE if not entrypoint else "the attempt did not get that far"
        self._entrypoint, self._argv = tuple(entrypoint), tuple(argv)
        self._done = threading.Event()

    def watch(self, pid: int, exec_ns: int) -> None:
        """``exec_ns``: monotonic clock at the entry point's exec."""
        if not self._entrypoint:
            return
        self.unknown = "the entry point has not handed over to the engine yet"
        threading.Thread(target=self._watch, args=(pid, exec_ns), name=f"handover {pid}", daemon=True).start()

    def end(self) -> None:
        """Nothing more will be seen: the attempt is over."""
        self._done.set()

    def _watch(self, pid: int, exec_ns: int) -> None:
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            now = time.monotonic_ns()
            todo = [pid]
            while todo:
                here = todo.pop()
                if is_engine(processes.arguments(here), self._entrypoint, self._argv):
                    self.seconds, self.unknown = max(0, now - exec_ns) / 1e9, ""
                    return
                todo += processes.children(here)
            if not processes.state(pid):
                self.unknown = "the entry point's process ended, or is on another machine, before the engine was seen"
                return
            if self._done.wait(EVERY_S):
                self.unknown = "it was over before the engine was seen"
                return
        self.unknown = f"the engine was not seen within {LONGEST_S:g} s"
