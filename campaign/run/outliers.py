"""Outliers of a complete cell: runs farther than so many standard deviations from their cell's mean.

The methodology asks to investigate and re-run them ("Quality Checks"). Re-running what looks odd inflates errors, so it
is off unless the campaign says ``outliers: rerun``, happens once for each run, and both values stay.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

from campaign.analysis import metrics
from campaign.plan.design import Planned
from campaign.record.store import Store

LEAST = 11
"""In fewer runs no value can lie more than three standard deviations from the mean of all."""


def outliers(store: Store, plan: list[Planned], accepted: dict[str, int], sigma: float) -> dict[str, str]:
    """Run to the reason why it is an outlier, in words. ``accepted`` maps run to accepted attempt."""
    cells: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in plan:
        if row.run_id in accepted:
            value = store.record_of(row.run_id, accepted[row.run_id]).value(metrics.headline())
            if value is not None:
                cells[row.model, row.environment, row.workload][row.run_id] = value
    found = {}
    for values in cells.values():
        if len(values) < LEAST:
            continue
        mean, sd = statistics.fmean(values.values()), statistics.stdev(values.values())
        for run_id, value in values.items():
            if abs(value - mean) > sigma * sd:
                found[run_id] = (
                    f"{metrics.headline()} {value:.4g} lies {abs(value - mean) / sd:.1f} SD "
                    f"from its cell's mean {mean:.4g}"
                )
    return found
