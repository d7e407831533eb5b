"""What must not change in silence, and what may move without being a change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import host
from actors.gpu import machine
from actors.gpu.machine import WHY, changes, machine_facts

GB10 = Path(__file__).parents[2] / "machines/gb10"
TWO = Path(__file__).parents[2] / "machines/h100-x2"


def test_a_gb10_tells_driver_memory_and_governors(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path, root=GB10)
    assert facts["gpu"] == "NVIDIA GB10"
    assert facts["nvidia_driver"] == "580.142"
    assert facts["memory_total"] == "121.69 GiB"
    assert facts["cpu_governor"] == "performance"
    assert "power_limit_w" not in facts, "what a GB10 does not tell is no fact"


def test_the_facts_are_those_of_the_chosen_gpu(tmp_path: Path) -> None:
    shutil.copytree(TWO, tmp_path / "m")
    table = (tmp_path / "m/nvml.json").read_text()
    assert "96.00.89.00.01" in table
    first, second = "GPU-aaaaaaaa-0000-0000-0000-000000000001", "GPU-bbbbbbbb-0000-0000-0000-000000000002"
    for uuid in (first, second):
        assert machine_facts(tmp_path, uuid, tmp_path / "m")["power_limit_w"] == "700"
    assert "gpu" not in machine_facts(tmp_path, None, tmp_path / "m"), "none is taken by chance"


def test_this_machine_names_its_kernel_and_nothing_that_identifies_it(home: Path) -> None:
    facts = machine_facts(home)
    assert facts["kernel"]
    assert set(facts) <= set(WHY), "each fact has a reason"
    private = {Path("/proc/sys/kernel/random/boot_id").read_text().strip(), Path("/proc/cmdline").read_text().strip()}
    for told in (facts, host.describe()):
        assert "hostname" not in told
        assert not private & set(map(str, told.values()))


def test_docker_is_asked_once_per_start_of_its_daemon(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from actors.environments.docker import daemon

    class Engine:
        def version(self) -> dict[str, object]:
            components = [{"Name": "containerd", "Version": "2.1"}, {"Name": "runc", "Version": "1.3"}]
            return {"Version": "29.1", "Components": components}

        def info(self) -> dict[str, object]:
            return {"Driver": "overlay2", "CgroupVersion": "2", "CgroupDriver": "systemd"}

        def close(self) -> None: ...

    asked: list[str] = []

    def ask(host_: str, timeout_s: float = 0.0) -> Engine:
        asked.append(host_)
        return Engine()

    socket = tmp_path / "docker.sock"
    socket.touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setattr(daemon, "ask", ask)
    for _ in range(3):
        facts = machine_facts(home)
    assert len(asked) == 1
    assert (facts["docker"], facts["containerd"], facts["runc"]) == ("29.1", "2.1", "1.3")
    assert (facts["docker_storage"], facts["docker_cgroup"]) == ("overlay2", "v2 systemd")
    socket.rename(tmp_path / "old")
    socket.touch()  # the daemon started anew
    machine_facts(home)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("then", "now", "moved"),
    [
        ("121.69 GiB", "121.66 GiB", False),  # a kernel's update
        ("119.70 GiB", "120.40 GiB", False),
        ("119.70 GiB", "121.69 GiB", True),  # the firmware of 2026
        ("121.69 GiB", "113.69 GiB", True),
        ("7.80 GiB", "7.00 GiB", False),
        ("503.80 GiB", "500.00 GiB", False),
    ],
)
def test_memory_may_move_by_what_a_kernel_moves(then: str, now: str, moved: bool) -> None:
    assert bool(changes({"memory_total": then}, {"memory_total": now})) == moved


def test_a_change_says_what_it_was_what_it_is_and_why_it_matters() -> None:
    (one,) = changes({"nvidia_driver": "580.95.05", "kernel": "6.11"}, {"nvidia_driver": "580.142", "kernel": "6.11"})
    assert (one.what, one.then, one.now) == ("nvidia_driver", "580.95.05", "580.142")
    assert str(one).startswith("nvidia driver was 580.95.05, is 580.142: kernels are compiled")


def test_what_one_of_both_does_not_tell_is_no_change() -> None:
    assert changes({"docker": "29.1"}, {}) == []
    assert changes({}, {"docker": "29.1"}) == []


@given(st.dictionaries(st.sampled_from(sorted(WHY)), st.text(min_size=1, max_size=8)))
def test_a_machine_does_not_differ_from_itself_and_every_other_value_is_told(facts: dict[str, str]) -> None:
    assert changes(facts, facts) == []
    other = {name: f"{value}x" for name, value in facts.items()}
    assert {one.what for one in changes(facts, other)} == set(facts)
    assert all(one.why_it_matters for one in changes(facts, other))


def test_every_fact_of_the_module_has_a_reason() -> None:
    assert all(WHY.values())
    assert machine.MEMORY_TOLERANCE_GIB == 1.0
