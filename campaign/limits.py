"""How long a run of a cell may take before it counts as hung: from the forecast at first, then from the shakedown, then from the
cell's own accepted runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.types import Watchdog, Workload


@dataclass(frozen=True)
class Speed:
    """What an unmeasured start of a cell showed."""

    start_s: float
    """From exec to the first measured request: entry point, load, compilation, warm-up."""
    tok_s: float
    """Output tokens per second of the whole engine."""
    power_w: float | None = None

    def expected_s(self, workload: Workload) -> float:
        """Seconds that a whole run takes at this speed."""
        asked = (workload.requests + workload.warmup_requests) * workload.output_tokens
        return self.start_s + asked / self.tok_s


def limit_s(
    rules: Watchdog,
    workload: Workload,
    *,
    forecast_s: float,
    speed: Speed | None = None,
    accepted_s: Sequence[float] = (),
) -> float | None:
    """Seconds after its exec at which a run counts as hung; None where the workload's own ``timeout_s`` comes first. ``forecast_s`` is
    a guess of exec to exit; ``accepted_s`` are those of the cell's accepted runs, the longest of which counts."""
    expected_s = max(accepted_s) if accepted_s else speed.expected_s(workload) if speed else forecast_s
    limit = rules.factor * expected_s + rules.slack_s
    return limit if limit < workload.timeout_s else None
