"""`sudo make campaign` of an ordinary user: a real campaign as root, and nothing of root's in the checkout or the home.

What sudo gives is simulated: root, SUDO_* variables, a cut-down PATH, everything else dropped; but HOME is kept, as
some machines' sudoers say, because then libraries would write into the person's home.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from small_campaign import PROJECT, write_config

from actors import account
from actors.environments.docker.mounts import mounts_below
from actors.types import Model
from campaign.preflight import prepare

NOBODY = pwd.getpwnam("nobody")
SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CODE = ("actors", "campaign", "configs", "sql")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sudo gives root, and these tests do not run as root")


def belonging_to(uid: int, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in [folder, *folder.rglob("*")] if path.lstat().st_uid == uid]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, with the home of a user in it."""
    with tempfile.TemporaryDirectory(prefix="campaign-sudo-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder, "home")
        home.mkdir()
        give(home)
        yield home


def give(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


@pytest.fixture
def checkout(place: Path) -> Iterator[Path]:
    """The user's checkout. What root keeps for it is removed at the end."""
    folder = place / "checkout"
    for name in CODE:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "uv.lock", folder)  # what tells a checkout from an installed wheel
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", "-C", folder, *words], check=True)
    give(folder)
    os.utime(folder / "actors/host.py", (1, 1))  # git would note that in its index: root would write it anew
    yield folder
    kept = account.state(folder)
    assert mounts_below(kept) == []
    shutil.rmtree(kept, ignore_errors=True)


def as_sudo(**more: str) -> dict[str, str]:
    who = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid), "SUDO_USER": NOBODY.pw_name}
    return {"PATH": SECURE_PATH, "LOGNAME": "root", "USER": "root", **who, **more}


@pytest.mark.usefixtures("docker_engine")
def test_a_campaign_through_sudo_leaves_nothing_of_roots_behind(
    docker_engine: docker.DockerClient, place: Path, checkout: Path
) -> None:
    config = write_config(checkout, repetitions=1)
    give(config)
    variables = as_sudo(HOME=str(place), PYTHONPATH=str(checkout), DOCKER_HOST=os.environ["DOCKER_HOST"])
    ended = subprocess.run(
        [sys.executable, "-m", "campaign", "run", config.name], cwd=checkout, env=variables,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    kept = account.state(checkout)
    assert (checkout / "results/small/report/index.html").is_file(), ended.stdout + ended.stderr
    assert belonging_to(0, place) == []  # the checkout lies in the home
    assert not (checkout / ".campaign").exists()
    assert any(kept.glob("rootfs/*/usr"))
    assert kept.stat().st_uid == 0
    assert (kept / "home").stat().st_mode & 0o777 == 0o700


def test_weights_are_fetched_as_the_person_with_their_token(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in as_sudo(HF_TOKEN="hf_x").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    log = place / "asked"
    (place / "hf").write_text(
        f'#!/bin/sh\necho "$(id -u) $HF_TOKEN" >{log}\nwhile [ "$1" != --local-dir ]; do shift; done\n'
        'echo "{}" >"$2/config.json"; : >"$2/model.safetensors"\n'
    )
    (place / "hf").chmod(0o755)
    kept = place.parent / "kept"  # root's, as below /var/lib/campaign
    kept.mkdir()
    kept.chmod(0o755)
    model = Model(name="closed", engines=("trtllm",), huggingface_id="example/closed", gated=True)
    folder = prepare._weights(model, kept, True, lambda _: None)
    assert log.read_text() == f"{NOBODY.pw_uid} hf_x\n"
    assert set(belonging_to(NOBODY.pw_uid, folder)) == {".", "config.json", "model.safetensors"}


@pytest.fixture
def clone(place: Path) -> Path:
    folder = place / "clone"
    (folder / ".ci").mkdir(parents=True)
    for name in (".ci/setup", ".ci/uv.txt", "uv.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    give(folder)
    return folder


def asked_by(clone: Path, **variables: str) -> tuple[str, str]:
    """User and PATH under which set-up asks an interpreter, which then will not do."""
    python = clone / "python"
    python.write_text('#!/bin/sh\nid -u >"$0.uid"; echo "$PATH" >"$0.path"; exit 1\n')
    python.chmod(0o755)
    ended = subprocess.run(
        ["sh", ".ci/setup"], cwd=clone, env=as_sudo(PYTHON=str(python), **variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, "is not a CPython" in ended.stderr) == (1, True)
    return (clone / "python.uid").read_text().strip(), (clone / "python.path").read_text().strip()


def test_the_environment_is_made_as_the_person_where_the_checkout_is_theirs(clone: Path) -> None:
    (clone / ".venv").mkdir()  # of a time when root made it
    uid, path = asked_by(clone)
    assert uid == str(NOBODY.pw_uid)
    assert path == f"{NOBODY.pw_dir}/.local/bin:{NOBODY.pw_dir}/.cargo/bin:{SECURE_PATH}"
    (clone / "python").unlink()
    assert belonging_to(0, clone) == []


def test_the_environment_of_roots_own_checkout_is_made_as_root(clone: Path) -> None:
    os.chown(clone, 0, 0)
    assert asked_by(clone) == ("0", SECURE_PATH)


def test_cleaning_what_is_roots_is_refused_to_the_ordinary_user_and_touches_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors.environments import EngineMissing
    from actors.environments.docker import daemon

    monkeypatch.delenv("CAMPAIGN_HOME", raising=False)
    kept = account.state(checkout)
    account.claim(kept, checkout)
    (checkout / ".campaign").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    with pytest.raises(EngineMissing, match="which is root's: sudo make clean\nNothing was removed"):
        daemon.clean_all(checkout / ".campaign", checkout)
    assert (checkout / ".campaign").is_dir()
    assert kept.is_dir()
