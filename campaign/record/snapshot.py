"""The campaign now, as the driver sees it: for the display, and in ``status.json`` for other terminals."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel

from actors.types import Status


class Snapshot(BaseModel):
    campaign: str
    results: str
    total: int = 0
    accepted: int = 0
    exhausted: int = 0
    left_out: int = 0
    """Runs of cells that cannot run, or that nothing is left to compare with."""
    spared: int = 0
    """Runs of models that a look had decided before."""
    rejected_attempts: int = 0
    eta_s: float | None = None
    elapsed_s: float = 0.0
    stage: str = "starting"
    """starting, connecting, preparing, shakedown, running, completed, stopped"""
    message: str = ""
    lanes: dict[str, Status] = {}
    pid: int = 0
    updated_utc_ns: int = 0
    journal: str = ""
    """Its head (``LINES:SHA256``) when the driver ended; empty while one works. With it a removed end is noticed."""
    manifest: str = ""
    """The same of MANIFEST.sha256."""
    digest: str = ""
    """Of all the rest, once the driver ended."""

    @property
    def done(self) -> int:
        return self.accepted + self.exhausted + self.left_out + self.spared

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def digest_of(snapshot: Snapshot) -> str:
    """sha256 over everything in a snapshot but its own digest."""
    return hashlib.sha256(snapshot.model_copy(update={"digest": ""}).model_dump_json().encode()).hexdigest()
