"""Reading the kernel's text files often and cheaply: kept open, read from the start, asked no more than they are worth."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class KeptFile:
    """A small file of procfs, sysfs or cgroupfs that stays open between readings."""

    def __init__(self, path: Path, size: int = 8192) -> None:
        self.path = path
        self._size = size
        self._fd = -1

    def read(self) -> bytes:
        """Its content now. Raises OSError, after which the next call opens it anew."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(self._fd, self._size, 0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Paced(Generic[Answer]):
    """A question asked as often as its cost allows: beyond ``free_s`` per answer it may take ``share`` of one core.

    Some sources are slow on some machines (an ACPI thermal zone runs firmware code, a long process list is copied), and
    nobody knows which beforehand. :attr:`interval_s` says what came of it.
    """

    def __init__(self, ask: Callable[[], Answer], *, free_s: float = 200e-6, share: float = 0.001) -> None:
        self._ask = ask
        self._free_s = free_s
        self._share = share
        self._due_ns = 0
        self._answer: Answer | None = None
        self.interval_s = 0.0
        self.asked_ns = 0
        """Monotonic clock when the held answer was asked for; 0 before the first."""

    def due(self) -> bool:
        return time.monotonic_ns() >= self._due_ns

    def fresh(self) -> Answer:
        """Ask now, whatever it costs."""
        before = time.monotonic_ns()
        self._answer = self._ask()
        self.asked_ns = before
        now = time.monotonic_ns()
        cost_s = (now - before) / 1e9
        # Never rarer than once a second: a single slow answer must not silence a source.
        self.interval_s = 0.0 if cost_s <= self._free_s else min(1.0, cost_s / self._share)
        self._due_ns = now + int(self.interval_s * 1e9)
        return self._answer

    def __call__(self) -> Answer | None:
        """The answer, a held one where asking again would cost too much."""
        return self.fresh() if self.due() else self._answer
