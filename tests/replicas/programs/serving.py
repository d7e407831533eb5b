"""A batch of requests served in real time: every step sleeps, and gives each running request one token."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

STEP_S = 0.004
PREFILL_S = 0.008
"""A step in which a request comes in takes longer."""


@dataclass
class Served:
    """Times in nanoseconds of a monotonic clock; tokens."""

    id: int
    input_tokens: int
    output_tokens: int
    start_ns: int = 0
    first_ns: int = 0
    end_ns: int = 0
    generated: int = 0


def serve(
    requests: list[Served],
    *,
    batch: int,
    concurrency: int = -1,
    done: Callable[[Served], None] = lambda request: None,
) -> list[Served]:
    """Serve ``requests``, and return them in order of completion. With a ``concurrency`` a request's clock starts when
    one of so many places is free; without, all clocks start at once."""
    waiting = deque(requests)
    submitted: deque[Served] = deque()
    running: list[Served] = []
    finished: list[Served] = []
    while waiting or submitted or running:
        while waiting and (concurrency <= 0 or len(submitted) + len(running) < concurrency):
            request = waiting.popleft()
            request.start_ns = time.perf_counter_ns()
            submitted.append(request)
        entered = False
        while submitted and len(running) < batch:
            running.append(submitted.popleft())
            entered = True
        time.sleep(PREFILL_S if entered else STEP_S)
        now = time.perf_counter_ns()
        for request in running:
            request.generated += 1
            if request.generated == 1:
                request.first_ns = now
            if request.generated == request.output_tokens:
                request.end_ns = now
                finished.append(request)
                done(request)
        running = [request for request in running if request.generated < request.output_tokens]
    return finished
