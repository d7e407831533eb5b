"""What root makes for a person through sudo is the person's, and what root keeps is found again."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from actors import account, host
from campaign.record.journal import Journal
from campaign.record.store import Store

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a file to another user")


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo leaves the variables when the user nobody says it."""
    for name, value in {"SUDO_UID": NOBODY.pw_uid, "SUDO_GID": NOBODY.pw_gid, "SUDO_USER": "nobody"}.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of the person's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    return folder


def owner(path: Path) -> int:
    return path.lstat().st_uid


@pytest.mark.parametrize("uid", [None, "", "0", "-1", "ann", "１"])
def test_nobody_said_sudo(uid: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    if uid is not None:
        monkeypatch.setenv("SUDO_UID", uid)
    assert account.person() is None


@pytest.mark.usefixtures("sudo")
def test_an_ordinary_user_acts_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account.person() is None


@needs_root
@pytest.mark.usefixtures("sudo")
def test_the_person_is_who_said_sudo() -> None:
    who = account.person()
    assert who is not None
    assert (who.uid, who.gid, who.name, who.home) == (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Path(NOBODY.pw_dir))
    assert NOBODY.pw_gid in who.groups


@needs_root
@pytest.mark.usefixtures("sudo")
def test_what_root_makes_in_their_folder_is_theirs_and_nothing_else(theirs: Path, tmp_path: Path) -> None:
    mine = tmp_path / "root's"
    mine.write_text("x")
    (theirs / "link").symlink_to(mine)
    account.folder(theirs / "a" / "b")
    account.give(theirs / "link", mine)
    assert owner(theirs / "a") == owner(theirs / "a" / "b") == owner(theirs / "link") == NOBODY.pw_uid
    assert owner(mine) == 0


@needs_root
def test_without_sudo_root_keeps_what_it_makes(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    account.folder(theirs / "a")
    assert (owner(theirs / "a"), account.hand_over(theirs)) == (0, 0)


@needs_root
@pytest.mark.usefixtures("sudo")
def test_a_tree_is_handed_over_from_the_top_and_only_what_is_new_where_so_asked(theirs: Path) -> None:
    (theirs / "a" / "b").mkdir(parents=True)
    (theirs / "a" / "b" / "c").write_text("x")
    later = (theirs / "a" / "b" / "c").stat().st_ctime_ns + 1
    assert account.hand_over(theirs, since_ns=later) == 0
    assert account.hand_over(theirs) == 3
    assert owner(theirs / "a" / "b" / "c") == NOBODY.pw_uid
    assert account.hand_over(theirs / "absent") == 0


@needs_root
@pytest.mark.usefixtures("sudo")
def test_the_record_of_a_campaign_is_theirs_from_the_moment_it_is_written(theirs: Path) -> None:
    """Not at the end: a driver that is killed has no end."""
    store = Store(theirs / "results" / "x")
    store.lock()
    store.write("campaign.json", b"{}")
    store.commit_attempt("run", 1, {"metadata.json": b"{}", "logs/stdout.log": b""})
    store.commit_telemetry("unit", "a.parquet", b"")
    Journal(store.journal_path).close()
    found = {str(path.relative_to(theirs)): owner(path) for path in theirs.rglob("*")}
    assert len(found) == 15
    assert set(found.values()) == {NOBODY.pw_uid}


# --- what stays root's -------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(account, "STATE", tmp_path / "state")
    return tmp_path / "state"


def checkout(folder: Path) -> Path:
    folder.mkdir()
    (folder / "uv.lock").touch()
    return folder


def test_a_moved_checkout_finds_what_was_kept_for_it(state: Path, tmp_path: Path) -> None:
    here = checkout(tmp_path / "here")
    kept = account.state(here)
    assert not state.exists()  # asking makes nothing
    account.claim(kept, here)
    there = here.rename(tmp_path / "there")
    assert account.state(there) == kept
    account.claim(kept, there)
    assert json.loads((kept / account.RECORD).read_text())["path"] == str(there)
    assert account.state(checkout(tmp_path / "here")) != kept  # another one, where the first lay


def test_a_copy_has_a_place_of_its_own_and_a_fresh_clone_takes_over(state: Path, tmp_path: Path) -> None:
    here = checkout(tmp_path / "here")
    kept = account.state(here)
    account.claim(kept, here)
    assert account.state(Path(shutil.copytree(here, tmp_path / "copy"))) != kept
    note = json.loads((kept / account.RECORD).read_text())
    (kept / account.RECORD).write_text(json.dumps(note | {"inode": note["inode"] + 1}))  # as after rm and git clone
    assert account.state(here) == kept


def test_a_damaged_note_of_another_checkout_is_passed_over(state: Path, tmp_path: Path) -> None:
    (state / "other").mkdir(parents=True)
    (state / "other" / account.RECORD).write_text("[]")
    assert account.state(checkout(tmp_path / "here")).parent == state


@needs_root
@pytest.mark.usefixtures("sudo")
def test_the_home_of_the_project_is_roots_where_the_checkout_is_theirs(
    state: Path, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAMPAIGN_HOME", raising=False)
    monkeypatch.setattr(host, "ROOT", theirs)
    assert host.home().parent == state
    monkeypatch.setattr(host, "ROOT", checkout(tmp_path / "root's"))
    assert host.home() == tmp_path / "root's" / ".campaign"
    monkeypatch.setenv("CAMPAIGN_HOME", str(tmp_path / "chosen"))
    assert host.home() == tmp_path / "chosen"


@needs_root
@pytest.mark.usefixtures("sudo")
def test_libraries_of_the_root_process_are_kept_out_of_the_persons_home(
    state: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(theirs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(theirs / "cache"))
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    kept = account.state(theirs)
    account.settle(kept, theirs)
    assert (os.environ["HOME"], os.environ.get("XDG_CACHE_HOME")) == (str(kept / "home"), None)
    assert os.environ["PYTHONPYCACHEPREFIX"] == sys.pycache_prefix == str(kept / "pycache")
    assert (kept / "home").stat().st_mode & 0o777 == 0o700
    assert owner(kept / "models") == NOBODY.pw_uid
    assert list(theirs.iterdir()) == []


# --- the person's own ----------------------------------------------------------------------------------------------


def test_the_token_is_the_variable_or_the_persons_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HOME", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(account, "person_home", lambda: tmp_path)
    assert account.token() is None
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    (tmp_path / ".cache/huggingface/token").write_text("hf_file\n")
    assert account.token() == "hf_file"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text("hf_home")
    assert account.token() == "hf_home"
    monkeypatch.setenv("HF_TOKEN", "hf_variable")
    assert account.token() == "hf_variable"


@needs_root
@pytest.mark.usefixtures("sudo")
def test_a_program_of_the_persons_runs_as_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/root/only")
    script = 'echo "$(id -u):$(id -g) $HOME $HF_TOKEN $USER [$PYTHONPYCACHEPREFIX]" >&2'
    ended = account.run_as_person(["/bin/sh", "-c", script])
    assert ended.stderr == f"{NOBODY.pw_uid}:{NOBODY.pw_gid} {NOBODY.pw_dir} hf_x nobody []\n"
