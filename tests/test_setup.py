"""`make setup` says in one line what it lacks, and takes no interpreter that will not do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads, and nothing else."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    for name in (".ci/setup", ".ci/uv.txt", "uv.lock", "pyproject.toml", "Makefile"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


def setup(clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", ".ci/setup"],
        cwd=clone,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def old_python(folder: Path, version: str) -> Path:
    """An interpreter that calls itself another version."""
    script = folder / "python-old"
    real = shutil.which("python3")
    script.write_text(f'#!/bin/sh\nshift; shift\nexec {real} -c "import sys; sys.version_info = {version}\n$*"\n')
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("name", ["/bin/true-no-such-file", "cat", "old", "new"])
def test_an_interpreter_that_will_not_do_is_refused_by_name(clone: Path, tmp_path: Path, name: str) -> None:
    chosen = {"old": (3, 10, 9), "new": (3, 14, 0)}.get(name)
    path = str(old_python(tmp_path, str(chosen))) if chosen else name
    ended = setup(clone, PYTHON=path)
    assert ended.returncode == 1
    assert (
        ended.stderr == f"setup: PYTHON={path} is not a CPython 3.11, 3.12 or 3.13 (64 bit, no virtual environment)\n"
    )
    assert not (clone / ".venv").exists()


def test_an_environment_that_is_up_to_date_is_left_alone(clone: Path) -> None:
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to(str(shutil.which("python3")))
    inputs = b"".join((clone / name).read_bytes() for name in ("uv.lock", "pyproject.toml", ".ci/uv.txt", ".ci/setup"))
    total = subprocess.run(["cksum"], input=inputs, capture_output=True, check=True).stdout.decode().strip()
    (clone / ".venv/.campaign-setup").write_text(f"{total} {clone}\n")
    ended = setup(clone, PATH="/usr/bin:/bin", PYTHON="")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert not (clone / ".campaign").exists()


def test_make_alone_lists_what_there_is_and_does_nothing(clone: Path) -> None:
    ended = subprocess.run(["make"], cwd=clone, capture_output=True, text=True, check=True)
    for target in ("setup", "campaign", "test", "check", "bench", "report", "clean"):
        assert f"  make {target} " in ended.stdout
    assert not (clone / ".venv").exists()
    assert not (clone / ".campaign").exists()
