"""Why a campaign cannot start or go on. The messages are for the person."""

from __future__ import annotations

from actors.errors import (
    EXIT_CONFIG,
    EXIT_DEFECT,
    EXIT_ENGINE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_PAUSED,
    EXIT_REFUSED,
    CampaignError,
)

__all__ = [
    "EXIT_CONFIG",
    "EXIT_DEFECT",
    "EXIT_ENGINE",
    "EXIT_INCOMPLETE",
    "EXIT_INTERRUPTED",
    "EXIT_PAUSED",
    "EXIT_REFUSED",
    "CampaignError",
    "Drift",
    "DriverError",
    "UnitLost",
]


class DriverError(CampaignError):
    """The campaign cannot start or go on."""


class Drift(DriverError):
    """Something that decides the results differs from what the campaign began with."""

    def __init__(self, differences: list[str]) -> None:
        self.differences = differences
        super().__init__(
            "this campaign began under other conditions:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nStart another with NEW=1 (or --new), or go on all the same with --accept-drift, which is journalled."
        )


class UnitLost(Exception):
    """The unit of a lane no longer answers."""
