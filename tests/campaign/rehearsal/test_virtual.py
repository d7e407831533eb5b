"""Threads in virtual time take turns, and time is where the next of them waits for it."""

from __future__ import annotations

from threading import Event, Thread

from campaign.rehearsal.virtual import VirtualTime

S = 10**9


def carried_out(time: VirtualTime, *works: object) -> None:
    """The threads side by side, until all have ended."""
    threads = [Thread(target=work) for work in works]  # type: ignore[arg-type]
    time.join()
    for thread in threads:
        time.begin(thread)
    while any(thread.is_alive() for thread in threads):
        time.look(Event(), None, 0.01)
    time.part()


def test_whoever_waits_for_the_earlier_moment_goes_first() -> None:
    time, told = VirtualTime(0), list[tuple[str, int]]()

    def work(name: str, step_s: float) -> None:
        for _ in range(3):
            time.wait(None, step_s)
            told.append((name, time.now_ns // S))

    carried_out(time, lambda: work("slow", 5), lambda: work("quick", 2))
    assert told == [("quick", 2), ("quick", 4), ("slow", 5), ("quick", 6), ("slow", 10), ("slow", 15)]


def test_those_who_wait_for_the_same_moment_keep_their_order() -> None:
    time, told = VirtualTime(0), list[str]()

    def work(name: str) -> None:
        for _ in range(2):
            time.wait(None, 1)
            told.append(name)

    carried_out(time, *(lambda name=name: work(name) for name in "abc"))
    assert told == list("abcabc")


def test_an_event_ends_a_wait_and_no_time_passes_beyond_it() -> None:
    time, event, told = VirtualTime(0), Event(), list[tuple[bool, int]]()

    def waits() -> None:
        told.append((time.wait(event, 1000), time.now_ns // S))

    def rings() -> None:
        time.wait(None, 7)
        event.set()

    carried_out(time, waits, rings)
    assert told == [(True, 7)]


def test_a_wait_that_nobody_ends_passes_in_full() -> None:
    time, told = VirtualTime(0), list[tuple[bool, int]]()
    carried_out(time, lambda: told.append((time.wait(Event(), 1000), time.now_ns // S)))
    assert told == [(False, 1000)]


def test_looking_on_passes_no_time() -> None:
    time, free = VirtualTime(0), Event()
    time.join()
    thread = Thread(target=free.wait)
    time.begin(thread)
    assert time.look(Event(), 5 * S, 0.05) is False
    assert time.now_ns == 0
    free.set()
    assert time.look(Event(), None, 5.0) is True
    assert time.now_ns == 5 * S
    assert not thread.is_alive()
