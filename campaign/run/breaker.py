"""Gives a model in an environment up for now where it keeps failing: another model may well run there."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from actors.types import Evidence
from campaign.plan.design import Planned
from campaign.record.journal import NOT_COUNTED
from campaign.run.acceptance import Verdict


class Breaker:
    """Counts rejected attempts in a row by model and environment, over all units."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """So many rejections in a row open it."""
        self._failures: Counter[str] = Counter()
        self._lock = Lock()

    def count(self, row: Planned, evidence: Evidence, verdict: Verdict) -> int:
        """Take an attempt's end in: the number of rejections in a row that end with this one.
        0 where it was accepted, or says nothing."""
        with self._lock:
            if verdict.accepted:
                self._failures[pair_of(row)] = 0
            elif evidence.outcome not in NOT_COUNTED:
                self._failures[pair_of(row)] += 1
                return self._failures[pair_of(row)]
        return 0


def pair_of(row: Planned) -> str:
    """``model__environment``, by which open breakers are known."""
    return f"{row.model}__{row.environment}"
