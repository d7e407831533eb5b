"""Both arms go through the image's entry point, and its share of the start-up is seen."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time

import pytest
from given_arms import SOURCED, eventually, lines_of, python
from hypothesis import given
from hypothesis import strategies as st

from actors.environments.docker import DOCKER
from actors.environments.docker.rlimits import _known_rlimits, container_rlimits, read_rlimits
from actors.environments.handover import NONE, Handover, is_engine
from actors.environments.preflight import refused
from actors.environments.registry import arm
from actors.types import Environment

KINDS = [
    "docker",
    pytest.param("native-chroot", marks=pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")),
]
SHOW = (
    "import ctypes, os; ctypes.CDLL('libonlyhere.so.1'); print(os.environ['LD_LIBRARY_PATH'], os.environ['FROM_ENTRY'])"
)


def environment(kind: str) -> Environment:
    return Environment(name="e", kind=kind, network="none" if kind == "docker" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_the_entry_points_shell_exports_reaches_the_engine(kind, labels, logs, session_home, entered):
    process = arm(environment(kind), session_home).create(python(SHOW), labels, logs, entered)
    process.start()
    ended = process.wait(60)
    process.close()
    assert ended is not None and ended.code == 0, (logs / "stderr.log").read_text()
    assert lines_of(logs / "stdout.log") == ["== banner ==", "/opt/only-here/lib a b"]
    assert process.command["entrypoint"] == ["/opt/only-here/entry.sh"]
    assert process.command["argv"] == list(python(SHOW).argv), "the engine's own, as before"


@pytest.mark.parametrize("kind", KINDS)
def test_the_recorded_shell_line_goes_through_it_too(kind, labels, logs, session_home, entered):
    process = arm(environment(kind), session_home).create(python(SHOW), labels, logs, entered)
    process.close()
    done = subprocess.run(["sh", "-c", process.command["shell"]], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["== banner ==", "/opt/only-here/lib a b"]


@pytest.mark.parametrize("kind", KINDS)
def test_its_time_is_seen_apart_from_the_engines(kind, labels, logs, session_home, entered):
    process = arm(environment(kind), session_home).create(python("import time; time.sleep(600)"), labels, logs, entered)
    assert process.entrypoint_s is None and "did not get that far" in process.entrypoint_unknown
    process.start()
    seen = eventually(lambda: process.entrypoint_s is not None)
    process.close()
    assert seen and process.entrypoint_s >= 0.25, "it sleeps for 0.3 s (the container's start is told late)"
    assert process.entrypoint_unknown == ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_one_is_started_as_it_is(kind, labels, logs, session_home, local_image):
    process = arm(environment(kind), session_home).create(python("print('plain')"), labels, logs, local_image)
    process.start()
    ended = process.wait(60)
    process.close()
    assert ended is not None and ended.code == 0 and lines_of(logs / "stdout.log") == ["plain"]
    assert process.command["entrypoint"] == []
    assert process.entrypoint_s is None and process.entrypoint_unknown == NONE


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_fails_is_the_attempts_failure(kind, labels, logs, session_home, local_image, built):
    failing = built('ENTRYPOINT ["sh", "-c", "echo no driver >&2; exit 3"]').model_copy(
        update={"rootfs": local_image.rootfs}
    )
    process = arm(environment(kind), session_home).create(python("print('never')"), labels, logs, failing)
    process.start()
    ended = process.wait(60)
    process.close()
    assert ended is not None and ended.code == 3
    assert lines_of(logs / "stderr.log") == ["no driver"] and lines_of(logs / "stdout.log") == []
    assert process.entrypoint_s is None and process.entrypoint_unknown


# --- who is the engine ----------------------------------------------------------------------------------------------

ARGV = ("trtllm-bench", "--model", "m", "throughput")


@pytest.mark.parametrize(
    ("line", "entrypoint", "engine"),
    [
        ("/bin/bash /opt/entry.sh trtllm-bench --model m throughput", ["/opt/entry.sh"], False),
        ("/bin/bash /opt/bin/entry.sh trtllm-bench --model m throughput", ["entry.sh"], False),
        ("/usr/bin/python3 /usr/local/bin/trtllm-bench --model m throughput", ["/opt/entry.sh"], True),
        ("/usr/bin/python3 -I /usr/local/bin/trtllm-bench --model m throughput", ["/opt/entry.sh"], True),
        ("trtllm-bench --model m throughput", ["/opt/entry.sh"], True),
        ("/usr/bin/tini -- trtllm-bench --model m throughput", ["/usr/bin/tini", "--"], False),
        ("/bin/bash /entry.sh trtllm-bench --model m throughput", ["/usr/bin/tini", "--", "/entry.sh"], False),
        ("/bin/bash /second.sh trtllm-bench --model m throughput", ["/first.sh"], False),
        ("/sbin/docker-init -- /entry.sh trtllm-bench --model m throughput", ["/entry.sh"], False),
        ("gosu user trtllm-bench --model m throughput", ["/entry.sh"], False),
        ("trtllm-bench --model other throughput", ["/entry.sh"], False),
        ("nvidia-smi", ["/entry.sh"], False),
        ("", ["/entry.sh"], False),
    ],
)
def test_the_engine_is_told_from_whoever_will_start_it(line, entrypoint, engine):
    assert is_engine(line.split(), entrypoint, ARGV) is engine


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3))
def test_an_entry_point_is_never_taken_for_the_engine(words, entrypoint):
    argv = ["engine", *words]
    assert not is_engine([*entrypoint, *argv], entrypoint, argv)
    assert is_engine(argv, entrypoint, argv) or len(entrypoint) < len(argv)


def test_an_engine_that_is_a_child_of_its_entry_point_is_seen():
    entrypoint = ("sh", "-c", 'sleep 0.2; "$@"; exit $?', "sh")
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    handover = Handover(entrypoint, argv)
    began = time.monotonic_ns()
    process = subprocess.Popen([*entrypoint, *argv], start_new_session=True)
    try:
        handover.watch(process.pid, began)
        assert eventually(lambda: handover.seconds is not None)
        assert handover.seconds >= 0.2
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_where_the_process_is_gone_it_says_so():
    handover = Handover(("entry",), ("engine",))
    handover.watch(2**22 - 1, 0)
    assert eventually(lambda: "before the engine was seen" in handover.unknown) and handover.seconds is None


# --- the trial and the limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_trial_goes_through_the_entry_point(kind, session_home, entered):
    assert refused(environment(kind), entered, session_home) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entrypoint", [["true"], ["sh", "-c"], ["sh", "-c", "exec sh"], ["python3", "-c", "exit(1)"]])
def test_an_entry_point_that_does_not_run_its_command_is_refused(kind, entrypoint, session_home, local_image, built):
    if kind == "docker":
        image = built(f"ENTRYPOINT {entrypoint}".replace("'", '"'))
    else:
        image = local_image.model_copy(update={"entrypoint": tuple(entrypoint)})
    found = refused(environment(kind), image, session_home)
    assert list(found) == ["environment"]
    assert "does not hand over" in found["environment"] and "ENTRYPOINT []" in found["environment"]
    assert shlex.join(entrypoint) in found["environment"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
def test_a_chroot_of_another_architecture_is_told_as_docker_would(session_home, local_image, tmp_path):
    """The kernel's answer to a program that it cannot run."""
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/sh").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "root/bin/sh").chmod(0o755)
    other = local_image.model_copy(update={"rootfs": str(tmp_path / "root")})
    (told,) = refused(environment("native-chroot"), other, session_home).values()
    assert "another processor architecture" in told and "linux/" in told.partition("\n")[2]


def test_limits_are_read_without_the_entry_point_and_by_what_the_image_has(session_home, local_image, built, entered):
    usual = container_rlimits(DOCKER.engine, local_image.digest, session_home)
    assert isinstance(usual, dict) and usual["nofile"][1] > 0
    bare = built('RUN ["rm", "/usr/bin/cat", "/usr/local/bin/python3", "/usr/local/bin/python"]')
    for image in (entered, bare):
        assert container_rlimits(DOCKER.engine, image.digest, session_home) == usual
        assert ("docker", image.digest) in _known_rlimits


def test_limits_that_nobody_can_read_have_a_reason_and_leave_nothing(session_home, built, docker_engine):
    empty = built('RUN ["rm", "/usr/bin/cat", "/usr/local/bin/python3", "/usr/local/bin/python", "/usr/bin/sh"]')
    told = container_rlimits(DOCKER.engine, empty.digest, session_home)
    assert isinstance(told, str) and "cat" in told
    assert docker_engine.api.containers(all=True, filters={"label": f"campaign.home={session_home}"}) == []
    assert refused(environment("docker"), empty, session_home) == {}, "the options were granted all the same"


def test_limits_are_read_as_the_kernel_writes_them():
    with open("/proc/self/limits") as file:  # noqa: PTH123
        told = read_rlimits("a banner\n" + file.read())
    import resource

    assert told["nofile"] == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert SOURCED and read_rlimits("") == {}
