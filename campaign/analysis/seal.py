"""Whether the tables of ``analysis/`` are what this installation computed from what the folder holds.

They are derived, so nothing in the results folder vouches for them: whoever can write there could put others in their place. What
is computed here is sealed with a key that never leaves our home; tables with another seal, or none, are computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from actors import host, private
from campaign import foreign

STATE = "state.json"
"""File of ``analysis/`` that says of what it is the analysis, with the digests of its tables and the seal over both."""


def state(results: Path) -> dict[str, Any]:
    """Digests of everything that the analysis depends on: campaign, plan, journal, evidence and code."""
    total = hashlib.sha256()
    for pattern in ("attempts/*/[0-9]*/metadata.json", "attempts/*/[0-9]*/requests.parquet", "telemetry/*/*.parquet"):
        for path in foreign.find(results, pattern)[0]:
            total.update(f"{path.relative_to(results)}\0{_digest(path)}\n".encode())
    singles = ("campaign.json", "journal.jsonl", "plan.parquet", "imported.parquet")
    return {
        **{name: _digest(results / name) for name in singles},
        "evidence": total.hexdigest(),
        "code": host.code_digest(),
    }


def seal(results: Path, made_of: dict[str, Any]) -> None:
    """Vouch for the tables that now lie in ``analysis/``."""
    folder = results / "analysis"
    said = {"made_of": made_of, "tables": _tables(folder)}
    text = json.dumps(said | {"seal": _seal(said, _key(make=True))}, indent=1)
    (folder / STATE).write_text(text, encoding="utf-8")


def made_of(results: Path) -> dict[str, Any] | None:
    """What the tables were made of, where they are the ones that were sealed here; else None."""
    folder = results / "analysis"
    key = _key(make=False)
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError, foreign.Unreadable):
        said = json.loads(foreign.read_bytes(folder / STATE))
        claimed = said.pop("seal")
        if key and hmac.compare_digest(str(claimed), _seal(said, key)) and said["tables"] == _tables(folder):
            found: dict[str, Any] = said["made_of"]
            return found
    return None


def _seal(said: dict[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(said, sort_keys=True).encode(), "sha256").hexdigest()


def _key(make: bool) -> bytes:
    path = host.home() / "analysis.key"
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            private.write(path, secrets.token_hex(32))
    return path.read_bytes() if path.exists() else b""


def _tables(folder: Path) -> dict[str, str | None]:
    return {path.name: _digest(path) for path in foreign.find(folder, "*.parquet")[0]}


def _digest(path: Path) -> str | None:
    """None where there is no regular file."""
    if not path.exists() or foreign.why_not(path):
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
