"""The thread that samples, on an absolute schedule."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

NS = 1_000_000_000


class Sampler:
    """A thread that calls ``sample(now_ns, late_ns)`` at ticks of a fixed schedule.

    Tick k lies at ``epoch_ns + k * period_ns`` whatever happened before: a tick that has passed is skipped and counted
    as missed, never made up for, so that samples neither drift nor bunch up.
    """

    def __init__(
        self, rate_hz: float, sample: Callable[[int, int], None], cpus: Sequence[int] = (), nice: int = -10
    ) -> None:
        self.period_ns = round(NS / rate_hz)
        self.epoch_ns = time.monotonic_ns()
        self.errors = 0
        self.last_error = ""
        self.cpu_ns = 0
        self.settings: dict[str, Any] = {}
        self._sample = sample
        self._cpus = cpus
        self._nice = nice
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.thread.join()

    def ticks(self, start_ns: int, end_ns: int) -> int:
        """Ticks t with start <= t < end."""
        return -((self.epoch_ns - end_ns) // self.period_ns) - -((self.epoch_ns - start_ns) // self.period_ns)

    def _run(self) -> None:
        self.settings = settle(self._cpus, self._nice)
        period_ns, epoch_ns = self.period_ns, self.epoch_ns
        while not self._stop.is_set():
            due_ns = epoch_ns + ((time.monotonic_ns() - epoch_ns) // period_ns + 1) * period_ns
            while not self._stop.is_set() and (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(min(left_ns, NS // 4) / NS)  # a slow schedule must still hear the stop
            now_ns = time.monotonic_ns()
            if self._stop.is_set():
                return
            try:
                self._sample(now_ns, now_ns - due_ns)
            except Exception as problem:  # one bad sample must not end the sampling
                self.errors += 1
                self.last_error = f"{type(problem).__name__}: {problem}"
            self.cpu_ns = time.thread_time_ns()


def settle(cpus: Sequence[int], nice: int) -> dict[str, Any]:
    """Put the calling thread on these CPUs and raise its priority where that is permitted; what came of it."""
    thread = threading.get_native_id()
    settings: dict[str, Any] = {"cpus": None, "nice": None}
    if cpus:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cpus)
            settings["cpus"] = sorted(cpus)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    with contextlib.suppress(OSError):
        settings["nice"] = os.getpriority(os.PRIO_PROCESS, thread)
    return settings
