"""A program of ours that runs inside the arms, kept below the cache under the digest of its text, so that the command
of a finished attempt still means what it meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from actors.files.publish import publish


def kept(program: Path, engine: str, cache: Path) -> tuple[Path, str]:
    """The copy of ``program``, and the sha256 of its text."""
    text = program.read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    path = cache / "programs" / f"{engine}_{program.stem}-{digest[:12]}.py"
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with publish(path) as partial:
            partial.write_bytes(text)
    return path, digest
