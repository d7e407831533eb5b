"""Reading what an engine left, where it can do no harm: what is large is read by a process of its own,
with an end to its memory and its time.

A run that went well leaves little, and is read here. A report may also be a hundred megabytes of brackets, a log a line
of a gigabyte, and a regular expression may take hours over either: ``python -m actors.gpu.parsing`` dies of that, and
the attempt has it for its outcome.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from pydantic import BaseModel

from actors.engines import Program
from actors.engines.common.coherence import coherent
from actors.engines.registry import engine as engine_of
from actors.files.beneath import Folder
from actors.types import Attempt, Coherence, Report

HERE_BYTES = 2**20
"""Of an attempt's files in all, up to which they are read in this process."""
MEMORY_BYTES = 2**30
"""Of the other one."""
TIME_S = 3600.0
ANSWER_BYTES = 16 * 2**20
NO_MEMORY = f"reading it takes more than {MEMORY_BYTES >> 20} MiB of memory"
PROJECT = Path(__file__).parents[2]


class Unreadable(Exception):
    """The engine's parser raised, or did not end. The message is for the person."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace
        """Of the parser, where it raised."""


class Found(BaseModel):
    """What an attempt's files say."""

    report: Report
    sense: Coherence | None = None


class _Order(BaseModel):
    order: Attempt
    output: Path
    memory_bytes: int


class _Answer(BaseModel):
    found: Found | None = None
    raised: str = ""
    trace: str = ""


def read(order: Attempt, engine: Program, output: Path) -> Found:
    """Report of the attempt in ``output.parent``, and for an unmeasured one whether its answers make sense.
    Raises :class:`Unreadable`."""
    with Folder(output.parent) as folder:
        size = sum(size for _, size in folder.files())
    answer = _read(order, engine, output) if size <= HERE_BYTES else _read_apart(order, output)
    if answer.found is None:
        raise Unreadable(answer.raised, answer.trace)
    return answer.found


def _read(order: Attempt, engine: Program, output: Path) -> _Answer:
    try:
        report = engine.parse(output, order.model, order.workload, order.prepared)
        sense = sense_of(order, engine, output) if order.fills_caches and not report.failure else None
        return _Answer(found=Found(report=report, sense=sense))
    except MemoryError:
        return _Answer(raised=NO_MEMORY)
    except Exception as problem:
        return _Answer(raised=f"{type(problem).__name__}: {problem}", trace=traceback.format_exc())


def _read_apart(order: Attempt, output: Path) -> _Answer:
    with tempfile.TemporaryFile(dir=output.parent) as answered, tempfile.TemporaryFile(dir=output.parent) as said:
        asked = _Order(order=order, output=output.absolute(), memory_bytes=MEMORY_BYTES).model_dump_json()
        try:
            ended = subprocess.run(
                [sys.executable, "-m", __name__],
                input=asked.encode(),
                stdout=answered,
                stderr=said,
                cwd=PROJECT,
                timeout=TIME_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _Answer(raised=f"reading it did not end within {TIME_S:g} s")
        answered.seek(0)
        data = answered.read(ANSWER_BYTES + 1)
        if ended.returncode == 0 and 0 < len(data) <= ANSWER_BYTES:
            return _Answer.model_validate_json(data)
        said.seek(0)
        last = said.read(2**16).decode(errors="replace").strip().rpartition("\n")[2]
        why = f"a report of {len(data)} bytes" if len(data) > ANSWER_BYTES else f"exit code {ended.returncode}: {last}"
        if ended.returncode and (
            "MemoryError" in last or "out of memory" in last.lower() or ended.returncode == -signal.SIGABRT
        ):
            why = NO_MEMORY
        return _Answer(raised=why)


def sense_of(order: Attempt, engine: Program, output: Path) -> Coherence:
    """Whether the answers make sense; kernels for 4-bit weights are known to return garbage in silence."""
    if order.model.random_weights is not None:
        return Coherence(checked=False, why="random weights say nothing that makes sense")
    texts = engine.texts(output)
    if texts is None:
        return Coherence(checked=False, why=f"{order.engine} keeps no text of a {order.workload.kind} workload")
    return Coherence(checked=True, why=coherent(texts))


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody waits for the answer of a dead actor
    asked = _Order.model_validate_json(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_DATA, (asked.memory_bytes, asked.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _read(asked.order, engine_of(asked.order.engine), asked.output)
    sys.stdout.buffer.write(answer.model_dump_json().encode())


if __name__ == "__main__":
    main()
