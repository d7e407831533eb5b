"""The root filesystem of an image on disk, for the chroot arm, and the check that it still is that of the image.

Exported once per image digest to ``<home>/rootfs/<digest12>/``, with ``<digest12>.manifest.jsonl`` beside it: one line
for each entry, written from the stream that the engine exports, before anything reaches the disk. The folder appears by
rename when it is complete, so half an export is never taken for a whole one.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from actors.environments import EnvironmentError_, ownership
from actors.environments.docker.mounts import mounts_below
from actors.environments.docker.options import ACTOR_LABEL, HOME_LABEL
from actors.types import ImageIdentity

CHUNK = 1 << 20
ROLE, EXPORT = "campaign.role", "rootfs-export"
KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.LNKTYPE: "hardlink", tarfile.SYMTYPE: "symlink",
    tarfile.DIRTYPE: "folder", tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device", tarfile.FIFOTYPE: "fifo",
}  # fmt: skip
Line = dict[str, Any]


def labels(home: Path) -> dict[str, str]:
    """Of a container that is made to be exported into ``home``."""
    return {ROLE: EXPORT, HOME_LABEL: str(home.absolute()), ACTOR_LABEL: ownership.this_process()}


def rootfs_folder(digest: str, home: Path) -> Path:
    return home.absolute() / "rootfs" / digest.removeprefix("sha256:")[:12]


def manifest_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".manifest.jsonl")


def export_rootfs(
    client: docker.DockerClient, identity: ImageIdentity, home: Path, say: Callable[[str], None] = lambda _: None
) -> ImageIdentity:
    """``identity`` with ``rootfs`` filled; exports it where that has not been done. Needs root, to keep owners.

    Raises EnvironmentError_.
    """
    folder = rootfs_folder(identity.digest, home)
    exported = identity.model_copy(update={"rootfs": str(folder)})
    if folder.is_dir() and manifest_file(folder).is_file():
        return exported
    if os.geteuid() != 0:
        raise EnvironmentError_(
            "native-chroot needs root: the image's files are exported with their owners, "
            "and the engine is run in them\n"
            "Run it as root, from the same folder: sudo make campaign (or sudo .venv/bin/campaign prepare CONFIG)."
        )
    with _locked(folder.parent):
        _clear_unfinished(client, home)
        if folder.is_dir() and manifest_file(folder).is_file():
            return exported  # another command made it meanwhile
        if folder.exists():
            _delete(folder)
        say(f"Exporting the root filesystem of {identity.reference} to {folder}")
        partial = folder.with_name(f".partial-{folder.name}")
        partial.mkdir()
        lines = partial.with_suffix(".jsonl")
        try:
            container = client.containers.create(
                identity.digest, command=["none"], network_mode="none", labels=labels(home)
            )
            try:
                with lines.open("w") as out:
                    for line in extract(container.export(chunk_size=CHUNK), partial):
                        out.write(json.dumps(line, separators=(",", ":")) + "\n")
                    out.flush()
                    os.fsync(out.fileno())
            finally:
                container.remove(force=True)
        except (APIError, tarfile.TarError, OSError) as error:
            _delete(partial)
            lines.unlink(missing_ok=True)
            raise EnvironmentError_(
                f"The root filesystem of {identity.reference} could not be exported: {error}"
            ) from error
        lines.replace(manifest_file(folder))
        partial.replace(folder)
    return exported


def extract(chunks: Iterator[bytes], folder: Path) -> Iterator[Line]:
    """Unpack a tar stream into ``folder``; yields for each entry ``path``, ``kind``, ``mode``, ``uid``, ``gid`` and, as
    the kind has them, ``size``, ``mtime``, ``sha256``, ``target``. Owners, times, hard links, devices and extended
    attributes are kept. Raises TarError for an entry that would leave ``folder``."""
    folder = folder.resolve()
    folder_times: list[tuple[Path, int]] = []
    with tarfile.open(fileobj=io.BufferedReader(_Stream(chunks), CHUNK), mode="r|") as tar:
        for item in tar:
            path = item.name.removeprefix("./").strip("/")
            if path in ("", "."):
                continue
            place = folder / path
            if not (_inside(place) and (not item.islnk() or _inside(_link_source(item, folder)))):
                raise tarfile.TarError(f"the entry {item.name} leads out of its folder")
            kind = KINDS.get(item.type, "file")
            line: Line = {"path": path, "kind": kind, "mode": stat.S_IMODE(item.mode), "uid": item.uid, "gid": item.gid}
            content = tar.extractfile(item) if kind == "file" else None
            if content is not None:
                total = hashlib.sha256()
                with place.open("xb") as out:
                    while data := content.read(CHUNK):
                        total.update(data)
                        out.write(data)
                line |= {"size": item.size, "mtime": int(item.mtime), "sha256": total.hexdigest()}
                _finish(place, item)
            else:
                _make(place, item, folder)
                if kind in ("symlink", "hardlink"):
                    line["target"] = item.linkname
                if kind == "folder":
                    folder_times.append((place, int(item.mtime)))
            yield line
    for place, mtime in reversed(folder_times):
        os.utime(place, (mtime, mtime))


def _inside(place: Path) -> bool:
    """Whether the way to ``place`` has neither ``..`` nor a symbolic link."""
    return ".." not in place.parts and os.path.realpath(place.parent) == str(place.parent)


def _link_source(item: tarfile.TarInfo, root: Path) -> Path:
    return root / item.linkname.removeprefix("./").lstrip("/")


def _make(place: Path, item: tarfile.TarInfo, root: Path) -> None:
    """What is no file with content. (``TarFile.extract`` has no ``filter`` before Python 3.11.4,
    which Debian 12 lacks.)"""
    if item.islnk():
        os.link(_link_source(item, root), place, follow_symlinks=False)
        return
    if item.issym():
        place.symlink_to(item.linkname)
    elif item.isdir():
        place.mkdir(exist_ok=True)
    elif item.isfifo():
        os.mkfifo(place)
    else:
        kind = stat.S_IFCHR if item.ischr() else stat.S_IFBLK
        os.mknod(place, kind | 0o600, os.makedev(item.devmajor, item.devminor))
    _finish(place, item)


def _finish(place: Path, item: tarfile.TarInfo) -> None:
    """Owner, then mode (a change of owner clears setuid), extended attributes and time."""
    os.chown(place, item.uid, item.gid, follow_symlinks=False)
    if not item.issym():
        place.chmod(stat.S_IMODE(item.mode))
        for name, value in item.pax_headers.items():
            if name.startswith("SCHILY.xattr."):
                os.setxattr(place, name.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
    os.utime(place, (int(item.mtime), int(item.mtime)), follow_symlinks=False)


class _Stream(io.RawIOBase):
    """The chunks of an HTTP answer as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = iter(chunks)
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            try:
                self.rest = next(self.chunks)
            except StopIteration:
                return 0
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def check_rootfs(identity: ImageIdentity, deep: bool = False) -> list[str]:
    """What on disk differs from the image, one line each; empty where nothing does.

    Compares type, mode, owner, size, time and link targets; ``deep`` also the sha256 of every file. What is added
    counts too, except empty files and folders (mount points, which Docker makes in its own layer). Mounted trees are
    not entered.
    """
    if identity.rootfs is None:
        return [f"{identity.reference} has not been exported"]
    root = Path(identity.rootfs)
    if not root.is_dir() or not manifest_file(root).is_file():
        return [f"{root} or its manifest is missing; it is exported again when both are deleted"]
    mounted = {str(path) for path in mounts_below(root)}
    found = dict(_walk(root, mounted))
    differences = []
    for text in manifest_file(root).read_text().splitlines():
        line = json.loads(text)
        entry = found.pop(line["path"], None)
        if str(root / line["path"]) in mounted or any(str(root / p) in mounted for p in Path(line["path"]).parents):
            continue
        wrong = "is missing" if entry is None else _difference(line, root / line["path"], entry, deep)
        if wrong:
            differences.append(f"{line['path']} {wrong}")
    for path, entry in found.items():
        if (
            str(root / path) in mounted
            or stat.S_ISDIR(entry.st_mode)
            or (stat.S_ISREG(entry.st_mode) and entry.st_size == 0)
        ):
            continue
        differences.append(f"{path} was added")
    return differences


def _walk(root: Path, mounted: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Path below ``root`` and lstat of every entry, not entering mounts."""
    pending = [str(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                yield entry.path[len(str(root)) + 1 :], entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False) and entry.path not in mounted:
                    pending.append(entry.path)


def _difference(line: Line, path: Path, entry: os.stat_result, deep: bool) -> str:
    """How an entry differs from its line; empty where it does not."""
    tests: dict[str, Callable[[int], bool]] = {
        "file": stat.S_ISREG, "hardlink": stat.S_ISREG, "symlink": stat.S_ISLNK, "folder": stat.S_ISDIR,
        "fifo": stat.S_ISFIFO,
        "device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    }  # fmt: skip
    kind = line["kind"]
    if not tests[kind](entry.st_mode):
        return f"is no longer a {kind}"
    if kind != "symlink" and stat.S_IMODE(entry.st_mode) != line["mode"]:
        return f"has mode {stat.S_IMODE(entry.st_mode):o} instead of {line['mode']:o}"
    if (entry.st_uid, entry.st_gid) != (line["uid"], line["gid"]):
        return f"belongs to {entry.st_uid}:{entry.st_gid} instead of {line['uid']}:{line['gid']}"
    if kind == "symlink" and str(path.readlink()) != line["target"]:
        return f"points to {path.readlink()} instead of {line['target']}"
    if kind == "file":
        if entry.st_size != line["size"]:
            return f"has {entry.st_size} bytes instead of {line['size']}"
        if int(entry.st_mtime) != line["mtime"]:
            return "was written to"
        if deep:
            with path.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != line["sha256"]:
                    return "has other content"
    return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One export at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clear_unfinished(client: docker.DockerClient, home: Path) -> None:
    """What an export into this home that was killed left: its folder, its manifest, its container.
    Called under the lock.

    Another home on the same engine may be exporting now, under a lock of its own.
    """
    for left in (home / "rootfs").glob(".partial-*"):
        _delete(left) if left.is_dir() else left.unlink()
    ours = [f"{ROLE}={EXPORT}", f"{HOME_LABEL}={home.absolute()}"]
    for container in client.containers.list(all=True, filters={"label": ours}):
        container.remove(force=True)


def _delete(folder: Path) -> None:
    """Never through a mount: a bound /dev would lose its nodes."""
    if points := mounts_below(folder):
        raise EnvironmentError_(f"{points[0]} is still mounted; end what uses it and run: campaign reap")
    shutil.rmtree(folder)
