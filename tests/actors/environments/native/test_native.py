"""Native arms: the same userland, the same process state as a container, and nothing left whoever is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from given_arms import ORPHAN_MAKER, alive, eventually, lines_of, python

from actors.environments import EnvironmentError_, OptionRefused
from actors.environments.docker.image import check_rootfs
from actors.environments.docker.mounts import mounts_below
from actors.environments.native.supervisor import inside
from actors.environments.registry import arm as arm_of
from actors.types import Environment, ImageIdentity, Launch, Mount

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
KINDS = [pytest.param("native-chroot", marks=needs_root), "native-host"]
SHOW = """
import json, os, resource, signal
print(json.dumps({"variables": dict(os.environ), "nice": os.nice(0), "cpus": sorted(os.sched_getaffinity(0)),
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "leader": os.getsid(0) == os.getpid(),
    "cwd": os.getcwd(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "oom": open("/proc/self/oom_score_adj").read().strip(),
    "ignored": open("/proc/self/status").read().split("SigIgn:")[1].split()[0]}))
"""


def run(spec: Environment, launch: Launch, labels: dict[str, str], logs: Path, home: Path, image: ImageIdentity | None):
    """Run to the end and return (exit, process)."""
    process = arm_of(spec, home).create(launch, labels, logs, image)
    try:
        process.start()
        return process.wait(60), process
    finally:
        process.close()


@pytest.mark.parametrize("kind", KINDS)
def test_output_is_kept_line_by_line_with_utc_times(kind, labels, logs, session_home, local_image):
    before = time.time()
    program = "import sys; print('one'); print('two'); print('three', file=sys.stderr); print('no newline', end='')"
    ended, _ = run(Environment(name="n", kind=kind), python(program), labels, logs, session_home, local_image)
    assert ended is not None and ended.code == 0
    assert lines_of(logs / "stdout.log") == ["one", "two", "no newline"]
    assert lines_of(logs / "stderr.log") == ["three"]
    stamp = (logs / "stdout.log").read_text().split(" ")[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp)
    assert stamp[:16] >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))


@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes_and_signals_are_reported_as_subprocess_does(kind, labels, logs, session_home, local_image):
    spec = Environment(name="n", kind=kind)
    ended, _ = run(spec, python("raise SystemExit(7)"), labels, logs, session_home, local_image)
    assert ended is not None and ended.code == 7
    program = "import os; os.kill(os.getpid(), 11)"
    ended, _ = run(spec, python(program), labels, logs, session_home, local_image)
    assert ended is not None and ended.code == -signal.SIGSEGV and not ended.oom_killed


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_inherits_nothing_of_the_harness(kind, labels, logs, session_home, local_image, monkeypatch):
    """Neither its variables, its niceness, its affinity nor the signals it ignores; a container would not either."""
    monkeypatch.setenv("SECRET_OF_THE_HARNESS", "1")
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    ignored = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        _, process = run(
            Environment(name="n", kind=kind, variables={"FROM_ARM": "a"}),
            Launch(argv=python(SHOW).argv, variables={"FROM_ENGINE": "e"}),
            labels, logs, session_home, local_image,
        )  # fmt: skip
    finally:
        os.sched_setaffinity(0, affinity)
        signal.signal(signal.SIGUSR1, ignored)
    seen = json.loads(lines_of(logs / "stdout.log")[0])
    assert seen["variables"] == process.command["variables"]
    assert "SECRET_OF_THE_HARNESS" not in seen["variables"]
    assert seen["variables"]["FROM_ARM"] == "a" and seen["variables"]["FROM_ENGINE"] == "e"
    assert seen["cpus"] == sorted(affinity)
    assert seen["nice"] == 0 and seen["oom"] == "0" and seen["leader"]
    assert int(seen["ignored"], 16) & 1 << (signal.SIGUSR1 - 1) == 0


@needs_root
def test_a_chroot_has_the_files_variables_and_limits_of_the_container(
    labels, logs, session_home, local_image, docker_engine
):
    program = SHOW + "print(sorted(os.listdir('/')))\nprint(sorted(os.listdir('/usr/lib')))"
    _, process = run(
        Environment(name="n", kind="native-chroot"), python(program), labels, logs, session_home, local_image
    )
    here, *files = lines_of(logs / "stdout.log")
    there, *their_files = (
        docker_engine.containers.run(
            local_image.digest, ["-I", "-S", "-c", program], entrypoint=["python3"], remove=True, network_mode="none"
        )
        .decode()
        .splitlines()
    )
    native, container = json.loads(here), json.loads(there)
    assert files == their_files
    for same in ("nofile", "core", "cpus", "uid", "gid", "nice", "oom", "cwd", "leader"):
        assert native[same] == container[same], same
    for variables in (native["variables"], container["variables"]):
        variables.pop("HOSTNAME")
    assert native["variables"].pop("CAMPAIGN_ATTEMPT").startswith(labels["campaign"])
    assert native["variables"] == container["variables"]
    assert process.command["notes"] == []


@needs_root
def test_writing_in_a_chroot_changes_neither_the_root_filesystem_nor_the_next_attempt(
    labels, logs, session_home, local_image, tmp_path
):
    output = tmp_path / "output"
    output.mkdir()
    program = """
import os
for folder in ("/tmp", "/var/tmp", "/run", "/root", "/dev/shm", "/campaign/output"):
    assert not os.path.exists(folder + "/left"), folder
    open(folder + "/left", "w").write("x")
try:
    open("/usr/left", "w")
except OSError as error:
    print(error.strerror)
"""
    launch = Launch(
        argv=python(program).argv,
        mounts=(Mount(source=str(output), target="/campaign/output", read_only=False),),
    )
    for _ in range(2):
        ended, _process = run(
            Environment(name="n", kind="native-chroot"), launch, labels, logs, session_home, local_image
        )
        assert ended is not None and ended.code == 0, (logs / "stderr.log").read_text()
        (output / "left").unlink()
    assert lines_of(logs / "stdout.log")[-1] == "Read-only file system"
    assert check_rootfs(local_image, deep=True) == []
    assert list((session_home / "scratch").iterdir()) == []


@needs_root
def test_mounts_of_a_chroot_are_seen_by_nobody_else(labels, logs, session_home, local_image, tmp_path):
    (tmp_path / "model.gguf").write_text("weights")
    launch = Launch(
        argv=python("print(open('/models/deep/model.gguf').read(), flush=True); import time; time.sleep(600)").argv,
        mounts=(Mount(source=str(tmp_path / "model.gguf"), target="/models/deep/model.gguf"),),
    )
    process = arm_of(Environment(name="n", kind="native-chroot"), session_home).create(
        launch, labels, logs, local_image
    )
    process.start()
    assert eventually(lambda: lines_of(logs / "stdout.log") == ["weights"])
    assert mounts_below(session_home) == []
    process.close()
    assert mounts_below(session_home) == []


@needs_root
def test_a_read_only_mount_cannot_be_written(labels, logs, session_home, local_image, tmp_path):
    launch = Launch(
        argv=python("open('/campaign/models/x', 'w')").argv,
        mounts=(Mount(source=str(tmp_path), target="/campaign/models"),),
    )
    ended, _ = run(Environment(name="n", kind="native-chroot"), launch, labels, logs, session_home, local_image)
    assert ended is not None and ended.code == 1
    assert "Read-only file system" in lines_of(logs / "stderr.log")[-1]


def test_on_the_host_targets_are_replaced_by_sources_where_they_stand_as_paths(labels, logs, session_home, tmp_path):
    (tmp_path / "in").mkdir()
    launch = Launch(
        argv=(*python("import os, sys; print(sys.argv[1:], os.environ['P'], os.getcwd())").argv,
              "--out=/data/x.json", "/data", "/database/x", "x/data", "/data:/data/y"),
        variables={"P": "/data/lib:/usr/lib"},
        mounts=(Mount(source=str(tmp_path / "in"), target="/data"),),
        workdir="/data",
    )  # fmt: skip
    run(Environment(name="n", kind="native-host"), launch, labels, logs, session_home, None)
    source = str(tmp_path / "in")
    expected = [f"--out={source}/x.json", source, "/database/x", "x/data", f"{source}:{source}/y"]
    assert lines_of(logs / "stdout.log") == [f"{expected} {source}/lib:/usr/lib {source}"]


@pytest.mark.parametrize("kind", KINDS)
def test_user_affinity_and_limits_are_those_asked_for(kind, labels, logs, session_home, local_image):
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    spec = Environment(name="n", kind=kind, user="65534:65534", cpuset="0", ulimits={"nofile": 512, "stack": 1 << 24})
    launch = Launch(argv=(*python(SHOW).argv,))
    ended, process = run(spec, launch, labels, logs, session_home, local_image)
    assert ended is not None
    if kind == "native-host" and ended.code != 0:
        pytest.skip("the interpreter of this host is not readable for other users")
    seen = json.loads(lines_of(logs / "stdout.log")[0])
    assert (seen["uid"], seen["gid"], seen["cpus"], seen["nofile"]) == (65534, 65534, [0], [512, 512])
    assert process.command["user"] == "65534:65534"


@pytest.mark.parametrize("kind", KINDS)
def test_when_the_engine_ends_everything_it_started_ends(kind, labels, logs, session_home, local_image):
    program = ORPHAN_MAKER.replace("time.sleep(600)\n", "sys.exit(3)\n", 2).replace(
        'print("grandchild", flush=True)\n        sys.exit(3)',
        'print("grandchild", flush=True)\n        time.sleep(600)',
    )
    ended, _ = run(Environment(name="n", kind=kind), python(program), labels, logs, session_home, local_image)
    assert ended is not None and ended.code == 3
    assert alive(labels) == []


@pytest.mark.parametrize("kind", KINDS)
def test_stop_lets_the_engine_finish_then_kills_what_does_not(kind, labels, logs, session_home, local_image):
    polite = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('up', flush=True)\ntime.sleep(600)"
    )
    deaf = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    for program, code in ((polite, 9), (deaf, -signal.SIGKILL)):
        (logs / "stdout.log").unlink(missing_ok=True)
        process = arm_of(Environment(name="n", kind=kind), session_home).create(
            python(program), labels, logs, local_image
        )
        process.start()
        assert eventually(lambda: lines_of(logs / "stdout.log") == ["up"])
        assert process.wait(0.01) is None
        assert process.stop(grace_s=20 if code == 9 else 0.2).code == code
        assert process.stop().code == code  # twice is harmless
        process.close()
        process.close()
        assert alive(labels) == []


def test_one_that_was_never_started_leaves_nothing(labels, logs, session_home):
    process = arm_of(Environment(name="n", kind="native-host"), session_home).create(
        python("print('never')"), labels, logs, None
    )
    process.close()
    assert lines_of(logs / "stdout.log") == []
    assert alive(labels) == []


def test_stopped_before_it_started_it_does_not_start(labels, logs, session_home):
    process = arm_of(Environment(name="n", kind="native-host"), session_home).create(
        python("print('never')"), labels, logs, None
    )
    process.stop()
    with pytest.raises(EnvironmentError_, match="before it started"):
        process.start()
    process.close()
    assert lines_of(logs / "stdout.log") == []


def test_stop_from_another_thread_ends_a_wait(labels, logs, session_home):
    process = arm_of(Environment(name="n", kind="native-host"), session_home).create(
        python("import time; time.sleep(600)"), labels, logs, None
    )
    process.start()
    stopper = threading.Thread(target=process.stop)
    stopper.start()
    ended = process.wait(120)
    stopper.join()
    process.close()
    assert ended is not None and ended.code == -signal.SIGTERM


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("victim", ["actor", "supervisor", "engine"])
def test_kill_9_of_any_leaves_no_process_and_no_mount(kind, victim, labels, logs, session_home, local_image, owned):
    attempt = owned({"name": "n", "kind": kind})
    assert eventually(lambda: sorted(lines_of(logs / "stdout.log")) == ["grandchild", "started"])
    assert len(alive(labels)) == 3, "supervisor, engine and its grandchild"
    if victim == "actor":
        attempt.actor.kill()
    else:
        os.kill(attempt.supervisor if victim == "supervisor" else attempt.pid, signal.SIGKILL)
    assert eventually(lambda: alive(labels) == [])
    assert mounts_below(session_home) == []


def test_a_killed_supervisor_is_an_exit_with_its_reason(labels, logs, session_home):
    process = arm_of(Environment(name="n", kind="native-host"), session_home).create(
        python(ORPHAN_MAKER), labels, logs, None
    )
    process.start()
    assert eventually(lambda: len(lines_of(logs / "stdout.log")) == 2)
    os.kill(process.supervisor_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    ended = process.wait(60)
    assert ended is not None and ended.code == -signal.SIGKILL and ended.detail == "the supervisor was killed"
    assert alive(labels) == []
    process.close()


@pytest.mark.parametrize(
    ("launch", "spec", "message"),
    [
        (Launch(argv=("no-such-program",)), {}, "no program 'no-such-program' in this userland"),
        (Launch(argv=("python3",), workdir="/no/such/folder"), {}, "working folder /no/such/folder"),
        (Launch(argv=("python3",), mounts=(Mount(source="/no/such", target="/x"),)), {},
         "/no/such, to be mounted on /x"),
        (Launch(argv=("python3",)), {"user": "nosuchuser"}, "no user 'nosuchuser'"),
        (Launch(argv=("python3",)), {"cpuset": "4000"}, "cpuset"),
        (Launch(argv=("python3",)), {"cpuset": "3-1"}, "no CPU list"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_the_gate(launch, spec, message, labels, logs, session_home):
    with pytest.raises(EnvironmentError_, match=re.escape(message)):
        arm_of(Environment(name="n", kind="native-host", **spec), session_home).create(launch, labels, logs, None)
    assert alive(labels) == []


def test_a_program_that_cannot_be_executed_fails_at_start(labels, logs, session_home, tmp_path):
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    process = arm_of(Environment(name="n", kind="native-host"), session_home).create(
        Launch(argv=(str(program),)), labels, logs, None
    )
    with pytest.raises(EnvironmentError_, match="No such file or directory"):
        process.start()
    process.close()


def test_a_chroot_without_a_root_filesystem_says_so(labels, logs, session_home):
    with pytest.raises(EnvironmentError_, match="root filesystem is exported"):
        arm_of(Environment(name="n", kind="native-chroot"), session_home).create(python("pass"), labels, logs, None)


@needs_root
def test_a_limit_that_cannot_be_had_names_its_key(labels, logs, session_home):
    """Without CAP_SYS_RESOURCE; with it the limit is simply there."""
    spec = Environment(name="n", kind="native-host", ulimits={"memlock": -1})
    launch = python("import resource; print(resource.getrlimit(resource.RLIMIT_MEMLOCK))")
    try:
        run(spec, launch, labels, logs, session_home, None)
    except OptionRefused as error:
        assert error.option == "ulimits.memlock" and "CAP_SYS_RESOURCE" in error.why
    else:
        assert lines_of(logs / "stdout.log") == ["(-1, -1)"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_recorded_shell_line_does_the_same(kind, labels, logs, session_home, local_image, tmp_path):
    output = tmp_path / "out put"
    output.mkdir()
    program = SHOW.replace("print(", "open('/campaign/output/seen', 'w').write(")
    launch = Launch(
        argv=python(program).argv,
        variables={"QUOTED": "a 'b' \"c\" $HOME"},
        mounts=(Mount(source=str(output), target="/campaign/output", read_only=False),),
        workdir="/campaign/output",
    )
    ended, process = run(Environment(name="n", kind=kind, cpuset="0"), launch, labels, logs, session_home, local_image)
    assert ended is not None and ended.code == 0
    first = json.loads((output / "seen").read_text())
    (output / "seen").unlink()
    subprocess.run(["sh", "-c", process.command["shell"]], check=True, env={"PATH": os.environ["PATH"], "NOISE": "1"})
    again = json.loads((output / "seen").read_text())
    for state in (first, again):
        for differs_by_shell in ("leader", "ignored", "oom", "groups"):
            state.pop(differs_by_shell)
    assert again == first


def test_links_in_a_chroot_lead_nowhere_outside(tmp_path):
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    (root / "up").symlink_to("../../../../usr")
    (root / "loop").symlink_to("loop")
    assert inside(str(root), "/lib/x/y") == f"{root}/usr/lib/x/y"
    assert inside(str(root), "/up/lib") == f"{root}/usr/lib"
    assert inside(str(root), "/../../etc") == f"{root}/etc"
    with pytest.raises(OSError, match="too many symbolic links"):
        inside(str(root), "/loop/x")


@pytest.mark.parametrize(
    "environment", [{"name": "n", "kind": "native-host"}, {"name": "d", "kind": "docker", "network": "none"}]
)
def test_whoever_watches_is_no_child_of_the_actor(environment, owned):
    """Ray kills the children of a worker that it ends, and then nobody would be left to clean up."""
    attempt = owned(environment)
    children = Path(f"/proc/{attempt.actor.pid}/task/{attempt.actor.pid}/children")
    states = [
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in children.read_text().split()
    ]
    assert set(states) <= {"Z"}, "at most a launcher that has ended and is not yet collected"
