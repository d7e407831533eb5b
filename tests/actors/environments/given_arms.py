"""An engine that is a few lines of Python, and the questions that tests ask of the machine after it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from actors.environments import ownership
from actors.environments.docker import image, userland
from actors.types import ImageIdentity, Launch

ORPHAN_MAKER = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("grandchild", flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
print("started", flush=True)
time.sleep(600)
"""
"""An engine with a daemonised grandchild, in a session of its own, that would outlive it."""

ACTOR = """
import json, sys, time
from pathlib import Path
from actors.environments.registry import arm
from actors.types import Environment, ImageIdentity, Launch
order = json.loads(sys.argv[1])
image = ImageIdentity.model_validate_json(json.dumps(order["image"])) if order["image"] else None
process = arm(Environment.model_validate(order["environment"]), Path(order["home"])).create(
    Launch(argv=tuple(order["argv"])), order["labels"], Path(order["logs"]), image)
process.start()
print(json.dumps({"pid": process.pid, "container": process.command.get("container_id"),
    "supervisor": getattr(process, "supervisor_pid", None)}), flush=True)
time.sleep(600)
"""
"""The process that owns an attempt, to be killed by the tests."""


def python(program: str) -> Launch:
    return Launch(argv=("python3", "-I", "-S", "-c", program))


def eventually(claim: Callable[[], bool], within_s: float = 30) -> bool:
    """Whether ``claim`` comes true; generous, since it only has to wait where it fails."""
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lines_of(log: Path) -> list[str]:
    """The lines of a log without their time stamps."""
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()] if log.exists() else []


def alive(labels: dict[str, str]) -> list[int]:
    return ownership.carrying("/".join((labels["campaign"], labels["run"], labels["attempt"])))


@pytest.fixture
def labels(request: pytest.FixtureRequest) -> dict[str, str]:
    """Unlike those of any other test, so that what is left of this one can be told."""
    return {"campaign": f"test-{os.getpid()}-{time.monotonic_ns()}", "run": request.node.name[:40], "attempt": "1"}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "attempt"
    folder.mkdir()
    return folder


class Owned:
    """An actor in a process of its own, with one attempt running."""

    def __init__(self, actor: subprocess.Popen[str], told: dict[str, object]) -> None:
        self.actor = actor
        self.pid = told["pid"]
        self.supervisor = told["supervisor"]
        self.container = told["container"]


@pytest.fixture
def owned(
    labels: dict[str, str], logs: Path, session_home: Path, local_image: ImageIdentity
) -> Iterator[Callable[[dict[str, object]], Owned]]:
    """Starts an actor whose attempt has an orphan-making engine, and waits until that runs."""
    actors = []

    def start(environment: dict[str, object]) -> Owned:
        order = {
            "environment": environment,
            "home": str(session_home),
            "image": local_image.model_dump(),
            "argv": python(ORPHAN_MAKER).argv,
            "labels": labels,
            "logs": str(logs),
        }
        actor = subprocess.Popen(
            [sys.executable, "-c", ACTOR, json.dumps(order)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        actors.append(actor)
        assert actor.stdout is not None
        return Owned(actor, json.loads(actor.stdout.readline()))

    yield start
    for actor in actors:
        actor.kill()
        actor.wait()
        if actor.stdout is not None:
            actor.stdout.close()


SOURCED = "export LD_LIBRARY_PATH=/opt/only-here/lib FROM_ENTRY='a b'\n"
ENTRY = '#!/bin/sh\n. /opt/only-here/exports\necho "== banner =="\nsleep 0.3\nexec "$@"\n'
"""An entry point as NVIDIA's images have it: what the engine's libraries need is
in a file that only its shell reads."""
Build = Callable[..., ImageIdentity]


@pytest.fixture(scope="session")
def built(docker_engine: docker.DockerClient, local_image: ImageIdentity) -> Iterator[Build]:
    """Images on top of the local one, by Dockerfile lines and files; removed at the end. Without a root filesystem."""
    made: dict[tuple[str, ...], ImageIdentity] = {}

    def build(*lines: str, **files: bytes) -> ImageIdentity:
        if lines not in made:
            context = io.BytesIO()
            with tarfile.open(fileobj=context, mode="w") as tar:
                recipe = "\n".join([f"FROM {local_image.reference}", *lines]).encode()
                for name, content in {"Dockerfile": recipe, **files}.items():
                    item = tarfile.TarInfo(name)
                    item.size, item.mode = len(content), 0o755
                    tar.addfile(item, io.BytesIO(content))
            context.seek(0)
            found, _ = docker_engine.images.build(fileobj=context, custom_context=True, rm=True, network_mode="none")
            made[lines] = image.identity(found, found.id)
        return made[lines]

    yield build
    for one in made.values():
        docker_engine.images.remove(one.digest, force=True)


@pytest.fixture(scope="session")
def entered(built: Build, docker_engine: docker.DockerClient, session_home: Path) -> ImageIdentity:
    """An image with an entry point, through which alone ``libonlyhere.so.1`` is found;
    exported where that is permitted."""
    shell = os.path.realpath("/bin/sh")
    library = userland.linked_libraries([shell])[shell]["libc.so.6"]
    assert library is not None
    identity = built(
        "COPY entry.sh exports /opt/only-here/",
        "COPY library /opt/only-here/lib/libonlyhere.so.1",
        'ENTRYPOINT ["/opt/only-here/entry.sh"]',
        **{"entry.sh": ENTRY.encode(), "exports": SOURCED.encode(), "library": Path(library).read_bytes()},
    )
    return image.export_rootfs(docker_engine, identity, session_home) if os.geteuid() == 0 else identity


def libcuda(mark: bytes) -> bytes:
    """A shared library with the SONAME libcuda.so.1: one of the C library's whose name is as long.
    ``mark`` makes it unlike others."""
    shell = os.path.realpath("/bin/sh")
    libc = userland.linked_libraries([shell])[shell]["libc.so.6"]
    assert libc is not None
    return Path(libc).with_name("libutil.so.1").read_bytes().replace(b"libutil.so.1", b"libcuda.so.1") + mark


LINKS = """
import os
os.makedirs("/usr/local/cuda-13.1/compat/")
os.symlink("cuda-13.1", "/usr/local/cuda")
os.rename("/compat", "/usr/local/cuda-13.1/compat/libcuda.so.590.48.01")
os.symlink("libcuda.so.590.48.01", "/usr/local/cuda-13.1/compat/libcuda.so.1")
open("/etc/ld.so.conf", "w").write("include /etc/ld.so.conf.d/*.conf")
"""


@pytest.fixture(scope="session")
def cuda_image(built: Build, docker_engine: docker.DockerClient, session_home: Path) -> ImageIdentity:
    """As NVIDIA's are: Ubuntu's ldconfig, which is a script around ldconfig.real, a linker cache, and a libcuda of its
    own for forward compatibility."""
    identity = built(
        "COPY ldconfig.real ldconfig /usr/bin/",
        "COPY driver.conf /etc/ld.so.conf.d/aarch64-linux-gnu.conf",
        "COPY compat /compat",
        f"RUN {json.dumps(['python3', '-c', LINKS])}",
        'RUN ["/sbin/ldconfig.real"]',
        **{
            "ldconfig.real": Path("/sbin/ldconfig").read_bytes(),
            "ldconfig": b'#!/bin/sh\nexec /sbin/ldconfig.real "$@"\n',
            "driver.conf": b"/usr/local/lib\n",
            "compat": libcuda(b"the image's"),
        },
    )
    return image.export_rootfs(docker_engine, identity, session_home) if os.geteuid() == 0 else identity
