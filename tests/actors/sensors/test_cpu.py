"""Which cores are fast: told by the unit, never by a literal list."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sensors.cpu import core_kinds, cpu_list, topology

GB10 = Path(__file__).parents[2] / "machines/gb10"
FAST = (5, 6, 7, 8, 9, 15, 16, 17, 18, 19)
THRIFTY = (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)


def test_a_gb10_by_capacity() -> None:
    assert core_kinds(GB10) == {"performance": FAST, "efficiency": THRIFTY}


def test_a_gb10_by_part_number_where_the_kernel_tells_no_capacity(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    shutil.copy(GB10 / "proc/cpuinfo", tmp_path / "proc")
    assert core_kinds(tmp_path) == {"performance": FAST, "efficiency": THRIFTY}


def test_a_hybrid_intel(tmp_path: Path) -> None:
    for path, text in (
        ("devices/system/cpu/online", "0-5"),
        ("devices/cpu_core/cpus", "0-1"),
        ("devices/cpu_atom/cpus", "2-5"),
    ):
        (tmp_path / "sys" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / path).write_text(text)
    assert core_kinds(tmp_path) == {"performance": (0, 1), "efficiency": (2, 3, 4, 5)}


@pytest.mark.parametrize("capacities", [(1024, 1024), (1024, 980), ()])
def test_cores_of_one_kind_are_both(tmp_path: Path, capacities: tuple[int, ...]) -> None:
    base = tmp_path / "sys/devices/system/cpu"
    base.mkdir(parents=True)
    (base / "online").write_text("0-1\n")
    for cpu, capacity in enumerate(capacities):
        (base / f"cpu{cpu}").mkdir()
        (base / f"cpu{cpu}/cpu_capacity").write_text(f"{capacity}\n")
    assert core_kinds(tmp_path) == {"performance": (0, 1), "efficiency": (0, 1)}


def test_this_machine_has_cores_of_each_kind() -> None:
    kinds = core_kinds()
    assert set(kinds["performance"]) | set(kinds["efficiency"]) >= set(os.sched_getaffinity(0))


def test_topology_names_the_cores_and_their_clocks() -> None:
    facts = topology(GB10)
    assert facts["models"] == {"Cortex-A725": list(THRIFTY), "Cortex-X925": list(FAST)}
    assert facts["clock_limits_khz"]["scaling_max_freq"][5] == 3_900_000
    assert facts["threads_per_core"] == 1
    assert facts["numa_nodes"] == 1


@given(st.sets(st.integers(0, 511)))
def test_a_kernel_list_reads_back(cpus: set[int]) -> None:
    assert cpu_list(",".join(map(str, sorted(cpus)))) == tuple(sorted(cpus))


def test_ranges_and_blanks() -> None:
    assert cpu_list("0-2,10-11\n") == (0, 1, 2, 10, 11)
    assert cpu_list("\n") == ()
