"""What this host refuses is found out by trying, and named by its key in the configuration."""

from __future__ import annotations

import pytest

from actors.environments.preflight import notes, refused
from actors.types import Environment, GpuAccess


def docker(**options) -> Environment:
    return Environment(**{"name": "d", "kind": "docker", "network": "none", **options})


def test_an_arm_without_options_works(local_image, session_home):
    assert refused(docker(), local_image, session_home) == {}
    assert refused(Environment(name="n", kind="native-host"), local_image, session_home) == {}


def test_a_chroot_works_where_it_may(local_image, session_home):
    if local_image.rootfs is None:
        pytest.skip("a chroot needs root")
    assert refused(Environment(name="n", kind="native-chroot"), local_image, session_home) == {}


@pytest.mark.parametrize(
    ("options", "key", "word"),
    [
        ({"cpuset": "4000"}, "cpuset", "available"),
        ({"user": "nosuchuser"}, "user", "nosuchuser"),
        ({"shm_size": "lots"}, "shm_size", "lots"),
        ({"memory": "unlimited"}, "memory", "unlimited"),
        ({"gpu": GpuAccess(by="devices", devices=("/dev/no-such-gpu",))}, "gpu", "no-such-gpu"),
    ],
)
def test_a_refused_option_of_a_container_is_named_among_innocent_ones(options, key, word, local_image, session_home):
    innocent = {"ipc": "private", "seccomp": "unconfined", "ulimits": {"nofile": 512}}
    found = refused(docker(**innocent, **options), local_image, session_home)
    assert list(found) == [key] and word in found[key]


def test_an_image_that_is_not_there_is_no_options_fault(local_image, session_home):
    absent = local_image.model_copy(update={"digest": "sha256:" + "0" * 64})
    assert list(refused(docker(ipc="private"), absent, session_home)) == ["environment"]
    assert list(refused(docker(cpuset="4000"), None, session_home)) == ["environment"]


def test_the_trial_leaves_no_container(docker_engine, local_image, session_home):
    refused(docker(cpuset="4000"), local_image, session_home)
    assert docker_engine.api.containers(all=True, filters={"label": f"campaign.home={session_home}"}) == []


def test_all_that_is_refused_natively_is_named(local_image, session_home):
    spec = Environment(name="n", kind="native-host", cpuset="4000", user="nosuchuser")
    assert set(refused(spec, local_image, session_home)) == {"user", "cpuset"}
    spec = Environment(name="n", kind="native-host", cpuset="4000", ulimits={"nofile": 1 << 40})
    found = refused(spec, local_image, session_home)
    assert set(found) == {"cpuset", "ulimits.nofile"}, "nofile cannot exceed fs.nr_open for anyone"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (docker(ipc="host", shm_size="32g"), "shm_size: 32g is inert under ipc: host"),
        (docker(memory="unlimited"), "no limit is the default"),
        (docker(memory="64g"), "CUDA allocations are not charged"),
        (docker(cgroup_parent="/"), "systemd cgroup driver"),
        (docker(privileged=True, seccomp="unconfined"), "seccomp is implied by privileged"),
        (Environment(name="n", kind="native-chroot", ipc="host"), "ipc has no effect"),
    ],
)
def test_options_that_do_nothing_are_noted(spec, word):
    assert any(word in note for note in notes(spec)), notes(spec)


def test_options_that_do_what_they_say_are_not_noted():
    assert notes(docker(ipc="private", shm_size="32g", ulimits={"memlock": -1}, cgroup_parent="bench.slice")) == []


def test_a_cpu_list_that_mixes_core_kinds_is_noted(monkeypatch):
    """As on a GB10, whose performance cores are 5-9 and 15-19."""
    kinds = {"performance": (*range(5, 10), *range(15, 20)), "efficiency": (*range(5), *range(10, 15))}
    monkeypatch.setattr("actors.sensors.cpu.core_kinds", lambda *_: kinds)
    (note,) = notes(docker(cpuset="0-9"))
    assert "5 performance and 5 efficiency cores" in note and "5-9,15-19" in note
    assert notes(docker(cpuset="5-9,15-19")) == []
    assert notes(docker(cpuset="performance")) == []
