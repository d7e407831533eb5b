"""Memory and CPUs that this process may have, in both layouts of control groups, at any height."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from campaign.config.loading import load as load_campaign
from campaign.preflight import doctor
from campaign.preflight.doctor import limits

PROJECT = Path(__file__).parents[4]
SPARK = load_campaign(PROJECT / "configs/campaigns/spark.yaml")
GIB = 2**30


def machine(folder: Path, cgroup: str, files: dict[str, object]) -> Path:
    """A GB10 with this ``/proc/self/cgroup`` and these files below ``/sys/fs/cgroup``."""
    shutil.copytree(PROJECT / "tests/machines/gb10", folder / "m")
    (folder / "m/proc/self").mkdir()
    (folder / "m/proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        file = folder / "m/sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return folder / "m"


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/\n", {"memory.max": 32 * GIB}),  # a container with a namespace of its own
        ("0::/kubepods/podx/c1\n", {"kubepods/podx/c1/memory.max": "max", "kubepods/podx/memory.max": 32 * GIB}),
        (
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            {"user.slice/memory.high": 32 * GIB, "user.slice/user-1000.slice/session-3.scope/memory.max": "max"},
        ),
        ("0::/../../hidden\n", {"memory.max": 32 * GIB}),
        ("4:memory:/docker/abc\n0::/\n", {"memory/memory.limit_in_bytes": 32 * GIB}),  # version 1 in a container
        (
            "9:cpu,cpuacct:/x\n4:memory:/slurm/job\n",
            {
                "memory/memory.limit_in_bytes": 9223372036854771712,
                "memory/slurm/memory.limit_in_bytes": 32 * GIB,
                "memory/slurm/job/memory.limit_in_bytes": 9223372036854771712,
            },
        ),
        ("4:memory:/x\n0::/y\n", {"unified/y/memory.max": "max", "memory/x/memory.limit_in_bytes": 32 * GIB}),
    ],
)
def test_a_limit_is_found_in_either_layout_at_any_height(tmp_path: Path, cgroup: str, files: dict[str, object]) -> None:
    found = limits.memory(machine(tmp_path, cgroup, files))
    assert found is not None
    assert found.limit_bytes == 32 * GIB


def test_the_tightest_counts_by_what_it_leaves(tmp_path: Path) -> None:
    files = {
        "a/memory.max": 100 * GIB,
        "a/memory.current": 90 * GIB,
        "a/memory.stat": f"anon 1\ninactive_file {10 * GIB}",
        "a/b/memory.max": 40 * GIB,
        "a/b/memory.current": 1 * GIB,
    }
    found = limits.memory(machine(tmp_path, "0::/a/b\n", files))
    assert found is not None
    assert (found.limit_bytes, found.left_bytes, found.where) == (100 * GIB, 20 * GIB, "memory.max of /a")


def test_a_limit_of_the_process_itself_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {})
    (root / "proc/self/limits").write_text(
        f"Limit                     Soft Limit           Hard Limit           Units\n"
        f"Max address space         {16 * GIB}          unlimited            bytes\n"
    )
    found = limits.memory(root)
    assert found is not None
    assert (found.limit_bytes, found.where) == (16 * GIB, "`ulimit -v`")


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    assert limits.memory(machine(tmp_path, "0::/\n", {"memory.max": "max", "memory.high": "max"})) is None
    assert limits.memory(tmp_path / "nothing") is None


def memory(root: Path, home: Path, asked: object = SPARK) -> doctor.Check:
    (found,) = doctor.checks(home, asked, only=("memory",), root=root)  # type: ignore[arg-type]
    return found


def test_a_limit_below_the_model_fails_and_says_where_to_run(tmp_path: Path, home: Path) -> None:
    found = memory(machine(tmp_path, "0::/\n", {"memory.max": 32 * GIB}), home)
    assert found.status == "fail"
    assert "limits this process to 32.0 GiB" in found.found
    assert "attempts in Docker do not" in found.remedy


def test_a_limit_that_every_model_fits_in_still_makes_the_arms_differ(tmp_path: Path, home: Path) -> None:
    root = machine(tmp_path, "0::/\n", {"memory.max": 100 * GIB})
    found = memory(root, home)
    assert found.status == "warn"
    assert memory(root, home, None).status == "warn"


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path, home: Path) -> None:
    assert memory(machine(tmp_path, "0::/\n", {"memory.max": 500 * GIB}), home).status == "ok"


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/a\n", {"a/cpu.max": "400000 100000"}),
        ("3:cpu,cpuacct:/a\n", {"cpu,cpuacct/a/cpu.cfs_quota_us": 400000, "cpu,cpuacct/a/cpu.cfs_period_us": 100000}),
    ],
)
def test_a_quota_of_cpus_is_found(tmp_path: Path, home: Path, cgroup: str, files: dict[str, object]) -> None:
    root = machine(tmp_path, cgroup, files)
    (found,) = doctor.checks(home, SPARK, only=("cores",), root=root)
    assert found.status == "warn"
    assert found.found.startswith("4 CPUs are allowed by the quota of")


@pytest.mark.parametrize(
    ("name", "line"), [("earlyoom", ""), ("systemd-oomd", ""), ("python3", "/usr/bin/python3 /usr/bin/nohang")]
)
def test_what_kills_before_the_kernel_does_is_named(tmp_path: Path, home: Path, name: str, line: str) -> None:
    root = machine(tmp_path, "0::/\n", {})
    (root / "proc/812").mkdir()
    (root / "proc/812/comm").write_text(f"{name}\n")
    (root / "proc/812/cmdline").write_text(line.replace(" ", "\0"))
    (found,) = doctor.checks(home, SPARK, only=("memory killers",), root=root)
    assert found.status == "warn"
    assert "systemctl stop" in found.remedy
