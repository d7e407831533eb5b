"""Ray of a local campaign: on loopback alone, named units, and gone with its driver or by the next one."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign import cluster

PROJECT = Path(__file__).parents[2]
START = (
    "import os, time; from campaign import cluster; cluster.start(None); "
    "print('campaign', [(unit.name, unit.address) for unit in cluster.units()], flush=True); time.sleep(120)"
)


@pytest.fixture
def driver():
    """A process that has started Ray as a driver does, and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.first_line = process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    cluster.end_processes(cluster.temporary_folder().parent / str(process.pid))


def below(pid: int) -> set[int]:
    """``pid`` and its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_bytes().rpartition(b")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(pids: set[int]) -> list[tuple[str, int]]:
    """Address and port of every TCP socket on which one of ``pids`` listens."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            sockets |= {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                ip = ipaddress.ip_address(b"".join(words))
                found.append((str(getattr(ip, "ipv4_mapped", None) or ip), int(port, 16)))
    return found


def test_the_ray_of_a_driver_is_its_own_from_start_to_end(driver):
    folder = cluster.temporary_folder().parent / str(driver.pid)
    assert f"('{os.uname().nodename}', '127.0.0.1')" in driver.first_line, "the unit has the host's name"
    sockets = listening(below(driver.pid))
    assert sockets, "Ray listens nowhere: this test looks in the wrong place"
    assert [it for it in sockets if not ipaddress.ip_address(it[0]).is_loopback] == []

    cluster.reap()
    assert folder.is_dir(), "a living driver's Ray is left alone"
    assert driver.poll() is None

    driver.kill()
    _, complaints = driver.communicate()
    assert complaints == "", "Ray is quiet"
    cluster.reap()
    assert not folder.exists(), "what a killed driver left is removed by the next"
    assert cluster.end_processes(folder) == 0
