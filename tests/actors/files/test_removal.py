"""A folder is removed whatever somebody left in it."""

import os
import subprocess
from pathlib import Path

import pytest

from actors.files.removal import remove


def nested(place: Path, depth: int) -> None:
    handle = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 40, dir_fd=handle)
        below = os.open("d" * 40, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def test_folders_deeper_than_recursion_and_paths_reach(tmp_path, request):
    place = tmp_path / "deep"
    place.mkdir()
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", place], check=True))  # pytest could not
    nested(place, 1500)
    remove(place)
    assert not place.exists()


def test_odd_names_links_fifos_and_folders_without_rights(tmp_path):
    place, outside = tmp_path / "odd", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (place / "locked" / "inner").mkdir(parents=True)
    (place / "two\nlines").mkdir()
    (place / ".removing-1").mkdir()
    (place / os.fsdecode(b"\xff\xfe")).mkdir()
    os.mkfifo(place / "pipe")
    (place / "link").symlink_to(outside)
    (place / "locked" / "link").symlink_to(outside / "precious")
    (place / "locked" / "inner").chmod(0)
    (place / "locked").chmod(0)
    remove(place)
    assert not os.path.lexists(place)
    assert (outside / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("/etc"), lambda path: None]
)
def test_what_is_no_folder_goes_too(tmp_path, make):
    make(tmp_path / "it")
    remove(tmp_path / "it")
    assert not os.path.lexists(tmp_path / "it")
    assert Path("/etc/passwd").exists()
