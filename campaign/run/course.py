"""What the lanes of one invocation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from campaign.config.schema import Campaign
from campaign.run.breaker import Breaker
from campaign.run.dispatch import Dispatch
from campaign.run.drift import DriftCheck
from campaign.run.fleet import Fleet
from campaign.run.ledger import Ledger
from campaign.run.progress import Progress


@dataclass(frozen=True)
class Course:
    """One round of blocks, as its lanes see it."""

    campaign: Campaign
    fleet: Fleet
    ledger: Ledger
    dispatch: Dispatch
    drift: DriftCheck
    breaker: Breaker
    progress: Progress
    stopping: Event
    """Set when nothing more is to be started."""
    news: Event
    """Set when the driver has something to look at."""
    tell: Callable[[str], None]
    pause: Callable[[str], None]
    """Stop the campaign for a reason, so that the same command goes on later."""
    only_shakedown: bool = False
