"""What must not change while a campaign lives, and what happens where it does: a refusal,
or another session if a person insists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors import host
from campaign.config.schema import Campaign
from campaign.errors import Drift
from campaign.record.drift import changes
from campaign.run.ledger import Ledger

ITSELF = "the driver"
"""What config and code are called where they differ."""


def differences(campaign: Campaign, info: dict[str, Any]) -> list[str]:
    """How config and code differ from what the campaign began with."""
    found = []
    if info["config_hash"] != campaign.config_hash:
        found += [f"config: {line}" for line in changes(info["config"], campaign.published())]
    if info["code"]["digest"] != (digest := host.code_digest()):
        found.append(f"code: digest was {info['code']['digest'][:12]}, is {digest[:12]}")
    return found


def fingerprint(campaign: Campaign) -> str:
    """Of config and code as they are."""
    return f"{campaign.config_hash[:16]} {host.code_digest()[:16]}"


class DriftCheck:
    """Holds what is against what a campaign began with."""

    def __init__(self, ledger: Ledger, accept: bool, tell: Callable[[str], None]) -> None:
        self.accept = accept
        self._ledger = ledger
        self._tell = tell

    def check(self, what: str, differences: list[str], *, now: str = "", unit: str | None = None) -> None:
        """Refuses differences of ``what`` from the campaign's beginning, or begins another session with them: no block
        holds runs of two. What was accepted once, told by ``now``, stays accepted; a return to the beginning is a
        change as well. ``unit`` is the one that they are of, None the whole campaign. Raises
        :class:`campaign.errors.Drift`."""
        accepted = self._ledger.state.accepted.get(what)
        if now and accepted == now:
            return
        if now and accepted is not None and not differences:
            differences = [f"{what}: back to what the campaign began with, after something else had been accepted"]
        if not differences:
            return
        if not self.accept:
            raise Drift(differences)
        self._ledger.begin_session(what, differences, now, unit)
        for line in differences:
            self._tell(f"accepted: {line}")
