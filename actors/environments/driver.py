"""The GPU driver's user-space files for a chroot: what the NVIDIA toolkit would put into a container.

An image holds CUDA but no driver; in a container the toolkit mounts the host's. A chroot gets the very same files, from the
same source: the toolkit's CDI specification (``nvidia-ctk cdi generate``; Container Device Interface,
``containerEdits.mounts``). Its hooks cannot run in a chroot. ``update-ldcache`` exists to make the SONAME links
(``libcuda.so.1``); instead each library is also mounted under the names that link to it on the host.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from actors.environments import OptionRefused
from actors.types import Mount

WRITTEN = (Path("/var/run/cdi/nvidia.yaml"), Path("/etc/cdi/nvidia.yaml"))
REPLACED = ("update-ldcache", "create-symlinks", "chmod")
"""Hooks whose work is done here, or is not needed where /dev is the host's."""


def mounts() -> tuple[tuple[Mount, ...], list[str]]:
    """The driver's files on this host, and what the toolkit would do besides. Raises OptionRefused."""
    return from_cdi(yaml.safe_load(_specification()))


def _specification() -> str:
    if program := shutil.which("nvidia-ctk"):
        made = subprocess.run([program, "cdi", "generate"], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return made.stdout
        raise OptionRefused("gpu", f"`nvidia-ctk cdi generate` fails: {made.stderr.strip()[-300:]}")
    for file in WRITTEN:
        if file.is_file():
            return file.read_text()
    raise OptionRefused(
        "gpu",
        "the driver's files for a chroot are taken from the NVIDIA container toolkit, which is not here: install "
        "nvidia-container-toolkit, or list them under gpu.mounts with `by: devices`",
    )


def from_cdi(specification: dict[str, Any]) -> tuple[tuple[Mount, ...], list[str]]:
    """Mounts of a CDI specification with the host's links to its libraries, and a note for each hook left out."""
    edits = [specification.get("containerEdits") or {}]
    edits += [device.get("containerEdits") or {} for device in specification.get("devices") or ()]
    found: dict[str, Mount] = {}
    notes: dict[str, None] = {}
    for edit in edits:
        for entry in edit.get("mounts") or ():
            source, target = Path(entry["hostPath"]), Path(entry["containerPath"])
            if not source.exists():
                continue  # sockets of services that do not run
            for name in (target.name, *_links_to(source)):
                place = str(target.with_name(name))
                found.setdefault(place, Mount(source=str(source), target=place))
        for hook in edit.get("hooks") or ():
            if not set(REPLACED) & set(hook.get("args") or ()):
                notes[f"the toolkit's hook `{' '.join(hook.get('args') or ())}` is not run in a chroot"] = None
    return tuple(found.values()), list(notes)


def _links_to(library: Path) -> list[str]:
    """Names in the folder of ``library`` that lead to it (``libcuda.so.1``, ``libcuda.so``)."""
    if ".so" not in library.name:
        return []
    stem = library.name.partition(".so")[0]
    whole = library.resolve()
    return [
        path.name
        for path in library.parent.glob(f"{stem}.so*")
        if path.name != library.name and path.resolve() == whole
    ]
