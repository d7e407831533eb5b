"""What is told of processes in one place: of the living, the stopped, the ended and those that never were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from actors import processes

NOBODY = 2**22 + 1
"""Above the kernel's highest number for a process."""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys, time; print(flush=True); time.sleep(600)"
    started = subprocess.Popen(
        [sys.executable, "-c", code, "two words", ""], stdout=subprocess.PIPE, env={"A": "1", "MARK": "here"}
    )
    assert started.stdout is not None
    started.stdout.readline()
    yield started
    started.kill()
    started.wait()


def test_a_process_is_known_by_its_arguments_its_environment_and_its_parent(sleeper: subprocess.Popen[bytes]) -> None:
    pid = sleeper.pid
    assert pid in set(processes.pids()) and os.getpid() not in set(processes.pids())
    assert processes.arguments(pid)[-2:] == ["two words", ""]
    assert processes.command_line(pid).endswith("two words")
    assert {b"A=1", b"MARK=here"} <= set(processes.environment(pid))
    assert list(processes.ancestry(pid))[:2] == [pid, os.getpid()]
    assert pid in processes.children(os.getpid())
    assert processes.namespace(pid, "pid") == processes.namespace("self", "pid")


def test_a_program_without_arguments_in_a_folder_with_a_blank_is_one_word(tmp_path: Path) -> None:
    program = tmp_path / "my engines" / "engine"
    program.parent.mkdir()
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin is not None and started.stdout is not None
        started.stdin.write(b"\n")
        started.stdin.flush()
        started.stdout.read(1)  # it runs: until then the kernel may still have no command line of it
        assert processes.arguments(started.pid) == [str(program)]
        started.stdin.close()


def test_a_stopped_process_and_one_that_nobody_collected_are_told_apart(sleeper: subprocess.Popen[bytes]) -> None:
    os.kill(sleeper.pid, signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    began = processes.start_ticks(sleeper.pid)
    assert began is not None and processes.stands_still(sleeper.pid) and processes.runs(sleeper.pid)
    assert processes.kill(lambda: [sleeper.pid] if processes.runs(sleeper.pid) else []) == []
    assert processes.state(sleeper.pid) == psutil.STATUS_ZOMBIE and not processes.stands_still(sleeper.pid)
    assert processes.start_ticks(sleeper.pid) == began
    assert processes.arguments(sleeper.pid) == []


def test_a_variable_is_found_behind_one_that_the_program_has_overwritten() -> None:
    overwrite = (
        "import ctypes, time; of = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), 'environ')[0]; "
        "ctypes.memset(of, 0, len(ctypes.string_at(of))); print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", overwrite]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"A": "1", "MARK": "here"}) as started:
        assert started.stdout is not None
        started.stdout.readline()
        told = processes.environment(started.pid)
        started.kill()
    assert b"MARK=here" in told and b"A=1" not in told


def test_of_a_process_that_is_gone_nothing_is_told() -> None:
    assert processes.state(NOBODY) == "" and processes.start_ticks(NOBODY) is None
    assert not processes.runs(NOBODY) and not processes.stands_still(NOBODY)
    assert list(processes.ancestry(NOBODY)) == [NOBODY]
    assert processes.arguments(NOBODY) == []
    assert processes.children(NOBODY) == []
    assert processes.environment(NOBODY) == []
    assert list(processes.open_files(NOBODY)) == []
    assert (processes.command_line(NOBODY), processes.name(NOBODY), processes.cgroup(NOBODY)) == ("", "", "")
    assert processes.namespace(NOBODY, "pid") is None
