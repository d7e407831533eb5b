"""The Docker arm: every option reaches the container, and the container ends with whoever owns it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import docker
import pytest
import requests
from given_arms import ORPHAN_MAKER, alive, eventually, lines_of, python

from actors.environments import EnvironmentError_
from actors.environments.docker.options import merge, options, parameters, shell_line
from actors.environments.docker.process import _epoch_ns
from actors.environments.docker.words import gone
from actors.environments.reap import reap
from actors.environments.registry import arm as arm_of
from actors.types import Environment, GpuAccess, Launch, Mount

QUIET = {"name": "d", "kind": "docker", "network": "none"}


def ours(client: docker.DockerClient, labels: dict[str, str]) -> list[str]:
    return [
        found["Id"] for found in client.api.containers(all=True, filters={"label": f"campaign.id={labels['campaign']}"})
    ]


@pytest.fixture
def created(labels, logs, session_home, local_image):
    """Creates attempts and closes them at the end."""
    processes = []

    def create(launch: Launch, **spec):
        arm = arm_of(Environment(**{**QUIET, **spec}), session_home)
        processes.append(arm.create(launch, labels, logs, local_image))
        return processes[-1]

    yield create
    for process in processes:
        process.close()


def test_an_attempt_runs_and_leaves_its_output_and_no_container(created, docker_engine, labels, logs):
    process = created(python("import sys; print('one'); print('two', file=sys.stderr); sys.exit(4)"))
    before_ns = time.monotonic_ns()
    exec_ns = process.start()
    assert before_ns < exec_ns < time.monotonic_ns()
    ended = process.wait(60)
    assert ended is not None and ended.code == 4 and not ended.oom_killed
    process.close()
    process.close()
    assert lines_of(logs / "stdout.log") == ["one"] and lines_of(logs / "stderr.log") == ["two"]
    assert ours(docker_engine, labels) == []


def test_while_it_runs_its_pid_cgroup_and_labels_can_be_had(created, docker_engine, labels):
    process = created(python("import time; time.sleep(600)"))
    process.start()
    assert process.wait(0.01) is None
    assert b"CAMPAIGN_ATTEMPT=" in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert process.cgroup is not None and process.command["container_id"] in process.cgroup
    found = docker_engine.containers.get(process.command["container_id"])
    assert {
        key: found.labels[f"campaign.{name}"]
        for key, name in (("campaign", "id"), ("run", "run"), ("attempt", "attempt"))
    } == labels
    assert process.stop(grace_s=0).code == -signal.SIGKILL
    assert process.stop().code == -signal.SIGKILL


def test_stop_lets_the_engine_finish(created, logs):
    process = created(
        python(
            "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('up', "
            "flush=True)\ntime.sleep(600)"
        )
    )
    process.start()
    assert eventually(lambda: b"up" in process._api.logs(process.command["container_id"]))
    assert process.stop(grace_s=30).code == 9


def test_stop_from_another_thread_ends_a_wait(created):
    process = created(python("import time; time.sleep(600)"))
    process.start()
    stopper = threading.Thread(target=process.stop, args=(0,))
    stopper.start()
    ended = process.wait(120)
    stopper.join()
    assert ended is not None and ended.code == -signal.SIGKILL


def test_a_container_that_was_removed_meanwhile_is_an_exit(created, docker_engine):
    process = created(python("import time; time.sleep(600)"))
    process.start()
    docker_engine.containers.get(process.command["container_id"]).remove(force=True)
    ended = process.wait(60)
    assert ended is not None and ended.code != 0
    process.close()


def test_memory_beyond_the_limit_is_told_as_such(created):
    process = created(python("x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1"), memory="64m")
    process.start()
    ended = process.wait(60)
    assert ended is not None and ended.oom_killed and ended.code == -signal.SIGKILL


def test_options_reach_the_container(created, docker_engine, tmp_path):
    (tmp_path / "x").write_text("mounted")
    program = """
import json, os, resource
print(json.dumps([os.getuid(), os.getgid(), resource.getrlimit(resource.RLIMIT_NOFILE), os.sched_getaffinity(0) == {0},
    os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize, open("/in/x").read(),
    os.environ["A"], os.getcwd(),
    os.listdir("/sys/class/net"), [l for l in open("/proc/self/status") if l.startswith("Seccomp:")][0].split()[1]]))
"""
    process = created(
        python(program).model_copy(update={"workdir": "/tmp"}),
        user="65534:65534", ulimits={"nofile": 512}, cpuset="0", shm_size="16m", ipc="private", seccomp="unconfined",
        mounts=(Mount(source=str(tmp_path), target="/in"),), variables={"A": "b c"},
    )  # fmt: skip
    tmp_path.chmod(0o755)
    process.start()
    ended = process.wait(60)
    log = process._api.logs(process.command["container_id"])
    assert ended is not None and ended.code == 0, log
    assert json.loads(log) == [65534, 65534, [512, 512], True, 16 << 20, "mounted", "b c", "/tmp", ["lo"], "0"]


def test_every_option_becomes_a_parameter_of_the_engine():
    spec = Environment(
        name="all", kind="docker", gpu=GpuAccess(by="toolkit"), ipc="host", ulimits={"memlock": -1, "stack": 67108864},
        shm_size="32g", network="host", cpuset="0-3,8", privileged=True, memory="100g", cgroup_parent="bench.slice",
        seccomp="unconfined", init=True, user="1000:1000",
    )  # fmt: skip
    given = merge(options(spec))
    request = given.pop("device_requests")[0]
    assert request["Count"] == -1 and request["Capabilities"] == [["gpu"]]
    limits = [(limit["Name"], limit["Soft"], limit["Hard"]) for limit in given.pop("ulimits")]
    assert limits == [("memlock", -1, -1), ("stack", 67108864, 67108864)]
    assert given == {
        "ipc_mode": "host", "shm_size": "32g", "network_mode": "host", "cpuset_cpus": "0-3,8", "privileged": True,
        "mem_limit": "100g", "cgroup_parent": "bench.slice", "security_opt": ["seccomp=unconfined"], "init": True,
        "user": "1000:1000",
    }  # fmt: skip
    assert options(Environment(name="none", kind="docker")) == {}


@pytest.mark.parametrize(
    ("gpu", "flags", "request_"),
    [
        (GpuAccess(by="toolkit"), ["--gpus", "all"], ("", -1, [])),
        (GpuAccess(by="toolkit", devices=("0", "1")), ["--gpus", '"device=0,1"'], ("", 0, ["0", "1"])),
        (GpuAccess(by="cdi"), ["--device=nvidia.com/gpu=all"], ("cdi", 0, ["nvidia.com/gpu=all"])),
        (GpuAccess(by="devices", devices=("/dev/nvidia0",)), ["--device=/dev/nvidia0:/dev/nvidia0:rwm"], None),
    ],
)  # fmt: skip
def test_a_gpu_is_reached_by_toolkit_by_cdi_or_by_hand(gpu, flags, request_, labels, tmp_path, local_image):
    spec = Environment(name="g", kind="docker", gpu=gpu)
    given = parameters(spec, python("pass"), labels, local_image, tmp_path)
    found = [(one["Driver"], one["Count"], one["DeviceIDs"]) for one in given.get("device_requests", ())]
    assert found == ([request_] if request_ else [])
    line = shlex.split(shell_line(given, "image", ()))
    start = line.index(flags[0])
    assert line[start : start + len(flags)] == flags


def test_what_the_engine_refuses_is_said_in_its_own_words(created, docker_engine, labels):
    with pytest.raises(EnvironmentError_, match="CPUs are not available"):
        created(python("pass"), cpuset="4000")
    process = created(Launch(argv=("no-such-program",)))
    with pytest.raises(EnvironmentError_, match="no-such-program"):
        process.start()
    process.close()
    assert ours(docker_engine, labels) == []


def test_one_that_was_never_started_leaves_nothing(created, docker_engine, labels):
    process = created(python("pass"))
    assert process.stop().code is None
    process.close()
    assert ours(docker_engine, labels) == []


def test_the_recorded_shell_line_makes_the_same_container(created, docker_engine, tmp_path):
    launch = Launch(
        argv=(
            *python("import os, sys; print(sys.argv[1:], os.environ['Q'], os.sched_getaffinity(0), os.getcwd())").argv,
            "a b",
            "$HOME",
        ),
        variables={"Q": "a 'b' \"c\""},
        mounts=(Mount(source=str(tmp_path), target="/in"),),
        workdir="/in",
    )  # fmt: skip
    process = created(launch, cpuset="0", ulimits={"nofile": 512}, shm_size="16m")
    process.start()
    assert process.wait(60) is not None
    answer = subprocess.run(
        ["sh", "-c", process.command["shell"]], check=True, capture_output=True, env=dict(os.environ)
    )
    assert answer.stdout == process._api.logs(process.command["container_id"])
    json.dumps(process.command)


@pytest.mark.parametrize("victim", ["actor", "engine", "reaper and actor"])
def test_kill_9_leaves_no_container(victim, owned, docker_engine, labels, logs, session_home):
    attempt = owned(QUIET)
    assert eventually(lambda: len(docker_engine.api.logs(attempt.container).splitlines()) == 2)
    assert ours(docker_engine, labels) == [attempt.container]
    if victim == "engine":
        os.kill(attempt.pid, signal.SIGKILL)
        assert eventually(lambda: docker_engine.api.inspect_container(attempt.container)["State"]["Status"] == "exited")
        attempt.actor.kill()
    elif victim == "actor":
        attempt.actor.kill()
    else:
        (reaper,) = alive(labels)
        os.kill(reaper, signal.SIGKILL)
        attempt.actor.kill()
        attempt.actor.wait()
        assert ours(docker_engine, labels) == [attempt.container]
        done = reap(session_home, labels["campaign"])
        assert attempt.container[:12] in done[0]
    assert eventually(lambda: ours(docker_engine, labels) == [])
    assert eventually(lambda: alive(labels) == [])
    assert eventually(lambda: not Path(f"/proc/{attempt.pid}").exists())


def test_time_of_day_of_the_engine_is_read_to_the_nanosecond():
    assert _epoch_ns("1970-01-02T00:00:01.000000042Z") == 86401 * 10**9 + 42
    assert _epoch_ns("2026-01-31T12:00:00.5Z") % 10**9 == 500_000_000
    assert _epoch_ns("2026-01-31T12:00:00Z") % 10**9 == 0


def test_a_container_with_its_own_children_ends_whole(created, labels):
    process = created(python(ORPHAN_MAKER))
    process.start()
    assert eventually(lambda: len(process._api.logs(process.command["container_id"]).splitlines()) == 2)
    marked = f"CAMPAIGN_ATTEMPT={labels['campaign']}/".encode()
    all_marked = [path for path in Path("/proc").glob("[0-9]*") if marked in _environ(path)]
    known = [path for path in all_marked if int(path.name) not in alive(labels)]  # but the reaper
    assert len(known) == 2
    process.stop(grace_s=0)
    assert eventually(lambda: not any(path.exists() for path in known))


def _environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("error", "is_gone"),
    [
        (requests.ConnectionError("Connection aborted."), True),
        (
            docker.errors.APIError(
                "connection error: dial unix /run/containerd/containerd.sock: connection refused: unavailable"
            ),
            True,
        ),
        (docker.errors.APIError("ttrpc: closed: unknown"), True),
        (docker.errors.APIError("transport is closing"), True),
        (docker.errors.APIError("OCI runtime create failed: exec: python3: not found"), False),
        (docker.errors.ImageNotFound("No such image"), False),
    ],
)
def test_an_engine_or_a_containerd_that_has_gone_is_told_from_a_refusal(error, is_gone):
    """A containerd that was killed cost a run for good."""
    assert gone(error) is is_gone
