"""Who the person is where root acts for one: ``sudo make campaign`` measures as
root and leaves nothing of root's behind.

Root is needed for the chroot, the page cache and the owners of an image's files. Everything else is the person's, known
by what sudo says (``SUDO_UID``). One rule decides: what root makes in a folder of the person's is the person's
(:func:`give`). What must stay root's lies where root's things lie, below ``/var/lib/campaign``, a folder for each
checkout (:func:`state`). Standard library only: it is imported before anything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/campaign")
RECORD = "checkout.json"
"""In a checkout's state: its path and inode number."""
ROOTS = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
"""Variables that name folders of the person's, which libraries of a root process would write into."""


@dataclass(frozen=True)
class Person:
    """The ordinary user who said sudo."""

    uid: int
    gid: int
    name: str
    home: Path
    groups: tuple[int, ...]


def person() -> Person | None:
    """The one whom root acts for; None for an ordinary user, and for root on its own account."""
    uid = _number("SUDO_UID")
    if os.geteuid() != 0 or not uid:
        return None
    gid = _number("SUDO_GID")
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a number without a name, as in a container
        return Person(uid, uid if gid is None else gid, os.environ.get("SUDO_USER") or str(uid), Path("/"), ())
    gid = entry.pw_gid if gid is None else gid
    return Person(uid, gid, entry.pw_name, Path(entry.pw_dir), tuple(os.getgrouplist(entry.pw_name, gid)))


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else None


def owns(who: Person, folder: Path) -> bool:
    with suppress(OSError):
        return folder.stat().st_uid == who.uid
    return False


# --- what root makes ---------------------------------------------------------------------------------------------


def give(*paths: Path) -> None:
    """Hand each path to the person, where root has just made it in a folder of theirs."""
    who = person()
    for path in paths if who else ():
        assert who is not None
        if owns(who, path.parent):
            os.chown(path, who.uid, who.gid, follow_symlinks=False)


def folder(path: Path) -> Path:
    """``path`` with the folders above it, made where they are missing, each given as :func:`give` does."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        give(place)
    return path


def hand_over(root: Path, since_ns: int = 0) -> int:
    """The same for all that root owns at and below ``root`` and that changed after ``since_ns``; returns how many there
    were. Neither links are followed nor other file systems entered."""
    who = person()
    if who is None:
        return 0
    count = 0
    for path, found in _tree(root):
        if found.st_uid == 0 and found.st_ctime_ns >= since_ns and owns(who, path.parent):
            with suppress(OSError):
                os.chown(path, who.uid, who.gid, follow_symlinks=False)
                count += 1
    return count


def leave(checkout: Path, words: list[str], since_ns: int) -> None:
    """At the end of a command: hand over the results, what Python compiled before :func:`settle`, and what the command
    made at any path that its ``words`` name."""
    if person() is None:
        return
    compiled = [checkout / name / "__pycache__" for name in ("actors", "campaign", "campaign/cli")]
    compiled += (checkout / ".venv/lib").glob("python3.*/site-packages/__pycache__")
    for place in (Path("results"), *compiled):
        hand_over(place)
    for word in words:
        hand_over(Path(word.rpartition("=")[2]), since_ns)


def _tree(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything at and below ``root`` on its file system, folders before what they hold."""
    try:
        top = root.lstat()
    except OSError:
        return
    yield root, top
    pending = [root] if stat.S_ISDIR(top.st_mode) else []
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    yield Path(entry.path), found
                    if stat.S_ISDIR(found.st_mode) and found.st_dev == top.st_dev:
                        pending.append(Path(entry.path))


# --- what stays root's -------------------------------------------------------------------------------------------


def state(checkout: Path) -> Path:
    """Where root keeps what belongs to ``checkout``: known by the checkout's inode, so that it is found again after a
    move, and by its path, so that a fresh clone in the same place takes over. Touches nothing."""
    checkout, inode = checkout.absolute(), checkout.stat().st_ino
    records = {record.parent: _read(record) for record in sorted(STATE.glob(f"*/{RECORD}"))}
    same = [place for place, (path, number) in records.items() if number == inode and _moved(path, inode, checkout)]
    there = [place for place, (path, _) in records.items() if path == str(checkout)]
    if found := [*same, *there]:
        return found[0]
    for salt in range(100):
        digest = hashlib.sha256(f"{checkout}{salt or ''}".encode()).hexdigest()[:8]
        place = STATE / f"{checkout.name[:24]}-{digest}"
        if not (place / RECORD).exists():
            return place
    raise OSError(f"{STATE} has no free name for {checkout}")


def _read(record: Path) -> tuple[str, int]:
    try:
        found = json.loads(record.read_bytes())
        return str(found["path"]), int(found["inode"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _moved(path: str, inode: int, checkout: Path) -> bool:
    """Whether nothing with this inode lies at the recorded path any more, unless that is the checkout itself."""
    try:
        return path == str(checkout) or Path(path).stat().st_ino != inode
    except OSError:
        return True


def claim(place: Path, checkout: Path) -> None:
    """Make the state folder and note whose it is."""
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    note = {"path": str(checkout.absolute()), "inode": checkout.stat().st_ino}
    if _read(place / RECORD) != (note["path"], note["inode"]):
        partial = place / f".{RECORD}.{os.getpid()}"
        partial.write_text(json.dumps(note) + "\n")
        partial.replace(place / RECORD)


def settle(home: Path, checkout: Path) -> None:
    """Once, before anything else is imported: keep this root process and its children out of the person's folders.

    ``home`` is the project's. Their ``HOME`` becomes a folder in it (Ray's token, caches of libraries), what Python
    compiles goes there too, and the person's login at a registry stays known. Does nothing unless root acts for a
    person.
    """
    who = person()
    if who is None:
        return
    if home.parent == STATE:
        claim(home, checkout)
        models = home / "models"
        models.mkdir(exist_ok=True)
        os.chown(models, who.uid, who.gid)  # weights are fetched by the person, also by hand
    own = home / "home"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ROOTS:
        os.environ.pop(name, None)
    os.environ["HOME"] = str(own)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(home / "pycache")
    login = who.home / ".docker"
    if "DOCKER_CONFIG" not in os.environ and (login / "config.json").is_file():
        os.environ["DOCKER_CONFIG"] = str(login)


# --- the person's own ----------------------------------------------------------------------------------------------


def person_home() -> Path:
    """The home of the person, or of the user where nobody said sudo."""
    who = person()
    return who.home if who else Path(os.environ.get("HOME") or "/")


def search_path() -> str:
    """Where programs are: ``PATH``, which sudo cuts down, then this environment, then where the person's own lie."""
    own = (Path(sys.executable).parent, person_home() / ".local/bin")
    return os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), *map(str, own)])


def token_files() -> list[Path]:
    """Where the Hugging Face client keeps the person's token, in its own order."""
    named = [Path(os.environ["HF_TOKEN_PATH"])] if os.environ.get("HF_TOKEN_PATH") else []
    cache = [Path(os.environ["HF_HOME"], "token")] if os.environ.get("HF_HOME") else []
    return [*named, *cache, person_home() / ".cache/huggingface/token"]


def token() -> str | None:
    """The person's Hugging Face token: ``HF_TOKEN``, else their own file. None where there is none."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if text := os.environ.get(variable, "").strip():
            return text
    for file in token_files():
        with suppress(OSError, UnicodeError):
            if text := file.read_text().strip():
                return text
    return None


def run_as_person(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Carry a command out as the person, with their home and token; its errors are kept. Raises OSError."""
    variables = dict(os.environ)
    if (found := token()) is not None:
        variables["HF_TOKEN"] = found
    who = person()
    if who is None:
        return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=variables)
    for name in ("PYTHONPYCACHEPREFIX", "DOCKER_CONFIG"):
        variables.pop(name, None)
    variables |= {"HOME": str(who.home), "USER": who.name, "LOGNAME": who.name, "PATH": search_path()}
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, check=False, env=variables,
        user=who.uid, group=who.gid, extra_groups=who.groups or (who.gid,),
    )  # fmt: skip


if __name__ == "__main__":  # of other commands of the Makefile, at their end
    hand_over(Path.cwd())
