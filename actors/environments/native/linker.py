"""The linker's cache of a chroot, as the NVIDIA toolkit's hook ``update-ldcache`` makes it in a container.

Libraries that are mounted into an image are in no ``/etc/ld.so.cache``, and programs that ask it (``ldconfig -p``:
Triton) or rely on it (``dlopen("libcuda.so.1")`` where the folder is none of the loader's own) do not find them. In a
container the hook runs ``ldconfig`` each time; a chroot's root is shared and read-only, so the file is made once for an
image and a driver, kept below ``<home>/linker``, and mounted in its place. Run as a program (``python -I -S
linker.py``, its order as JSON on standard input) this module makes it, in a mount namespace of its own, with the
image's ``ldconfig`` or, where it has none, the host's.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECIPE = 1
CACHE, CONFIGURED = "/etc/ld.so.cache", "/etc/ld.so.conf"
PROGRAMS = ("/sbin/ldconfig.real", "/usr/sbin/ldconfig.real", "/sbin/ldconfig", "/usr/sbin/ldconfig")
"""``.real`` first: on Debian and Ubuntu the other may be a shell script around it."""
OUTPUT = "/tmp"
"""Where the folder for the new cache is mounted inside."""


def place(root: str, mounts: list[dict[str, Any]], folders: list[str], compat: str | None, home: Path) -> Path:
    """The file for this root filesystem and these files of the driver, whether or not it has been made."""
    told = []
    for entry in mounts:
        source = Path(entry["source"])
        stat = source.stat() if source.exists() else None
        told.append([entry["target"], str(source.resolve()), stat and [stat.st_size, stat.st_mtime_ns]])
    key = hashlib.sha256(json.dumps([RECIPE, root, sorted(told, key=str), folders, compat]).encode()).hexdigest()[:16]
    return home.absolute() / "linker" / key / "ld.so.cache"


def make(root: str, mounts: list[dict[str, Any]], folders: list[str], compat: str | None, file: Path) -> str:
    """Make ``file`` where it is not there yet; empty, or why it could not be made."""
    if file.is_file():
        return ""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=file.parent) as scratch:
        order = {"root": root, "mounts": mounts, "folders": folders, "compat": compat, "scratch": scratch}
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(Path(__file__))], input=json.dumps(order), capture_output=True, text=True,
             check=False
        )  # fmt: skip
        made = Path(scratch, "out", "ld.so.cache")
        if done.returncode != 0 or not made.is_file():
            return done.stderr.strip()[-400:] or f"ldconfig ends with {done.returncode}"
        made.chmod(0o644)
        made.replace(file)
    return ""


def _program(root: str, inside: Callable[[str, str], str]) -> str | None:
    """A compiled ``ldconfig`` below ``root``, as seen inside."""
    for name in PROGRAMS:
        path = Path(inside(root, name))
        if path.is_file() and os.access(path, os.X_OK):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    return name
    return None


def main(order: dict[str, Any]) -> None:
    """Never returns where all is well: it becomes ``ldconfig``."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from supervisor import build_root, inside  # type: ignore[import-not-found]

    root = order["root"]
    out, conf = Path(order["scratch"], "out"), Path(order["scratch"], "conf")
    out.mkdir()
    conf.mkdir()
    theirs = Path(inside(root, CONFIGURED + ".d"))
    binds = [(str(out), OUTPUT)]
    folders = [folder for folder in (order["compat"], *order["folders"]) if folder]
    if theirs.is_dir() and Path(inside(root, CONFIGURED)).is_file():
        binds.append((str(conf), CONFIGURED + ".d"))
        for name in theirs.iterdir():
            file = Path(inside(root, f"{CONFIGURED}.d/{name.name}"))
            if file.is_file():
                (conf / name.name).write_bytes(file.read_bytes())
        # Named as by the toolkit's hooks: they come first, forward compatibility before the driver.
        (conf / "00-compat-campaign.conf").write_text(f"{order['compat'] or ''}\n")
        (conf / "00-nvcr-campaign.conf").write_text("".join(f"{folder}\n" for folder in order["folders"]))
        folders = []
    own = _program(root, inside)
    program = own or _program("/", lambda _, name: name)
    if program is None:
        sys.exit("neither the image nor this host has ldconfig (Debian: package libc-bin)")
    extra = [{"kind": "bind", "source": source, "target": target, "read_only": False} for source, target in binds]
    build_root(root, [*order["mounts"], *extra])
    argv = [program, "-X", "-i", "-C", f"{OUTPUT}/ld.so.cache", "-f", CONFIGURED]
    if own is None:
        argv += ["-r", root]
    else:
        os.chroot(root)
        os.chdir("/")
    os.execve(program, [*argv, *folders], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})


if __name__ == "__main__":
    main(json.load(sys.stdin))
