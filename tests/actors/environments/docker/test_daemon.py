"""A campaign finds a Docker engine, makes a private one where there is none, and removes that without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from actors import processes
from actors.environments import EngineMissing
from actors.environments.docker import daemon, install, mounts, running
from actors.environments.docker.userland import linked_libraries

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dockerd", path=install.search_path()) is None,
    reason="a private engine needs root and an installed dockerd",
)


@pytest.fixture
def bare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home on a machine where no engine answers; what a test starts there is removed."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("CAMPAIGN_NO_ENGINE_SETUP", raising=False)
    monkeypatch.setattr(daemon, "HOST_SOCKET", home / "no-such.sock")
    yield home
    daemon.remove(home)


def engine_processes(home: Path) -> list[list[str]]:
    """Command lines of whatever runs for the home's engine."""
    places = (str(daemon.engine_folder(home)), str(daemon.runtime_folder(home)))
    return [argv for _, argv in running.programs() if any(place in arg for arg in argv for place in places)]


def pid_of_dockerd(home: Path) -> int:
    return int((daemon.engine_folder(home) / "dockerd.pid").read_text())


def sleeping_container(client: docker.DockerClient, home: Path) -> int:
    """PID on the host of a process that only its container's end ends."""
    tar = home / "sleep.tar"
    with tarfile.open(tar, "w", dereference=True) as out:
        sleep = str(shutil.which("sleep"))
        for file in [sleep, *filter(None, linked_libraries([sleep])[sleep].values())]:
            out.add(file)
    client.api.import_image_from_file(str(tar), repository="sleep", tag="1")
    container = client.containers.run("sleep:1", [sleep, "1000"], network_mode="none", detach=True)
    container.reload()
    return int(container.attrs["State"]["Pid"])


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


# --- finding one ------------------------------------------------------------------------------------------------


def test_a_chosen_engine_that_does_not_answer_is_named_and_never_replaced(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{bare}/mine.sock")
    with pytest.raises(EngineMissing, match=r"DOCKER_HOST=unix://.*/mine.sock names it.*unset DOCKER_HOST"):
        daemon.ensure(bare)
    assert list(bare.iterdir()) == []


def test_a_dead_socket_is_told_from_a_missing_one(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dead = Path(os.environ.get("TMPDIR", "/tmp"), f"dead-{os.getpid()}.sock")
    code = f"import socket; socket.socket(socket.AF_UNIX).bind({str(dead)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    try:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{dead}")
        with pytest.raises(EngineMissing, match="no longer runs"):
            daemon.connect(bare)
    finally:
        dead.unlink()


def test_set_up_can_be_forbidden_and_the_message_says_what_to_install(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_NO_ENGINE_SETUP", "1")
    monkeypatch.setattr(shutil, "which", lambda tool, path=None: "/usr/bin/apt-get" if tool == "apt-get" else None)
    with pytest.raises(EngineMissing) as refusal:
        daemon.ensure(bare)
    assert "sudo apt-get install docker.io" in str(refusal.value)
    if os.geteuid() == 0:
        assert "CAMPAIGN_NO_ENGINE_SETUP is set" in str(refusal.value)
    assert list(bare.iterdir()) == []


def test_the_command_line_ends_with_its_own_code(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMPAIGN_NO_ENGINE_SETUP", "1")
    assert daemon.main(["ensure"]) == 4
    assert capsys.readouterr().err.startswith("No Docker engine answers.")


# --- a private one ------------------------------------------------------------------------------------------------


@needs_root
def test_a_private_engine_is_announced_in_one_line_used_again_and_removed_without_a_trace(bare: Path) -> None:
    said: list[str] = []
    first = daemon.ensure(bare, say=said.append)
    again = daemon.ensure(bare, say=said.append)
    assert len(said) == 1 and "make clean removes it" in said[0]
    assert (first.private, first.started) == (True, True)
    assert (again.private, again.started, again.host, again.network) == (True, False, first.host, first.network)
    assert daemon.connect(bare).ping()

    daemon.remove(bare)
    assert engine_processes(bare) == []
    assert mounts.mounts_below(bare) == []
    assert list(bare.iterdir()) == []
    with pytest.raises(EngineMissing):
        daemon.connect(bare)


@needs_root
def test_two_commands_at_once_set_up_one_engine(bare: Path) -> None:
    found: list[daemon.Found] = []
    threads = [threading.Thread(target=lambda: found.append(daemon.ensure(bare, say=lambda _: None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(f.started for f in found) == [False, False, True]
    assert len([argv for argv in engine_processes(bare) if Path(argv[0]).name == "dockerd"]) == 1


@needs_root
def test_the_engine_outlives_the_command_that_started_it(bare: Path) -> None:
    code = (
        "import time; from pathlib import Path; from actors.environments.docker import daemon; "
        "daemon.HOST_SOCKET = Path('/nonexistent'); daemon.main(['ensure']); print(flush=True); time.sleep(1000)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert command.stdout is not None
    command.stdout.readline()
    until((daemon.engine_folder(bare) / "engine.json").exists, "the command did not set the engine up")
    os.killpg(command.pid, signal.SIGKILL)
    command.communicate()
    assert daemon.connect(bare).ping()


@needs_root
def test_an_engine_killed_with_its_container_comes_back_and_the_container_is_gone(bare: Path) -> None:
    daemon.ensure(bare, say=lambda _: None)
    inside = sleeping_container(daemon.connect(bare), bare)
    killed = pid_of_dockerd(bare)
    os.kill(killed, signal.SIGKILL)
    until(lambda: not processes.runs(killed), "SIGKILL had no effect")

    found = daemon.ensure(bare, say=lambda _: None)
    assert found.started
    assert not processes.runs(inside)
    client = daemon.connect(bare)
    assert client.containers.list() == []
    assert client.images.get("sleep:1").tags == ["sleep:1"]


@needs_root
def test_remove_cleans_up_after_everything_was_killed(bare: Path) -> None:
    daemon.ensure(bare, say=lambda _: None)
    inside = sleeping_container(daemon.connect(bare), bare)
    assert mounts.mounts_below(bare) != []
    for pid, argv in list(running.programs()):
        if argv in engine_processes(bare):
            os.kill(pid, signal.SIGKILL)
    assert processes.runs(inside)

    daemon.remove(bare)
    assert not processes.runs(inside)
    assert engine_processes(bare) == []
    assert mounts.mounts_below(bare) == []
    assert not daemon.engine_folder(bare).exists()


@needs_root
def test_an_engine_whose_project_is_moved_goes_on_there_and_is_removed_from_there(bare: Path) -> None:
    daemon.ensure(bare, say=lambda _: None)
    inside = sleeping_container(daemon.connect(bare), bare)
    before = engine_processes(bare)
    moved, again, copy = bare.with_name("moved"), bare.with_name("again"), bare.with_name("copy")
    bare.rename(moved)
    with pytest.raises(EngineMissing, match="its folder was moved while it ran"):
        daemon.connect(moved)

    said: list[str] = []
    found = daemon.ensure(moved, say=said.append)
    assert found.started and "was moved with its Docker engine" in said[0]
    assert not processes.runs(inside) and not any(argv in before for _, argv in running.programs())
    client = daemon.connect(moved)
    assert client.images.get("sleep:1").tags == ["sleep:1"]
    inside = sleeping_container(client, moved)

    copied = copy / "engine" / "data" / "containers"
    shutil.copytree(daemon.engine_folder(moved) / "data" / "containers", copied, ignore=lambda *_: ["mounts"])
    running.end_leftovers(copy)
    assert processes.runs(inside), "a copy is not its original"

    moved.rename(again)
    daemon.remove(again)
    assert not processes.runs(inside)
    assert [engine_processes(home) for home in (bare, moved, again)] == [[], [], []]
    assert list(again.iterdir()) == [again / "sleep.tar"]
    assert not {daemon.bridge_name(daemon.engine_folder(home)) for home in (bare, moved, again)} & {
        name for _, name in socket.if_nameindex()
    }


@needs_root
def test_a_home_too_deep_for_a_socket_gets_one_elsewhere(bare: Path) -> None:
    deep = bare / ("long-" * 20)
    assert len(str(daemon.runtime_folder(deep))) < 40
    try:
        daemon.ensure(deep, say=lambda _: None)
        assert sleeping_container(daemon.connect(deep), deep) > 0
    finally:
        daemon.remove(deep)
    assert not daemon.runtime_folder(deep).exists()
    assert not daemon.engine_folder(deep).exists()


@needs_root
def test_the_engine_does_not_inherit_the_affinity_of_its_caller(bare: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        daemon.ensure(bare, say=lambda _: None)
    finally:
        os.sched_setaffinity(0, before)
    assert os.sched_getaffinity(pid_of_dockerd(bare)) == before


@needs_root
def test_it_has_a_bridge_of_its_own_and_takes_it_away_again(bare: Path) -> None:
    name = daemon.bridge_name(daemon.engine_folder(bare))
    assert daemon.ensure(bare, say=lambda _: None).network == name
    assert name in {name for _, name in socket.if_nameindex()}
    daemon.remove(bare)
    assert name not in {name for _, name in socket.if_nameindex()}


@needs_root
def test_a_neighbour_keeps_its_docker0(bare: Path) -> None:
    """In a network of its own, where ``docker0`` stands for another engine's."""
    code = (
        "import socket; from pathlib import Path; from actors.environments.docker import bridge, daemon; "
        "daemon.HOST_SOCKET = Path('/nonexistent'); bridge.make_bridge('docker0'); home = Path.cwd(); "
        "daemon.ensure(home, say=lambda _: None); daemon.remove(home); "
        "print(sorted(name for _, name in socket.if_nameindex()))"
    )
    alone = ["unshare", "--net", "--pid", "--fork", "--mount-proc"]
    variables = os.environ | {"PYTHONPATH": str(Path(daemon.__file__).parents[3])}
    told = subprocess.run(
        [*alone, sys.executable, "-c", code], cwd=bare, env=variables, capture_output=True, text=True, check=False
    )
    assert (told.stdout, told.stderr) == ("['docker0', 'lo']\n", "")


@needs_root
def test_an_engine_that_cannot_start_says_why_and_where_its_log_is(bare: Path) -> None:
    folder = daemon.engine_folder(bare)
    folder.mkdir()
    (folder / "in_the_way").write_text("no folder")
    (folder / "data").symlink_to("in_the_way")
    with pytest.raises(EngineMissing, match=r"(?s)could not be started:\n.*in_the_way.*dockerd\.log"):
        daemon.ensure(bare, say=lambda _: None)
    assert engine_processes(bare) == []


# --- clean ----------------------------------------------------------------------------------------------------------


@needs_root
def test_clean_never_deletes_through_a_mount_nor_what_is_not_the_projects(bare: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "weights").write_text("years of work")
    bound = bare / "rootfs" / "0123456789ab" / "dev with space"
    bound.mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, bound], check=True)
    (bare / "notes.txt").write_text("mine")

    told = daemon.clean(bare)
    assert (precious / "weights").read_text() == "years of work"
    assert [p.name for p in bare.iterdir()] == ["notes.txt"]
    assert "notes.txt" in told[-1]
    assert mounts.mounts_below(bare) == []


def test_clean_of_a_home_that_never_was_does_nothing(tmp_path: Path) -> None:
    assert daemon.clean(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
