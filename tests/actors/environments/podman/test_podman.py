"""Podman behind Docker's interface is an arm like any other: rootful, and rootless as another user."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.environments import ContainerEngine, EngineMissing, describe
from actors.environments.docker import image, userland
from actors.environments.podman import PODMAN
from actors.environments.podman import service as podman
from actors.environments.preflight import refused
from actors.environments.reap import reap
from actors.environments.registry import arm, container_engine
from actors.types import Environment, Image, ImageIdentity, Launch, Mount

installed = pytest.mark.skipif(
    shutil.which("podman") is None or os.geteuid() != 0, reason="needs podman (apt-get install podman) and root"
)
SPEC = Environment(name="p", kind="podman", network="none", variables={"OF_ARM": "1"})
LABELS = {"campaign": "podman-test", "run": "r", "attempt": "1"}
NOBODY = 65534


def archive(folder: Path) -> Image:
    """A userland of a shell and what it links, as a tar: Podman takes seconds for a whole one."""
    file = folder / "shell.tar"
    programs = {f"usr/bin/{name}": Path(str(shutil.which(name))).resolve() for name in ("sh", "dd", "sleep")}
    linked = userland.linked_libraries([str(path) for path in programs.values()])
    loaders = (
        path for path in map(Path, ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")) if path.exists()
    )
    libraries = {Path(path) for needed in linked.values() for path in needed.values() if path} | set(loaders)
    with tarfile.open(file, "w") as tar:
        for name, path in (programs | {str(path).lstrip("/"): path for path in libraries}).items():
            data = path.resolve().read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return Image(source="archive", reference=str(file))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("podman-home")


def _image(engine: ContainerEngine, home: Path) -> ImageIdentity:
    return image.ensure(engine.connect(home), archive(home), home, engine=engine.name)


def _ran(home: Path, identity: ImageIdentity, folder: Path, command: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and what the command wrote to its mounted folder."""
    output = folder / "output"
    output.mkdir()
    output.chmod(0o777)
    launch = Launch(argv=("sh", "-c", command), mounts=(Mount(source=str(output), target="/out", read_only=False),))
    process = arm(SPEC, home).create(launch, LABELS, folder, identity)
    try:
        process.start()
        ended = process.wait(60)
    finally:
        process.close()
    assert ended is not None
    return ended.code, (folder / "stdout.log").read_text(), (output / "file").read_text()


@pytest.fixture(scope="module")
def rootful(home: Path) -> Iterator[ImageIdentity]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONTAINER_HOST", raising=False)
        patch.setattr(podman, "SYSTEM", home / "no-socket-of-systemd")
        identity = _image(PODMAN.engine, home)
        yield identity
        PODMAN.engine.connect(home).images.remove(identity.digest, force=True)


@installed
def test_a_container_runs_with_what_the_arm_says_and_leaves_nothing(
    rootful: ImageIdentity, home: Path, tmp_path: Path
) -> None:
    assert rootful.engine == "podman" and rootful.content_digest is not None
    assert refused(SPEC, rootful, home) == {}
    code, said, written = _ran(
        home, rootful, tmp_path, 'echo "$OF_ARM $CAMPAIGN_ATTEMPT"; echo written > /out/file; exit 3'
    )
    assert code == 3 and said.endswith("1 podman-test/r/1\n") and written == "written\n"
    left = PODMAN.engine.connect(home).containers.list(all=True, filters={"label": "campaign.id=podman-test"})
    assert left == []


@installed
def test_what_a_killed_actor_left_is_reaped(rootful: ImageIdentity, home: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from actors.environments.registry import arm; "
        "from actors.environments.docker import arm as docker; from actors.types import Environment, ImageIdentity, "
        "Launch; docker.start_reaper = lambda *_: None; "  # the reaper would be faster than the test
        "p = arm(Environment.model_validate_json(sys.argv[1]), Path(sys.argv[2])).create(Launch(argv=('sleep', "
        f"'600')), {LABELS!r}, Path(sys.argv[3]), ImageIdentity.model_validate_json(sys.argv[4])); p.start(); "
        "print('up', flush=True); sys.stdin.read()"
    )
    words = [SPEC.model_dump_json(), str(home), str(tmp_path), rootful.model_dump_json()]
    actor = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert actor.stdout is not None and actor.stdout.readline() == "up\n"
    actor.kill()
    actor.communicate()
    (line,) = [line for line in reap(home) if "podman-test r 1" in line]
    assert line.startswith("removed container")


@installed
def test_rootless_it_is_the_same_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("/tmp") / f"campaign-rootless-{os.getpid()}"
    (place / "run").mkdir(parents=True)
    for folder in (place, place / "run"):
        os.chown(folder, NOBODY, NOBODY)
    socket = place / "run" / "podman.sock"
    command = ["podman", "--cgroup-manager=cgroupfs", "system", "service", "--time=0", f"unix://{socket}"]
    variables = {**os.environ, "HOME": str(place), "XDG_RUNTIME_DIR": str(place / "run")}
    service = subprocess.Popen(
        command,
        env=variables,
        cwd=place,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        monkeypatch.setenv("CONTAINER_HOST", f"unix://{socket}")
        patience = time.monotonic() + 60
        while not socket.exists() and service.poll() is None and time.monotonic() < patience:
            time.sleep(0.05)
        tmp_path.chmod(0o755)
        for above in (tmp_path.parent, tmp_path.parent.parent):
            above.chmod(above.stat().st_mode | 0o111)
        identity = _image(PODMAN.engine, tmp_path)
        assert PODMAN.engine.connect(tmp_path).info()["Rootless"] is True
        code, said, written = _ran(tmp_path, identity, tmp_path, 'echo "$OF_ARM"; echo rootless > /out/file')
        assert (code, written) == (0, "rootless\n") and said.endswith("1\n")
        assert (tmp_path / "output" / "file").stat().st_uid == NOBODY
    finally:
        os.killpg(service.pid, signal.SIGTERM)  # in its user namespace it is a child of itself
        service.wait()
        shutil.rmtree(place, ignore_errors=True)


def test_a_socket_that_somebody_chose_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", "unix:///nonexistent/podman.sock")
    with pytest.raises(
        EngineMissing,
        match=r"unix:///nonexistent/podman.sock: there is no such socket\nStart it, or unset CONTAINER_HOST",
    ):
        PODMAN.engine.connect(tmp_path)


def test_it_differs_from_docker_in_who_starts_it_alone() -> None:
    docker = SPEC.model_copy(update={"name": "d", "kind": "docker"})
    assert [row[0] for row in describe.difference(SPEC, docker)] == ["started by"]


def test_a_chroot_takes_its_files_from_the_engine_that_runs_the_containers() -> None:
    chroot, docker = Environment(name="n", kind="native-chroot"), Environment(name="d", kind="docker")
    named = [container_engine(chroot, arms) for arms in ((chroot, SPEC), (chroot, docker, SPEC), (chroot,))]
    assert [engine.name if engine else None for engine in named] == ["podman", "docker", "docker"]
    assert container_engine(Environment(name="h", kind="native-host"), (SPEC,)) is None
