"""A unit's engine does not outlive its driver: who has not been asked for long ends what runs.

On one machine the kernel sees to that. In a cluster, a driver, a head or a cable may be gone while nothing here has
ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from threading import Event, Thread


class Lifeline:
    """When the driver was last heard of. It asks every unit for its status once a second."""

    def __init__(self) -> None:
        self._heard = time.monotonic()
        self.broken = False
        """Nothing was heard for so long that an attempt was ended for it."""

    def heard(self) -> None:
        self._heard = time.monotonic()

    @contextlib.contextmanager
    def held(self, stop: Event, patience_s: float) -> Iterator[None]:
        """Sets ``stop`` within this context once nothing was heard for ``patience_s``."""
        over = Event()
        self.heard()

        def watch() -> None:
            while (left := self._heard + patience_s - time.monotonic()) > 0:
                if over.wait(left):
                    return
            self.broken = True
            stop.set()

        watcher = Thread(target=watch, name="lifeline", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
