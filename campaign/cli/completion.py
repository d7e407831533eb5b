"""What the shell completes beside verbs and options."""

from __future__ import annotations

import re
from pathlib import Path

from actors import host


def _base(incomplete: str, usual: Path) -> Path:
    """The folder whose entries are meant: what has been typed up to its last slash, else the usual one."""
    return Path(incomplete.rpartition("/")[0] or "/") if "/" in incomplete else usual


def folders(incomplete: str) -> list[str]:
    """Results folders, below ``results/`` or below what has been typed."""
    found = sorted(_base(incomplete, Path("results")).glob("*/campaign.json"))
    return [text for place in found if (text := str(place.parent)).startswith(incomplete)]


def configs(incomplete: str) -> list[str]:
    """Campaign files: those that come with the project, else YAML files and folders below what has been typed."""
    if "/" not in incomplete:
        shipped = sorted(Path("configs/campaigns").glob("*.yaml"))
        here = sorted(Path().glob("*.yaml"))
        return [str(path) for path in (*here, *shipped) if str(path).startswith(incomplete) or path.stem == incomplete]
    found = sorted(_base(incomplete, Path()).iterdir()) if _base(incomplete, Path()).is_dir() else []
    return [
        f"{path}/" if path.is_dir() else str(path)
        for path in found
        if (path.is_dir() or path.suffix in {".yaml", ".yml"}) and str(path).startswith(incomplete)
    ]


def run_ids(incomplete: str) -> list[str]:
    """Runs of the results folder changed last."""
    journals = sorted(Path("results").glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    found = journals[-1].parent.glob("attempts/*") if journals else ()
    return sorted(place.name for place in found if place.name.startswith(incomplete))


def environments(incomplete: str) -> list[str]:
    """Environments of the library."""
    names = re.findall(r"^  - name: (\S+)", (host.shipped("configs") / "environments.yaml").read_text(), re.MULTILINE)
    return [name for name in names if name.startswith(incomplete)]
