"""The GPU driver's user-space files for a chroot: what the NVIDIA toolkit would put into a container.

An image holds CUDA but no driver; in a container the toolkit mounts the host's. A chroot gets the very same files, from
the same source: the toolkit's CDI specification (``nvidia-ctk cdi generate``; Container Device Interface,
``containerEdits.mounts``). Its hooks run when a container is created, so here their work is done instead:

* ``create-symlinks`` and the SONAME links of ``update-ldcache``: each library is also mounted under the names that link
  to it on the host;
* the cache of ``update-ldcache``: ``linker.py``;
* ``enable-cuda-compat`` (toolkit 1.17.5 and later): :func:`compat_folder`, by the hook's own rule;
* ``chmod``, ``update-nvidia-params``, ``disable-device-node-modification``: about device nodes, which are the host's
  own in a chroot.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from actors.environments import OptionRefused
from actors.types import Mount

WRITTEN = (Path("/var/run/cdi/nvidia.yaml"), Path("/etc/cdi/nvidia.yaml"))
DONE_HERE = (
    "update-ldcache", "create-symlinks", "create-soname-symlinks", "enable-cuda-compat", "cuda-compat", "chmod",
    "update-nvidia-params",
    "disable-device-node-modification",
)  # fmt: skip


@dataclass(frozen=True)
class Driver:
    """What the toolkit adds to a container on this host."""

    mounts: tuple[Mount, ...] = ()
    folders: tuple[str, ...] = ()
    """Where its libraries lie inside, for the linker's cache."""
    compat: dict[str, str] | None = None
    """Options of the hook ``enable-cuda-compat``; None where the toolkit has no such hook."""
    notes: list[str] = field(default_factory=list)
    """What it does besides and a chroot does without."""


def found() -> Driver:
    """The driver's files on this host. Raises OptionRefused."""
    return from_cdi(yaml.safe_load(_specification()))


def written() -> dict[str, Any] | None:
    """The CDI specification that Docker reads on this host; None where there is none."""
    text = next((file.read_text() for file in WRITTEN if file.is_file()), None)
    return yaml.safe_load(text) if text is not None else None


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


def from_cdi(specification: dict[str, Any]) -> Driver:
    """What a CDI specification mounts, with the host's links to its libraries, and what its hooks are told."""
    edits = [specification.get("containerEdits") or {}]
    edits += [device.get("containerEdits") or {} for device in specification.get("devices") or ()]
    mounts: dict[str, Mount] = {}
    folders: dict[str, None] = {}
    notes: dict[str, None] = {}
    compat: dict[str, str] | None = None
    for edit in edits:
        for entry in edit.get("mounts") or ():
            source, target = Path(entry["hostPath"]), Path(entry["containerPath"])
            if not source.exists():
                continue  # sockets of services that do not run
            for name in (target.name, *_links_to(source)):
                place = str(target.with_name(name))
                mounts.setdefault(place, Mount(source=str(source), target=place))
        for hook in edit.get("hooks") or ():
            arguments = [str(word) for word in hook.get("args") or ()]
            given = _options(arguments)
            if "update-ldcache" in arguments:
                folders |= dict.fromkeys(value for name, value in given if name == "folder")
            elif "enable-cuda-compat" in arguments or "cuda-compat" in arguments:
                compat = dict(given)
            if not set(DONE_HERE) & set(arguments):
                notes[f"the toolkit's hook `{' '.join(arguments)}` is not run in a chroot"] = None
    if not folders:
        folders = dict.fromkeys(str(Path(place).parent) for place in mounts if ".so" in Path(place).name)
    return Driver(tuple(mounts.values()), tuple(folders), compat, list(notes))


def _options(arguments: list[str]) -> list[tuple[str, str]]:
    """``--folder /x`` and ``--folder=/x`` as (folder, /x)."""
    pairs = []
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if here.startswith("--"):
            name, equals, value = here.removeprefix("--").partition("=")
            pairs.append((name, value if equals else following))
    return pairs


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
