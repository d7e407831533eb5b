"""How long a run of a cell may take before it counts as hung: from the forecast at first, then from the shakedown, then
from the cell's own accepted runs."""

from __future__ import annotations

from collections.abc import Sequence

from actors.types import Watchdog, Workload


def limit_s(
    rules: Watchdog, workload: Workload, *, expected_s: float, accepted_s: Sequence[float] = ()
) -> float | None:
    """Seconds after its exec at which a run counts as hung; None where the workload's own ``timeout_s`` comes first.
    ``expected_s`` is exec to exit as the shakedown or the forecast has it; once there are ``accepted_s``, those of the
    cell's accepted runs, the longest of them counts instead."""
    limit = rules.factor * max(accepted_s, default=expected_s) + rules.slack_s
    return limit if limit < workload.timeout_s else None
