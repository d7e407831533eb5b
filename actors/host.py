"""What this machine is and which code it runs: facts that make two results comparable, or not."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from actors import account

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or where the packages are installed."""

MEASURING = ("actors", "campaign", "sql")
"""Folders whose content decides what a campaign measures, accepts and aggregates."""


def is_checkout() -> bool:
    """Whether this is the project's own folder, rather than packages that were installed from a wheel."""
    return (ROOT / "uv.lock").is_file()


def shipped(name: str) -> Path:
    """What comes with the code and is none: ``sql``, ``configs``, licences. At the top of a checkout,
    within the package in a wheel."""
    within = ROOT / "campaign" / name
    return within if within.exists() else ROOT / name


def existing(path: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def home() -> Path:
    """Where the project keeps its own things: ``$CAMPAIGN_HOME``, else ``.campaign`` beside the code, else, where root
    acts for the person whose checkout this is, what root keeps for it (:func:`actors.account.state`). Where the code
    was installed from a wheel, the user's ``$XDG_STATE_HOME/campaign``."""
    if named := os.environ.get("CAMPAIGN_HOME"):
        return Path(named).absolute()
    who = account.person()
    if who is not None and account.owns(who, ROOT):
        return account.state(ROOT)
    if not is_checkout():
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute() / "campaign"
    return ROOT / ".campaign"


def code_digest(root: Path = ROOT) -> str:
    """sha256 over the names and contents of the code that decides, measures and aggregates;
    the same from a checkout and from its wheel."""
    total = hashlib.sha256()
    for folder in MEASURING:
        place = root / folder if (root / folder).is_dir() else root / "campaign" / folder
        for path in sorted(place.rglob("*")):
            within = path.relative_to(place)
            if path.suffix in {".py", ".sql", ".j2"} and within.parts[0] not in MEASURING:
                total.update(f"{folder}/{within}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def mem_total_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def describe() -> dict[str, Any]:
    """Kernel, firmware, CPU and distribution, as the machine itself names them. It is published with the results:
    nothing in it tells whose machine it is or when it was started (no host name, boot ID or kernel command line)."""
    uname = platform.uname()
    release: dict[str, str] = {}
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
    cpu = [
        line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    return {
        "kernel": uname.release,
        "kernel_version": uname.version,
        "machine": uname.machine,
        "os": release.get("PRETTY_NAME", uname.system),
        "cpu": cpu[0] if cpu else uname.machine,
        "product": _read("/sys/class/dmi/id/product_name"),
        "vendor": _read("/sys/class/dmi/id/sys_vendor"),
        "firmware": _read("/sys/class/dmi/id/bios_version"),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
