"""Compile caches are prepared state: made once for each model and image by an unmeasured start, then the same copy for
every measured attempt of either arm.

A first start of vLLM on an H100 took 2 min 50 s and a second with its caches 1 min 10 s; without them, kernels are
compiled inside the measured window. The engine says by variables where it keeps them (``Engine.cache_variables``).
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

from actors.files import removal
from actors.files.beneath import Folder
from actors.types import Attempt, ImageIdentity, Metric


def folder(home: Path, engine: str, model: str, image: ImageIdentity | None) -> Path:
    """Where the prepared caches of a model (``name``, or ``name@variant``) are kept on this unit: one folder for each
    userland, since compiled code is its compiler's, and for each variant,
    since an engine's options decide what it compiles."""
    userland = image.userland.rpartition(":")[2][:12] if image else "host"
    return home.absolute() / "caches" / f"{engine}-{userland}" / model


def digest(place: Path) -> str | None:
    """sha256 over names, link targets and contents of everything below ``place``;
    None where there is no such folder."""
    if not place.is_dir():
        return None
    total = hashlib.sha256()
    with Folder(place) as caches:
        for name, facts in caches.entries():
            if stat.S_ISLNK(facts.st_mode):
                total.update(f"link {name}\0{_target(caches, name)}\n".encode(errors="surrogateescape"))
            elif stat.S_ISREG(facts.st_mode):
                with os.fdopen(caches.file(name), "rb") as content:
                    of_file = hashlib.file_digest(content, "sha256").hexdigest()
                total.update(f"file {name}\0{of_file}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _target(folder: Folder, name: str) -> str:
    above, _, last = name.rpartition("/")
    with folder.folder(above) as here:
        return os.readlink(last, dir_fd=here.fd)


def for_attempt(order: Attempt, spool: Path) -> Path | None:
    """What this attempt's engine sees as its caches: the prepared ones themselves where it fills them, else a fresh
    copy. None where the engine compiles nothing. Raises OSError."""
    if order.caches is None:
        return None
    prepared = Path(order.caches)
    if order.fills_caches:
        prepared.mkdir(parents=True, exist_ok=True)
        prepared.chmod(0o777)  # the engine may run as another user
        return prepared
    copy = spool / "caches"
    removal.remove(copy)
    copy.parent.mkdir(parents=True, exist_ok=True)
    command = ["cp", "-a", "--reflink=auto", str(prepared), str(copy)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise OSError(f"the compile caches {prepared} cannot be copied: {made.stderr.strip()[-300:]}")
    return copy


def after(order: Attempt, seen: Path | None) -> Metric | None:
    """Files that a measured attempt added to its copy, which means kernels compiled while it was measured;
    the copy goes."""
    if seen is None or order.caches is None or order.fills_caches:
        return None
    added, reason = None, None
    try:
        added = float(max(0, _files(seen) - _files(Path(order.caches))))
        removal.remove(seen)
    except OSError as problem:
        reason = f"the copy could not be looked through: {problem}"
    return Metric(name="compile_cache_new_files", value=added, unit_of_measure="files", source="unit", reason=reason)


def _files(place: Path) -> int:
    with Folder(place) as folder:
        return sum(1 for _ in folder.files())
