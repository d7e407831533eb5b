"""What a check is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from actors import host

if TYPE_CHECKING:
    from campaign.config.schema import Campaign

ROOT = host.ROOT
HERE = Path("/")
Status = Literal["ok", "warn", "fail"]
Finding = tuple[Status, str, str]
"""Status, what was found, what to do about it."""


@dataclass(frozen=True)
class Asked:
    """``root`` stands for the machine that the sensors read; ``gpu_uuid`` is the unit's GPU, where one was chosen."""

    home: Path
    campaign: Campaign | None = None
    results: Path = Path("results")
    root: Path = HERE
    gpu_uuid: str | None = None

    @property
    def live(self) -> bool:
        """Whether it is this machine, not the description of one."""
        return self.root == HERE


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    found: str
    remedy: str = ""


def read(path: Path) -> str:
    """The text of a small file; empty where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def commands(root: Path) -> dict[int, tuple[str, str]]:
    """Name and command line of every process, by PID."""
    found: dict[int, tuple[str, str]] = {}
    for folder in (root / "proc").glob("[0-9]*"):
        if name := read(folder / "comm"):
            found[int(folder.name)] = name, read(folder / "cmdline").replace("\0", " ").strip()
    return dict(sorted(found.items()))
