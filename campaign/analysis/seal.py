"""Whether the tables of ``analysis/`` are what this installation computed from what the folder holds.

They are derived, so nothing in the results folder vouches for them: whoever can write there could put others in their
place. What is computed here is sealed with a key that never leaves our home; tables with another seal, or none, are
computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from actors import account, host
from actors.files import private
from campaign.record import untrusted

KEY = "analysis.key"
STATE = "state.json"
"""File of ``analysis/`` that says of what it is the analysis, with the digests of its tables and the seal over both."""


def state(results: Path) -> dict[str, Any]:
    """Digests of everything that the analysis depends on: campaign, plan, journal, evidence and code."""
    total = hashlib.sha256()
    for pattern in ("attempts/*/[0-9]*/metadata.json", "attempts/*/[0-9]*/requests.parquet", "telemetry/*/*.parquet"):
        for path in untrusted.find(results, pattern)[0]:
            total.update(f"{path.relative_to(results)}\0{_digest(path)}\n".encode())
    singles = ("campaign.json", "journal.jsonl", "plan.parquet", "imported.parquet")
    return {
        **{name: _digest(results / name) for name in singles},
        "evidence": total.hexdigest(),
        "code": host.code_digest(),
    }


def seal(results: Path, made_of: dict[str, Any], folder: str = "analysis") -> None:
    """Vouch for the files that now lie in ``folder``."""
    said = {"made_of": made_of, "files": _files(results / folder)}
    key = _key(make=True)
    text = json.dumps(said | {"by": _name(key), "seal": _seal(said, key)}, indent=1)
    (results / folder / STATE).write_text(text, encoding="utf-8")


def made_of(results: Path, folder: str = "analysis") -> dict[str, Any] | None:
    """What the files were made of, where they are the ones that were sealed here; else None."""
    said = _read(results / folder)
    key = _key(make=False)
    if key and said and _holds(results / folder, said, key):
        found: dict[str, Any] = said["made_of"]
        return found
    return None


def changed(results: Path, folder: str) -> bool:
    """Whether the files were sealed here and are no longer what they were.
    Of those made elsewhere nothing can be said."""
    said = _read(results / folder)
    key = _key(make=False)
    return bool(key and said and said.get("by") == _name(key) and not _holds(results / folder, said, key))


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(untrusted.read_bytes(folder / STATE))
    except (OSError, ValueError, RecursionError, untrusted.Unreadable):
        return None
    return said if isinstance(said, dict) and {"made_of", "files", "by", "seal"} <= set(said) else None


def _holds(folder: Path, said: dict[str, Any], key: bytes) -> bool:
    own = {"made_of": said["made_of"], "files": said["files"]}
    return hmac.compare_digest(str(said["seal"]), _seal(own, key)) and said["files"] == _files(folder)


def _name(key: bytes) -> str:
    """Tells keys apart and gives none away."""
    return hashlib.sha256(b"name of " + key).hexdigest()[:12]


def _seal(said: dict[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(said, sort_keys=True).encode(), "sha256").hexdigest()


def _key(make: bool) -> bytes:
    """Of this checkout: whether it was made through sudo or without, the person reads it and so does root."""
    for place in _homes():
        with contextlib.suppress(OSError):  # none there, or not ours to read
            return (place / KEY).read_bytes()
    if not make:
        return b""
    path = host.home() / KEY
    account.folder(path.parent)
    with contextlib.suppress(FileExistsError):  # another process was quicker
        private.write(path, secrets.token_hex(32))
        if (who := account.person()) is not None:
            os.chown(path, who.uid, who.gid)
    return path.read_bytes()


def _homes() -> list[Path]:
    if os.environ.get("CAMPAIGN_HOME"):
        return [host.home()]
    return [account.state(host.ROOT), host.ROOT / ".campaign"] if host.is_checkout() else [host.home()]


def _files(folder: Path) -> dict[str, str | None]:
    """Tables and the page. Drawings beside the page are made again with it, and stand in it."""
    return {
        path.name: _digest(path)
        for pattern in ("*.parquet", "index.html")
        for path in untrusted.find(folder, pattern)[0]
    }


def _digest(path: Path) -> str | None:
    """None where there is no regular file."""
    try:
        return untrusted.sha256(path)
    except (OSError, untrusted.Unreadable):
        return None
