"""A folder as an archive that holds the same bytes whenever it is made."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

ARCHIVES = (".zip", ".tar.gz", ".tgz")


def pack(folder: Path, made: Path, name: str, when: datetime) -> Path:
    """``folder`` as the kind of archive that ``name`` ends in, at ``made``; the folder itself where it is none."""
    if name.endswith(".zip"):
        _zip(folder, made, when)
    elif name.endswith((".tar.gz", ".tgz")):
        _tar(folder, made, when)
    else:
        made = folder
    made.chmod(0o755 if made.is_dir() else 0o644)
    return made


def stem(target: Path) -> str:
    for ending in ARCHIVES:
        if target.name.endswith(ending):
            return target.name.removesuffix(ending) or "campaign"
    return target.name


def _members(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path, path.relative_to(folder).as_posix()


def _zip(folder: Path, target: Path, when: datetime) -> None:
    """With both descriptions at the archive's root, where readers of crates and packages look for them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, name in _members(folder):
            entry = zipfile.ZipInfo(name, when.timetuple()[:6])
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as out:
                shutil.copyfileobj(source, out)


def _tar(folder: Path, target: Path, when: datetime) -> None:
    """Everything in one folder, as whoever unpacks a tar expects."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, name in _members(folder):
            entry = tarfile.TarInfo(f"{folder.name}/{name}")
            entry.size, entry.mtime, entry.mode = path.stat().st_size, int(when.timestamp()), 0o644
            with path.open("rb") as source:
                archive.addfile(entry, source)
