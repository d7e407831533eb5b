"""Cleans up what a crash left on this unit, and touches nothing else: each kind of environment what is its own.

Something is a leftover when the actor that started it no longer runs: what a campaign that is running at the same time
owns stays, also if it shares this home.
"""

from __future__ import annotations

from pathlib import Path

from actors.environments.registry import kinds


def reap(home: Path, campaign_id: str | None = None) -> list[str]:
    """Remove leftovers of one campaign, or of all; returns one line for each thing done, or that could not be done."""
    home = home.absolute()
    return [line for kind in kinds().values() for line in kind.reap(home, campaign_id)]
