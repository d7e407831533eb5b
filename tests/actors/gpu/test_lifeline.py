"""An engine whose driver is gone ends, one whose driver asks goes on."""

from __future__ import annotations

import time
from threading import Event

from actors.gpu.lifeline import Lifeline


def test_silence_stops_what_runs() -> None:
    line, stop = Lifeline(), Event()
    with line.held(stop, patience_s=0.2):
        assert stop.wait(20)
    assert line.broken


def test_who_is_asked_goes_on_and_nothing_watches_afterwards() -> None:
    line, stop = Lifeline(), Event()
    with line.held(stop, patience_s=5.0):
        for _ in range(5):
            time.sleep(0.02)
            line.heard()
    line._heard = 0.0
    assert not stop.wait(0.1) and not line.broken
