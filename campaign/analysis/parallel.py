"""Work for every CPU that this process may use: the caller does a part of it, helper processes the rest.

A helper is a plain subprocess that gets and gives pickles over its pipes. Unlike ``multiprocessing`` this neither forks
a process whose libraries hold threads nor imports the caller's main module again. What is computed does not depend on
who computes it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

Job = Callable[[], Any]
"""A ``functools.partial`` of a module's function, so that it can be pickled."""
Spread = Callable[[Sequence[Job]], list[Any]]
"""Does jobs, in any order and anywhere, and returns their results in the order of the jobs."""


@dataclass(frozen=True)
class Work:
    """Jobs that anyone may do, and what becomes of their results, given in the order of the jobs."""

    jobs: list[Job]
    conclude: Callable[[list[Any]], Any]


MOST = 7
"""Helpers at most: each holds the libraries and its share of the data in memory."""
_HELPER = "from campaign.analysis.parallel import serve; serve({preload!r})"


def in_turn(jobs: Sequence[Job]) -> list[Any]:
    """Every job here, one after the other."""
    return [job() for job in jobs]


def together(works: Sequence[Work], spread: Spread = in_turn) -> list[Any]:
    """The conclusion of each work, all their jobs being done as one list."""
    results = iter(spread([job for work in works for job in work.jobs]))
    return [work.conclude([next(results) for _ in work.jobs]) for work in works]


@contextlib.contextmanager
def helpers(preload: str, count: int | None = None) -> Iterator[Spread]:
    """A :data:`Spread` over ``count`` helpers (default: one for each CPU but one, to :data:`MOST`) and this process.

    ``preload`` is a module that a helper imports while the first job is still being made.
    """
    count = min(len(os.sched_getaffinity(0)) - 1, MOST) if count is None else count
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _HELPER.format(preload=preload)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | path,
            start_new_session=True,  # Ctrl-C is for whom it helps
        )
        for _ in range(count)
    ]
    collected = gc.isenabled()
    gc.disable()  # results hold no cycles, and looking for some takes a twentieth of the time
    try:
        yield lambda jobs: _spread(processes, jobs)
    finally:
        if collected:
            gc.enable()
        for process in processes:
            process.kill()
            process.communicate()


def _spread(processes: Sequence[subprocess.Popen[bytes]], jobs: Sequence[Job]) -> list[Any]:
    waiting = iter(range(len(jobs)))
    interrupted = Event()
    results: dict[int, Any] = {}

    def take(do: Callable[[Job], Any]) -> None:
        for i in waiting:
            if interrupted.is_set():
                return
            results[i] = do(jobs[i])

    with ThreadPoolExecutor(max(1, len(processes))) as threads:
        asking = [threads.submit(take, partial(_ask, process, interrupted)) for process in processes]
        try:
            take(lambda job: job())
            for asked in asking:
                asked.result()
        except KeyboardInterrupt:  # nobody takes another job, and none is waited for
            interrupted.set()
            for process in processes:
                process.kill()
            raise
    return [results[i] for i in range(len(jobs))]


def _ask(process: subprocess.Popen[bytes], interrupted: Event, job: Job) -> Any:
    """The result of a job from a helper; done here where the helper is no more,
    or where it failed and the error must be seen."""
    assert process.stdin is not None and process.stdout is not None
    try:
        pickle.dump(job, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        return pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError):
        return None if interrupted.is_set() else job()


def serve(preload: str) -> None:
    """A helper's life: jobs from stdin, results to stdout, until stdin ends."""
    importlib.import_module(preload)
    gc.disable()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(Exception):  # also a job's: the caller does it again, and sees why
        while True:
            pickle.dump(pickle.load(sys.stdin.buffer)(), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
