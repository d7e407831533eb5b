"""Reading the kernel's text files often and cheaply: kept open, read from the start,
asked no more than they are worth."""

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
    """A question asked as often as its cost allows: beyond ``free_s`` per answer it may take ``share`` of one core, and
    is asked at least every ``longest_s``.

    Some sources are slow on some machines (an ACPI thermal zone runs firmware code, a long process list is copied), and
    nobody knows which beforehand, nor whether it stays so. Its cost is the smaller of the last two, as one slow answer
    is an interruption and two are a price; ``cost_s`` is a first one, where it was measured. :attr:`interval_s` says
    what came of it.
    """

    def __init__(
        self,
        ask: Callable[[], Answer],
        *,
        free_s: float = 200e-6,
        share: float = 0.001,
        longest_s: float = 1.0,
        cost_s: float | None = None,
    ) -> None:
        self._ask = ask
        self._free_s = free_s
        self._share = share
        self._longest_s = longest_s
        self._last_cost_s = cost_s
        self._due_ns = 0
        self._answer: Answer | None = None
        self.interval_s = 0.0 if cost_s is None else self._interval_s(cost_s)
        self.asked_ns = 0
        """Monotonic clock when the held answer was asked for; 0 before the first."""

    def due(self) -> bool:
        return time.monotonic_ns() >= self._due_ns

    def fresh(self) -> Answer:
        """Ask now, whatever it costs."""
        before = time.monotonic_ns()
        try:
            self._answer = self._ask()
            self.asked_ns = before
        finally:  # an error is paid for as an answer is
            cost_s = (time.monotonic_ns() - before) / 1e9
            last_s, self._last_cost_s = self._last_cost_s, cost_s
            self.interval_s = self._interval_s(cost_s if last_s is None else min(cost_s, last_s))
            self._due_ns = before + int(self.interval_s * 1e9)
        return self._answer

    def _interval_s(self, cost_s: float) -> float:
        return 0.0 if cost_s <= self._free_s else min(self._longest_s, cost_s / self._share)

    def __call__(self) -> Answer | None:
        """The answer, a held one where asking again would cost too much."""
        return self.fresh() if self.due() else self._answer
