"""Work that is spread over processes gives what it would have given here."""

import math
import os
import signal
import threading
import time
from functools import partial

import pytest

from campaign.analysis import parallel


def test_results_do_not_depend_on_how_many_helpers_do_the_work():
    jobs = [partial(math.comb, 30, k) for k in range(20)]
    with parallel.helpers("math", 2) as spread:
        assert spread(jobs) == parallel.in_turn(jobs)


def test_an_error_of_a_job_reaches_the_caller_wherever_it_was_done():
    jobs = [partial(math.sqrt, x) for x in (1.0, 4.0, -1.0, 9.0)]
    with parallel.helpers("math", 1) as spread, pytest.raises(ValueError):
        spread(jobs)


@pytest.fixture
def heeded():
    """SIGINT, which a shell lets what it starts in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_no_job_and_begins_none(heeded):
    jobs = [partial(time.sleep, 60) for _ in range(20)]
    began = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with parallel.helpers("math", 1) as spread, pytest.raises(KeyboardInterrupt):
        spread(jobs)
    assert time.monotonic() - began < 50  # one job alone takes a minute
