"""What an arm really sets, and what two arms do not have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.environments import EnvironmentError_, OptionRefused, describe, resolve
from actors.sensors.cpu import core_kinds
from actors.types import Environment, GpuAccess, ImageIdentity, Launch, Mount

IMAGE = ImageIdentity(
    reference="image:1", digest="sha256:1", variables={"PATH": "/opt/bin", "LIB": "/opt/lib"}, user="7:8"
)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_cpu_list_reads_back_as_it_was_written(cpus):
    assert resolve.parse_cpus(resolve.format_cpus(tuple(cpus))) == tuple(sorted(cpus))


@pytest.mark.parametrize(("text", "cpus"), [("0", (0,)), ("0-2,7", (0, 1, 2, 7)), ("7, 0-1", (0, 1, 7)), ("5-5", (5,))])
def test_cpu_lists_are_read_as_the_kernel_reads_them(text, cpus):
    assert resolve.parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "1;2", "0-9:2"])
def test_what_is_no_cpu_list_is_refused_with_the_key(text):
    with pytest.raises(OptionRefused, match="no CPU list") as caught:
        resolve.parse_cpus(text)
    assert caught.value.option == "cpuset"


def test_names_of_core_kinds_are_resolved_on_this_machine():
    for kind in ("performance", "efficiency"):
        assert resolve.cpus(Environment(name="n", kind="docker", cpuset=kind)) == core_kinds()[kind]
    assert resolve.cpus(Environment(name="n", kind="docker")) is None


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\nbroken\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nusers:x:100:\nvideo:x:44:bob,ann\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0,), "/root"),
        ("ann", 1000, 100, (100, 44), "/home/ann"),
        ("1000", 1000, 100, (100, 44), "/home/ann"),
        ("ann:video", 1000, 44, (44,), "/home/ann"),
        ("1000:7", 1000, 7, (7,), "/home/ann"),
        ("4242", 4242, 0, (0,), "/"),
    ],
)
def test_users_are_resolved_as_docker_does(root, name, uid, gid, groups, home):
    assert resolve.user(name, root) == resolve.User(uid, gid, groups, home)


@pytest.mark.parametrize("name", ["bob", "ann:nogroup"])
def test_a_user_that_the_userland_does_not_know_is_refused(root, name):
    with pytest.raises(OptionRefused, match="use uid:gid"):
        resolve.user(name, root)


def test_the_arms_variables_win_over_the_engines_and_those_over_the_gpus():
    spec = Environment(
        name="n", kind="docker", variables={"A": "arm"}, gpu=GpuAccess(variables={"A": "g", "B": "g", "C": "g"})
    )
    own = resolve.own_variables(
        spec,
        Launch(argv=(), variables={"A": "e", "B": "e"}),
        {"campaign": "c", "run": "r", "attempt": "2"},
        in_container=True,
    )
    assert own == {"A": "arm", "B": "e", "C": "g", "CAMPAIGN_ATTEMPT": "c/r/2"}


def test_mounts_come_outermost_first_and_never_two_on_one_place(tmp_path):
    def mounts(*targets: str) -> tuple[str, ...]:
        launch = Launch(argv=(), mounts=tuple(Mount(source=str(tmp_path), target=target) for target in targets))
        return tuple(mount.target for mount in resolve.mounts(Environment(name="n", kind="docker"), launch))

    assert mounts("/a/b/c", "/a", "/a/b") == ("/a", "/a/b", "/a/b/c")
    for wrong in (("/a", "/a/"), ("a",), ("/",)):
        with pytest.raises(EnvironmentError_):
            mounts(*wrong)


def test_chroot_and_container_share_userland_variables_user_and_mounts(tmp_path):
    native, docker = Environment(name="a", kind="native-chroot"), Environment(name="b", kind="docker")
    launch = Launch(argv=("x",), variables={"V": "1"}, mounts=(Mount(source=str(tmp_path), target="/m"),))
    aspects = {row[0] for row in describe.difference(native, docker, launch, IMAGE)}
    assert not aspects & {"userland", "variables", "user", "mounts", "cpus", "rlimits", "workdir", "memory limit"}
    assert {
        "root filesystem",
        "pid namespace",
        "ipc namespace",
        "network",
        "cgroup",
        "seccomp",
        "capabilities",
    } <= aspects


def test_the_host_differs_in_its_userland_as_well():
    host, chroot = Environment(name="a", kind="native-host"), Environment(name="b", kind="native-chroot")
    rows = {aspect: (a, b) for aspect, a, b in describe.difference(host, chroot, None, IMAGE)}
    assert rows["userland"] == ("the host's", "image image:1")
    assert "LIB=/opt/lib" in rows["variables"][1] and "LIB=" not in rows["variables"][0]


@pytest.mark.parametrize(
    ("options", "aspect"),
    [
        ({"ipc": "host"}, "ipc namespace"), ({"shm_size": "32g"}, "/dev/shm"), ({"network": "host"}, "network"),
        ({"cpuset": "0"}, "cpus"), ({"privileged": True}, "capabilities"), ({"memory": "9g"}, "memory limit"),
        ({"cgroup_parent": "x.slice"}, "cgroup"), ({"seccomp": "unconfined"}, "seccomp"),
        ({"init": True}, "first process"),
        ({"ulimits": {"memlock": -1}}, "rlimits"), ({"user": "1:1"}, "user"), ({"variables": {"A": "1"}}, "variables"),
        ({"gpu": GpuAccess(by="cdi")}, "gpu"), ({"mounts": (Mount(source="/x", target="/y"),)}, "mounts"),
    ],
)  # fmt: skip
def test_every_option_of_an_arm_shows_in_the_difference(options, aspect):
    base, other = Environment(name="a", kind="docker"), Environment(name="b", kind="docker", **options)
    assert aspect in [row[0] for row in describe.difference(base, other)]
    assert describe.difference(other, other) == []
