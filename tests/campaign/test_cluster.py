"""Ray of a local campaign: on loopback alone, for nobody else, named units,
and gone with its driver or by the next one."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from small_campaign import start as start_campaign

from actors.files import private
from campaign import cluster, ray_parts
from campaign.errors import EXIT_INTERRUPTED

PROJECT = Path(__file__).parents[2]
START = (
    "import json, os, ray, sys, time; from campaign import cluster; cluster.start(None); "
    "print(json.dumps({'units': [(unit.name, unit.address) for unit in cluster.units()], "
    "'gcs': ray.get_runtime_context().gcs_address}), flush=True); sys.stdin.readline(); cluster.stop()"
)
NOBODY = 65534
VISITOR = """
import os, sys, ray
from ray._raylet import GcsClient
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ |= {"HOME": "/nonexistent"}
try:
    print(GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=10).decode())
    ray.init(address=sys.argv[1], log_to_driver=False)
    print(ray.get(ray.remote(os.getuid).remote()))
except Exception as problem:
    print(type(problem).__name__)
"""
"""Another user of the machine, who knows the cluster's address: reads from it, joins it and has it run something."""


def started(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CAMPAIGN_HOME": str(home), "HOME": str(home.parent / "person")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def driver(home):
    """A process that has started Ray as a driver does, and what it says of it."""
    (home.parent / "person").mkdir()
    process = started(home)
    process.told = json.loads(process.stdout.readline())  # type: ignore[attr-defined]
    yield process
    process.kill()
    process.wait()
    cluster.reap()


def below(pid: int) -> set[int]:
    """``pid`` and its descendants."""
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.NoSuchProcess:
        return {pid}


def listening(pids: set[int]) -> list[tuple[str, int]]:
    """Address and port of every TCP socket on which one of ``pids`` listens."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for one in psutil.Process(pid).net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    ip = ipaddress.ip_address(one.laddr.ip)
                    found.append((str(getattr(ip, "ipv4_mapped", None) or ip), one.laddr.port))
    return found


def test_the_ray_of_a_driver_is_its_own_from_start_to_end(driver):
    (folder,) = cluster.folders()
    assert cluster.folders()[folder] == driver.pid
    assert driver.told["units"] == [["local", "127.0.0.1"]], "the unit is not named after the host"
    sockets = listening(below(driver.pid))
    assert sockets, "Ray listens nowhere: this test looks in the wrong place"
    assert [it for it in sockets if not ipaddress.ip_address(it[0]).is_loopback] == []

    cluster.reap()
    assert folder.is_dir(), "a living driver's Ray is left alone"
    assert driver.poll() is None

    driver.kill()
    _, complaints = driver.communicate()
    assert complaints == "", "Ray is quiet"
    real = folder.resolve()
    cluster.reap()
    assert not real.exists() and not folder.is_symlink(), "what a killed driver left is removed by the next"
    assert cluster.end_processes(real) == 0


def test_nobody_else_gets_into_a_campaigns_ray(driver):
    """The attack of a local user: join the cluster on loopback, and run something as the one who started it."""

    def visit(**token: str) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            [sys.executable, "-c", VISITOR, driver.told["gcs"]],
            env=environment | token, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        return done.stdout.split()

    (folder,) = (link.resolve() for link in cluster.folders())
    secret = (folder / "token").read_text()
    assert visit(RAY_AUTH_MODE="disabled") == ["AuthenticationError"]
    assert visit(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * len(secret)) == ["AuthenticationError"]
    came_in = visit(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secret)
    assert came_in[:1] == [cluster.SESSION], "with the token he is let in, or this test could not fail"

    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    script = f"import os; os.setgroups([]); os.setuid({NOBODY}); os.listdir({str(folder)!r})"
    peek = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PermissionError" in peek.stderr, "sockets, logs and token lie where nobody else may look"


def test_nothing_is_written_into_the_persons_home_or_where_anybody_writes(driver, home):
    driver.communicate("\n", timeout=60)
    assert driver.returncode == 0
    assert list((home.parent / "person").iterdir()) == []
    assert list(Path("/tmp").glob(f"ray/session_*_{driver.pid}")) == []
    assert list((home / "ray").iterdir()) == [], "the folder goes with its driver"


@pytest.fixture
def open_cluster(tmp_path):
    """A Ray that demands no token, as `ray start` makes one by default."""
    script = Path(__file__).parent / "run" / "ray_unit.py"
    folder = Path("/tmp") / f"open-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, str(script), "a", str(folder)],
        stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    yield process.stdout.readline().strip()
    for pid in below(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    cluster.end_processes(folder)
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_cluster_that_lets_everybody_in_is_refused(open_cluster, home):
    private.write(home / "secret", "s" * 40)
    done = subprocess.run(
        [sys.executable, "-c", f"from campaign import cluster; cluster.start({open_cluster!r})"],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "RAY_AUTH_TOKEN_PATH": str(home / "secret")},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "ClusterError" in done.stderr and "lets in whoever has no token" in done.stderr


def test_joining_a_cluster_without_a_token_is_refused_with_the_remedy(home):
    done = subprocess.run(
        [sys.executable, "-c", "from campaign import cluster; cluster.start('127.0.0.1:1')"],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(home)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "no token for the Ray cluster at 127.0.0.1:1" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH=FILE" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name)
def test_a_signal_while_ray_starts_ends_the_campaign_cleanly(number, finished, tmp_path, monkeypatch):
    person = tmp_path / "person"
    person.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("CAMPAIGN_HOME", str(finished.home))
    driver = start_campaign("run", finished.config, "--results", tmp_path, home=finished.home)
    while not any(pid == driver.pid for pid in cluster.folders().values()):
        assert driver.poll() is None
        time.sleep(0.01)
    ours = next(folder for folder, pid in cluster.folders().items() if pid == driver.pid).resolve()
    driver.send_signal(number)
    said, _ = driver.communicate(timeout=100)
    assert driver.returncode == EXIT_INTERRUPTED, said
    assert "The same command goes on" in said and "Traceback" not in said
    assert list(person.iterdir()) == []
    assert list(Path("/tmp").glob(f"ray/session_*_{driver.pid}")) == []
    assert not ours.exists() and cluster.end_processes(ours) == 0


SIGNALLED = """
import os, signal, sys, threading
from campaign import ray_parts
number, quiet = int(sys.argv.pop(1)), ray_parts.keep_quiet
def keep_quiet():
    quiet()
    from ray import _raylet
    make = _raylet.CoreWorker
    def interrupted(*words, **named):
        core = make(*words, **named)
        threading.Thread(target=os.kill, args=(os.getpid(), number)).start()  # to whichever thread it comes
        for _ in range(1_000_000):
            pass  # a handler runs between two of these
        return core
    _raylet.CoreWorker = interrupted
ray_parts.keep_quiet = keep_quiet
from campaign.__main__ import main
main()
"""
"""`campaign` that is sent a signal when Ray's core is made and its process does not know of it yet."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_ray_connects_is_heard_when_it_has(number, finished, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(int(number)), "run", finished.config, "--results", tmp_path],
        cwd=PROJECT, env=os.environ | {"CAMPAIGN_HOME": str(finished.home)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == EXIT_INTERRUPTED, said
    assert "stopped before anything was begun. The same command goes on.\n" in said
    assert "SIG" not in said and "Traceback" not in said and list(tmp_path.glob("*/journal*")) == []


@pytest.mark.parametrize("way", ["handled", "ignored"])
def test_signals_wait_until_the_end_of_what_may_not_be_broken_off(way):
    heard: list[int] = []
    before = signal.signal(
        signal.SIGHUP, signal.SIG_IGN if way == "ignored" else lambda number, _: heard.append(number)
    )
    try:
        set_before = signal.getsignal(signal.SIGHUP)
        with cluster._deferred((signal.SIGHUP,)):
            signal.raise_signal(signal.SIGHUP)
            assert heard == []
        assert heard == ([] if way == "ignored" else [signal.SIGHUP])
        assert signal.getsignal(signal.SIGHUP) is set_before
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("name", "says"), [("ray_listen_error_messages", False), ("sampler", True)])
def test_a_listener_whose_head_is_gone_prints_no_stack_and_any_other_thread_does(name, says, monkeypatch, capsys):
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    for _ in range(2):  # a driver may start twice
        ray_parts.keep_quiet()
    thread = threading.Thread(target=lambda: 1 / 0, name=name)
    thread.start()
    thread.join()
    assert ("ZeroDivisionError" in capsys.readouterr().err) is says


def test_a_folder_of_somebody_else_is_refused(home):
    (home / "ray").mkdir()
    os.chown(home / "ray", NOBODY, NOBODY)
    with pytest.raises(cluster.ClusterError, match=f"belongs to user {NOBODY}"):
        cluster._own_folder()


def test_a_link_in_the_place_of_our_folder_is_refused(home, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (home / "ray").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(cluster.ClusterError, match="is not a folder"):
        cluster._own_folder()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_no_driver_made_is_left_alone(home):
    for name in ("1x", "77", "77-1", "notes"):
        (home / "ray" / name).mkdir(parents=True)
    assert cluster.reap() == []
    assert len(list((home / "ray").iterdir())) == 4


def test_the_private_parts_of_ray_are_bound_to_the_locked_version():
    lock = tomllib.loads((PROJECT / "uv.lock").read_text())
    assert [it["version"] for it in lock["package"] if it["name"] == "ray"] == [ray_parts.TESTED]
    ray_parts.require()


def test_private_parts_of_ray_are_used_in_one_module_only():
    used = {
        path.name
        for folder in ("actors", "campaign", "tests", "benchmarks")
        for path in (PROJECT / folder).rglob("*.py")
        if path != Path(__file__) and re.search(r"ray\._(private|raylet|common)", path.read_text())
    }
    assert used == {"ray_parts.py"}


def test_a_ray_without_a_part_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(ray_parts.PARTS, "ray._private.node:Gone", "an example")
    with pytest.raises(ray_parts.PartMissing, match=r"no ray\._private\.node:Gone \(an example\).*make setup"):
        ray_parts.require()


def test_a_machine_that_is_too_busy_for_ray_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def never(*_: object, **__: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray_parts, "node", never)
    with pytest.raises(cluster.ClusterError, match=r"did not start, twice: .*timed out.*too busy.*same command"):
        cluster._patient_node(tmp_path, 1)
    assert len(tries) == 2


def test_a_head_that_is_gone_is_told_after_a_while_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for it a minute, and then ends the driver without a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = cluster._Head("127.0.0.1", server.getsockname()[1], time.monotonic())
        monkeypatch.setattr(cluster, "_head", head)
        assert cluster.require_head()
    assert not cluster.require_head(), "a moment's silence is none"
    head.answered -= cluster.HEAD_PATIENCE_S
    with pytest.raises(
        cluster.ClusterError, match=r"the head of the Ray cluster, 127\.0\.0\.1:\d+, is gone.*same command goes on"
    ):
        cluster.require_head()
