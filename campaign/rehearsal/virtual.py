"""Virtual time: threads that take turns. One runs while the others wait for a moment or an event, and when it waits
too, time jumps to the next moment that anybody waits for. Whoever waits for the same moment goes in the order in which
they came, so that a rehearsal of many units is the same each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

NEVER_NS = 2**62


@dataclass(eq=False)
class Turn:
    """One thread's place in the order."""

    number: int
    ready: threading.Condition
    until_ns: int
    event: Event | None = None
    waiting: bool = True


@dataclass(eq=False)
class VirtualTime:
    """``now_ns`` is UTC. The thread that makes it runs first."""

    now_ns: int
    _lock: Lock = field(default_factory=Lock)
    _turns: list[Turn] = field(default_factory=list)
    _running: Turn | None = None
    _mine: threading.local = field(default_factory=threading.local)
    _ended: list[Thread] = field(default_factory=list)
    _count: int = 0

    def join(self) -> None:
        """The calling thread takes part from now on, and it is its turn."""
        with self._lock:
            self._mine.turn = self._running = self._add()
            self._running.waiting = False

    def part(self) -> None:
        """The calling thread takes part no more."""
        with self._lock:
            turn: Turn = self._mine.turn
            self._turns.remove(turn)
            if self._running is turn:
                self._hand_on()

    def begin(self, thread: Thread) -> None:
        """Start ``thread`` as one that takes part; its turn comes when the others wait."""
        with self._lock:
            turn = self._add()
        inner = thread.run

        def run() -> None:
            self._mine.turn = turn
            try:
                with self._lock:
                    self._await(turn)
                inner()
            finally:
                with self._lock:
                    self._ended.append(thread)
                self.part()

        thread.run = run  # type: ignore[method-assign]
        thread.start()

    def wait(self, event: Event | None, seconds: float) -> bool:
        """Wait for the event at most so long; whether it is set."""
        self.until(event, self.now_ns + int(seconds * 1e9))
        return event is not None and event.is_set()

    def until(self, event: Event | None, moment_ns: int) -> None:
        """Wait for the event at most until that moment."""
        turn: Turn = self._mine.turn
        with self._lock:
            turn.until_ns, turn.event, turn.waiting = max(moment_ns, self.now_ns), event, True
            self._hand_on()
            self._await(turn)

    def look(self, event: Event, moment_ns: int | None, real_s: float) -> bool:
        """As :meth:`until`, but back after ``real_s`` of real time at the latest, without a turn then: to look, and to
        touch nothing. Whether it is the thread's turn."""
        turn: Turn = self._mine.turn
        with self._lock:
            if not turn.waiting:
                turn.until_ns = NEVER_NS if moment_ns is None else max(moment_ns, self.now_ns)
                turn.event, turn.waiting = event, True
                self._hand_on()
            elif self._running is None:
                self._hand_on()  # an event came from outside
            mine = turn.ready.wait_for(lambda: self._running is turn, real_s)
            turn.waiting = not mine
        if mine:
            for thread in self._ended:
                thread.join()
            self._ended.clear()
        return mine

    def _add(self) -> Turn:
        self._count += 1
        turn = Turn(self._count, threading.Condition(self._lock), self.now_ns)
        self._turns.append(turn)
        return turn

    def _await(self, turn: Turn) -> None:
        turn.ready.wait_for(lambda: self._running is turn)
        turn.waiting = False

    def _hand_on(self) -> None:
        """Give the turn to whoever's event is set, else to whoever waits for the next moment."""
        self._running = None
        best: Turn | None = None
        for turn in self._turns:
            if not turn.waiting:
                continue
            if turn.event is not None and turn.event.is_set():
                turn.until_ns = min(turn.until_ns, self.now_ns)
            if turn.until_ns < NEVER_NS and (best is None or turn.until_ns < best.until_ns):
                best = turn
        if best is not None:
            self.now_ns = max(self.now_ns, best.until_ns)
            self._running = best
            best.ready.notify()
