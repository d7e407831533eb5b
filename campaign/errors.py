"""Why a campaign cannot start or go on. The messages are for the person."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
    "listed",
    "nearest",
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


def nearest(word: str, known: Iterable[str], most: int = 30) -> str:
    """`` Did you mean 'x'?`` where something known is near, else what there is, at most ``most`` of it."""
    names = list(known)
    by_folded = {name.strip().casefold(): name for name in names}
    found = difflib.get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=0.6)
    if found:
        return f"Did you mean {by_folded[found[0]]!r}?"
    return f"There are: {listed(names, most)}."


def listed(names: Iterable[object], most: int = 30) -> str:
    """Names for a sentence; a long list ends with how many more there are."""
    words = [str(name) for name in names]
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown or "none"
