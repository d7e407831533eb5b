"""Time as gate, attempt and driver see it. A rehearsal hands in a virtual one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Two clocks that go alike, and a wait by them."""

    monotonic_ns: Callable[[], int]
    wait: Callable[[threading.Event, float], bool]
    """Wait for the event at most so many seconds; whether it is set."""
    utc_ns: Callable[[], int] = time.time_ns


REAL = Clock(time.monotonic_ns, lambda event, timeout_s: event.wait(timeout_s))
