"""The userland gathered from this machine runs by itself,
says the same digest every time and is never written to by use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import docker
import pytest

from actors.environments import EnvironmentError_
from actors.environments.docker import userland
from actors.environments.docker.rootfs import extract
from actors.types import ImageIdentity

IMPORTS = "import sys, xllamacpp, ssl, sqlite3, ctypes, hashlib, lzma, bz2, json, asyncio, multiprocessing, http.client"


def interpreters() -> list[str]:
    """Every CPython 3.11 to 3.13 of this machine that the project's set-up would take."""
    names = [sys.executable, "/usr/bin/python3", *(f"python3.{minor}" for minor in (11, 12, 13))]
    found = [shutil.which(name) for name in names]
    found += [str(path) for path in Path.home().glob(".pyenv/versions/3.1[123].*/bin/python3")]
    real: dict[str, None] = {}
    for path in filter(None, found):
        answer = subprocess.run(
            [path, "-c", "import sys; print(sys._base_executable, sys.version_info[:2])"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if answer.returncode == 0 and re.search(r"\(3, 1[123]\)", answer.stdout):
            real[os.path.realpath(answer.stdout.split()[0])] = None
    return list(real)


@pytest.fixture(scope="module")
def gathered() -> userland.Userland:
    return userland.gather(userland.interpreter())


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@pytest.mark.parametrize("executable", interpreters())
def test_the_engine_and_the_standard_library_work_in_it_whatever_interpreter_it_was_made_from(
    executable: str, tmp_path: Path
) -> None:
    python = userland.interpreter(executable)
    tar = tmp_path / "userland.tar"
    userland.write_tar(userland.gather(python), tar)
    root = tmp_path / "root"
    root.mkdir()
    with tar.open("rb") as content:
        list(extract(iter(lambda: content.read(1 << 20), b""), root))
    told = subprocess.run(
        [str(shutil.which("chroot")), root, "/usr/local/bin/python3", "-c",
         f"{IMPORTS}; print(sys.version.split()[0])"],
        capture_output=True, text=True, env={}, check=False,
    )  # fmt: skip
    assert (told.stdout, told.stderr) == (f"{python.version}\n", "")


def test_the_same_machine_gives_the_same_digest(gathered: userland.Userland) -> None:
    assert userland.gather(userland.interpreter()).digest == gathered.digest


def test_a_changed_file_gives_another_digest(gathered: userland.Userland) -> None:
    path = "/etc/passwd"
    changed = gathered.entries | {path: userland.Entry(0o644, data=b"root:x:0:0:root:/:/bin/sh\n")}
    assert userland._digest(changed, gathered.interpreter) != gathered.digest
    changed = gathered.entries | {path: userland.Entry(0o600, data=gathered.entries[path].data)}
    assert userland._digest(changed, gathered.interpreter) != gathered.digest


def test_nothing_in_it_tells_where_this_machine_keeps_things(gathered: userland.Userland) -> None:
    tops = {path.split("/")[1] for path in gathered.entries}
    assert tops <= {
        "bin",
        "campaign",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
    }
    assert [path for path in gathered.entries if path.startswith("/root/")] == []


def test_the_tar_is_sorted_timeless_and_owned_by_root(gathered: userland.Userland, tmp_path: Path) -> None:
    userland.write_tar(gathered, tmp_path / "u.tar")
    with tarfile.open(tmp_path / "u.tar") as tar:
        items = tar.getmembers()
    assert [item.name for item in items] == sorted(item.name for item in items)
    assert {(item.mtime, item.uid, item.gid) for item in items} == {(0, 0, 0)}
    assert sum(item.size for item in items) < 250 * 2**20
    assert not any("/site-packages/" in item.name or "/test/" in item.name for item in items)


def test_compiled_python_is_there_and_bears_no_time(gathered: userland.Userland, tmp_path: Path) -> None:
    """Flags 0b01 of PEP 552: by hash of the source, not checked. Else each container would compile anew."""
    userland.write_tar(gathered, tmp_path / "u.tar")
    with tarfile.open(tmp_path / "u.tar") as tar:
        names = set(tar.getnames())
        compiled = [name for name in names if name.endswith(".pyc")]
        flags = {int.from_bytes(tar.extractfile(name).read(8)[4:], "little") for name in compiled}
    sources = [name for name in names if name.endswith(".py")]
    assert flags == {0b01}
    assert len(compiled) > 0.98 * len(sources)  # templates that are no valid Python are not compiled


def test_running_the_engine_in_a_container_writes_no_file(
    docker_engine: docker.DockerClient, local_image: ImageIdentity
) -> None:
    container = docker_engine.containers.create(
        local_image.digest, ["python3", "-c", f"{IMPORTS}; print(xllamacpp.__version__)"], network_mode="none"
    )
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
        assert container.diff() in (None, [])
    finally:
        container.remove(force=True)


def test_what_the_loader_cannot_find_is_told_apart_from_what_it_finds(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    original = Path(os.path.realpath("/bin/sh")).read_bytes()
    assert b"libc.so.6\0" in original
    program.write_bytes(original.replace(b"libc.so.6\0", b"libq.so.9\0"))
    program.chmod(0o755)
    linked = userland.linked_libraries([str(program), "/bin/true"])
    assert linked[str(program)]["libq.so.9"] is None
    assert Path(str(linked["/bin/true"]["libc.so.6"])).exists()


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(EnvironmentError_, match=r"no-such-engine is not installed here; run: make setup"):
        userland.gather(userland.interpreter(), ("no-such-engine",))


def test_an_interpreter_that_does_not_run_is_named() -> None:
    with pytest.raises(EnvironmentError_, match="/nonexistent/python"):
        userland.interpreter("/nonexistent/python")
