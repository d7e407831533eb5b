"""Where the results come from: commit, code, versions."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from actors.host import ROOT, code_digest, is_checkout


def git(root: Path = ROOT) -> dict[str, Any]:
    """Commit and whether the tree differs from it; both None outside a checkout.
    A repository around an installed wheel is not ours."""
    if root == ROOT and not is_checkout():
        return {"git_commit": None, "dirty": None}

    def ask(*words: str) -> str | None:
        try:
            command = ["git", "--no-optional-locks", "-C", str(root), *words]  # root would leave its own index behind
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return answer.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    changes = ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "dirty": None if changes is None else bool(changes)}


def versions() -> dict[str, str]:
    """Version of every installed package, by name."""
    return dict(sorted((item.metadata["Name"].lower(), item.version) for item in metadata.distributions()))


def version() -> str:
    """Version, commit, Python and folder, in a line."""
    found = git()
    commit = (
        f"commit {found['git_commit'][:12]}{', changed' if found['dirty'] else ''}, " if found["git_commit"] else ""
    )
    return f"campaign {metadata.version('campaign')} ({commit}Python {platform.python_version()}, {ROOT})"


def code() -> dict[str, Any]:
    return {**git(), "digest": code_digest(), "python": platform.python_version(), "packages": versions()}
