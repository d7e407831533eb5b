"""Two campaigns never measure over each other, whoever starts them and wherever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.gpu.hold import Held, held, hold

PROJECT = Path(__file__).parents[3]
HOLDER = (
    "import sys, time; from actors.gpu.hold import hold; lock = hold(sys.argv[1]); print('held', flush=True); "
    "time.sleep(60)"
)


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a name, as another campaign would."""
    name = f"test-{os.getpid()}-{request.node.name}"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, name], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.held = name  # type: ignore[attr-defined]
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_held_name_is_refused_with_who_holds_it(other) -> None:
    with pytest.raises(Held, match=rf"is being measured by another campaign \(PID {other.pid} of \w+\).*same command"):
        hold(other.held, patience_s=0.3)


def test_a_killed_holder_leaves_nothing(other) -> None:
    os.kill(other.pid, signal.SIGKILL)
    hold(other.held, patience_s=10).close()


def test_names_are_apart(other) -> None:
    hold(f"{other.held}-b", patience_s=0).close()


def test_who_measures_is_told_as_long_as_they_live(other) -> None:
    assert held()[other.held].startswith(f"PID {other.pid} of ")
    other.kill()
    other.wait()
    assert other.held not in held()
