"""The attempt's processes and cgroup: real children of this test, and a described container of cgroup v2."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.sensors.process import ProcessSensor

GB10 = Path(__file__).parents[2] / "machines/gb10"
CONTAINER = f"system.slice/docker-{'8f' * 32}.scope"
PAGE = os.sysconf("SC_PAGE_SIZE")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def test_a_described_container_is_summed_over_its_tree_and_its_cgroup() -> None:
    sensor = ProcessSensor(GB10)
    assert sensor.probe() == {}
    sensor.watch(4242, f"/{CONTAINER}")
    row = sensor.read()
    assert sensor.pids == {4242, 4243}
    assert row["attempt_memory_gib"] == (131072 + 262144) * PAGE / 2**30
    # 300 + 100 own, 50 + 25 of children that ended; 600 + 100 of the worker, whose name holds ") ("
    assert row["attempt_cpu_s"] == 1175 / os.sysconf("SC_CLK_TCK")
    assert row["cgroup_memory_gib"] == pytest.approx(0.3994, abs=1e-4)
    assert row["cgroup_cpu_s"] == 12.5


def test_whose_a_process_is() -> None:
    sensor = ProcessSensor(GB10)
    sensor.watch(4242)
    assert sensor.owns(4243) is True, "a child"
    assert sensor.owns(5151) is False, "somebody else's"
    assert sensor.owns(4200) is False, "the shim above the container is not the attempt"
    assert sensor.owns(999999) is None, "this host cannot see it"
    sensor.watch(None, CONTAINER)
    assert sensor.owns(4243) is True, "same cgroup"


def test_nothing_is_read_while_there_is_no_attempt() -> None:
    sensor = ProcessSensor()
    sensor.probe()
    assert sensor.read() == {}


def test_a_cgroup_that_is_not_there_leaves_its_figures_out() -> None:
    sensor = ProcessSensor(GB10)
    sensor.probe()
    sensor.watch(4242, "system.slice/docker-gone.scope")
    assert set(sensor.read()) == {"attempt_memory_gib", "attempt_cpu_s"}


def test_a_host_without_cgroup_accounting_says_so(tmp_path: Path) -> None:
    unsupported = ProcessSensor(tmp_path).probe()
    assert set(unsupported) == {"cgroup_memory_gib", "cgroup_cpu_s"}


def test_cgroup_v1_has_a_file_in_each_hierarchy(tmp_path: Path) -> None:
    for hierarchy, name, value in (
        ("memory", "memory.usage_in_bytes", 2**30),
        ("cpu,cpuacct", "cpuacct.usage", 1_500_000_000),
    ):
        group = tmp_path / "sys/fs/cgroup" / hierarchy / "docker/abc"
        group.mkdir(parents=True)
        (group / name).write_text(f"{value}\n")
    sensor = ProcessSensor(tmp_path)
    assert sensor.probe() == {}
    sensor.watch(None, "docker/abc")
    assert sensor.read() == {"cgroup_memory_gib": 1.0, "cgroup_cpu_s": 1.5}


def test_a_real_tree_of_processes_is_found_and_its_end_noticed() -> None:
    child = "import time; held = bytearray(64 * 2**20); print('held', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        sensor = ProcessSensor()
        sensor.probe()
        sensor.watch(process.pid)
        row = sensor.read()
        memory_gib, cpu_s = row["attempt_memory_gib"], row["attempt_cpu_s"]
        assert len(sensor.pids) == 2
        assert isinstance(memory_gib, float) and memory_gib > 64 / 1024
        assert isinstance(cpu_s, float) and cpu_s > 0
    finally:
        os.killpg(process.pid, 9)
        process.communicate()
    until(lambda: "attempt_memory_gib" not in sensor.read())


def test_cpu_time_of_a_child_that_ended_is_kept() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdout.readline() == "done\n"
        sensor = ProcessSensor()
        sensor.probe()
        sensor.watch(process.pid)
        cpu_s = sensor.read()["attempt_cpu_s"]
        assert isinstance(cpu_s, float) and cpu_s >= 0.29
        assert sensor.pids == {process.pid}
        process.communicate("\n")
