"""Whatever is swapped for a link while root works in an engine's folder, root stays in it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.files import beneath, leavings, removal
from actors.files.beneath import Folder


@pytest.fixture(params=["openat2", "part by part"])
def lookup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of looking a path up; the second is for kernels and sandboxes without the first."""
    if request.param == "openat2" and not beneath._is_offered():
        pytest.skip("this kernel, or its sandbox, has no openat2")
    monkeypatch.setattr(beneath, "_by_kernel", request.param == "openat2")
    return request.param


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "a" / "b").mkdir(parents=True)
    (inside / "a" / "b" / "file").write_text("mine")
    (inside / "out").symlink_to(tmp_path / "outside")
    (inside / "a" / "up").symlink_to("..")
    (inside / "link").symlink_to("a/b/file")
    return inside


def test_a_path_that_stays_inside_is_read(tree: Path, lookup: str) -> None:
    with Folder(tree) as folder:
        assert folder.read("a/b/file", 100) == b"mine"
        assert [name for name, _ in folder.files()] == ["a/b/file"], "links are passed by"


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("out/file", {errno.ELOOP, errno.ENOTDIR}),
        ("link", {errno.ELOOP}),
        ("a/up/a/b/file", {errno.ELOOP, errno.ENOTDIR}),
        ("../outside/file", {errno.EXDEV}),
        ("/etc/passwd", {errno.EXDEV}),
    ],
)
def test_no_path_leads_out_and_no_link_is_followed(tree: Path, lookup: str, name: str, errors: set[int]) -> None:
    with Folder(tree) as folder, pytest.raises(OSError) as refused:
        folder.read(name, 100)
    assert refused.value.errno in errors


def test_what_is_no_regular_file_or_too_large_is_not_read(tree: Path, lookup: str) -> None:
    os.mkfifo(tree / "pipe")
    with Folder(tree) as folder:
        for name, most, number in (("pipe", 100, errno.EINVAL), ("a", 100, errno.EINVAL), ("a/b/file", 3, errno.EFBIG)):
            with pytest.raises(OSError) as refused:
                folder.read(name, most)
            assert refused.value.errno == number


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
real, link = (os.fsencode(path) for path in sys.argv[1:3])
print("swapping", flush=True)
while os.getppid() == int(sys.argv[3]):
    libc.renameat2(-100, real, -100, link, 2)
"""


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Path]:
    """A folder in which `d` is now a folder and now a link to somebody's secrets, in turn, by another process."""
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True)
    (victim / "secret").write_text("SECRET")
    (victim / "deep" / "secret").write_text("SECRET")
    output = tmp_path / "attempt" / "output"
    output.mkdir(parents=True)
    (output / "link").symlink_to(victim)
    with subprocess.Popen(
        [sys.executable, "-c", SWAP, output / "d", output / "link", str(os.getpid())], stdout=subprocess.PIPE
    ) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        yield output
        swapper.kill()
    assert (victim / "secret").read_text() == "SECRET"
    assert (victim / "deep" / "secret").read_text() == "SECRET"


def fill(output: Path) -> None:
    place = output / "new"
    (place / "deep").mkdir(parents=True)
    (place / "secret").write_text("harmless")
    (place / "deep" / "secret").write_text("harmless")
    if not os.path.lexists(output / "link"):
        (output / "link").symlink_to(output.parent.parent / "victim")
    place.rename(output / "d")


def test_a_folder_swapped_for_a_link_is_never_read_through(swapped: Path, lookup: str) -> None:
    fill(swapped)
    seen = {b"harmless": 0, None: 0}
    with Folder(swapped) as folder:
        for number in range(1000):
            try:
                seen[folder.read(("d/secret", "link/deep/secret")[number % 2], 100)] += 1
            except OSError as problem:
                assert problem.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENOENT}
                seen[None] += 1
    assert all(seen.values()), f"it was never swapped: {seen}"


def test_a_folder_swapped_for_a_link_is_removed_and_its_target_stays(swapped: Path) -> None:
    for _ in range(100):
        fill(swapped)
        removal.remove(swapped / "d")
        removal.remove(swapped / "link")
        assert list(swapped.iterdir()) == []


def kept(folder: Path) -> Iterator[bytes]:
    """What lies in files below it, whatever is swapped meanwhile."""
    with Folder(folder) as top:
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    yield top.read(str(Path(place, name).relative_to(folder)), 100)


def test_tidying_what_is_swapped_neither_cuts_nor_keeps_what_lies_outside(
    swapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leavings, "KEEP_BYTES", 3)  # everything goes
    monkeypatch.setattr(leavings, "CUT_BYTES", 1)
    for _ in range(50):
        fill(swapped)
        leavings.tidy(swapped.parent)
        assert not any(b"SECRET" in content for content in kept(swapped.parent))
        removal.remove(swapped / "d")
        removal.remove(swapped / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_a_sealed_folder_is_changed_by_no_other_user(tmp_path: Path) -> None:
    """A process of the engine's user that has survived, and holds the folder open, can swap nothing in it any more."""
    folder = tmp_path / "output"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    tmp_path.chmod(0o755)
    handle = os.open(folder, os.O_RDONLY)
    with Folder(tmp_path) as above:
        above.unlocked("output").close()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            os.symlink("/etc/passwd", "report.json", dir_fd=handle)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list(folder.iterdir()) == []
